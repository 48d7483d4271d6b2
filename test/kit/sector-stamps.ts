/**
 * Bytes of which every eight tell which write they belong to and where: a sector in which two writes are mixed, or which
 * stands in a wrong place, shows. Zeros are the stamp 0.
 */
import { sectorBytes } from '../sim/checker.ts'

const wordBytes = 4
const wordsPerSector = sectorBytes / wordBytes

/** @returns bytes for sectors [first, first + count) of the volume, all with one stamp (1 .. 2^32-1) */
export function stampedSectors(first: number, count: number, stamp: number): Uint8Array {
  const words = new Uint32Array(count * wordsPerSector)
  for (let at = 0; at < words.length; at += 2) {
    words[at] = stamp
    words[at + 1] = placeWord(stamp, first * wordsPerSector + at)
  }
  return new Uint8Array(words.buffer)
}

/** @returns one stamp per sector; null for what no single write can have put there */
export function stampsOfSectors(first: number, bytes: Uint8Array): (number | null)[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const stamps: (number | null)[] = []
  for (let sector = 0; (sector + 1) * sectorBytes <= bytes.byteLength; sector += 1) {
    const start = sector * wordsPerSector
    // Uint32Array writes in the machine's order; the machines that run Node are little-endian.
    const stamp = view.getUint32(start * wordBytes, true)
    let isWhole = true
    for (let at = start; isWhole && at < start + wordsPerSector; at += 2) {
      const place = stamp === 0 ? 0 : placeWord(stamp, first * wordsPerSector + at)
      isWhole = view.getUint32(at * wordBytes, true) === stamp && view.getUint32((at + 1) * wordBytes, true) === place
    }
    stamps.push(isWhole ? stamp : null)
  }
  return stamps
}

const placeWord = (stamp: number, word: number): number =>
  (Math.imul(stamp, 0x9e3779b1) ^ Math.imul(word + 1, 0x85ebca6b)) >>> 0
