/**
 * Writes that look before they write (W6): what stands there is read from this server's own replica, or, where that is rotten,
 * from another one (R3), under the `exclusive` that the write holds from its start. Once it is decided that it writes, it is a
 * plain write like any other, and never looks again. Decides it not to, its answer is a read's: the lease is looked at (R2).
 */
import { handBack } from '../kit/slabs.ts'
import type { Repairs } from '../mirror/repairs.ts'
import type { ReplicaStore } from '../store/replica.ts'
import type { Overdue } from './overdue.ts'
import type { WriteRequest } from './requests.ts'

export interface LooksWorld {
  readonly store: Pick<ReplicaStore, 'read'>
  readonly repairs: Pick<Repairs, 'read'>
  readonly overdue: Pick<Overdue, 'readBegan' | 'readEnded'>
  /** The session that is served now; 0 for none. */
  session(): number
  mayAnswer(): boolean
  /** The session in which it looked is over, and nothing was written: it looks again in the next one. */
  again(request: WriteRequest): void
  /** It is a plain write from here on. */
  execute(request: WriteRequest): void
  /** Nothing was written, and nothing will be. */
  ended(request: WriteRequest): void
}

export class Looks {
  readonly #world: LooksWorld
  /** Decided not to write, while the lease was not there (R2). */
  #awaitingLease: WriteRequest[] = []

  constructor(world: LooksWorld) {
    this.#world = world
  }

  /** It holds `exclusive`, and its space is set aside. */
  start(request: WriteRequest): void {
    const { store, overdue, repairs, again } = this.#world
    const { offsetBytes, lengthBytes } = request
    const session = this.#world.session()
    const isOver = () => session === 0 || session !== this.#world.session()
    overdue.readBegan(request)
    store.read(offsetBytes, lengthBytes, (failure, data) => {
      overdue.readEnded(request)
      if (isOver()) again(request)
      else if (failure === null) this.#decide(request, data)
      else {
        repairs.read(offsetBytes, lengthBytes, (repaired) => {
          if (isOver()) again(request)
          else if (repaired === null) this.#answer(request, 'io')
          else this.#decide(request, repaired)
        })
      }
    })
  }

  #decide(request: WriteRequest, present: Uint8Array): void {
    // W9: it has not started yet, and does not start any more.
    if (request.connection.closed) return this.#world.ended(request)
    const isWritten = request.decide(present)
    handBack([present])
    if (isWritten) this.#world.execute(request)
    else if (this.#world.mayAnswer()) this.#answer(request, null)
    else this.#awaitingLease.push(request)
  }

  #answer(request: WriteRequest, failure: 'io' | null): void {
    request.answer(failure)
    this.#world.ended(request)
  }

  /** What was seen in a session that ended is looked at again in the next one. */
  endSession(): void {
    for (const request of this.#awaitingLease.splice(0)) this.#world.again(request)
  }

  /** The lease may hold again. */
  answerWaiting(): void {
    if (this.#awaitingLease.length === 0 || !this.#world.mayAnswer()) return
    for (const request of this.#awaitingLease.splice(0)) this.#answer(request, null)
  }
}
