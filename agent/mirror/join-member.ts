/**
 * What every in-sync server does while a replica joins (C4, C10): its writes go to the joiner too; it gives its word,
 * durably, that all of them are applied there; and it keeps the word until the arbiter's decision is known.
 */
import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import type { Flusher } from './flusher.ts'
import type { MirrorBody, MirrorSend } from './messages.ts'
import type { Outgoing } from './outgoing.ts'

export interface JoinMemberWorld {
  readonly outgoing: Outgoing
  readonly flusher: Flusher
  readonly send: MirrorSend
  /** The run of the joiner that a connection shows now; undefined without one. */
  joinerRun(joiner: ServerId): number | undefined
  /** C4, C10: milliseconds since the oldest write or flush of this server was sent that the joiner has not done. */
  joinerOwesMs(joiner: ServerId): number
  /** Durable before `done(true)`: the word, or (null) that there is none any more. */
  saveWord(joiner: ServerId | null, done: (saved: boolean) => void): void
}

/** `none`; `mirroring`: the joiner gets every write; `worded`: acknowledgements wait for it too. */
type JoinState =
  | { readonly step: 'none' }
  | {
      readonly step: 'mirroring' | 'worded'
      readonly leader: ServerId
      readonly joiner: ServerId
      /** What is sent to another run of it is lost. */
      readonly run: number | undefined
      readonly session: number
      readonly attempt: number
    }

export class JoinMember {
  readonly #world: JoinMemberWorld
  #state: JoinState = { step: 'none' }
  /** What the leader, whose session opened before this server's, asked already. */
  #early: { readonly leader: ServerId; readonly body: MirrorBody<'join.mirror'> } | null = null

  constructor(world: JoinMemberWorld) {
    this.#world = world
  }

  get joiner(): ServerId | null {
    return this.#state.step === 'none' ? null : this.#state.joiner
  }

  /** The session is over, and every attempt in it (C4). The word stays on the disk until its decision is known. */
  endSession(): void {
    this.#state = { step: 'none' }
    this.#early = null
  }

  /** The session is recorded here and not open yet: its writes can go to the joiner from when it opens. */
  onEarlyMirror(leader: ServerId, body: MirrorBody<'join.mirror'>): void {
    this.#early = { leader, body }
  }

  sessionOpened(): void {
    const early = this.#early
    this.#early = null
    if (early !== null) this.onMirror(early.leader, early.body)
  }

  onMirror(leader: ServerId, body: MirrorBody<'join.mirror'>): void {
    const { session, attempt, joiner } = body
    this.#drop()
    this.#state = { step: 'mirroring', leader, joiner, run: this.#world.joinerRun(joiner), session, attempt }
    this.#world.outgoing.addJoiner(joiner, attempt)
    this.#world.outgoing.whenEnded(() => {
      // C4: what was in flight before is confirmed, what comes later goes there.
      if (this.#is('mirroring', session, attempt)) this.#world.send(leader, 'join.mirroring', { session, attempt })
    })
  }

  onWord(leader: ServerId, body: MirrorBody<'join.word'>): void {
    const { session, attempt, joiner } = body
    const state = this.#state
    if (state.step !== 'mirroring' || !this.#is('mirroring', session, attempt)) {
      this.#world.send(leader, 'join.worded', { session, attempt, given: false })
      return
    }
    this.#state = { ...state, step: 'worded' }
    this.#world.outgoing.needJoiner(joiner)
    this.#world.flusher.needJoiner(joiner)
    this.#world.outgoing.whenEnded(() => {
      if (!this.#is('worded', session, attempt)) return
      this.#world.saveWord(joiner, (saved) => {
        if (this.#is('worded', session, attempt))
          this.#world.send(leader, 'join.worded', { session, attempt, given: saved })
      })
    })
  }

  /** C10: whoever lost the joiner's run, or waits for it too long, wants the attempt void. Whether it can be is for the
   * leader to say: only that knows what it has proposed. Said again until it answers; called a few times a second. */
  tick(): void {
    const state = this.#state
    if (state.step === 'none') return
    const { leader, joiner, run, session, attempt } = state
    const isLost = run === undefined || this.#world.joinerRun(joiner) !== run
    if (!isLost && this.#world.joinerOwesMs(joiner) <= limits.joinerOverdueMs) return
    const why = isLost ? 'a server lost its link to it' : 'it was too slow'
    this.#world.send(leader, 'join.trouble', { session, attempt, joiner, why })
  }

  /** The leader says that the attempt is void, and that nothing was proposed for it or the proposal lost. */
  onVoid(body: MirrorBody<'join.void'>): void {
    const { session, attempt } = body
    if (this.#early?.body.attempt === attempt) this.#early = null
    if (!this.#is('mirroring', session, attempt) && !this.#is('worded', session, attempt)) return
    this.#drop()
  }

  #drop(): void {
    const state = this.#state
    if (state.step === 'none') return
    this.#state = { step: 'none' }
    if (state.step === 'worded') this.#world.saveWord(null, () => undefined)
    this.#world.outgoing.dropJoiner(state.joiner)
    this.#world.flusher.dropJoiner(state.joiner)
  }

  #is(step: 'mirroring' | 'worded', session: number, attempt: number): boolean {
    const state = this.#state
    return state.step === step && state.session === session && state.attempt === attempt
  }
}
