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
import { ChunkCutter, cutOut } from './blocks.ts'
import { Calls } from './calls.ts'
import type { Commits } from './commits.ts'
import type { DataFiles } from './data-files.ts'
import type { DiskQueue } from './disk-queue.ts'
import { afterAll, partsOfZero, readEdges } from './edges.ts'
import { ExtentCopies } from './extent-copies.ts'
import type { ExtentMap } from './extent-map.ts'
import { Fetch, type FetchParts, runLength } from './fetch.ts'
import type { FileError } from './files.ts'
import { fileOfSlot, regionExtents, slotBytes, slotOffset } from './format.ts'
import type { Images } from './images.ts'
import { Mappings } from './mappings.ts'
import type { Marks } from './marks.ts'
import type { Operation } from './operation.ts'
import type { RegionFacts, ReplicaStore, StoreDone, StoreReadDone, StoreReadFailure } from './replica.ts'
import type { Slots } from './slots.ts'
import type { Change, SpaceReservation } from './space.ts'
import type { SumDoubt } from './sum-doubt.ts'
import type { SumOwner } from './sum-page.ts'
import { saveSums } from './sum-save.ts'
import { sumWrite, sumZeros } from './sum-writes.ts'
import type { Sums } from './sums.ts'
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
  readonly images: Images
  readonly sums: Sums
  readonly doubt: SumDoubt
  /** Regions whose slot headers may not be on the disk as they were written. */
  readonly headerDoubt: Set<number>
  /** The next (run, counter) of a slot header. */
  readonly nextGeneration: () => { run: number; counter: number }
  readonly failed: () => boolean
  /** A write, sync or commit failed: nothing of this store is trusted to take more. */
  readonly fail: (error: FileError) => void
  /** A block that does not fit its checksum was found there. */
  readonly rotten: (volumeId: VolumeId, offsetBytes: number) => void
}

const zeros = Buffer.alloc(slotBytes)

export class DiskReplica implements ReplicaStore, SumOwner {
  readonly volumeId: VolumeId
  #sizeBytes: number
  readonly number: number
  readonly parts: ReplicaParts
  /** What is read: handed back by whoever has passed it on (decision 0007). */
  readonly #memory = new SlabPieces()
  readonly #calls: Calls
  readonly #mappings: Mappings
  readonly #copies: ExtentCopies
  readonly #fetchParts: FetchParts

  constructor(parts: ReplicaParts, volume: { id: VolumeId; number: number; sizeBytes: number }) {
    this.parts = parts
    this.volumeId = volume.id
    this.number = volume.number
    this.#sizeBytes = volume.sizeBytes
    const { queue, data, map, sums } = parts
    this.#calls = new Calls(parts, this)
    this.#mappings = new Mappings(parts, this, volume)
    const rottenAt = (offsetBytes: number) => parts.rotten(volume.id, offsetBytes)
    this.#copies = new ExtentCopies({ ...parts, rottenAt }, this, this.#mappings)
    this.#fetchParts = { queue, data, map, sums, rotten: rottenAt }
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  get regionCount(): number {
    return this.parts.marks.regionCount
  }

  /** It has durably grown. */
  grow(sizeBytes: number): void {
    this.parts.map.grow(Math.ceil(sizeBytes / limits.extentBytes))
    this.parts.marks.grow(Math.ceil(sizeBytes / limits.regionBytes))
    this.#sizeBytes = sizeBytes
  }

  write(
    offsetBytes: number,
    chunks: readonly Uint8Array[],
    lengthBytes: number,
    done: StoreDone,
    reservation?: SpaceReservation,
  ): void {
    this.#inside(offsetBytes, lengthBytes)
    const operation = this.#calls.begin(done)
    if (reservation !== undefined) operation.reservation = reservation
    this.#calls.marked(operation, offsetBytes, lengthBytes, () => {
      const isWhole = offsetBytes % limits.blockBytes === 0 && lengthBytes % limits.blockBytes === 0
      if (isWhole) this.#store(operation, offsetBytes, chunks, lengthBytes)
      else this.#widen(operation, offsetBytes, chunks, lengthBytes)
    })
  }

  zero(
    offsetBytes: number,
    lengthBytes: number,
    mayUnmap: boolean,
    done: StoreDone,
    reservation?: SpaceReservation,
  ): void {
    this.#inside(offsetBytes, lengthBytes)
    // Where something is stored, zeros take its place: nothing of it is needed, but for copies of what images hold.
    if (this.parts.images.isEmpty) reservation?.release()
    const share = (at: number, length: number) => {
      if (reservation === undefined || this.parts.images.isEmpty) return undefined
      const needed = this.#mappings.needed(mayUnmap ? 'zero' : 'zero-keep', at, length)
      return reservation.split(Math.min(reservation.slots, needed))
    }
    const { edges, fromBytes, toBytes } = partsOfZero(offsetBytes, offsetBytes + lengthBytes)
    if (edges.length === 0) return this.#change(offsetBytes, lengthBytes, mayUnmap, true, done, reservation)
    const stored = edges.filter(({ atBytes }) => this.parts.map.get(Math.floor(atBytes / slotBytes)) >= 0)
    const part = afterAll(stored.length + 2, done)
    for (const { atBytes, lengthBytes } of stored) {
      this.write(atBytes, [zeros.subarray(0, lengthBytes)], lengthBytes, part, share(atBytes, lengthBytes))
    }
    const middle = toBytes - fromBytes
    if (middle > 0) this.#change(fromBytes, middle, mayUnmap, true, part, share(fromBytes, middle))
    else part(null)
    reservation?.release()
    this.parts.queue.turn(() => part(null))
  }

  discard(offsetBytes: number, lengthBytes: number, done: StoreDone): void {
    this.#change(offsetBytes, lengthBytes, true, false, done)
  }

  read(offsetBytes: number, lengthBytes: number, done: StoreReadDone): void {
    this.#inside(offsetBytes, lengthBytes)
    const { map } = this.parts
    const fromBytes = Math.floor(offsetBytes / limits.blockBytes) * limits.blockBytes
    const endBytes = Math.ceil((offsetBytes + lengthBytes) / limits.blockBytes) * limits.blockBytes
    if (map.firstMapped(Math.floor(fromBytes / slotBytes), Math.ceil(endBytes / slotBytes)) < 0) {
      const operation = this.#calls.begin((failure) => done(failure === null ? null : 'io', Buffer.alloc(lengthBytes)))
      return this.#calls.later(operation)
    }
    const into = this.#memory.take(endBytes - fromBytes)
    let verdict: StoreReadFailure | null = null
    const operation = this.#calls.begin(() => {
      const data = cutOut(into, offsetBytes - fromBytes, lengthBytes)
      done(verdict, verdict === null ? data : new Uint8Array(0))
    })
    const fetch = new Fetch(this.#fetchParts, this, { fromBytes, endBytes }, into, (failure) => {
      verdict = failure
      operation.part()
    })
    fetch.run()
  }

  sync(done: StoreDone): void {
    const operation = this.#calls.begin(done)
    if (this.parts.failed()) {
      operation.failure = 'io'
      this.#calls.later(operation)
      return
    }
    this.parts.syncs.request((error) => {
      if (error !== null) this.parts.fail(error)
      // Also when another sync failed meanwhile: what that one forgot may be what this one was asked for.
      if (this.parts.failed()) operation.failure = 'io'
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
    // C1: first their checksums are durable, and the headers of their slots. That may take a while, and nobody waits for it.
    const changes = this.parts.marks.changesOf(regions)
    const timed = (call: (done: (error: FileError | null) => void) => void) => this.#calls.timed(call)
    const writeHeaders = (region: number) => this.#mappings.writeHeaders(region)
    saveSums({ ...this.parts, timed, writeHeaders, isGone: () => this.#calls.isGone }, this, regions, (failed) => {
      if (failed || this.#calls.isGone) return this.parts.queue.turn(() => done('io'))
      this.#calls.marks(done, (finished) => this.parts.marks.unmark(regions, changes, epoch, finished))
    })
  }

  raiseStamp(region: number, epoch: number, done: StoreDone): void {
    this.#calls.marks(done, (finished) => this.parts.marks.raiseStamp(region, epoch, finished))
  }

  settled(regions: readonly number[], done: StoreDone): void {
    this.#calls.marks(done, (finished) => this.parts.marks.settled(regions, finished))
  }

  reserve(slots: number): SpaceReservation | null {
    return this.#mappings.reserve(slots)
  }

  reserveFor(change: Change, offsetBytes: number, lengthBytes: number): SpaceReservation | null {
    this.#inside(offsetBytes, lengthBytes)
    return this.#mappings.reserveFor(change, offsetBytes, lengthBytes)
  }

  availableSlots(): number {
    return this.parts.slots.available()
  }

  get failed(): boolean {
    return this.parts.failed()
  }

  /** Something that the disk does for this replica's images begins (E8). @returns to be called when it has ended */
  watch(): () => void {
    return this.#calls.watch()
  }

  oldestPendingMs(): number {
    return this.#calls.oldestPendingMs()
  }

  allocatedBytes(): number {
    return this.parts.map.mapped * slotBytes
  }

  /** Calls back when no call is under way, and no slots of images are being given back. */
  whenIdle(done: () => void): void {
    this.#calls.list.whenEmpty(() => this.parts.images.whenReleased(done))
  }

  get isGone(): boolean {
    return this.#calls.isGone
  }

  /** Deleted: nothing may come any more. */
  retire(): void {
    this.#calls.isGone = true
  }

  #inside(offsetBytes: number, lengthBytes: number): void {
    const inside = offsetBytes >= 0 && lengthBytes > 0 && offsetBytes + lengthBytes <= this.sizeBytes
    invariant(inside, 'S4', `${offsetBytes}+${lengthBytes} is outside of ${this.sizeBytes} bytes`)
  }

  /** Gives slots to what has none, then writes. */
  #store(operation: Operation, offsetBytes: number, chunks: readonly Uint8Array[], lengthBytes: number): void {
    if (!this.parts.images.isEmpty) {
      const end = Math.ceil((offsetBytes + lengthBytes) / slotBytes)
      const shared = this.#mappings.shared(Math.floor(offsetBytes / slotBytes), end)
      const again = () => this.#store(operation, offsetBytes, chunks, lengthBytes)
      if (shared.length > 0) return this.#copied(operation, shared, again)
    }
    const missing = this.#mappings.missing(offsetBytes, lengthBytes)
    if (missing === 0) return this.#place(operation, offsetBytes, chunks, lengthBytes)
    const covered = (operation.reservation?.slots ?? 0) >= missing
    this.parts.slots.want(missing, covered, (failure) => {
      operation.failure = failure
      if (failure === null) this.#place(operation, offsetBytes, chunks, lengthBytes)
      else operation.part()
    })
  }

  /** Goes on when these extents are the volume's alone. */
  #copied(operation: Operation, extents: readonly number[], go: () => void): void {
    this.#copies.make(extents, operation.reservation, (failure) => {
      if (failure === null) return go()
      operation.failure = failure
      operation.part()
    })
  }

  /** A write of parts of blocks becomes one of whole blocks: a checksum covers a whole one. */
  #widen(operation: Operation, offsetBytes: number, chunks: readonly Uint8Array[], lengthBytes: number): void {
    readEdges(this.#fetchParts, this, offsetBytes, lengthBytes, (failure, before, after) => {
      if (failure === null) {
        const whole = before.length + lengthBytes + after.length
        return this.#store(operation, offsetBytes - before.length, [before, ...chunks, after], whole)
      }
      operation.failure = 'io'
      operation.part()
    })
  }

  // --- SumOwner ---------------------------------------------------------------------------------------------------

  isDoubtful(extent: number): boolean {
    return this.parts.doubt.has(extent)
  }

  resolved(extent: number): void {
    this.parts.doubt.remove(extent)
  }

  sumsBegin(extent: number): void {
    this.parts.marks.beginSums(Math.floor(extent / regionExtents))
  }

  sumsEnd(extent: number): void {
    this.parts.marks.endSums(Math.floor(extent / regionExtents))
  }

  #place(operation: Operation, offsetBytes: number, chunks: readonly Uint8Array[], lengthBytes: number): void {
    const { data, queue, map } = this.parts
    const end = offsetBytes + lengthBytes
    const fresh = this.#mappings.allocate(operation, offsetBytes, end)
    operation.summed(offsetBytes, end)
    sumWrite(this.parts, this, offsetBytes, chunks, end)
    const cutter = new ChunkCutter(chunks)
    let at = offsetBytes
    while (at < end) {
      const slot = map.get(Math.floor(at / slotBytes))
      const length = runLength(map, at, end, slot)
      let pieces = chunks
      if (length !== lengthBytes) {
        pieces = cutter.next(length)
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
    this.parts.syncs.writing(slot, inSlot, length)
    queue.write(data.get(number), pieces, length, slotOffset(slot) + inSlot, fresh, operation)
  }

  /** Zeroes or discards. Where nothing is stored already, nothing changes, and no mark is needed. */
  #change(
    offsetBytes: number,
    lengthBytes: number,
    unmap: boolean,
    partial: boolean,
    done: StoreDone,
    reservation?: SpaceReservation,
  ): void {
    this.#inside(offsetBytes, lengthBytes)
    const operation = this.#calls.begin(done)
    if (reservation !== undefined) operation.reservation = reservation
    const end = offsetBytes + lengthBytes
    const { images, map } = this.parts
    // The volume's last extent may be cut short by its end; then it is whole with what there is of it.
    const wholeFirst = Math.ceil(offsetBytes / slotBytes)
    const wholeEnd = end === this.sizeBytes ? Math.ceil(end / slotBytes) : Math.floor(end / slotBytes)
    const from = partial ? Math.floor(offsetBytes / slotBytes) : wholeFirst
    const to = partial ? Math.ceil(end / slotBytes) : wholeEnd
    const firstHeld = map.firstMapped(from, to)
    if (firstHeld < 0 && !this.parts.failed()) {
      this.#calls.later(operation)
      return
    }
    const start = Math.max(offsetBytes, firstHeld * slotBytes)
    // When the volume has grown meanwhile, what was its last extent is not whole with that any more.
    const isUnmapped = (extent: number) =>
      unmap && extent >= wholeFirst && Math.min((extent + 1) * slotBytes, this.sizeBytes) <= end
    this.#calls.marked(operation, start, end - start, () => {
      const change = () => this.#zeroExtents(operation, offsetBytes, end, from, to, isUnmapped)
      if (images.isEmpty) return change()
      const shared = this.#mappings.shared(from, to).filter((extent) => !isUnmapped(extent))
      if (shared.length > 0) this.#copied(operation, shared, change)
      else change()
    })
  }

  #zeroExtents(
    operation: Operation,
    offsetBytes: number,
    end: number,
    from: number,
    to: number,
    isUnmapped: (extent: number) => boolean,
  ): void {
    const { data, map, queue } = this.parts
    let changed = false
    operation.summed(offsetBytes, end)
    for (let extent = map.firstMapped(from, to); extent >= 0; extent = map.firstMapped(extent + 1, to)) {
      if (isUnmapped(extent)) {
        this.#mappings.unmap(extent)
        changed = true
      } else {
        const slot = map.get(extent)
        const inSlot = Math.max(0, offsetBytes - extent * slotBytes)
        const length = Math.min(slotBytes, end - extent * slotBytes) - inSlot
        sumZeros(this.parts, this, extent, inSlot, length)
        this.#send(operation, [zeros.subarray(0, length)], length, slot, inSlot, false, queue, data)
        // A mapping that is being committed may be written, but is there only when committed.
        if (this.#mappings.isUncommitted(extent)) changed = true
      }
    }
    if (changed) this.#mappings.awaitCommit(operation)
    operation.part()
  }

  /** Calls back when every call that is under way now has ended. */
  afterThese(done: () => void): void {
    this.#calls.list.afterThese(done)
  }

  /** Whether a call that changes something is under way. */
  get isChanging(): boolean {
    return this.#calls.list.some(({ firstRegion }) => firstRegion >= 0)
  }
}
