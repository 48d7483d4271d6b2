/** One call of the engine while it is under way, in a list by age (E8). */
import type { DiskWaiter } from './disk-queue.ts'
import type { FileError } from './files.ts'
import type { StoreFailure } from './replica.ts'
import type { SpaceReservation } from './space.ts'

export interface OperationHost {
  /** It has had all its answers. */
  ended(operation: Operation): void
  failedWrite(error: FileError, before: StoreFailure | null): StoreFailure
}

export class Operation implements DiskWaiter {
  readonly #host: OperationHost
  readonly #done: (failure: StoreFailure | null) => void
  readonly startMs: number
  /** Regions it changes; -1 for reads and syncs. */
  firstRegion = -1
  lastRegion = -1
  /** Calls it waits for, and one for itself while it is being taken apart. */
  left = 1
  /** The data files that its calls write to. */
  readonly files: number[] = []
  failure: StoreFailure | null = null
  /** Where it changed checksums in memory before the disk took the bytes; -1 for nowhere. */
  summedFromBytes = -1
  summedEndBytes = -1
  /** What was set aside for the slots that it needs (C8). */
  reservation: SpaceReservation | null = null
  before: Operation | null = null
  after: Operation | null = null
  /** Ascends with age in its list. */
  sequence = 0

  constructor(host: OperationHost, startMs: number, done: (failure: StoreFailure | null) => void) {
    this.#host = host
    this.startMs = startMs
    this.#done = done
  }

  summed(fromBytes: number, endBytes: number): void {
    this.summedFromBytes = fromBytes
    this.summedEndBytes = endBytes
  }

  diskDone(error: FileError | null): void {
    if (error !== null) this.failure = this.#host.failedWrite(error, this.failure)
    this.part()
  }

  /** One of the things it waits for has come. */
  part(): void {
    this.left -= 1
    if (this.left > 0) return
    this.#host.ended(this)
    this.#done(this.failure)
  }
}

/** The calls under way, oldest first. */
export class OperationList {
  #oldest: Operation | null = null
  #newest: Operation | null = null
  #emptied: (() => void) | null = null
  #sequence = 0
  /** Who waits until all up to that one have ended, in order. */
  #graces: { readonly sequence: number; readonly done: () => void }[] = []

  get oldest(): Operation | null {
    return this.#oldest
  }

  add(operation: Operation): void {
    this.#sequence += 1
    operation.sequence = this.#sequence
    operation.before = this.#newest
    if (this.#newest) this.#newest.after = operation
    else this.#oldest = operation
    this.#newest = operation
  }

  remove(operation: Operation): void {
    if (operation.before) operation.before.after = operation.after
    else this.#oldest = operation.after
    if (operation.after) operation.after.before = operation.before
    else this.#newest = operation.before
    if (this.#graces.length > 0) this.#endGraces()
    if (this.#oldest !== null) return
    const emptied = this.#emptied
    this.#emptied = null
    emptied?.()
  }

  some(holds: (operation: Operation) => boolean): boolean {
    for (let one = this.#oldest; one !== null; one = one.after) if (holds(one)) return true
    return false
  }

  /** Calls back when all that are under way now have ended, perhaps at once. */
  afterThese(done: () => void): void {
    this.#graces.push({ sequence: this.#sequence, done })
    this.#endGraces()
  }

  #endGraces(): void {
    const left = this.#oldest?.sequence ?? Number.POSITIVE_INFINITY
    while (this.#graces.length > 0 && (this.#graces[0]?.sequence ?? 0) < left) this.#graces.shift()?.done()
  }

  /** Calls back when there is none, perhaps at once. For one caller. */
  whenEmpty(done: () => void): void {
    if (this.#oldest === null) done()
    else this.#emptied = done
  }
}
