/**
 * Copy on write: before an extent whose slot an image holds is changed, its volume gets a copy in a slot of its own.
 *
 * The copy is durable before the mapping to it is made: a power cut may keep a commit that no sync covers, and would then
 * show zeros where flushed neighbours of the written block stood. So an end in the middle leaves the old slot or the new
 * one, and both hold the same. A block that does not fit its checksum is copied as it is, with the checksum that it does
 * not fit: it is as rotten as before. One that cannot be read becomes zeros with the checksum of what stood there.
 *
 * Callers hold blocks, not extents: who wants to change another block of an extent that is being copied waits for that copy.
 */
import { limits } from '../limits.ts'
import { sumOf } from './checksum.ts'
import type { DataFiles } from './data-files.ts'
import type { DiskQueue } from './disk-queue.ts'
import { afterAll } from './edges.ts'
import type { ExtentMap } from './extent-map.ts'
import { FileError, failureOf } from './files.ts'
import { blocksPerSlot, fileOfSlot, slotBytes, slotOffset } from './format.ts'
import type { Images } from './images.ts'
import type { Mappings } from './mappings.ts'
import type { StoreDone, StoreFailure } from './replica.ts'
import type { Slots } from './slots.ts'
import type { SpaceReservation } from './space.ts'
import { runSteps, type Steps, wait } from './steps.ts'
import type { SumOwner, SumPage } from './sum-page.ts'
import { type Sums, unreadable } from './sums.ts'
import type { Syncs } from './syncs.ts'

export interface CopyParts {
  readonly map: ExtentMap
  readonly images: Images
  readonly queue: DiskQueue
  readonly data: DataFiles
  readonly slots: Slots
  readonly sums: Sums
  readonly syncs: Syncs
  readonly failed: () => boolean
  readonly fail: (error: FileError) => void
  /** A block that does not fit its checksum was found. */
  readonly rottenAt: (offsetBytes: number) => void
}

export class ExtentCopies {
  readonly #parts: CopyParts
  readonly #owner: SumOwner
  readonly #mappings: Mappings
  /** By extent: who waits for its copy. */
  readonly #underWay = new Map<number, StoreDone[]>()
  /** Copies that have their memory, and those that wait for some. */
  #running = 0
  readonly #waiting: (() => void)[] = []

  constructor(parts: CopyParts, owner: SumOwner, mappings: Mappings) {
    this.#parts = parts
    this.#owner = owner
    this.#mappings = mappings
  }

  /**
   * Done when none of these extents shares its slot with an image any more. The mappings may not be committed yet: whoever
   * changes them awaits that. `no-space`: nothing has changed. @param reservation gives the slots as far as it goes (C8)
   */
  make(extents: readonly number[], reservation: SpaceReservation | null, done: StoreDone): void {
    const part = afterAll(extents.length, done)
    for (const extent of extents) {
      const others = this.#underWay.get(extent)
      if (others === undefined) this.#start(extent, reservation, part)
      else others.push((failure) => this.#after(extent, reservation, failure, part))
    }
  }

  /** The one before found no room, but this one has some set aside. */
  #after(extent: number, reservation: SpaceReservation | null, failure: StoreFailure | null, part: StoreDone): void {
    if (failure === 'no-space' && reservation !== null && reservation.slots > 0) this.make([extent], reservation, part)
    else part(failure)
  }

  #start(extent: number, reservation: SpaceReservation | null, first: StoreDone): void {
    const waiters = [first]
    this.#underWay.set(extent, waiters)
    const share = reservation !== null && reservation.slots > 0 ? reservation.split(1) : null
    runSteps(this.#steps(extent, share), (error) => {
      share?.release()
      this.#underWay.delete(extent)
      const failure = error === null ? null : this.#failureOf(error)
      for (const waiter of waiters) waiter(failure)
    })
  }

  #failureOf(error: unknown): StoreFailure {
    if (!(error instanceof FileError)) throw error
    const failure = failureOf(error)
    if (failure === 'io' && error !== unreadable) this.#parts.fail(error)
    return failure
  }

  *#steps(extent: number, share: SpaceReservation | null): Steps<void> {
    const { failed, images, map, slots, sums, syncs } = this.#parts
    const to = yield* this.#takeSlot(share)
    let isUsed = false
    const from = map.get(extent)
    const page = sums.page(from, this.#owner, extent)
    page.pins += 1
    try {
      yield* wait((done) => this.#turn(() => done(null)))
      try {
        yield* this.#copy(extent, from, to, page)
      } finally {
        this.#running -= 1
        this.#waiting.shift()?.()
      }
      // Many copies share one; a sync that began before this one was written does not count (W4).
      yield* wait((done) => syncs.request(done))
      // Also when another sync failed meanwhile: what that one forgot may be this copy.
      if (failed()) throw new FileError('EIO', 'the storage folder failed')
      // The image may be gone by now: then the old slot is the volume's alone, and others may be reading it.
      if (!images.isShared(extent, from)) return
      this.#mappings.replace(extent, to, page.sums)
      isUsed = true
    } finally {
      page.pins -= 1
      if (!isUsed) slots.giveBack(to)
    }
  }

  *#takeSlot(share: SpaceReservation | null): Steps<number> {
    const { slots } = this.#parts
    return yield* wait<number>((done) =>
      slots.want(1, share !== null, (failure) => {
        if (failure !== null)
          return done(new FileError(failure === 'no-space' ? 'ENOSPC' : 'EIO', 'no slot for a copy'))
        share?.release()
        done(null, slots.takeOut())
      }),
    )
  }

  #turn(go: () => void): void {
    const start = () => {
      this.#running += 1
      go()
    }
    if (this.#running < limits.copiesAtOnce) start()
    else this.#waiting.push(start)
  }

  *#copy(extent: number, from: number, to: number, page: SumPage): Steps<void> {
    const { data, queue, rottenAt, sums, syncs } = this.#parts
    const bytes = Buffer.allocUnsafe(slotBytes)
    yield* this.#read(from, bytes)
    yield* wait((done) => sums.load(page, done))
    if (!page.isWhole) throw unreadable
    for (let block = 0; block < blocksPerSlot; block += 1) {
      const at = block * limits.blockBytes
      if (sumOf(bytes.subarray(at, at + limits.blockBytes)) !== page.sums[block]) rottenAt(extent * slotBytes + at)
    }
    const file = fileOfSlot(to)
    syncs.writing(to, 0, slotBytes)
    yield* wait((done) =>
      queue.write(data.get(file), [bytes], slotBytes, slotOffset(to), true, { diskDone: (error) => done(error) }),
    )
    syncs.wrote(file)
  }

  *#read(slot: number, into: Buffer): Steps<void> {
    const { data, queue } = this.#parts
    const file = data.get(fileOfSlot(slot))
    const piece = (start: number, length: number) =>
      wait<boolean>((done) =>
        queue.read(file, into, start, length, slotOffset(slot) + start, {
          diskDone: (error, got) => {
            into.fill(0, start + (error === null ? got : 0), start + length)
            done(null, error === null)
          },
        }),
      )
    if (yield* piece(0, slotBytes)) return
    // One bad sector is one block.
    for (let at = 0; at < slotBytes; at += limits.blockBytes) yield* piece(at, limits.blockBytes)
  }
}
