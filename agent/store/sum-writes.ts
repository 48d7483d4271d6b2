/** Checksums of what is being written: in memory before the data is on its way, so before anybody may read it. */
import { limits } from '../limits.ts'
import { BlockReader } from './blocks.ts'
import { sumOf, zeroSum } from './checksum.ts'
import type { ExtentMap } from './extent-map.ts'
import { slotBytes } from './format.ts'
import type { SumDoubt } from './sum-doubt.ts'
import type { SumOwner } from './sum-page.ts'
import type { Sums } from './sums.ts'

interface SumWriteParts {
  readonly map: ExtentMap
  readonly sums: Sums
}

/** @param chunks what goes to [offsetBytes, endBytes): whole blocks, all in extents that have a slot */
export function sumWrite(
  { map, sums }: SumWriteParts,
  owner: SumOwner,
  offsetBytes: number,
  chunks: readonly Uint8Array[],
  endBytes: number,
): void {
  const blocks = new BlockReader(chunks)
  for (let at = offsetBytes; at < endBytes; ) {
    const extent = Math.floor(at / slotBytes)
    const page = sums.page(map.get(extent), owner, extent)
    const until = Math.min(endBytes, (extent + 1) * slotBytes)
    for (; at < until; at += limits.blockBytes) page.set((at % slotBytes) / limits.blockBytes, sumOf(blocks.next()))
  }
}

/** @param inSlotBytes, lengthBytes whole blocks of one extent, which become zeros */
export function sumZeros(
  { map, sums }: SumWriteParts,
  owner: SumOwner,
  extent: number,
  inSlotBytes: number,
  lengthBytes: number,
): void {
  const page = sums.page(map.get(extent), owner, extent)
  const end = inSlotBytes + lengthBytes
  for (let at = inSlotBytes; at < end; at += limits.blockBytes) page.set(at / limits.blockBytes, zeroSum)
}

/** A change failed in the middle: the checksums of its blocks are computed anew when they are asked for (C2). */
export function unknowSums(
  { map, sums, doubt }: SumWriteParts & { readonly doubt: SumDoubt },
  owner: SumOwner,
  fromBytes: number,
  endBytes: number,
): void {
  for (let at = fromBytes; at < endBytes; ) {
    const extent = Math.floor(at / slotBytes)
    const until = Math.min(endBytes, (extent + 1) * slotBytes)
    const slot = map.get(extent)
    if (slot >= 0) {
      doubt.addExtent(extent)
      const page = sums.page(slot, owner, extent)
      for (let block = at; block < until; block += limits.blockBytes) {
        page.unknow(Math.floor((block % slotBytes) / limits.blockBytes))
      }
    }
    at = until
  }
}
