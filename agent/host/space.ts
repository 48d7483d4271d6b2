/** Whether a disk is nearly full, with a margin so that a number that swings is not told again and again. */
import { limits } from '../limits.ts'

/** @param before what it was said to be last @returns `before` where a number is not known */
export function isSpaceLow(
  before: boolean,
  { freeBytes, totalBytes }: { freeBytes: number | null; totalBytes: number | null },
): boolean {
  if (freeBytes === null || totalBytes === null) return before
  const leastBytes = Math.max(totalBytes * limits.spaceLowShare, Math.min(limits.spaceLowBytes, totalBytes / 5))
  return freeBytes < (before ? leastBytes * 1.25 : leastBytes)
}
