/**
 * The leader's side of a resync (C4, C5, C10): one attempt at a time brings one replica back into the in-sync set.
 *
 *   idle --request--> asked --ready--> mirroring --everybody mirrors--> comparing --all equal--> syncing
 *   syncing --durable there, arbiter answers--> words --all given--> sealing --durable again--> proposing --> idle
 *   any but proposing --joiner silent, disk error, session over--> idle (void)
 */

import { never } from '../kit/failure.ts'
import type { ServerId } from '../kit/ids.ts'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { ReplicaStore } from '../store/replica.ts'
import type { Copier } from './copier.ts'
import type { MirrorBody, MirrorSend } from './messages.ts'
import { PieceWalk, type PieceWalkWorld } from './piece-walk.ts'
import { regionLength, regionsIn } from './places.ts'

export type ResyncStep = 'idle' | 'asked' | 'mirroring' | 'comparing' | 'syncing' | 'words' | 'sealing' | 'proposing'

export interface ResyncSession {
  readonly number: number
  readonly epoch: number
  /** All in-sync servers, this one too. */
  readonly members: readonly ServerId[]
}

export interface ResyncWorld extends PieceWalkWorld {
  readonly clock: Clock
  readonly store: ReplicaStore
  readonly copier: Copier
  readonly send: MirrorSend
  /** Whether the link to the joiner is up and its run the same as when the attempt began. */
  joinerAlive(joiner: ServerId): boolean
  /** C4, C10: milliseconds since the oldest write or flush was sent that the joiner has not done. */
  joinerOwesMs(joiner: ServerId): number
  /** E1: whether what the joiner last opened is part of this volume's history. */
  inHistory(openedId: string | null): boolean
  /** C10: "words are asked only right after the arbiter answered". */
  arbiterAnswers(done: (answers: boolean) => void): void
  /** Proposes the joiner's membership; false: not possible now. */
  propose(joiner: ServerId, decided: (joined: boolean) => void): boolean
  tellPeople(
    kind: 'started' | 'voided' | 'paused' | 'continued',
    joiner: ServerId,
    details: Record<string, string | number>,
  ): void
}

export interface ResyncProgress {
  readonly joiner: ServerId
  readonly phase: 'comparing' | 'joining' | 'paused'
  readonly totalBytes: number
  readonly doneBytes: number
  readonly movedBytes: number
  readonly bytesPerSecond: number | null
  readonly startedMs: number
}

export class Resync {
  readonly #world: ResyncWorld
  #step: ResyncStep = 'idle'
  #session: ResyncSession | null = null
  #joiner: ServerId | null = null
  #joinerOpenedEpoch = 0
  #attempt = 0
  #awaited = new Set<ServerId>()
  #walk: PieceWalk | null = null
  /** The joiner's own regions in doubt, as it told when it was ready. */
  #markedThere: MirrorBody<'join.ready'>['marked'] = []
  #startedMs = 0
  #request = 0
  #paused = false
  /** For how long the attempt has been in one step. */
  #watchedStep: ResyncStep = 'idle'
  #watchedAttempt = 0
  #watchedSinceMs = 0

  constructor(world: ResyncWorld) {
    this.#world = world
  }

  get joiner(): ServerId | null {
    return this.#step === 'idle' ? null : this.#joiner
  }
  get paused(): boolean {
    return this.#paused
  }
  get movedBytes(): number {
    return this.#walk?.movedBytes ?? 0
  }
  /** As it stood when the last joiner was proposed. */
  lastProgress: ResyncProgress | undefined

  /** @param session null at a server that does not lead */
  startSession(session: ResyncSession | null): void {
    this.#session = session
  }

  /** C4: a new session voids the attempt. A proposal under way is decided by membership. */
  endSession(): void {
    // The joiner is in no session that ends: it is told, or it would wait for the rest of the attempt.
    if (this.#step !== 'idle' && this.#step !== 'proposing') this.#void('the session ended')
    this.#step = 'idle'
    this.#session = null
  }

  onRequest(from: ServerId, body: MirrorBody<'join.request'>): void {
    const session = this.#session
    if (session === null || this.#step === 'proposing') return
    if (this.#step !== 'idle') {
      // The same replica asks anew: it knows nothing of the attempt, so the attempt is over. Another one waits its turn.
      if (from !== this.#joiner) return
      this.#void('the replica began anew')
    }
    if (!this.#world.inHistory(body.openedId)) return this.#world.send(from, 'join.refused', { why: 'split-brain' })
    this.#attempt += 1
    this.#joiner = from
    this.#joinerOpenedEpoch = body.openedId === null ? 0 : body.openedEpoch
    this.#startedMs = this.#world.clock.wallMs()
    this.#walk = null
    this.#step = 'asked'
    this.#world.tellPeople('started', from, {})
    this.#world.send(from, 'join.begin', { session: session.number, attempt: this.#attempt })
  }

  onReady(from: ServerId, body: MirrorBody<'join.ready'>): void {
    if (!this.#expects('asked', body) || from !== this.#joiner) return
    this.#markedThere = body.marked
    this.#step = 'mirroring'
    this.#askMembers('join.mirror')
  }

  onMirroring(from: ServerId, body: MirrorBody<'join.mirroring'>): void {
    if (!this.#expects('mirroring', body) || !this.#lastAwaited(from)) return
    this.#step = 'comparing'
    // Only now: what was written before everybody mirrored has ended, so its marks are durable and in the list (C4).
    this.#walk = new PieceWalk(this.#world, {
      target: this.#joiner ?? from,
      session: body.session,
      attempt: body.attempt,
      epoch: this.#session?.epoch ?? 0,
      regions: this.#regions(this.#markedThere),
    })
    this.#walk.start((copied) => {
      if (!this.#expects('comparing', body)) return
      if (copied) this.#sync('syncing')
      else this.#void('a piece could not be copied')
    })
    if (this.#paused) this.#walk?.pause()
  }

  /** C4: what changed here after the epoch that the joiner last opened, and what is in doubt there. */
  #regions(markedThere: readonly { first: number; last: number }[]): number[] {
    const regions = new Set<number>()
    // The store may be larger already, for a growth that is not decided yet.
    const sizeBytes = this.#world.sizeBytes()
    for (const [region, facts] of this.#world.store.regions()) {
      if (regionLength(region, sizeBytes) <= 0) continue
      if (facts.marked || facts.stamp > this.#joinerOpenedEpoch) regions.add(region)
    }
    for (const range of markedThere) for (const region of regionsIn(range, sizeBytes)) regions.add(region)
    return [...regions].sort((one, other) => one - other)
  }

  #sync(step: 'syncing' | 'sealing'): void {
    if (this.#session === null || this.#joiner === null) return
    this.#step = step
    this.#request += 1
    this.#world.send(this.#joiner, 'join.sync', { ...this.#scope(), request: this.#request })
  }

  onSynced(from: ServerId, body: MirrorBody<'join.synced'>): void {
    if (from !== this.#joiner || body.request !== this.#request) return
    if (!this.#expects('syncing', body) && !this.#expects('sealing', body)) return
    if (body.failed) return this.#void('the disk there failed')
    if (this.#expects('syncing', body)) this.#askWords(body)
    else if (this.#expects('sealing', body)) this.#propose(from, body)
  }

  #askWords(scope: { session: number; attempt: number }): void {
    this.#world.arbiterAnswers((answers) => {
      if (!this.#expects('syncing', scope)) return
      if (!answers) {
        this.#world.clock.after(limits.registerAnswerMs, () => {
          if (this.#expects('syncing', scope)) this.#askWords(scope)
        })
        return
      }
      this.#step = 'words'
      this.#askMembers('join.word')
    })
  }

  onWorded(from: ServerId, body: MirrorBody<'join.worded'>): void {
    if (!this.#expects('words', body)) return
    if (!body.given) return this.#void('a server did not give its word')
    if (this.#lastAwaited(from)) this.#sync('sealing')
  }

  #propose(joiner: ServerId, scope: { session: number; attempt: number }): void {
    const proposed = this.#world.propose(joiner, (joined) => {
      if (this.#step !== 'proposing' || this.#attempt !== scope.attempt) return
      if (joined) this.#step = 'idle'
      else this.#end('the arbiter decided otherwise')
    })
    if (proposed) {
      this.#step = 'proposing'
      this.lastProgress = this.progress() ?? undefined
    } else this.#void('no decision could be asked for')
  }

  /** C10: a member, or the joiner itself, cannot go on with this attempt. Once proposed it is for the arbiter to decide. */
  onTrouble(from: ServerId, body: MirrorBody<'join.trouble'>): void {
    if (this.#step === 'idle' || this.#step === 'proposing' || !this.#expects(this.#step, body)) return
    const takesPart = from === this.#joiner || this.#session?.members.includes(from) === true
    if (takesPart && body.joiner === this.#joiner) this.#void(body.why)
  }

  /** Something here ended the attempt; a proposal under way is decided all the same. */
  giveUp(why: string): void {
    if (this.#step !== 'idle' && this.#step !== 'proposing') this.#void(why)
  }

  /** C4: the joiner's new run voids the attempt; a proposal under way is decided all the same. */
  joinerRestarted(server: ServerId): void {
    if (server === this.#joiner && this.#step !== 'idle' && this.#step !== 'proposing') this.#void('it restarted')
  }

  /** Looks after the joiner; called a few times a second. */
  tick(): void {
    const joiner = this.#joiner
    if (joiner === null || this.#step === 'idle' || this.#step === 'proposing') return
    if (!this.#world.joinerAlive(joiner)) this.#void('it stopped answering')
    else if (this.#owedMs(joiner) > limits.joinerOverdueMs) this.#void('it was too slow')
    else if (this.#stepOverdue()) this.#void('it did not go on')
    else this.#walk?.measure()
  }

  /** C4: what clients may be waiting for: writes, flushes, and pieces that hold their range against writes. */
  #owedMs(joiner: ServerId): number {
    return Math.max(this.#world.joinerOwesMs(joiner), this.#walk?.oldestMs() ?? 0)
  }

  /** Every step but the copying itself is short; one that is not has lost its partner. */
  #stepOverdue(): boolean {
    const now = this.#world.clock.monotonicMs()
    if (this.#watchedStep !== this.#step || this.#watchedAttempt !== this.#attempt) {
      this.#watchedStep = this.#step
      this.#watchedAttempt = this.#attempt
      this.#watchedSinceMs = now
    }
    return this.#step !== 'comparing' && now - this.#watchedSinceMs > limits.joinStepMs
  }

  pause(): void {
    this.#paused = true
    this.#walk?.pause()
    if (this.#joiner !== null && this.#step !== 'idle') this.#world.tellPeople('paused', this.#joiner, {})
  }

  continue(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#walk?.continue()
    if (this.#joiner !== null && this.#step !== 'idle') this.#world.tellPeople('continued', this.#joiner, {})
  }

  progress(): ResyncProgress | null {
    if (this.#step === 'idle' || this.#joiner === null) return null
    return {
      joiner: this.#joiner,
      phase: this.#paused && this.#step === 'comparing' ? 'paused' : phaseOf(this.#step),
      totalBytes: this.#walk?.totalBytes ?? 0,
      doneBytes: this.#walk?.doneBytes ?? 0,
      movedBytes: this.movedBytes,
      bytesPerSecond: this.#walk?.bytesPerSecond ?? null,
      startedMs: this.#startedMs,
    }
  }

  scope(): { session: number; attempt: number } {
    return this.#scope()
  }

  #scope(): { session: number; attempt: number } {
    return { session: this.#session?.number ?? 0, attempt: this.#attempt }
  }

  #void(why: string): void {
    const joiner = this.#joiner
    if (joiner === null || this.#session === null) return
    const body = { ...this.#scope(), joiner, why }
    for (const member of this.#session.members) this.#world.send(member, 'join.void', body)
    this.#world.send(joiner, 'join.void', body)
    this.#end(why)
  }

  #end(why: string): void {
    if (this.#joiner !== null) this.#world.tellPeople('voided', this.#joiner, { why })
    this.#step = 'idle'
    this.#walk?.end()
    if (this.#joiner !== null) this.#world.copier.end(this.#joiner)
    this.#walk = null
  }

  #askMembers(kind: 'join.mirror' | 'join.word'): void {
    const session = this.#session
    const joiner = this.#joiner
    if (session === null || joiner === null) return
    this.#awaited = new Set(session.members)
    const body = { ...this.#scope(), joiner }
    for (const member of session.members) this.#world.send(member, kind, body)
  }

  #lastAwaited(from: ServerId): boolean {
    this.#awaited.delete(from)
    return this.#awaited.size === 0
  }

  #expects(step: ResyncStep, scope: { session: number; attempt: number }): boolean {
    return this.#step === step && scope.session === this.#session?.number && scope.attempt === this.#attempt
  }
}

function phaseOf(step: Exclude<ResyncStep, 'idle'>): 'comparing' | 'joining' {
  switch (step) {
    case 'asked':
    case 'mirroring':
    case 'comparing':
      return 'comparing'
    case 'syncing':
    case 'words':
    case 'sealing':
    case 'proposing':
      return 'joining'
    default:
      return never(step, 'phaseOf')
  }
}
