/** The returning replica's side of a resync: asks for it, takes copies and writes of one attempt, makes them durable. */
import type { ServerId } from '../kit/ids.ts'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { ReplicaStore } from '../store/replica.ts'
import type { CopyTarget } from './copy-target.ts'
import type { Incoming } from './incoming.ts'
import type { MirrorBody, MirrorSend } from './messages.ts'
import { regionRanges } from './region-ranges.ts'

/** `no`: in sync, or not drained yet; `asking`: says now and then that it is there; `draining`: a new attempt begins when
 * older executions have ended; `joining`: takes part in an attempt. */
type JoinerState =
  | { readonly step: 'no' }
  | { readonly step: 'asking' }
  | {
      readonly step: 'draining' | 'joining'
      readonly leader: ServerId
      readonly session: number
      readonly attempt: number
    }

export interface JoinerWorld {
  readonly self: ServerId
  readonly clock: Clock
  readonly store: ReplicaStore
  readonly incoming: Incoming
  readonly copyTarget: CopyTarget
  readonly send: MirrorSend
  /** The server to ask, if one is connected; and what this replica last opened. */
  whomToAsk(): { leader: ServerId; request: MirrorBody<'join.request'> } | null
  /** E6: durable that this replica is being changed by a resync. */
  saveResyncBegun(done: (saved: boolean) => void): void
}

const askAgainMs = 1_000

export class Joiner {
  readonly #world: JoinerWorld
  #state: JoinerState = { step: 'no' }
  #askAtMs = 0
  #backoffMs: number = limits.returnBackoffMs
  refusal = ''

  constructor(world: JoinerWorld) {
    this.#world = world
  }

  get joining(): boolean {
    return this.#state.step === 'joining'
  }

  /** Drained and out of the set. @param delayMs E8: whoever left with a slow disk comes back paced */
  start(delayMs: number): void {
    this.#state = { step: 'asking' }
    this.#askAtMs = this.#world.clock.monotonicMs() + delayMs
    this.tick()
  }

  /** In sync again, or stopping: the volume drains what is executing. */
  stop(): void {
    this.#state = { step: 'no' }
    this.#backoffMs = limits.returnBackoffMs
  }

  /** Somebody wants it now. */
  hurry(): void {
    this.#askAtMs = 0
    this.#backoffMs = limits.returnBackoffMs
    this.tick()
  }

  tick(): void {
    const now = this.#world.clock.monotonicMs()
    if (this.#state.step !== 'asking' || now < this.#askAtMs) return
    const whom = this.#world.whomToAsk()
    if (whom === null) return
    this.#askAtMs = now + askAgainMs
    this.#world.send(whom.leader, 'join.request', whom.request)
  }

  /** The leader or its run is gone: whatever it had begun is void (C4). */
  leaderLost(server: ServerId): void {
    if ((this.#state.step === 'joining' || this.#state.step === 'draining') && this.#state.leader === server)
      this.#giveUp()
  }

  /** This replica could not apply a write of the attempt: it is over, and the leader must not wait for it (C4). */
  diskFailed(why: string): void {
    const present = this.#state
    if (present.step !== 'joining' && present.step !== 'draining') return
    const { leader, session, attempt } = present
    this.#world.send(leader, 'join.trouble', { session, attempt, joiner: this.#world.self, why })
    this.#giveUp()
  }

  onRefused(why: string): void {
    if (this.#state.step !== 'asking') return
    this.refusal = why
    this.#pace()
  }

  onBegin(leader: ServerId, body: MirrorBody<'join.begin'>): void {
    if (this.#state.step === 'no') return
    const { session, attempt } = body
    const present = this.#state
    // Said again because our request was: it has begun already.
    if (present.step !== 'asking' && present.session === session && present.attempt === attempt) return
    this.refusal = ''
    const mine: JoinerState = { step: 'draining', leader, session, attempt }
    this.#state = mine
    let open = 3
    const drained = (): void => {
      open -= 1
      if (open === 0 && this.#state === mine) this.#beginAttempt(leader, session, attempt)
    }
    // C4: the joiner first drains executions of older attempts and refuses them since.
    this.#world.incoming.refuse(drained)
    this.#world.copyTarget.refuse(drained)
    this.#world.saveResyncBegun((saved) => {
      if (saved) drained()
      else if (this.#state === mine) this.diskFailed('its disk failed')
    })
  }

  #beginAttempt(leader: ServerId, session: number, attempt: number): void {
    this.#state = { step: 'joining', leader, session, attempt }
    // C4: what older attempts wrote here is compared like everything else; their names say nothing any more.
    this.#world.incoming.forgetNames()
    this.#world.incoming.accept(session, attempt)
    this.#world.copyTarget.accept(session, attempt)
    this.#world.send(leader, 'join.ready', { session, attempt, marked: markedRanges(this.#world.store) })
  }

  /** C10, C2: everything of the attempt becomes durable, and with it compared regions sound again. */
  onSync(leader: ServerId, body: MirrorBody<'join.sync'>): void {
    const { session, attempt, request } = body
    if (!this.#isIn(session, attempt)) return
    const answer = (failed: boolean): void => {
      if (this.#isIn(session, attempt)) this.#world.send(leader, 'join.synced', { session, attempt, request, failed })
    }
    const { store } = this.#world
    const doubtful = [...store.regions()].filter(([, facts]) => facts.grade !== 'sound').map(([region]) => region)
    store.sync((failure) => {
      if (failure !== null || doubtful.length === 0) answer(failure !== null)
      else store.settled(doubtful, (second) => answer(second !== null))
    })
  }

  onVoid(body: MirrorBody<'join.void'>): void {
    if (this.#state.step === 'no' || this.#state.step === 'asking') return
    if (this.#state.session === body.session && this.#state.attempt === body.attempt) this.#giveUp()
  }

  #giveUp(): void {
    this.#state = { step: 'asking' }
    this.#world.incoming.refuse(() => undefined)
    this.#world.copyTarget.refuse(() => undefined)
    this.#pace()
  }

  #pace(): void {
    this.#askAtMs = this.#world.clock.monotonicMs() + this.#backoffMs
    this.#backoffMs = Math.min(this.#backoffMs * 2, limits.returnBackoffMaxMs)
  }

  #isIn(session: number, attempt: number): boolean {
    return this.#state.step === 'joining' && this.#state.session === session && this.#state.attempt === attempt
  }
}

/** @returns the marked regions as ranges: what differs here besides what the others changed meanwhile (C4) */
export function markedRanges(store: ReplicaStore): { first: number; last: number }[] {
  const marked = [...store.regions()].filter(([, facts]) => facts.marked).map(([region]) => [region, true] as const)
  return regionRanges(marked, limits.toldRanges, () => true).map(({ first, last }) => ({ first, last }))
}
