/**
 * A volume's reads from where policing lets them begin until they are answered (R1-R4): from this server's replica, from
 * another one where the disk here fails (R3), and only while the lease holds (R2).
 */
import type { Repairs } from '../mirror/repairs.ts'
import type { ReplicaStore } from '../store/replica.ts'
import type { Overdue } from './overdue.ts'
import type { ReadRequest } from './requests.ts'

export interface ReadsWorld {
  readonly store: ReplicaStore
  readonly repairs: Repairs
  readonly overdue: Overdue
  /** The session that is served now; 0 for none. */
  session(): number
  mayAnswer(): boolean
  /** The session in which it began is over: it asks for permission again in the next one. */
  again(request: ReadRequest): void
}

export class Reads {
  readonly #world: ReadsWorld
  /** The data is there while the lease is not (R2). */
  #awaitingLease: { readonly request: ReadRequest; readonly data: Uint8Array }[] = []

  constructor(world: ReadsWorld) {
    this.#world = world
  }

  start(request: ReadRequest): void {
    const { store, overdue, repairs, again } = this.#world
    const session = this.#world.session()
    const isOver = () => session === 0 || session !== this.#world.session()
    // E8: what the agent reads of its own accord keeps nobody waiting.
    if (request.connection.isInternal !== true) overdue.readBegan(request)
    store.read(request.offsetBytes, request.lengthBytes, (failure, data) => {
      overdue.readEnded(request)
      if (isOver()) again(request)
      else if (failure === null) this.#read(request, data)
      else {
        repairs.read(request.offsetBytes, request.lengthBytes, (repaired) => {
          if (isOver()) again(request)
          else if (repaired === null) request.answer('io', [])
          else this.#read(request, repaired)
        })
      }
    })
  }

  #read(request: ReadRequest, data: Uint8Array): void {
    if (this.#world.mayAnswer()) request.answer(null, [data])
    else this.#awaitingLease.push({ request, data })
  }

  /** What was read in a session that ended is read again in the next one (R2). */
  endSession(): void {
    const waiting = this.#awaitingLease
    this.#awaitingLease = []
    for (const { request } of waiting) this.#world.again(request)
  }

  /** The lease may hold again. */
  answerWaiting(): void {
    if (this.#awaitingLease.length === 0 || !this.#world.mayAnswer()) return
    const waiting = this.#awaitingLease
    this.#awaitingLease = []
    for (const { request, data } of waiting) request.answer(null, [data])
  }
}
