/**
 * Which slots are free, and the promise that nobody ever sees another's old bytes (S2): a slot is handed out only
 * when it is known to read as zeros, also after a power cut.
 *
 *   clean -> ready (its "doubtful" bit is durable) -> mapped (bit cleared in the same commit) -> freed (bit set in
 *   the commit that unmaps it) -> that commit durable -> zeros written and durable -> clean (bit cleared)
 *
 * So whatever is not mapped and may hold bytes has its bit set in the index, and is zeroed again after a crash.
 */
import { invariant } from '../kit/failure.ts'
import type { Log } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { Commits } from './commits.ts'
import { FileError, type Files, failureOf } from './files.ts'
import { fileOfSlot, headerOffset, sectorBytes, slotBytes, slotsPerGroup, sumsOffset } from './format.ts'
import type { StoreFailure } from './replica.ts'
import type { SlotLedger } from './space.ts'
import { runSteps, type Steps, wait } from './steps.ts'
import { buryStale, type ZeroParts, zeroSlots } from './zeroing.ts'

const groupBytes = slotsPerGroup / 8

export interface SlotParts extends ZeroParts {
  readonly log: Log
  readonly files: Files
  readonly commits: Commits
  /** The disk failed in the background. */
  readonly fail: (error: FileError) => void
  readonly failed: () => boolean
}

interface Request {
  readonly count: number
  /** Its slots were set aside before (C8). */
  readonly covered: boolean
  readonly granted: (failure: StoreFailure | null) => void
}

/** Bytes of the disk that a slot takes: its data, header and block checksums, in whole blocks. */
const slotCostBytes = slotBytes + limits.blockBytes

export class Slots implements SlotLedger {
  readonly #parts: SlotParts
  /** Bits, one a slot. */
  #mapped = new Uint8Array(0)
  #doubtful = new Uint8Array(0)
  /** Slots below this one were used at some time. */
  #highWater = 0
  #mappedCount = 0
  #doubtfulCount = 0
  #cursor = 0
  #ready: number[] = []
  #readyHead = 0
  #freed: number[] = []
  /** In doubt since before this run: their headers are to be looked at before any of them is zeroed. */
  #stale: readonly number[] = []
  #requests: Request[] = []
  #refilling = false
  #recycling = false
  #closing = false
  #freeBytes: number | null = null
  /** Slots that this disk can hold in all: what others leave of it. */
  #mostSlots = 0
  #setAside = 0
  #idleDone: (() => void) | null = null
  /** Who waits until nothing that was freed has its old bytes any more. */
  #zeroed: ((error: FileError | null) => void)[] = []

  constructor(parts: SlotParts) {
    this.#parts = parts
    parts.commits.groupRow = (group) => this.#row(group)
  }

  get freeBytes(): number | null {
    return this.#freeBytes
  }

  /** Calls back when nothing goes on in the background. Only after `giveBackPool`. */
  whenIdle(done: () => void): void {
    this.#idleDone = done
    this.#checkIdle()
  }

  #checkIdle(): void {
    if (this.#refilling || this.#recycling) return
    const done = this.#idleDone
    this.#idleDone = null
    done?.()
  }

  /** At opening. @returns false when two extents claim the slot. */
  loadMapped(slot: number): boolean {
    this.#grow(slot)
    if (bit(this.#mapped, slot)) return false
    setBit(this.#mapped, slot, true)
    this.#mappedCount += 1
    return true
  }

  /** At opening. */
  loadDoubtful(group: number, bits: Uint8Array): void {
    for (let at = 0; at < slotsPerGroup; at++) {
      if (!bit(bits, at)) continue
      const slot = group * slotsPerGroup + at
      this.#grow(slot)
      // Of a volume whose deletion shared a commit with another's, and whose own did not come: it is still there.
      if (bit(this.#mapped, slot)) continue
      this.#setDoubtful(slot, true)
      this.#freed.push(slot)
    }
  }

  /** After opening: begins to fill the pool and to zero what a crash left in doubt. */
  begin(): void {
    this.#stale = this.#freed.slice()
    this.#recycle()
    this.#refill()
  }

  /** C8: what is not mapped and not set aside for somebody's write. */
  available(): number {
    return this.#mostSlots - this.#mappedCount - this.#setAside
  }

  setAside(slots: number): void {
    this.#setAside += slots
    invariant(this.#setAside >= 0, 'S6', 'more slots are given back than were set aside')
  }

  /**
   * Calls `granted` when `count` slots can be taken; at once when they are there.
   * @param covered they were set aside before: else what others have set aside is not touched
   */
  want(count: number, covered: boolean, granted: (failure: StoreFailure | null) => void): void {
    if (this.#requests.length === 0 && this.#mayTake(count, covered)) {
      granted(null)
      return
    }
    this.#requests.push({ count, covered, granted })
    this.#refill()
  }

  /** Takes a slot that `want` granted. The caller maps it in the commit that is being gathered now. */
  take(): number {
    const slot = this.takeOut()
    this.map(slot)
    return slot
  }

  /** Takes a slot that `want` granted, for later: it stays in doubt, and set aside, until it is mapped or given back. */
  takeOut(): number {
    const slot = this.#ready[this.#readyHead]
    invariant(slot !== undefined, 'S2', 'a slot is taken that was not granted')
    this.#readyHead += 1
    if (this.#readyHead === this.#ready.length) {
      this.#ready = []
      this.#readyHead = 0
    }
    this.setAside(1)
    if (this.#readyCount < limits.slotPool / 2) this.#refill()
    return slot
  }

  /** The caller maps a slot that was taken out in the commit that is being gathered now. */
  map(slot: number): void {
    this.setAside(-1)
    setBit(this.#mapped, slot, true)
    this.#mappedCount += 1
    this.#setDoubtful(slot, false)
    this.#parts.commits.touchGroup(Math.floor(slot / slotsPerGroup))
  }

  /** A slot that was taken out is not needed; it may hold bytes by now. */
  giveBack(slot: number): void {
    this.setAside(-1)
    this.#freed.push(slot)
    this.#recycle()
  }

  /** The slot's extent is unmapped in the commit that is being gathered now. */
  free(slot: number): void {
    invariant(bit(this.#mapped, slot), 'S2', `slot ${slot} is freed but was not mapped`)
    setBit(this.#mapped, slot, false)
    this.#mappedCount -= 1
    this.#setDoubtful(slot, true)
    this.#parts.commits.touchGroup(Math.floor(slot / slotsPerGroup))
    this.#freed.push(slot)
    this.#recycle()
  }

  /** At a clean end: what waits in the pool was never used, so it is not in doubt. */
  giveBackPool(): void {
    this.#closing = true
    for (const slot of this.#ready.slice(this.#readyHead)) {
      this.#setDoubtful(slot, false)
      this.#parts.commits.touchGroup(Math.floor(slot / slotsPerGroup))
    }
    this.#ready = []
    this.#readyHead = 0
  }

  measureSpace(done: () => void): void {
    this.#parts.files.space((error, space) => {
      if (error === null && space !== undefined) {
        this.#freeBytes = space.freeBytes
        this.#mostSlots = this.#fitting(space.freeBytes + space.usedBytes - limits.diskReserveBytes)
      }
      done()
    })
  }

  /** How many slots fit in so many bytes, those that were ever used first: their headers and checksums are there. */
  #fitting(bytes: number): number {
    const headBytes = 2 * sectorBytes
    const restBytes = bytes - this.#highWater * (slotBytes + headBytes)
    if (restBytes >= 0) return this.#highWater + Math.floor(restBytes / slotCostBytes)
    return Math.max(0, Math.floor((bytes - this.#highWater * headBytes) / slotBytes))
  }

  #mayTake(count: number, covered: boolean): boolean {
    return this.#readyCount >= count && (covered || this.available() >= count)
  }

  get #readyCount(): number {
    return this.#ready.length - this.#readyHead
  }

  /** Slots that were used and read as zeros, not in the pool. */
  get #cleanCount(): number {
    return this.#highWater - this.#mappedCount - this.#doubtfulCount
  }

  #row(group: number): Uint8Array | null {
    const row = this.#doubtful.slice(group * groupBytes, (group + 1) * groupBytes)
    return row.some((byte) => byte !== 0) ? row : null
  }

  #setDoubtful(slot: number, doubtful: boolean): void {
    if (bit(this.#doubtful, slot) === doubtful) return
    setBit(this.#doubtful, slot, doubtful)
    this.#doubtfulCount += doubtful ? 1 : -1
  }

  #grow(slot: number): void {
    this.#highWater = Math.max(this.#highWater, slot + 1)
    const need = (Math.floor(slot / slotsPerGroup) + 1) * groupBytes
    if (need <= this.#mapped.length) return
    const size = Math.max(need, this.#mapped.length * 2)
    const mapped = new Uint8Array(size)
    const doubtful = new Uint8Array(size)
    mapped.set(this.#mapped)
    doubtful.set(this.#doubtful)
    this.#mapped = mapped
    this.#doubtful = doubtful
  }

  #refill(): void {
    if (this.#refilling || this.#closing || this.#parts.failed()) {
      if (this.#parts.failed()) this.#refuse('io')
      return
    }
    if (this.#readyCount >= limits.slotPool / 2 && this.#requests.length === 0) return
    this.#refilling = true
    runSteps(this.#refillSteps(), (error) => {
      this.#refilling = false
      this.#refilled(error)
      this.#checkIdle()
    })
  }

  #refilled(error: unknown): void {
    if (error instanceof FileError) {
      if (failureOf(error) === 'no-space' && !this.#parts.failed()) this.#refuse('no-space')
      else this.#parts.fail(error)
    } else if (error) {
      throw error
    }
    this.#grant()
    if (this.#parts.failed()) this.#refuse('io')
    else if (this.#requests.length > 0) {
      // Not enough: zeroing may give some, else the disk is full.
      if (this.#recycling || this.#freed.length > 0) this.#recycle()
      // Zeroed since this refill chose its slots.
      else if (this.#cleanCount > 0) this.#refill()
      else this.#refuseUncovered()
    }
  }

  /** The disk is full for whoever set nothing aside; who did still finds room, though it waited behind them (C8). */
  #refuseUncovered(): void {
    const covered = this.#requests[0]?.covered === true ? [] : this.#requests.filter((request) => request.covered)
    const refused = this.#requests.filter((request) => !covered.includes(request))
    this.#requests = covered
    for (const request of refused) request.granted('no-space')
    this.#grant()
    if (this.#requests.length > 0) this.#refill()
  }

  *#refillSteps(): Steps<void> {
    yield* wait((done) => this.measureSpace(() => done(null)))
    const neverUsed = this.#highWater
    const slots = this.#choose()
    if (slots.length === 0) return
    // Before the index can know of slots in it: any other commit would take their bits with it.
    for (const slot of slots) {
      const file = fileOfSlot(slot)
      if (!this.#parts.data.has(file)) yield* this.#parts.data.make(file)
    }
    for (const slot of slots) {
      this.#grow(slot)
      this.#setDoubtful(slot, true)
      this.#parts.commits.touchGroup(Math.floor(slot / slotsPerGroup))
    }
    try {
      yield* this.#makeSectorRoom(slots.filter((slot) => slot >= neverUsed))
      yield* wait((done) => this.#parts.commits.durable(done))
    } catch (error) {
      for (const slot of slots) this.#freed.push(slot)
      throw error
    }
    if (this.#closing) this.#freed.push(...slots)
    else this.#ready = this.#ready.slice(this.#readyHead).concat(slots)
    this.#readyHead = this.#closing ? this.#readyHead : 0
  }

  /** Gives the sectors of never used slots (ascending), header and checksums, their place on the disk: later they only change. */
  *#makeSectorRoom(slots: readonly number[]): Steps<void> {
    for (let at = 0; at < slots.length; ) {
      const first = slots[at] ?? 0
      const inFile = slots.filter((slot) => fileOfSlot(slot) === fileOfSlot(first)).length
      const room = Buffer.alloc(inFile * sectorBytes)
      const file = this.#parts.data.get(fileOfSlot(first))
      for (const offset of [headerOffset(first), sumsOffset(first)]) {
        yield* wait((done) =>
          this.#parts.queue.write(file, [room], room.length, offset, true, { diskDone: (error) => done(error) }),
        )
      }
      at += inFile
    }
  }

  /** Slots for the pool: zeroed ones first (they need no new space), then the next ones never used. */
  #choose(): number[] {
    const wanted = Math.max(limits.slotPool - this.#readyCount, this.#requests[0]?.count ?? 0)
    const slots: number[] = []
    let clean = this.#cleanCount
    for (let looked = 0; looked < this.#highWater && clean > 0 && slots.length < wanted; looked++) {
      if (this.#cursor >= this.#highWater) this.#cursor = 0
      const slot = this.#cursor++
      if (bit(this.#mapped, slot) || bit(this.#doubtful, slot)) continue
      slots.push(slot)
      clean -= 1
    }
    // A slot that was ever used may still be filled: what is mapped but not written yet must find its place, too (C8).
    const fresh = Math.min(wanted - slots.length, Math.max(0, this.#mostSlots - this.#highWater))
    for (let at = 0; at < fresh; at++) slots.push(this.#highWater + at)
    return slots
  }

  #grant(): void {
    while (this.#requests.length > 0) {
      const request = this.#requests[0]
      if (request === undefined || !this.#mayTake(request.count, request.covered)) return
      this.#requests.shift()
      request.granted(null)
    }
  }

  #refuse(failure: StoreFailure): void {
    const requests = this.#requests
    this.#requests = []
    for (const request of requests) request.granted(failure)
  }

  #recycle(): void {
    if (this.#recycling || this.#closing || this.#freed.length === 0 || this.#parts.failed()) return
    this.#recycling = true
    const slots = this.#freed.splice(0, limits.slotsZeroed)
    runSteps(this.#zeroSteps(slots), (error) => {
      this.#recycling = false
      if (error instanceof FileError) this.#parts.fail(error)
      else if (error) throw error
      if (this.#requests.length > 0) this.#refill()
      this.#recycle()
      this.#checkIdle()
      this.#checkZeroed()
    })
  }

  /** Done when all that was freed until then is zeros, durably; EIO when the store failed. */
  whenZeroed(done: (error: FileError | null) => void): void {
    this.#zeroed.push(done)
    this.#recycle()
    this.#checkZeroed()
  }

  #checkZeroed(): void {
    if (this.#recycling) return
    const failed = this.#parts.failed() ? new FileError('EIO', 'the storage folder failed') : null
    for (const done of this.#zeroed.splice(0)) done(failed)
  }

  *#zeroSteps(slots: readonly number[]): Steps<void> {
    // The unmapping must be durable first: else a power cut could bring back a mapping to a slot that is somebody else's.
    yield* wait((done) => this.#parts.commits.durable(done))
    if (this.#stale.length > 0) yield* buryStale(this.#parts, this.#stale)
    this.#stale = []
    yield* zeroSlots(this.#parts, slots)
    for (const slot of slots) {
      this.#setDoubtful(slot, false)
      this.#parts.commits.touchGroup(Math.floor(slot / slotsPerGroup))
    }
    yield* wait((done) => this.#parts.commits.wait(done))
  }
}

const bit = (bits: Uint8Array, at: number): boolean => (((bits[at >> 3] ?? 0) >> (at & 7)) & 1) === 1

function setBit(bits: Uint8Array, at: number, on: boolean): void {
  const byte = bits[at >> 3] ?? 0
  bits[at >> 3] = on ? byte | (1 << (at & 7)) : byte & ~(1 << (at & 7))
}
