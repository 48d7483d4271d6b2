/**
 * Checksums of the index's rows (FORMAT.md): of what a row says and of the numbers under which it stands. SQLite has none:
 * a bit that flips in a page leaves it a sound page.
 */
import { crc32 } from 'node:zlib'
import { FileError } from './files.ts'

/** Other numbers, another value: both factors are odd. */
const numbers = (first: number, second: number): number =>
  Math.imul(first, 0x9e37_79b1) + Math.imul(second, 0x85eb_ca6b)

/** 32 bits. */
export const regionSum = (volume: number, region: number, slots: Uint8Array): number =>
  (crc32(slots) ^ numbers(volume, region)) >>> 0

/** The checksum of a row that is copied to another volume, or image; when the row was damaged, so is its copy. */
export const movedSum = (sum: number, from: number, to: number, region: number): number =>
  (sum ^ numbers(from, region) ^ numbers(to, region)) >>> 0

export const groupSum = (group: number, doubtful: Uint8Array): number => (crc32(doubtful) ^ numbers(group, 0)) >>> 0

export const volumeSum = (row: { readonly number: number; readonly id: string; readonly sizeBytes: number }): number =>
  crc32(`volume ${row.number} ${row.id} ${row.sizeBytes}`)

/** `leaving` as it stands in the table. */
export interface ImageRow {
  readonly number: number
  readonly volume: number
  readonly name: string
  readonly madeMs: number
  readonly sizeBytes: number
  readonly leaving: number
}

export const imageSum = ({ number, volume, name, madeMs, sizeBytes, leaving }: ImageRow): number =>
  crc32(`image ${number} ${volume} ${name} ${madeMs} ${sizeBytes} ${leaving}`)

/** @param what the row, in words @throws FileError ECORRUPT */
export function mustFit(sum: unknown, expected: number, what: string): void {
  if (sum !== expected) throw new FileError('ECORRUPT', `index.db: ${what} does not fit its checksum`)
}

/** @throws FileError ECORRUPT: also when it is no blob any more */
export function mustFitRegion(volume: number, region: number, slots: unknown, sum: unknown): Uint8Array {
  const expected = slots instanceof Uint8Array ? regionSum(volume, region, slots) : -1
  mustFit(sum, expected, `the row of region ${region} of volume or image ${volume}`)
  return slots as Uint8Array // else its checksum is -1, which none is
}

/** @throws FileError ECORRUPT */
export function mustFitGroup(group: number, doubtful: unknown, sum: unknown): Uint8Array {
  const expected = doubtful instanceof Uint8Array ? groupSum(group, doubtful) : -1
  mustFit(sum, expected, `the row of slot group ${group}`)
  return doubtful as Uint8Array // as above
}
