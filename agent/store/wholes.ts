/** The replicas of a folder as callers see them: each volume's with its hidden range (hidden-range.ts). */
import type { DiskQueue } from './disk-queue.ts'
import { hiddenIdOf, WholeReplica, withoutHidden } from './hidden-range.ts'
import type { StoreDone, StoreFailure } from './replica.ts'
import type { DiskReplica } from './replica-disk.ts'
import type { ReplicaSet } from './replica-set.ts'
import { runSteps } from './steps.ts'

export interface WholesParts {
  readonly replicas: ReplicaSet
  readonly queue: DiskQueue
  /** A change of the folder failed. @returns what callers are told */
  readonly failed: (error: unknown) => StoreFailure
}

export class Wholes {
  readonly #parts: WholesParts
  /** The same object as long as the replica is there. */
  readonly #wholes = new WeakMap<DiskReplica, WholeReplica>()

  constructor(parts: WholesParts) {
    this.#parts = parts
  }

  all(): WholeReplica[] {
    const { replicas } = this.#parts
    return withoutHidden(replicas.all(), ({ volumeId }) => volumeId).map((replica) => this.of(replica))
  }

  of(replica: DiskReplica): WholeReplica {
    const known = this.#wholes.get(replica)
    if (known !== undefined) return known
    const { replicas, queue, failed } = this.#parts
    const whole = new WholeReplica(replica, replicas.get(hiddenIdOf(replica.volumeId)) ?? null, {
      make: (id, sizeBytes, done) =>
        runSteps(replicas.create(id, sizeBytes), (error, made) => {
          if (error) done(failed(error))
          else done(null, made)
        }),
      turn: (fire) => queue.turn(fire),
    })
    this.#wholes.set(replica, whole)
    return whole
  }

  /** C12: also hidden ranges that are not here are in doubt in a folder that has become older: they may have been. */
  makeHidden(done: StoreDone): void {
    const wholes = this.all()
    let left = wholes.length + 1
    let failed: StoreFailure | null = null
    const made = (failure: StoreFailure | null) => {
      failed ??= failure
      left -= 1
      if (left === 0) done(failed)
    }
    for (const whole of wholes) whole.makeHidden(made)
    this.#parts.queue.turn(() => made(null))
  }
}
