/** The blocks at both ends of a change of which it covers only a part. */
import { limits } from '../limits.ts'
import { Fetch, type FetchParts } from './fetch.ts'
import { slotBytes } from './format.ts'
import type { StoreDone, StoreFailure, StoreReadFailure } from './replica.ts'
import type { SumOwner } from './sum-page.ts'

const { blockBytes } = limits

/** @param before what stands in the first block before the write, `after` in the last one behind it; perhaps nothing */
export type EdgesDone = (failure: StoreReadFailure | null, before: Uint8Array, after: Uint8Array) => void

/** Reads them, held against their checksums. The caller holds the blocks. May call back at once when nothing is stored. */
export function readEdges(
  parts: FetchParts,
  owner: SumOwner,
  offsetBytes: number,
  lengthBytes: number,
  done: EdgesDone,
): void {
  const endBytes = offsetBytes + lengthBytes
  const firstBytes = Math.floor(offsetBytes / blockBytes) * blockBytes
  const lastBytes = Math.floor((endBytes - 1) / blockBytes) * blockBytes
  let open = 1
  let failed: StoreReadFailure | null = null
  const part = (failure: StoreReadFailure | null) => {
    failed ??= failure
    open -= 1
    if (open === 0) done(failed, first.subarray(0, offsetBytes - firstBytes), last.subarray(endBytes - lastBytes))
  }
  const block = (fromBytes: number): Uint8Array => {
    const bytes = new Uint8Array(blockBytes)
    if (parts.map.get(Math.floor(fromBytes / slotBytes)) < 0) return bytes
    open += 1
    new Fetch(parts, owner, { fromBytes, endBytes: fromBytes + blockBytes }, bytes, part).run()
    return bytes
  }
  const first = block(firstBytes)
  const last = lastBytes === firstBytes ? first : block(lastBytes)
  part(null)
}

/** Zeros for [offset, end): whole blocks from `fromBytes` to `toBytes` (perhaps none), and parts of blocks. */
export function partsOfZero(offsetBytes: number, endBytes: number) {
  const fromBytes = Math.ceil(offsetBytes / blockBytes) * blockBytes
  const toBytes = Math.floor(endBytes / blockBytes) * blockBytes
  const edge = (atBytes: number, untilBytes: number) => ({ atBytes, lengthBytes: untilBytes - atBytes })
  const all =
    toBytes < fromBytes ? [edge(offsetBytes, endBytes)] : [edge(offsetBytes, fromBytes), edge(toBytes, endBytes)]
  return { edges: all.filter(({ lengthBytes }) => lengthBytes > 0), fromBytes, toBytes }
}

/** @returns what is called `count` times; the last time it tells the first failure */
export function afterAll(count: number, done: StoreDone): StoreDone {
  let left = count
  let failed: StoreFailure | null = null
  return (failure) => {
    failed ??= failure
    left -= 1
    if (left === 0) done(failed)
  }
}
