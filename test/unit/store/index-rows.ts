/** Rows for tests of the index: commit number `number` writes this one, scattered over many pages. */
import type { RegionRow } from '../../../agent/store/index.ts'

export const rowsInAll = 5003

export function regionRow(number: number): RegionRow {
  const slots = Buffer.alloc(256)
  slots.writeDoubleLE(number, 0)
  return { volume: 1, region: (number * 1009) % rowsInAll, slots }
}

/** @returns the number of the commit that wrote the row last */
export const numberOf = (row: RegionRow): number => Buffer.from(row.slots ?? new Uint8Array(8)).readDoubleLE(0)

/** @returns what each region's row says after commits 1 to `last` */
export function rowsAfter(last: number): Map<number, number> {
  const rows = new Map<number, number>()
  for (let number = Math.max(1, last - rowsInAll + 1); number <= last; number += 1) {
    rows.set(regionRow(number).region, number)
  }
  return rows
}
