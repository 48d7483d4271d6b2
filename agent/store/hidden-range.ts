/**
 * A replica with its hidden range (decision 0012): blocks at a fixed place behind the largest volume, for pages that clients
 * cannot reach (W10). In the folder it is a small replica of its own, made when the first byte goes there, with marks, stamps
 * and checksums like any; to callers both are one replica. No image holds it.
 */
import type { VolumeId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import type {
  Change,
  RegionFacts,
  ReplicaStore,
  SpaceReservation,
  StoreDone,
  StoreFailure,
  StoreReadDone,
} from './replica.ts'

const { hiddenStartBytes, hiddenBytes, regionBytes, extentBytes } = limits
/** The one region of the hidden range; behind those of any volume. */
export const hiddenRegion = hiddenStartBytes / regionBytes
const untouched: RegionFacts = { marked: false, grade: 'sound', stamp: 0 }

/** Added to the last 32 bits of a volume's id: 2^32 over the golden ratio. Nobody gives the sum to a volume by chance. */
const idDistance = 0x9e3779b9

/** The id of the small replica; only beside its volume is it known for what it is. */
export function hiddenIdOf(id: VolumeId): VolumeId {
  const last = (Number.parseInt(id.slice(24), 16) + idDistance) % 2 ** 32
  return `${id.slice(0, 24)}${last.toString(16).padStart(8, '0')}` as VolumeId // 32 hex digits like the one that it is made of
}

/** @returns those that are volumes; the others are hidden ranges of theirs */
export function withoutHidden<Item>(items: readonly Item[], idOf: (item: Item) => VolumeId): Item[] {
  const hidden = new Set(items.map((item) => hiddenIdOf(idOf(item))))
  return items.filter((item) => !hidden.has(idOf(item)))
}

export interface HiddenParts {
  /** Makes the small replica; durable when done. */
  readonly make: (
    id: VolumeId,
    sizeBytes: number,
    done: (failure: StoreFailure | null, made?: ReplicaStore) => void,
  ) => void
  /** Calls back after this turn. */
  readonly turn: (fire: () => void) => void
}

type Making = (failure: StoreFailure | null, hidden: ReplicaStore | null) => void

export class WholeReplica implements ReplicaStore {
  readonly volumeId: VolumeId
  /** Without its hidden range. */
  readonly volume: ReplicaStore
  readonly #parts: HiddenParts
  /** Null: nothing was ever written there, it reads as zeros. */
  #hidden: ReplicaStore | null
  /** Who waits until it is made; null: nobody makes it. Bounded by the requests that a volume executes. */
  #making: Making[] | null = null

  constructor(volume: ReplicaStore, hidden: ReplicaStore | null, parts: HiddenParts) {
    this.volumeId = volume.volumeId
    this.volume = volume
    this.#hidden = hidden
    this.#parts = parts
  }

  /** The small replica, made now if it is not there. Its making is durable before any byte or mark of it. */
  makeHidden(done: Making): void {
    if (this.#hidden !== null) return done(null, this.#hidden)
    if (this.#making !== null) return void this.#making.push(done)
    const making = [done]
    this.#making = making
    this.#parts.make(hiddenIdOf(this.volumeId), hiddenBytes, (failure, made) => {
      this.#making = null
      this.#hidden = made ?? null
      for (const waiting of making) waiting(failure, this.#hidden)
    })
  }

  get sizeBytes(): number {
    return this.volume.sizeBytes
  }

  get regionCount(): number {
    return this.volume.regionCount
  }

  write(
    offsetBytes: number,
    chunks: readonly Uint8Array[],
    lengthBytes: number,
    done: StoreDone,
    reservation?: SpaceReservation,
  ): void {
    if (offsetBytes < hiddenStartBytes) return this.volume.write(offsetBytes, chunks, lengthBytes, done, reservation)
    this.makeHidden((failure, hidden) => {
      if (hidden !== null) return hidden.write(offsetBytes - hiddenStartBytes, chunks, lengthBytes, done, reservation)
      reservation?.release()
      done(failure)
    })
  }

  zero(
    offsetBytes: number,
    lengthBytes: number,
    mayUnmap: boolean,
    done: StoreDone,
    reservation?: SpaceReservation,
  ): void {
    if (offsetBytes < hiddenStartBytes) return this.volume.zero(offsetBytes, lengthBytes, mayUnmap, done, reservation)
    const at = offsetBytes - hiddenStartBytes
    if (this.#hidden !== null) return this.#hidden.zero(at, lengthBytes, mayUnmap, done, reservation)
    reservation?.release()
    this.#parts.turn(() => done(null))
  }

  discard(offsetBytes: number, lengthBytes: number, done: StoreDone): void {
    if (offsetBytes < hiddenStartBytes) return this.volume.discard(offsetBytes, lengthBytes, done)
    if (this.#hidden !== null) return this.#hidden.discard(offsetBytes - hiddenStartBytes, lengthBytes, done)
    this.#parts.turn(() => done(null))
  }

  read(offsetBytes: number, lengthBytes: number, done: StoreReadDone): void {
    if (offsetBytes < hiddenStartBytes) return this.volume.read(offsetBytes, lengthBytes, done)
    if (this.#hidden !== null) return this.#hidden.read(offsetBytes - hiddenStartBytes, lengthBytes, done)
    this.#parts.turn(() => done(null, new Uint8Array(lengthBytes)))
  }

  /** One of the folder: it covers both. */
  sync(done: StoreDone): void {
    this.volume.sync(done)
  }

  region(index: number): RegionFacts {
    if (index !== hiddenRegion) return this.volume.region(index)
    return this.#hidden?.region(0) ?? untouched
  }

  *regions(): IterableIterator<[index: number, facts: RegionFacts]> {
    yield* this.volume.regions()
    for (const [, facts] of this.#hidden?.regions() ?? []) yield [hiddenRegion, facts]
  }

  unmark(regions: readonly number[], epoch: number, done: StoreDone): void {
    this.#each(regions, done, (replica, own, part) => replica.unmark(own, epoch, part))
  }

  settled(regions: readonly number[], done: StoreDone): void {
    this.#each(regions, done, (replica, own, part) => replica.settled(own, part))
  }

  /** Calls for the regions of each of the two; done when both are, with the first failure. */
  #each(
    regions: readonly number[],
    done: StoreDone,
    call: (replica: ReplicaStore, own: readonly number[], part: StoreDone) => void,
  ): void {
    if (!regions.includes(hiddenRegion)) return call(this.volume, regions, done)
    let left = 2
    let failed: StoreFailure | null = null
    const part: StoreDone = (failure) => {
      failed ??= failure
      left -= 1
      if (left === 0) done(failed)
    }
    const others = regions.filter((region) => region !== hiddenRegion)
    if (others.length > 0) call(this.volume, others, part)
    else this.#parts.turn(() => part(null))
    if (this.#hidden !== null) call(this.#hidden, [0], part)
    else this.#parts.turn(() => part(null))
  }

  raiseStamp(region: number, epoch: number, done: StoreDone): void {
    if (region !== hiddenRegion) return this.volume.raiseStamp(region, epoch, done)
    if (this.#hidden === null && epoch === 0) return this.#parts.turn(() => done(null))
    this.makeHidden((failure, hidden) => {
      if (hidden === null) done(failure)
      else hidden.raiseStamp(0, epoch, done)
    })
  }

  reserve(slots: number): SpaceReservation | null {
    return this.volume.reserve(slots)
  }

  reserveFor(change: Change, offsetBytes: number, lengthBytes: number): SpaceReservation | null {
    if (offsetBytes < hiddenStartBytes) return this.volume.reserveFor(change, offsetBytes, lengthBytes)
    const at = offsetBytes - hiddenStartBytes
    if (this.#hidden !== null) return this.#hidden.reserveFor(change, at, lengthBytes)
    // Nothing is stored there: only data needs slots, one for each extent that it touches.
    const touched = Math.ceil((at + lengthBytes) / extentBytes) - Math.floor(at / extentBytes)
    return this.volume.reserve(change === 'data' ? touched : 0)
  }

  availableSlots(): number {
    return this.volume.availableSlots()
  }

  get failed(): boolean {
    return this.volume.failed
  }

  oldestPendingMs(): number {
    return Math.max(this.volume.oldestPendingMs(), this.#hidden?.oldestPendingMs() ?? 0)
  }

  whenIdle(done: () => void): void {
    if (this.#making !== null) this.#making.push(() => this.whenIdle(done))
    else this.volume.whenIdle(() => (this.#hidden === null ? done() : this.#hidden.whenIdle(done)))
  }

  allocatedBytes(): number {
    return this.volume.allocatedBytes() + (this.#hidden?.allocatedBytes() ?? 0)
  }
}
