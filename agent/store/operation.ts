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

  get oldest(): Operation | null {
    return this.#oldest
  }

  add(operation: Operation): void {
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
    if (this.#oldest !== null) return
    const emptied = this.#emptied
    this.#emptied = null
    emptied?.()
  }

  /** Calls back when there is none, perhaps at once. For one caller. */
  whenEmpty(done: () => void): void {
    if (this.#oldest === null) done()
    else this.#emptied = done
  }
}
