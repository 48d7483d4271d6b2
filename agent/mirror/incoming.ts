/**
 * The receiving half of the mirror engine: executes other servers' writes here and confirms them, and remembers their
 * names until their origin knows them confirmed (W8, C7). Executing waits for the disk only (P7).
 */
import type { ServerId } from '../kit/ids.ts'
import { handBack } from '../kit/slabs.ts'
import type { Clock } from '../kit/world.ts'
import type { Links, WriteMessage } from '../link/messages.ts'
import type { ReplicaStore, StoreFailure } from '../store/replica.ts'
import type { MirrorBody, MirrorSend } from './messages.ts'
import { applyToStore } from './outgoing.ts'
import { isInside } from './places.ts'
import type { SpaceGiver } from './space-giver.ts'

/** A mirrored write that this replica has applied, or is applying. */
export interface AppliedName {
  readonly origin: ServerId
  readonly run: number
  readonly number: number
  readonly time: number
  readonly offsetBytes: number
  readonly lengthBytes: number
}

interface Origin {
  /** In the order of their numbers: one origin sends them in order. */
  readonly names: Map<number, AppliedName>
  lowWater: number
  /** Numbers applied in this turn of the event loop, confirmed together at its end. */
  applied: number[]
}

export interface IncomingWorld {
  readonly volumeKey: number
  readonly links: Links
  readonly clock: Clock
  readonly store: ReplicaStore
  readonly send: MirrorSend
  observe(time: number): void
  touched(origin: ServerId, offsetBytes: number, lengthBytes: number, number: number): void
  ownReplicaFailed(failure: StoreFailure): void
  /** C8: what was set aside here for others' writes. */
  readonly space: Pick<SpaceGiver, 'cover'>
}

/** Most numbers that one confirmation names (messages.ts). */
const numbersPerMessage = 1024

export class Incoming {
  readonly #world: IncomingWorld
  readonly #origins = new Map<ServerId, Origin>()
  /** Start times of what is executing, oldest first. */
  readonly #executing = new Map<object, number>()
  #session = 0
  /** 0 as a member; the attempt's number as a joiner (C4). */
  #attempt = 0
  #drained: (() => void) | null = null
  #turnPlanned = false
  applied = 0

  constructor(world: IncomingWorld) {
    this.#world = world
  }

  /** Writes of this session (and, for a joiner, this attempt) are executed from now on; others are refused (E1). */
  accept(session: number, attempt: number): void {
    this.#session = session
    this.#attempt = attempt
  }

  /** E9: refuses everything and calls back when what began has ended. */
  refuse(drained: () => void): void {
    this.#session = 0
    for (const origin of this.#origins.values()) origin.applied = []
    this.#drained = drained
    this.#tellDrained()
  }

  /** Settled: the names of ended sessions have done their work (C7). */
  forgetNames(): void {
    for (const origin of this.#origins.values()) origin.names.clear()
  }

  names(): AppliedName[] {
    return [...this.#origins.values()].flatMap((origin) => [...origin.names.values()])
  }

  lowWaterOf(origin: ServerId): number {
    return this.#origins.get(origin)?.lowWater ?? 0
  }

  /** C1: a later low-water mark of this origin, also told by heartbeats. */
  confirmedBelow(from: ServerId, lowWater: number): void {
    const origin = this.#origin(from)
    if (lowWater <= origin.lowWater) return
    origin.lowWater = lowWater
    for (const number of origin.names.keys()) {
      if (number >= lowWater) break
      origin.names.delete(number)
    }
  }

  /** A new run of the origin numbers its writes anew. */
  originRestarted(from: ServerId): void {
    const origin = this.#origins.get(from)
    if (origin !== undefined) origin.lowWater = 0
  }

  onWrite(from: ServerId, run: number, message: WriteMessage): void {
    if (message.session !== this.#session || this.#session === 0 || message.attempt !== this.#attempt) return
    if (!this.#fits(message)) return this.#world.ownReplicaFailed('io')
    const { number, time, offsetBytes, lengthBytes } = message
    this.#world.observe(time)
    this.confirmedBelow(from, message.lowWater)
    const name: AppliedName = { origin: from, run, number, time, offsetBytes, lengthBytes }
    this.#origin(from).names.set(number, name)
    this.#executing.set(name, this.#world.clock.monotonicMs())
    this.#world.touched(from, offsetBytes, lengthBytes, number)
    const session = message.session
    const applied = (failure: StoreFailure | null) => {
      // A failed call may have left another one of this write under way.
      if (failure === null) handBack(message.chunks)
      this.#done(name, session, failure)
    }
    applyToStore(this.#world.store, message, applied, this.#world.space.cover(from, message))
  }

  #fits(message: WriteMessage): boolean {
    return message.lengthBytes > 0 && isInside(message.offsetBytes, message.lengthBytes, this.#world.store.sizeBytes)
  }

  #done(name: AppliedName, session: number, failure: StoreFailure | null): void {
    this.#executing.delete(name)
    if (failure !== null) this.#world.ownReplicaFailed(failure)
    else {
      this.applied += 1
      // A confirmation belongs to its session (W1); in a later one the name is told instead.
      if (session === this.#session) this.#confirm(name)
    }
    this.#tellDrained()
  }

  #confirm(name: AppliedName): void {
    this.#origin(name.origin).applied.push(name.number)
    // With nothing else under way there is nothing to wait for; else all of this turn go together.
    if (this.#executing.size === 0) this.#sendConfirmations()
    else if (!this.#turnPlanned) {
      this.#turnPlanned = true
      this.#world.clock.nextTurn(() => this.#sendConfirmations())
    }
  }

  #sendConfirmations(): void {
    this.#turnPlanned = false
    for (const [server, origin] of this.#origins) {
      if (origin.applied.length === 0) continue
      const all = origin.applied
      origin.applied = []
      if (this.#session === 0) continue
      for (let first = 0; first < all.length; first += numbersPerMessage) {
        const numbers = all.slice(first, first + numbersPerMessage)
        const { volumeKey, links } = this.#world
        links.send(server, { type: 'written', volumeKey, session: this.#session, numbers })
      }
    }
  }

  /** W4: another server's flush: a sync that begins now, answered only within the session that asked. */
  onFlush(from: ServerId, body: MirrorBody<'flush.ask'>): void {
    const { session, attempt, request } = body
    if (session !== this.#session || this.#session === 0) return
    this.#executing.set(body, this.#world.clock.monotonicMs())
    this.#world.store.sync((failure) => {
      this.#executing.delete(body)
      if (failure !== null) this.#world.ownReplicaFailed(failure)
      if (session === this.#session) {
        this.#world.send(from, 'flush.done', { session, attempt, request, failed: failure !== null })
      }
      this.#tellDrained()
    })
  }

  /** E8: milliseconds since the oldest execution began that the own disk has not finished; 0 when none. */
  overdueMs(): number {
    for (const startedMs of this.#executing.values()) return this.#world.clock.monotonicMs() - startedMs
    return 0
  }

  #origin(server: ServerId): Origin {
    let origin = this.#origins.get(server)
    if (origin === undefined) {
      origin = { names: new Map(), lowWater: 0, applied: [] }
      this.#origins.set(server, origin)
    }
    return origin
  }

  #tellDrained(): void {
    const drained = this.#drained
    if (drained === null || this.#executing.size > 0) return
    this.#drained = null
    drained()
  }
}
