/**
 * One replica over data files, index and marks: takes a change or a read apart into disk calls and counts them
 * together again.
 *
 * The way of a write: mark its regions (C1, only the first time) -> slots for extents that have none -> data, and the
 * commit of new mappings, side by side -> done when both are. A killed agent then loses nothing of it.
 */
import { invariant } from '../kit/failure.ts'
import type { VolumeId } from '../kit/ids.ts'
import { SlabPieces } from '../kit/slabs.ts'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { Commits } from './commits.ts'
import type { DataFiles } from './data-files.ts'
import type { DiskQueue, DiskWaiter } from './disk-queue.ts'
import type { ExtentMap } from './extent-map.ts'
import { type FileError, failureOf } from './files.ts'
import { fileOfSlot, regionExtents, slotBytes, slotOffset, slotsPerFile } from './format.ts'
import type { Marks } from './marks.ts'
import type { RegionFacts, ReplicaStore, StoreDone, StoreFailure, StoreReadDone } from './replica.ts'
import type { Slots } from './slots.ts'
import type { Syncs } from './syncs.ts'

export interface ReplicaParts {
  readonly clock: Clock
  readonly queue: DiskQueue
  readonly data: DataFiles
  readonly slots: Slots
  readonly commits: Commits
  readonly syncs: Syncs
  readonly marks: Marks
  readonly map: ExtentMap
  /** The next (run, counter) of a slot header. */
  readonly nextGeneration: () => { run: number; counter: number }
  readonly failed: () => boolean
  /** A write, sync or commit failed: nothing of this store is trusted to take more. */
  readonly fail: (error: FileError) => void
}

const zeros = Buffer.alloc(slotBytes)

/** One call of the engine while it is under way, in a list by age. */
class Operation implements DiskWaiter {
  readonly #replica: DiskReplica
  readonly #done: (failure: StoreFailure | null) => void
  readonly startMs: number
  /** Regions it changes; -1 for reads and syncs. */
  firstRegion = -1
  lastRegion = -1
  /** Calls it waits for, and one for itself while it is being taken apart. */
  left = 1
  /** The data file its calls write to, and whether there are others too. */
  readonly files: number[] = []
  failure: StoreFailure | null = null
  /** For reads: the bytes that each call must bring; fewer at the end of a file are zeros. */
  before: Operation | null = null
  after: Operation | null = null

  constructor(replica: DiskReplica, startMs: number, done: (failure: StoreFailure | null) => void) {
    this.#replica = replica
    this.startMs = startMs
    this.#done = done
  }

  diskDone(error: FileError | null): void {
    if (error !== null) this.failure = this.#replica.failedWrite(error, this.failure)
    this.part()
  }

  /** One of the things it waits for has come. */
  part(): void {
    this.left -= 1
    if (this.left > 0) return
    this.#replica.ended(this)
    this.#done(this.failure)
  }
}

export class DiskReplica implements ReplicaStore {
  readonly volumeId: VolumeId
  readonly sizeBytes: number
  readonly regionCount: number
  readonly number: number
  readonly parts: ReplicaParts
  /** What is read: handed back by whoever has passed it on (decision 0007). */
  readonly #memory = new SlabPieces()
  #oldest: Operation | null = null
  #newest: Operation | null = null
  /** Commits under way for new mappings: a write into a mapping not yet committed waits for it too. */
  readonly #uncommitted = new Map<number, number>()
  #commitNumber = 0
  #gone = false

  constructor(parts: ReplicaParts, volume: { id: VolumeId; number: number; sizeBytes: number }) {
    this.parts = parts
    this.volumeId = volume.id
    this.number = volume.number
    this.sizeBytes = volume.sizeBytes
    this.regionCount = Math.ceil(volume.sizeBytes / limits.regionBytes)
  }

  write(offsetBytes: number, chunks: readonly Uint8Array[], lengthBytes: number, done: StoreDone): void {
    this.#inside(offsetBytes, lengthBytes)
    const operation = this.#begin(done)
    this.#marked(operation, offsetBytes, lengthBytes, () => {
      const missing = this.#missing(offsetBytes, lengthBytes)
      if (missing === 0) this.#place(operation, offsetBytes, chunks, lengthBytes)
      else {
        this.parts.slots.want(missing, (failure) => {
          operation.failure = failure
          if (failure === null) this.#place(operation, offsetBytes, chunks, lengthBytes)
          else operation.part()
        })
      }
    })
  }

  zero(offsetBytes: number, lengthBytes: number, mayUnmap: boolean, done: StoreDone): void {
    this.#change(offsetBytes, lengthBytes, mayUnmap, true, done)
  }

  discard(offsetBytes: number, lengthBytes: number, done: StoreDone): void {
    this.#change(offsetBytes, lengthBytes, true, false, done)
  }

  read(offsetBytes: number, lengthBytes: number, done: StoreReadDone): void {
    this.#inside(offsetBytes, lengthBytes)
    const { data, queue, map } = this.parts
    const first = Math.floor(offsetBytes / slotBytes)
    const end = offsetBytes + lengthBytes
    const whole = map.firstMapped(first, Math.ceil(end / slotBytes)) < 0
    const into = whole ? Buffer.alloc(lengthBytes) : this.#memory.take(lengthBytes)
    const operation = this.#begin((failure) => done(failure, failure === null ? into : new Uint8Array(0)))
    let at = offsetBytes
    while (!whole && at < end) {
      const slot = map.get(Math.floor(at / slotBytes))
      const length = this.#runLength(at, end, slot)
      const start = at - offsetBytes
      if (slot < 0) into.fill(0, start, start + length)
      else {
        operation.left += 1
        queue.read(data.get(fileOfSlot(slot)), into, start, length, slotOffset(slot) + (at % slotBytes), {
          diskDone: (error, got) => {
            // A slot beyond the end of the file was never written: zeros.
            if (error === null && got < length) into.fill(0, start + got, start + length)
            if (error !== null) operation.failure = 'io'
            operation.part()
          },
        })
      }
      at += length
    }
    this.#later(operation)
  }

  sync(done: StoreDone): void {
    const operation = this.#begin(done)
    if (this.parts.failed()) {
      operation.failure = 'io'
      this.#later(operation)
      return
    }
    this.parts.syncs.request((error) => {
      if (error !== null) {
        this.parts.fail(error)
        operation.failure = 'io'
      }
      operation.part()
    })
  }

  region(index: number): RegionFacts {
    invariant(index >= 0 && index < this.regionCount, 'S4', `there is no region ${index}`)
    return this.parts.marks.facts(index)
  }

  *regions(): IterableIterator<[index: number, facts: RegionFacts]> {
    for (let index = 0; index < this.regionCount; index++) {
      if (this.parts.marks.told(index)) yield [index, this.parts.marks.facts(index)]
    }
  }

  unmark(regions: readonly number[], epoch: number, done: StoreDone): void {
    this.#marksCall(done, (finished) => this.parts.marks.unmark(regions, epoch, finished))
  }

  raiseStamp(region: number, epoch: number, done: StoreDone): void {
    this.#marksCall(done, (finished) => this.parts.marks.raiseStamp(region, epoch, finished))
  }

  settled(regions: readonly number[], done: StoreDone): void {
    this.#marksCall(done, (finished) => this.parts.marks.settled(regions, finished))
  }

  oldestPendingMs(): number {
    return this.#oldest === null ? 0 : this.parts.clock.monotonicMs() - this.#oldest.startMs
  }

  allocatedBytes(): number {
    return this.parts.map.mapped * slotBytes
  }

  /** Deleted: nothing may come any more. */
  retire(): void {
    this.#gone = true
  }

  /** A call has had all its answers. */
  ended(operation: Operation): void {
    if (operation.before) operation.before.after = operation.after
    else this.#oldest = operation.after
    if (operation.after) operation.after.before = operation.before
    else this.#newest = operation.before
    for (const file of operation.files) this.parts.syncs.wrote(file)
    if (operation.firstRegion >= 0) this.parts.marks.end(operation.firstRegion, operation.lastRegion)
  }

  /** A write failed. A full disk promises nothing about this range; anything else fails the whole store. */
  failedWrite(error: FileError, before: StoreFailure | null): StoreFailure {
    const failure = failureOf(error)
    if (failure === 'io') this.parts.fail(error)
    return before ?? failure
  }

  #inside(offsetBytes: number, lengthBytes: number): void {
    const inside = offsetBytes >= 0 && lengthBytes > 0 && offsetBytes + lengthBytes <= this.sizeBytes
    invariant(inside, 'S4', `${offsetBytes}+${lengthBytes} is outside of ${this.sizeBytes} bytes`)
  }

  #begin(done: (failure: StoreFailure | null) => void): Operation {
    invariant(!this.#gone, 'S5', 'a deleted replica is used')
    const operation = new Operation(this, this.parts.clock.monotonicMs(), done)
    operation.before = this.#newest
    if (this.#newest) this.#newest.after = operation
    else this.#oldest = operation
    this.#newest = operation
    return operation
  }

  /** Ends the operation's own part in a later turn, so that no callback comes inside the call. */
  #later(operation: Operation): void {
    if (operation.left > 1) operation.part()
    else this.parts.queue.turn(() => operation.part())
  }

  #marksCall(done: StoreDone, call: (finished: (error: FileError | null) => void) => void): void {
    const operation = this.#begin(done)
    if (this.parts.failed()) {
      operation.failure = 'io'
      this.#later(operation)
      return
    }
    call((error) => operation.diskDone(error))
  }

  /** Goes on when the regions of the range are durably marked. */
  #marked(operation: Operation, offsetBytes: number, lengthBytes: number, go: () => void): void {
    if (this.parts.failed()) {
      operation.failure = 'io'
      this.#later(operation)
      return
    }
    operation.firstRegion = Math.floor(offsetBytes / limits.regionBytes)
    operation.lastRegion = Math.floor((offsetBytes + lengthBytes - 1) / limits.regionBytes)
    if (this.parts.marks.begin(operation.firstRegion, operation.lastRegion)) go()
    else {
      this.parts.marks.mark(operation.firstRegion, operation.lastRegion, (error) => {
        if (error === null && !this.parts.failed()) go()
        else {
          operation.failure = error === null ? 'io' : this.failedWrite(error, null)
          operation.part()
        }
      })
    }
  }

  #missing(offsetBytes: number, lengthBytes: number): number {
    const last = Math.floor((offsetBytes + lengthBytes - 1) / slotBytes)
    let missing = 0
    for (let extent = Math.floor(offsetBytes / slotBytes); extent <= last; extent++) {
      if (this.parts.map.get(extent) < 0) missing += 1
    }
    return missing
  }

  /** Bytes from `at` on that lie together in a data file (or in a hole), up to `end`. */
  #runLength(at: number, end: number, slot: number): number {
    let extent = Math.floor(at / slotBytes)
    let next = slot
    let to = (extent + 1) * slotBytes
    while (to < end) {
      extent += 1
      next = slot < 0 ? -1 : next + 1
      if (this.parts.map.get(extent) !== next) break
      if (slot >= 0 && next % slotsPerFile === 0) break
      to += slotBytes
    }
    return Math.min(to, end) - at
  }

  #place(operation: Operation, offsetBytes: number, chunks: readonly Uint8Array[], lengthBytes: number): void {
    const { data, queue, map } = this.parts
    const end = offsetBytes + lengthBytes
    const fresh = this.#allocate(operation, offsetBytes, end)
    let cursor = 0
    let cursorStart = 0
    let at = offsetBytes
    while (at < end) {
      const slot = map.get(Math.floor(at / slotBytes))
      const length = this.#runLength(at, end, slot)
      let pieces = chunks
      if (length !== lengthBytes) {
        const cut: Uint8Array[] = []
        let need = length
        while (need > 0) {
          const chunk = chunks[cursor]
          invariant(chunk !== undefined, 'S4', 'the chunks of a write are shorter than its length')
          const take = Math.min(need, chunk.length - cursorStart)
          if (take > 0) cut.push(chunk.subarray(cursorStart, cursorStart + take))
          need -= take
          cursorStart += take
          if (cursorStart === chunk.length) {
            cursor += 1
            cursorStart = 0
          }
        }
        pieces = cut
      }
      this.#send(operation, pieces, length, slot, at % slotBytes, fresh, queue, data)
      at += length
    }
    operation.part()
  }

  #send(
    operation: Operation,
    pieces: readonly Uint8Array[],
    length: number,
    slot: number,
    inSlot: number,
    fresh: boolean,
    queue: DiskQueue,
    data: DataFiles,
  ): void {
    const number = fileOfSlot(slot)
    if (!operation.files.includes(number)) operation.files.push(number)
    operation.left += 1
    queue.write(data.get(number), pieces, length, slotOffset(slot) + inSlot, fresh, operation)
  }

  /** Gives slots to the extents that have none. @returns whether the range has new ones, or not yet committed ones */
  #allocate(operation: Operation, offsetBytes: number, end: number): boolean {
    const { map, slots, commits } = this.parts
    let fresh = false
    for (let extent = Math.floor(offsetBytes / slotBytes); extent * slotBytes < end; extent++) {
      if (map.get(extent) < 0) {
        const slot = slots.take()
        map.set(extent, slot)
        const region = Math.floor(extent / regionExtents)
        commits.touchRegion(this.number, map, region)
        const { run, counter } = this.parts.nextGeneration()
        commits.header({ state: 'data', slot, volumeId: this.volumeId, extent, run, counter })
        this.#uncommitted.set(extent, this.#commitNumber + 1)
        fresh = true
      } else if (this.#uncommitted.size > 0 && this.#uncommitted.has(extent)) fresh = true
    }
    if (fresh) this.#awaitCommit(operation)
    return fresh
  }

  /** The operation also waits until all mappings made so far are committed. */
  #awaitCommit(operation: Operation): void {
    this.#commitNumber += 1
    const number = this.#commitNumber
    operation.left += 1
    this.parts.commits.wait((error) => {
      for (const [extent, of] of this.#uncommitted) if (of <= number) this.#uncommitted.delete(extent)
      if (error !== null) {
        this.parts.fail(error)
        operation.failure ??= 'io'
      }
      operation.part()
    })
  }

  /** Zeroes or discards. Where nothing is stored already, nothing changes, and no mark is needed. */
  #change(offsetBytes: number, lengthBytes: number, unmap: boolean, partial: boolean, done: StoreDone): void {
    this.#inside(offsetBytes, lengthBytes)
    const operation = this.#begin(done)
    const end = offsetBytes + lengthBytes
    const { map } = this.parts
    // The volume's last extent may be cut short by its end; then it is whole with what there is of it.
    const wholeFirst = Math.ceil(offsetBytes / slotBytes)
    const wholeEnd = end === this.sizeBytes ? Math.ceil(end / slotBytes) : Math.floor(end / slotBytes)
    const from = partial ? Math.floor(offsetBytes / slotBytes) : wholeFirst
    const to = partial ? Math.ceil(end / slotBytes) : wholeEnd
    const firstHeld = map.firstMapped(from, to)
    if (firstHeld < 0 && !this.parts.failed()) {
      this.#later(operation)
      return
    }
    const start = Math.max(offsetBytes, firstHeld * slotBytes)
    this.#marked(operation, start, end - start, () => {
      let changed = false
      for (let extent = map.firstMapped(from, to); extent >= 0; extent = map.firstMapped(extent + 1, to)) {
        if (unmap && extent >= wholeFirst && extent < wholeEnd) {
          this.#unmap(extent)
          changed = true
        } else {
          const slot = map.get(extent)
          const inSlot = Math.max(0, offsetBytes - extent * slotBytes)
          const length = Math.min(slotBytes, end - extent * slotBytes) - inSlot
          const { queue, data } = this.parts
          this.#send(operation, [zeros.subarray(0, length)], length, slot, inSlot, false, queue, data)
          // A mapping that is being committed may be written, but is there only when committed.
          if (this.#uncommitted.has(extent)) changed = true
        }
      }
      if (changed) this.#awaitCommit(operation)
      operation.part()
    })
  }

  #unmap(extent: number): void {
    const { map, slots, commits } = this.parts
    const slot = map.get(extent)
    map.set(extent, -1)
    slots.free(slot)
    commits.touchRegion(this.number, map, Math.floor(extent / regionExtents))
    const { run, counter } = this.parts.nextGeneration()
    commits.header({ state: 'free', slot, volumeId: this.volumeId, extent, run, counter })
  }
}
