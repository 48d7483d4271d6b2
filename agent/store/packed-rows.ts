/**
 * Rows of the index on their way from its thread, as one piece of memory that is handed over: a TiB has 65,536 of them,
 * and as objects each would be copied by itself and take several times its bytes.
 */
import { regionExtents } from './format.ts'
import type { RegionRow } from './index.ts'

const numberBytes = 8
const slotsBytes = regionExtents * 4
const rowBytes = 2 * numberBytes + slotsBytes

export interface PackedRows {
  readonly count: number
  readonly bytes: Uint8Array<ArrayBuffer>
}

/** @param count of the rows, at least @throws when a row has not the length of a region's */
export function packRows(
  rows: Iterable<readonly [volume: number, region: number, slots: Uint8Array]>,
  count: number,
): PackedRows {
  const bytes = new Uint8Array(count * rowBytes)
  const view = new DataView(bytes.buffer)
  let at = 0
  for (const [volume, region, slots] of rows) {
    if (slots.length !== slotsBytes) throw new RangeError(`a row of the index has ${slots.length} bytes`)
    view.setFloat64(at, volume)
    view.setFloat64(at + numberBytes, region)
    bytes.set(slots, at + 2 * numberBytes)
    at += rowBytes
  }
  return { count: at / rowBytes, bytes }
}

/** One after the other, each a view of the same memory. */
export function* unpackRows({ count, bytes }: PackedRows): IterableIterator<RegionRow> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at < count * rowBytes; at += rowBytes) {
    yield {
      volume: view.getFloat64(at),
      region: view.getFloat64(at + numberBytes),
      slots: bytes.subarray(at + 2 * numberBytes, at + rowBytes),
    }
  }
}
