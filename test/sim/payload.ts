/** What stands in a sector: its stamp, and where it belongs, at both ends, so that foreign and torn sectors show. */
import { sectorBytes } from './checker.ts'

/** @returns bytes for sectors [first, first + count) of the volume, all with one stamp */
export function stamped(firstSector: number, count: number, stamp: number): Uint8Array {
  const bytes = new Uint8Array(count * sectorBytes)
  const view = new DataView(bytes.buffer)
  for (let index = 0; index < count; index += 1) {
    const at = index * sectorBytes
    view.setUint32(at, stamp)
    view.setUint32(at + 4, firstSector + index)
    view.setUint32(at + sectorBytes - 8, firstSector + index)
    view.setUint32(at + sectorBytes - 4, stamp)
  }
  return bytes
}

/** @returns one stamp per sector; 0 for zeros, null for what nobody could have written there */
export function stampsOf(firstSector: number, chunks: readonly Uint8Array[]): (number | null)[] {
  const bytes = chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const stamps: (number | null)[] = []
  for (let at = 0; at + sectorBytes <= bytes.length; at += sectorBytes) {
    const stamp = view.getUint32(at)
    const place = stamp === 0 ? 0 : firstSector + at / sectorBytes
    const whole =
      view.getUint32(at + 4) === place &&
      view.getUint32(at + sectorBytes - 8) === place &&
      view.getUint32(at + sectorBytes - 4) === stamp
    stamps.push(whole ? stamp : null)
  }
  return stamps
}
