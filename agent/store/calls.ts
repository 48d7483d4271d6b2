/** The calls of one replica that are under way: what each of them waits for before it may begin, and what its end means. */
import { invariant } from '../kit/failure.ts'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { DiskQueue } from './disk-queue.ts'
import type { ExtentMap } from './extent-map.ts'
import { type FileError, failureOf } from './files.ts'
import type { Marks } from './marks.ts'
import { Operation, type OperationHost, OperationList } from './operation.ts'
import type { StoreDone, StoreFailure } from './replica.ts'
import type { SumDoubt } from './sum-doubt.ts'
import type { SumOwner } from './sum-page.ts'
import { unknowSums } from './sum-writes.ts'
import type { Sums } from './sums.ts'
import type { Syncs } from './syncs.ts'

export interface CallParts {
  readonly clock: Clock
  readonly queue: DiskQueue
  readonly syncs: Syncs
  readonly marks: Marks
  readonly map: ExtentMap
  readonly sums: Sums
  readonly doubt: SumDoubt
  readonly failed: () => boolean
  readonly fail: (error: FileError) => void
}

export class Calls implements OperationHost {
  readonly #parts: CallParts
  readonly #owner: SumOwner
  readonly list = new OperationList()
  /** The replica is deleted: nothing may come any more. */
  isGone = false

  constructor(parts: CallParts, owner: SumOwner) {
    this.#parts = parts
    this.#owner = owner
  }

  oldestPendingMs(): number {
    const { oldest } = this.list
    return oldest === null ? 0 : this.#parts.clock.monotonicMs() - oldest.startMs
  }

  /** A call has had all its answers. */
  ended(operation: Operation): void {
    this.list.remove(operation)
    operation.reservation?.release()
    if (operation.failure !== null && operation.summedEndBytes >= 0) {
      // What the disk took of it is not known: old bytes, new ones, or some of both.
      unknowSums(this.#parts, this.#owner, operation.summedFromBytes, operation.summedEndBytes)
    }
    for (const file of operation.files) this.#parts.syncs.wrote(file)
    if (operation.firstRegion >= 0) this.#parts.marks.end(operation.firstRegion, operation.lastRegion)
  }

  /** A write failed. A full disk promises nothing about this range; anything else fails the whole store. */
  failedWrite(error: FileError, before: StoreFailure | null): StoreFailure {
    const failure = failureOf(error)
    if (failure === 'io') this.#parts.fail(error)
    return before ?? failure
  }

  begin(done: (failure: StoreFailure | null) => void): Operation {
    invariant(!this.isGone, 'S5', 'a deleted replica is used')
    const operation = new Operation(this, this.#parts.clock.monotonicMs(), done)
    this.list.add(operation)
    return operation
  }

  /** The same call, seen by oldestPendingMs; also one that goes on while its volume is deleted. */
  timed(call: (done: (error: FileError | null) => void) => void) {
    return (done: (error: FileError | null) => void) => {
      const end = this.watch()
      call((error) => {
        end()
        done(error)
      })
    }
  }

  /** Something that the disk does begins, seen by oldestPendingMs. @returns to be called when it has ended */
  watch(): () => void {
    const operation = new Operation(this, this.#parts.clock.monotonicMs(), () => undefined)
    this.list.add(operation)
    return () => operation.part()
  }

  /** Ends the operation's own part in a later turn, so that no callback comes inside the call. */
  later(operation: Operation): void {
    if (operation.left > 1) operation.part()
    else this.#parts.queue.turn(() => operation.part())
  }

  marks(done: StoreDone, call: (finished: (error: FileError | null) => void) => void): void {
    const operation = this.begin(done)
    if (this.#parts.failed()) {
      operation.failure = 'io'
      this.later(operation)
      return
    }
    call((error) => operation.diskDone(error))
  }

  /** Goes on when the regions of the range are durably marked. */
  marked(operation: Operation, offsetBytes: number, lengthBytes: number, go: () => void): void {
    if (this.#parts.failed()) {
      operation.failure = 'io'
      this.later(operation)
      return
    }
    operation.firstRegion = Math.floor(offsetBytes / limits.regionBytes)
    operation.lastRegion = Math.floor((offsetBytes + lengthBytes - 1) / limits.regionBytes)
    if (this.#parts.marks.begin(operation.firstRegion, operation.lastRegion)) this.#admitted(operation, go)
    else {
      this.#parts.marks.mark(operation.firstRegion, operation.lastRegion, (error) => {
        if (error === null && !this.#parts.failed()) this.#admitted(operation, go)
        else {
          operation.failure = error === null ? 'io' : this.failedWrite(error, null)
          operation.part()
        }
      })
    }
  }

  /** Goes on when not too much is written that no sync covers: at once, but for a slow disk. */
  #admitted(operation: Operation, go: () => void): void {
    const admitted = () => {
      if (!this.#parts.failed()) return go()
      operation.failure = 'io'
      this.later(operation)
    }
    this.#parts.sums.admit(() => this.#parts.syncs.admit(admitted))
  }
}
