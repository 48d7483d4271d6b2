/** Where a volume has bytes: from 0 to its size, and its hidden range (decision 0012), which is one region far behind. */
import { limits } from '../limits.ts'

const { hiddenStartBytes, hiddenBytes, regionBytes } = limits
const hiddenEndBytes = hiddenStartBytes + hiddenBytes
export const hiddenRegion = hiddenStartBytes / regionBytes

/** @returns where the part of the volume ends in which this byte lies */
export const endOf = (offsetBytes: number, sizeBytes: number): number =>
  offsetBytes < hiddenStartBytes ? sizeBytes : hiddenEndBytes

/** Whether the range lies wholly in one of the two parts. */
export const isInside = (offsetBytes: number, lengthBytes: number, sizeBytes: number): boolean =>
  offsetBytes + lengthBytes <= endOf(offsetBytes, sizeBytes)

/** Bytes of a region; the last one of each part may be short. */
export const regionLength = (region: number, sizeBytes: number): number =>
  Math.min(regionBytes, endOf(region * regionBytes, sizeBytes) - region * regionBytes)

/** Those of a told range of regions that the volume has. */
export function* regionsIn(range: { first: number; last: number }, sizeBytes: number): Generator<number> {
  const last = Math.min(range.last, Math.ceil(sizeBytes / regionBytes) - 1)
  for (let region = range.first; region <= last; region += 1) yield region
  if (range.first <= hiddenRegion && hiddenRegion <= range.last) yield hiddenRegion
}
