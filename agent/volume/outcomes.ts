/**
 * What became of writes whose server fell out of the set while they were in flight (W8). Who led every forming since then
 * knows: a write that a member told in one of them is on every replica (C7), one that nobody told is nowhere, and refused
 * since the session ended. Everybody else says that it does not know. Pure.
 */
import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import { shareRegions } from '../membership/forming.ts'
import type { Tell, WriteName } from '../membership/messages.ts'
import type { Session } from '../membership/session.ts'
import type { HostBody, HostSend } from './host-messages.ts'
import type { WriteRequest } from './requests.ts'

/** `applied`: acknowledged everywhere. `barred`: done nowhere, and never will be. */
export type WriteOutcome = 'applied' | 'barred' | 'unknown'

/** What a leader knows of one run of another server. */
interface Known {
  readonly run: number
  /** Sessions since which this server has seen every forming. */
  sessions: number[]
  readonly applied: Set<number>
  /** Told in an attempt that became no session, and so perhaps copied, or by members only whose own copy did not count there. */
  readonly doubtful: Set<number>
  /** Smaller numbers are forgotten. */
  lowWater: number
}

/** What the members told in one attempt: what is applied once it is a session, and what is doubtful then. */
interface Attempt {
  readonly session: number
  readonly names: readonly WriteName[]
  readonly doubtful: readonly WriteName[]
}

/** The half that answers. */
export class Outcomes {
  readonly #known = new Map<ServerId, Known>()
  #attempt: Attempt | null = null

  /** A session begins that another server leads, or this one is out: what is settled then it does not see, though it may lead again. */
  forget(): void {
    this.#known.clear()
    this.#attempt = null
  }

  /** As the leader: what all members told, before anything is copied. */
  settling(session: number, tells: ReadonlyMap<ServerId, Tell>): void {
    this.#takeAsDoubtful(this.#attempt)
    const told = [...tells.values()]
    // C2: of members that are all in doubt the best one wins, and its names may have died with an older run.
    if (shareRegions(told.map(({ doubts }) => doubts))) this.#known.clear()
    const of = (sound: boolean) => told.flatMap((tell) => tell.names.filter((name) => isSound(tell, name) === sound))
    this.#attempt = { session, names: of(true), doubtful: of(false) }
  }

  /** All that was told is settled and durable. @param lowWaterOf confirmed below it: nobody asks about those */
  recorded(session: Session, lowWaterOf: (origin: ServerId) => number): void {
    const attempt = this.#attempt
    this.#attempt = null
    if (attempt?.session === session.number) {
      this.#take(attempt.names, 'applied')
      this.#take(attempt.doubtful, 'doubtful')
    } else this.#takeAsDoubtful(attempt)
    for (const [server, run] of session.runs) this.#cover(server, run, session.number, lowWaterOf(server))
  }

  #takeAsDoubtful(attempt: Attempt | null): void {
    this.#take(attempt?.names ?? [], 'doubtful')
    this.#take(attempt?.doubtful ?? [], 'doubtful')
  }

  #take(names: readonly WriteName[], as: 'applied' | 'doubtful'): void {
    for (const { origin, run, number } of names) {
      const known = this.#known.get(origin)
      if (known?.run === run) known[as].add(number)
    }
  }

  #cover(server: ServerId, run: number, session: number, lowWater: number): void {
    let known = this.#known.get(server)
    if (known?.run !== run) {
      known = { run, sessions: [], applied: new Set(), doubtful: new Set(), lowWater: 0 }
      this.#known.set(server, known)
    }
    known.sessions = [...known.sessions, session].slice(-limits.outcomeSessions)
    known.lowWater = Math.max(known.lowWater, lowWater)
    for (const numbers of [known.applied, known.doubtful]) {
      for (const number of numbers) if (number < lowWater) numbers.delete(number)
    }
  }

  /** @param session in which the write began executing */
  of(origin: ServerId, run: number, session: number, number: number): WriteOutcome {
    const known = this.#known.get(origin)
    if (known?.run !== run || !known.sessions.includes(session) || number < known.lowWater) return 'unknown'
    if (known.applied.has(number)) return 'applied'
    return known.doubtful.has(number) ? 'unknown' : 'barred'
  }
}

/** C2: whether that member's own copy counted where the write lies, so that what it had applied is applied everywhere. */
const isSound = ({ doubts }: Tell, { offsetBytes, lengthBytes }: WriteName): boolean => {
  const first = Math.floor(offsetBytes / limits.regionBytes)
  const last = Math.floor((offsetBytes + lengthBytes - 1) / limits.regionBytes)
  return !doubts.some((doubt) => doubt.first <= last && doubt.last >= first)
}

export interface OpenWritesWorld {
  readonly send: HostSend
  /** Who leads the set, as far as is known here. */
  leader(): ServerId
  /** The session in which that server serves, and its run; null: it does not, or is not connected. */
  offerOf(server: ServerId): { readonly run: number; readonly session: number } | null
  /** Nobody has done it, and nobody will: it starts again, under a new name. */
  again(write: WriteRequest): void
}

/** The half that asks: this server's own writes that were in flight when it fell out. */
export class OpenWrites {
  readonly #world: OpenWritesWorld
  readonly #writes = new Map<number, WriteRequest>()
  #asked = { server: '', run: 0, session: 0 }

  constructor(world: OpenWritesWorld) {
    this.#world = world
  }

  get size(): number {
    return this.#writes.size
  }

  add(write: WriteRequest): void {
    if (write.connection.closed) return
    this.#writes.set(write.number, write)
    this.#asked = { server: '', run: 0, session: 0 }
  }

  /** Asks the leader once in each session that it serves in; to be called when something may have changed. */
  ask(): void {
    if (this.#writes.size === 0) return
    const server = this.#world.leader()
    const offer = this.#world.offerOf(server)
    const { run, session } = offer ?? {}
    if (run === undefined || session === undefined) return
    if (this.#asked.server === server && this.#asked.run === run && this.#asked.session === session) return
    this.#asked = { server, run, session }
    const writes = [...this.#writes.values()].map(({ number, startedIn }) => ({ number, session: startedIn }))
    this.#world.send(server, 'outcome.ask', { writes })
  }

  onAnswer(from: ServerId, run: number, { writes }: HostBody<'outcome.answer'>): void {
    if (this.#asked.server !== from || this.#asked.run !== run) return
    for (const { number, outcome } of writes) {
      const write = this.#writes.get(number)
      if (write === undefined) continue
      this.#writes.delete(number)
      if (write.connection.closed) continue
      if (outcome === 'barred') this.#world.again(write)
      else write.answer(outcome === 'applied' ? null : 'unknown-outcome')
    }
  }

  dropUnwanted(): void {
    for (const [number, write] of this.#writes) if (write.connection.closed) this.#writes.delete(number)
  }

  /** Nobody will be asked any more. */
  giveUp(): void {
    for (const write of this.#writes.values()) write.answer('unknown-outcome')
    this.#writes.clear()
  }
}
