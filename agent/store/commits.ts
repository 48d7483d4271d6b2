/**
 * Group commit of mappings: what changes in one turn of the event loop, or while a commit is under way, goes to the
 * index as one batch of whole rows, together with the slots' own headers.
 */

import type { Clock } from '../kit/world.ts'
import type { DataFiles } from './data-files.ts'
import type { DiskQueue } from './disk-queue.ts'
import type { ExtentMap } from './extent-map.ts'
import type { FileError } from './files.ts'
import { encodeSlotHeader, fileOfSlot, headerOffset, type SlotHeader, sectorBytes } from './format.ts'
import type { GroupRow, Index, IndexBatch, RegionRow, VolumeChange } from './index.ts'

export type CommitDone = (error: FileError | null) => void

export interface CommitParts {
  readonly clock: Clock
  readonly index: Index
  readonly queue: DiskQueue
  readonly data: DataFiles
  /** Something went into a data file that the next sync must cover. */
  readonly wrote: (file: number) => void
  /** A commit is in the index that the next sync must cover. */
  readonly committed: () => void
  /** A commit, a header or the sync of a commit failed, be it for want of space: nothing is trusted to take more. */
  readonly fail: (error: FileError) => void
}

export class Commits {
  readonly #parts: CommitParts
  /** The doubtful bits of a group, all clear = null; the slots are their owner. */
  groupRow: (group: number) => Uint8Array | null = () => null
  #regions = new Map<number, { map: ExtentMap; regions: Set<number> }>()
  #groups = new Set<number>()
  #headers: SlotHeader[] = []
  #waiters: CommitDone[] = []
  #volumeChanges: VolumeChange[] = []
  #running = false
  #scheduled = false
  #failed: FileError | null = null

  constructor(parts: CommitParts) {
    this.#parts = parts
  }

  touchRegion(volume: number, map: ExtentMap, region: number): void {
    const known = this.#regions.get(volume)
    if (known) known.regions.add(region)
    else this.#regions.set(volume, { map, regions: new Set([region]) })
  }

  touchGroup(group: number): void {
    this.#groups.add(group)
  }

  header(header: SlotHeader): void {
    this.#headers.push(header)
  }

  /** A change of a whole volume or image, after all that was touched before this call. */
  change(change: VolumeChange): void {
    if (change.kind === 'remove' || change.kind === 'remove-image') this.#regions.delete(change.number)
    this.#volumeChanges.push(change)
  }

  /** Called when all that was touched before this call is committed and its slot headers are written. */
  wait(done: CommitDone): void {
    this.#waiters.push(done)
    this.#schedule()
  }

  /** As `wait`, and durable. */
  durable(done: CommitDone): void {
    this.wait((error) => {
      if (error) return done(error)
      this.#parts.index.sync((failed) => {
        if (failed) this.#fail(failed)
        done(failed)
      })
    })
  }

  #schedule(): void {
    if (this.#scheduled || this.#running) return
    this.#scheduled = true
    this.#parts.clock.nextTurn(() => {
      this.#scheduled = false
      this.#commit()
    })
  }

  #takeBatch(): IndexBatch {
    const regions: RegionRow[] = []
    for (const [volume, { map, regions: numbers }] of this.#regions) {
      for (const region of numbers) regions.push({ volume, region, slots: map.row(region) })
    }
    const groups: GroupRow[] = []
    for (const group of this.#groups) groups.push({ group, doubtful: this.groupRow(group) })
    this.#regions = new Map()
    this.#groups = new Set()
    const change = this.#volumeChanges.shift()
    return { regions, groups, ...(change === undefined ? {} : { change }) }
  }

  #commit(): void {
    // Volumes come and go one a batch: their waiters wait until the last change is through.
    const more = this.#volumeChanges.length > 1
    const batch = this.#takeBatch()
    const headers = this.#headers
    this.#headers = []
    const waiters = more ? [] : this.#waiters
    if (!more) this.#waiters = []
    this.#running = true
    let left = 1 + headers.length
    const part = (error: FileError | null) => {
      if (error) this.#fail(error)
      left -= 1
      if (left > 0) return
      this.#running = false
      this.#parts.committed()
      const failed = this.#failed
      for (const waiter of waiters) waiter(failed)
      if (this.#waiters.length > 0) this.#schedule()
    }
    if (this.#failed !== null) {
      left = 1
      this.#parts.clock.nextTurn(() => part(null))
      return
    }
    this.#writeHeaders(headers, part)
    if (isEmpty(batch)) this.#parts.clock.nextTurn(() => part(null))
    else this.#parts.index.commit(batch, part)
  }

  /** What was mapped in memory is not in the index: until the next start no commit is tried. */
  #fail(error: FileError): void {
    this.#failed ??= error
    this.#parts.fail(error)
  }

  #writeHeaders(headers: SlotHeader[], part: (error: FileError | null) => void): void {
    // In the order of slots, so that neighbours become one call.
    headers.sort((a, b) => a.slot - b.slot || a.run - b.run || a.counter - b.counter)
    for (const header of headers) {
      const number = fileOfSlot(header.slot)
      const waiter = {
        diskDone: (error: FileError | null) => {
          this.#parts.wrote(number)
          part(error)
        },
      }
      const bytes = encodeSlotHeader(header)
      this.#parts.queue.write(
        this.#parts.data.get(number),
        [bytes],
        sectorBytes,
        headerOffset(header.slot),
        false,
        waiter,
      )
    }
  }
}

const isEmpty = (batch: IndexBatch): boolean =>
  batch.regions.length === 0 && batch.groups.length === 0 && batch.change === undefined
