/**
 * The checksum of one 4 KiB block: xxHash64, 64 bits, seed 0 (ENGINE R3, C2). A mistake of the disk passes with a
 * chance of one in 2^64; it is no defence against somebody who forges on purpose.
 */
import { xxh64 } from '@node-rs/xxhash'
import { limits } from '../limits.ts'

const ofZeros = xxh64(new Uint8Array(limits.blockBytes))

/** What is stored for a block of zeros, so that a slot that was never written has its checksums: zeros as well. */
export const zeroSum = 0n

/** @param block 4096 bytes @returns as it is stored: 0 for zeros and for nothing else (a real 0 is stored as 1) */
export function sumOf(block: Uint8Array): bigint {
  const sum = xxh64(block)
  if (sum === ofZeros) return zeroSum
  return sum === 0n ? 1n : sum
}
