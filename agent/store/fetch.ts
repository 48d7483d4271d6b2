/**
 * One reading of whole blocks of a replica, held against their checksums (R3): the data and the checksums that are not
 * in memory are read side by side, and compared when all is there.
 */
import { limits } from '../limits.ts'
import { sumOf } from './checksum.ts'
import type { DataFiles } from './data-files.ts'
import type { DiskQueue, DiskWaiter } from './disk-queue.ts'
import type { ExtentMap } from './extent-map.ts'
import type { FileError } from './files.ts'
import { fileOfSlot, slotBytes, slotOffset, slotsPerFile } from './format.ts'
import type { StoreReadFailure } from './replica.ts'
import type { SumOwner, SumPage } from './sum-page.ts'
import type { Sums } from './sums.ts'

export interface FetchParts {
  readonly queue: DiskQueue
  readonly data: DataFiles
  readonly map: ExtentMap
  readonly sums: Sums
  /** A block that does not fit its checksum was found. */
  readonly rotten: (offsetBytes: number) => void
}

export type FetchDone = (failure: StoreReadFailure | null) => void

/** Bytes from `at` on that lie together in a data file (or in a hole), up to `end`. @param slot that of `at`, -1 for none */
export function runLength(map: ExtentMap, at: number, end: number, slot: number): number {
  let extent = Math.floor(at / slotBytes)
  let next = slot
  let to = (extent + 1) * slotBytes
  while (to < end) {
    extent += 1
    next = slot < 0 ? -1 : next + 1
    if (map.get(extent) !== next) break
    if (slot >= 0 && next % slotsPerFile === 0) break
    to += slotBytes
  }
  return Math.min(to, end) - at
}

export class Fetch {
  readonly #parts: FetchParts
  readonly #owner: SumOwner
  readonly #fromBytes: number
  readonly #endBytes: number
  readonly #into: Uint8Array
  readonly #done: FetchDone
  readonly #pages: SumPage[] = []
  #left = 1
  #failed = false

  /** @param range whole blocks, some of them in extents that have a slot @param into at least as long */
  constructor(
    parts: FetchParts,
    owner: SumOwner,
    range: { readonly fromBytes: number; readonly endBytes: number },
    into: Uint8Array,
    done: FetchDone,
  ) {
    this.#parts = parts
    this.#owner = owner
    this.#fromBytes = range.fromBytes
    this.#endBytes = range.endBytes
    this.#into = into
    this.#done = done
  }

  run(): void {
    const { data, queue, map } = this.#parts
    let at = this.#fromBytes
    while (at < this.#endBytes) {
      const slot = map.get(Math.floor(at / slotBytes))
      const length = runLength(map, at, this.#endBytes, slot)
      const start = at - this.#fromBytes
      if (slot < 0) this.#into.fill(0, start, start + length)
      else {
        this.#left += 1
        const file = data.get(fileOfSlot(slot))
        queue.read(file, this.#into, start, length, slotOffset(slot) + (at % slotBytes), this.#piece(start, length))
        this.#askSums(at, at + length)
      }
      at += length
    }
    // Some part of the range has a slot, so an answer is still to come: `done` is not called inside this call.
    this.#part()
  }

  #piece(start: number, length: number): DiskWaiter {
    return {
      diskDone: (error, got) => {
        // A slot beyond the end of the file was never written: zeros.
        if (error === null && got < length) this.#into.fill(0, start + got, start + length)
        if (error !== null) this.#failed = true
        this.#part()
      },
    }
  }

  #askSums(from: number, end: number): void {
    const { map, sums } = this.#parts
    for (let extent = Math.floor(from / slotBytes); extent * slotBytes < end; extent += 1) {
      const page = sums.page(map.get(extent), this.#owner, extent)
      page.pins += 1
      this.#pages.push(page)
      this.#left += 1
      sums.load(page, this.#summed)
    }
  }

  readonly #summed = (error: FileError | null): void => {
    if (error !== null) this.#failed = true
    this.#part()
  }

  #part(): void {
    this.#left -= 1
    if (this.#left > 0) return
    const isSound = !this.#failed && this.#compare()
    for (const page of this.#pages) page.pins -= 1
    this.#done(this.#failed ? 'io' : isSound ? null : 'corrupt')
  }

  #compare(): boolean {
    let isSound = true
    for (const page of this.#pages) {
      const slotStart = page.extent * slotBytes
      const from = Math.max(this.#fromBytes, slotStart)
      const end = Math.min(this.#endBytes, slotStart + slotBytes)
      for (let at = from; at < end; at += limits.blockBytes) {
        const start = at - this.#fromBytes
        const block = (at - slotStart) / limits.blockBytes
        // The disk could not give the block when its checksum was wanted: what it gives now is held against nothing.
        if (!page.knows(block)) this.#failed = true
        const sum = sumOf(this.#into.subarray(start, start + limits.blockBytes))
        if (this.#failed || sum === page.sums[block]) continue
        isSound = false
        this.#parts.rotten(at)
      }
    }
    return isSound
  }
}
