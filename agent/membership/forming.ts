/**
 * The leader's part in forming a session (E9): gather what every member tells, settle, let all record, open. Each step is
 * begun once all members have finished the one before; any other run or configuration begins anew from what was told.
 *
 *   gathering --all told--> readying --all ready--> settling --settled--> recording --all recorded--> opened
 *       ^------------------------- another run, another configuration, a failure ------------------------'
 */
import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import type { Configuration } from './configuration.ts'
import type { MemberMessage, MemberMessageKind, Tell } from './messages.ts'
import { makeSession, type Session } from './session.ts'

export type FormingStep = 'idle' | 'gathering' | 'readying' | 'settling' | 'recording' | 'opened'

export interface FormingWorld {
  readonly self: ServerId
  runOf(server: ServerId): number | undefined
  /** Sends to a member, or takes it at once when that is this server. */
  send<Kind extends MemberMessageKind>(to: ServerId, kind: Kind, body: Omit<MemberMessage<Kind>, 'volume'>): void
  /** Whether a session may begin now: no decision is awaited, nobody is being left out. */
  mayBegin(): boolean
  /** C2's exception and its wait: whether what was told may be opened. */
  mayOpen(configuration: Configuration, tells: ReadonlyMap<ServerId, Tell>): boolean
  /** Makes the replicas equal where they may differ; `done(false)` when a member could not. */
  settle(session: Session, tells: ReadonlyMap<ServerId, Tell>, done: (settled: boolean) => void): SettledPieces
  /** Milliseconds in which this server's event loop turned: its own pauses are no delay of others. */
  turnedMs(): number
  /** The vector that would begin was open before: only a new configuration can tell the two apart. */
  vectorWasUsed(session: Session): void
}

/** @returns a number that changes whenever a settling gets on */
export type SettledPieces = () => number

export class Forming {
  readonly #world: FormingWorld
  #step: FormingStep = 'idle'
  #configuration: Configuration | null = null
  readonly #tells = new Map<ServerId, { readonly run: number; readonly round: number; readonly tell: Tell }>()
  /** Of the last opened session: what each member told, by run and round. */
  readonly #used = new Map<ServerId, { readonly run: number; readonly round: number }>()
  #session: Session | null = null
  /** Members whose answer the present step still needs. */
  #awaited = new Set<ServerId>()
  readonly #opened = new Set<number>()
  /** How far the present step is, and since when, in turned time. */
  #progress = ''
  #progressMs = 0
  #settledPieces: SettledPieces = () => 0

  constructor(world: FormingWorld) {
    this.#world = world
  }

  get step(): FormingStep {
    return this.#step
  }

  /** Begins to gather for a configuration that this server leads; keeps what was told for the same one. */
  gather(configuration: Configuration): void {
    if (this.#configuration?.id !== configuration.id) this.#tells.clear()
    this.#configuration = configuration
    this.#restart()
  }

  stop(): void {
    this.#step = 'idle'
    this.#session = null
  }

  /**
   * @param round counts the member's own beginnings: the same words in a new round mean that it has begun anew and knows
   * nothing of the present step
   * @returns whether it was news
   */
  onTell(from: ServerId, run: number, configuration: Configuration, tell: Tell, round: number): boolean {
    if (this.#configuration?.id !== configuration.id) {
      this.#tells.clear()
      this.#configuration = configuration
    }
    const used = this.#used.get(from)
    // A late repetition of what the open session was formed from: nobody has stopped.
    if (used?.run === run && round <= used.round) return false
    const before = this.#tells.get(from)
    // The same words again change nothing: messages repeat harmlessly (E9).
    const same = before?.run === run && before.round === round
    if (same && JSON.stringify(before.tell) === JSON.stringify(tell)) {
      this.retry()
      return false
    }
    this.#tells.set(from, { run, round, tell })
    if (this.#step !== 'idle') this.#restart()
    return true
  }

  /** A server's run shows. That of a member which has told in another one voids what it told; whoever only connected
   * again, or is no member, changes nothing (E9: the same vector is the same attempt). */
  onRun(server: ServerId, run: number): void {
    const told = this.#tells.get(server)
    if (told === undefined || told.run === run) return this.retry()
    this.#tells.delete(server)
    if (this.#step !== 'idle' && this.#step !== 'opened') this.#restart()
  }

  /** Tries again what `mayBegin` or `mayOpen` held back. */
  retry(): void {
    if (this.#step === 'gathering') this.#tryBegin()
  }

  /** To be called now and then: a step that does not get on any more, whoever is to blame, is begun anew. */
  tick(): void {
    this.retry()
    if (this.#step === 'idle' || this.#step === 'gathering' || this.#step === 'recording' || this.#step === 'opened')
      return
    const progress = `${this.#session?.number} ${this.#step} ${this.#awaited.size} ${this.#settledPieces()}`
    const now = this.#world.turnedMs()
    if (progress !== this.#progress) {
      this.#progress = progress
      this.#progressMs = now
    } else if (now - this.#progressMs > limits.formingStepMs) {
      this.#progress = ''
      this.#restart()
    }
  }

  onReady(from: ServerId, session: number): void {
    if (this.#answered(from, session, 'readying')) this.#settle()
  }

  onRecorded(from: ServerId, session: number): void {
    if (!this.#answered(from, session, 'recording') || this.#session === null) return
    this.#step = 'opened'
    this.#opened.add(session)
    // What was told has done its work; a later session in this configuration is formed from new words (E9).
    for (const [member, { run, round }] of this.#tells) this.#used.set(member, { run, round })
    this.#tells.clear()
    this.#toAll('form.open', { session })
  }

  #restart(): void {
    this.#step = 'gathering'
    this.#session = null
    this.#tryBegin()
  }

  #tryBegin(): void {
    const configuration = this.#configuration
    if (configuration === null || !this.#world.mayBegin()) return
    const runs = new Map<ServerId, number>()
    for (const member of configuration.inSync) {
      const told = this.#tells.get(member)
      if (told === undefined || told.run !== this.#world.runOf(member)) return
      runs.set(member, told.run)
    }
    if (!this.#world.mayOpen(configuration, this.#told(configuration))) return
    const session = makeSession(configuration, runs, this.#world.self)
    if (this.#opened.has(session.number)) return this.#world.vectorWasUsed(session)
    this.#session = session
    this.#step = 'readying'
    this.#awaited = new Set(configuration.inSync)
    const vector = [...runs].map(([serverId, run]) => ({ serverId, run }))
    this.#toAll('form.begin', { configurationId: configuration.id, session: session.number, runs: vector })
  }

  #settle(): void {
    const session = this.#session
    if (session === null) return
    this.#step = 'settling'
    this.#settledPieces = this.#world.settle(session, this.#told(session.configuration), (settled) => {
      if (this.#session !== session || this.#step !== 'settling') return
      if (!settled) {
        // Tried again at the next tick (retry), not at once: whatever failed may need a moment.
        this.#step = 'gathering'
        this.#session = null
        return
      }
      this.#step = 'recording'
      this.#awaited = new Set(session.configuration.inSync)
      const time = Math.max(...[...this.#tells.values()].map(({ tell }) => tell.time))
      this.#toAll('form.record', { session: session.number, time })
    })
  }

  #told(configuration: Configuration): Map<ServerId, Tell> {
    const told = new Map<ServerId, Tell>()
    for (const member of configuration.inSync) {
      const entry = this.#tells.get(member)
      if (entry !== undefined) told.set(member, entry.tell)
    }
    return told
  }

  /** @returns whether this was the last answer that the step needed. */
  #answered(from: ServerId, session: number, step: FormingStep): boolean {
    if (this.#step !== step || this.#session?.number !== session) return false
    this.#awaited.delete(from)
    return this.#awaited.size === 0
  }

  #toAll<Kind extends MemberMessageKind>(kind: Kind, body: Omit<MemberMessage<Kind>, 'volume'>): void {
    const session = this.#session
    if (session === null) return
    // Others first: what this server takes at once may already go on to the next step.
    for (const member of session.others) this.#world.send(member, kind, body)
    if (this.#session === session) this.#world.send(this.#world.self, kind, body)
  }
}

/** C2: in every region some member is not lossy, or a member had opened this very configuration before. */
export function mayOpen(configuration: Configuration, tells: ReadonlyMap<ServerId, Tell>): boolean {
  // C12: an older copy opened it before it lost what was written then; it counts where there is nobody else.
  const all = [...tells.values()]
  const counting = all.some(({ older }) => older !== true) ? all.filter(({ older }) => older !== true) : all
  if (counting.some(({ openedId }) => openedId === configuration.id)) return true
  return !shareRegions(all.map((tell) => tell.doubts.filter((doubt) => doubt.grade === 'lossy')))
}

/** Whether some region is in all of these lists; each is ascending and without overlaps, as a tell has it. */
export function shareRegions(lists: readonly (readonly RegionRange[])[]): boolean {
  const [first = [], ...rest] = lists
  return rest.reduce(intersection, first).length > 0
}

interface RegionRange {
  readonly first: number
  readonly last: number
}

/** @returns the regions that are in both */
function intersection(one: readonly RegionRange[], other: readonly RegionRange[]): readonly RegionRange[] {
  const both: RegionRange[] = []
  let index = 0
  for (const range of one) {
    // The last one looked at may also overlap the next range.
    while (index < other.length && (other[index]?.last ?? 0) < range.first) index += 1
    for (let at = index; at < other.length; at += 1) {
      const candidate = other[at]
      if (candidate === undefined || candidate.first > range.last) break
      both.push({ first: Math.max(range.first, candidate.first), last: Math.min(range.last, candidate.last) })
    }
  }
  return both
}
