/**
 * Flush (W4): acknowledged when every in-sync replica has synced after it arrived, in one session. A flush that its
 * session did not finish begins again in the next one.
 */
import type { ServerId } from '../kit/ids.ts'
import type { Clock } from '../kit/world.ts'
import type { ReplicaStore, StoreFailure } from '../store/replica.ts'
import type { MirrorBody, MirrorSend } from './messages.ts'

interface Flush {
  readonly done: (failure: StoreFailure | null) => void
  readonly isWanted: () => boolean
  request: number
  startedMs: number
  ownMissing: boolean
  readonly missing: Set<ServerId>
}

export interface FlusherWorld {
  readonly clock: Clock
  readonly store: ReplicaStore
  readonly send: MirrorSend
  ownReplicaFailed(failure: StoreFailure): void
}

export class Flusher {
  readonly #world: FlusherWorld
  readonly #flushes = new Map<number, Flush>()
  /** Flushes that wait for a session. Bounded by the clients' request limits. */
  #waiting: Flush[] = []
  #members: ServerId[] = []
  #alone = true
  #session = 0
  #nextRequest = 1

  constructor(world: FlusherWorld) {
    this.#world = world
  }

  startSession(session: number, others: readonly ServerId[]): void {
    this.#session = session
    this.#members = [...others]
    this.#alone = others.length === 0
    const waiting = this.#waiting
    this.#waiting = []
    for (const flush of waiting) this.#begin(flush)
  }

  endSession(): void {
    this.#session = 0
    this.#waiting.push(...this.#flushes.values())
    this.#flushes.clear()
  }

  /** C10: from its first word on, a flush is acknowledged only when durable at the joiner too. */
  needJoiner(server: ServerId): void {
    if (!this.#members.includes(server)) this.#members.push(server)
  }

  dropJoiner(server: ServerId): void {
    this.#members = this.#members.filter((member) => member !== server)
    for (const flush of [...this.#flushes.values()]) {
      flush.missing.delete(server)
      this.#check(flush)
    }
  }

  /** @param isWanted W9: false once the connection that asked is known closed */
  flush(done: (failure: StoreFailure | null) => void, isWanted: () => boolean = () => true): void {
    const flush: Flush = { done, isWanted, request: 0, startedMs: 0, ownMissing: true, missing: new Set() }
    if (this.#session === 0) this.#waiting.push(flush)
    else this.#begin(flush)
  }

  /** Forgets flushes that wait for a session and that nobody wants any more. */
  dropUnwanted(): void {
    this.#waiting = this.#waiting.filter((flush) => flush.isWanted())
  }

  #begin(flush: Flush): void {
    const session = this.#session
    const request = this.#nextRequest
    this.#nextRequest += 1
    flush.request = request
    flush.startedMs = this.#world.clock.monotonicMs()
    flush.ownMissing = true
    flush.missing.clear()
    this.#flushes.set(request, flush)
    for (const member of this.#members) {
      flush.missing.add(member)
      this.#world.send(member, 'flush.ask', { session, attempt: 0, request })
    }
    this.#world.store.sync((failure) => {
      // An answer of an older session does not count.
      if (this.#flushes.get(request) !== flush) return
      if (failure !== null) return this.#failedHere(flush, failure)
      flush.ownMissing = false
      this.#check(flush)
    })
  }

  #failedHere(flush: Flush, failure: StoreFailure): void {
    if (!this.#alone) return this.#world.ownReplicaFailed(failure)
    this.#flushes.delete(flush.request)
    flush.done(failure)
  }

  onDone(from: ServerId, body: MirrorBody<'flush.done'>): void {
    const flush = this.#flushes.get(body.request)
    if (flush === undefined || body.session !== this.#session || body.failed) return
    flush.missing.delete(from)
    this.#check(flush)
  }

  #check(flush: Flush): void {
    if (flush.ownMissing || flush.missing.size > 0) return
    if (this.#flushes.delete(flush.request)) flush.done(null)
  }

  /** E8: milliseconds since the oldest flush began that this server still owes (null: this server's own disk). */
  owedByMs(server: ServerId | null): number {
    for (const flush of this.#flushes.values()) {
      const owes = server === null ? flush.ownMissing : flush.missing.has(server)
      if (owes) return this.#world.clock.monotonicMs() - flush.startedMs
    }
    return 0
  }
}
