/**
 * What a member asks its arbiter to decide (E2): that others leave (E3, E7, E8), that a joiner comes in (C10), and what
 * became of a question that an earlier session left open.
 */
import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import { type Configuration, successor, type VolumeChange } from './configuration.ts'
import type { MemberHost, MemberPhase, MemberWorld } from './member-world.ts'
import { type Decision, Proposer } from './proposer.ts'
import { Removal } from './removal.ts'

/** The member whose decisions these are. */
export interface Decider {
  readonly known: Configuration
  readonly phase: MemberPhase
  readonly splitBrain: boolean
  /** Whether every member of the known configuration is known to have recorded that it opened it (E9). */
  readonly openedByAll: boolean
  /** @returns whether it was new */
  learn(configuration: Configuration): boolean
  /** The decision left everything as it was: what waited for it goes on. */
  nothingChanged(): void
}

export class Decisions {
  readonly proposer: Proposer
  readonly removal: Removal
  readonly #world: MemberWorld
  readonly #host: MemberHost
  readonly #decider: Decider
  /** When the register is looked at next, if it can be reached then. */
  #readAtMs: number

  constructor(world: MemberWorld, host: MemberHost, decider: Decider) {
    this.#world = world
    this.#host = host
    this.#decider = decider
    this.#readAtMs = world.clock.monotonicMs() + limits.registerReadMs
    this.removal = new Removal(world, (server) => host.owedByMs(server))
    this.proposer = new Proposer(world.arbiter, world.clock, (words) => {
      world.log.error({ volume: world.volumeId, words }, 'the register is not to be believed (E11)')
      host.tellPeople('register-alarm', { words })
    })
  }

  /** Asks for a configuration without those who must go; takes the question back when nobody has to any more. */
  considerRemoval(others: readonly ServerId[], openedInThisRun: boolean): void {
    const { phase, splitBrain, known } = this.#decider
    if (phase === 'outside' || phase === 'left' || splitBrain) return
    const gone = this.removal.whoMustGo(others, openedInThisRun)
    if (this.#world.record.value.word !== null) {
      // C10, E2: the word ends by a decision only; the same set again is one, and then who must go can.
      if (gone.length > 0) this.renew()
      return
    }
    if (this.proposer.busy) {
      // Here no word is open: what was never sent, to leave somebody out or to end a word, has no reason any more.
      const isNeedless = gone.length === 0 && (phase === 'open' || this.removal.anyBeingLeftOut())
      if (isNeedless && this.proposer.withdraw()) this.removal.keepAll()
      return
    }
    if (gone.length === 0 || !this.proposer.reachable() || this.#host.anyLossy()) return
    const staying = known.inSync.filter((server) => !gone.includes(server))
    this.removal.leaveOut(gone)
    this.#world.log.warn(
      { volume: this.#world.volumeId, gone, why: this.removal.reasons() },
      'asking the arbiter to leave out',
    )
    this.proposer.propose(known, this.#successor(staying), (decision) => this.#decided(decision))
  }

  /** C10: proposes the joiner's membership; the word must be durable everywhere. `decided` comes before learning. */
  proposeJoin(joiner: ServerId, decided: (joined: boolean) => void): boolean {
    const { phase, known } = this.#decider
    if (phase !== 'open' || this.proposer.busy) return false
    const next = this.#successor([...known.inSync, joiner])
    this.proposer.propose(known, next, (decision) => {
      decided(decision.current.inSync.includes(joiner))
      this.#decided(decision)
    })
    return true
  }

  /**
   * Proposes what a person wants changed, with the same set. `decided`: whether it is so now.
   * @returns false when nothing can be proposed now: no session is open, or another decision is awaited
   */
  proposeChange(change: VolumeChange, decided: (won: boolean) => void): boolean {
    const { phase, known } = this.#decider
    if (phase !== 'open' || this.proposer.busy || this.#world.record.value.word !== null) return false
    this.proposer.propose(known, this.#successor(known.inSync, change), (decision) => {
      this.#decided(decision)
      decided(decision.outcome === 'won')
    })
    return true
  }

  /** C10, E2: a word of an earlier session whose decision is not known: swapping the same set in again shows it. */
  fenceIfWordIsOpen(): void {
    const { phase } = this.#decider
    if (this.#world.record.value.word === null || phase === 'open' || phase === 'outside') return
    this.renew()
  }

  /** E5: also a server that serves alone asks now and then whether it was superseded. */
  lookAtRegister(): void {
    const now = this.#world.clock.monotonicMs()
    if (now < this.#readAtMs || this.proposer.busy || !this.proposer.reachable()) return
    this.#readAtMs = now + limits.registerReadMs
    this.proposer.read(this.#decider.known, (current) => {
      if (current !== null) this.#decider.learn(current)
    })
  }

  /**
   * E2, C2: a session has opened. A decision that was stored and whose answer nobody heard is best learned now, while all
   * copies are sound: it may have left out the only one that will be sound later.
   */
  sessionOpened(): void {
    this.#readAtMs = this.#world.clock.monotonicMs()
    this.lookAtRegister()
  }

  /** The same set again under a new id and epoch: that wins, or shows what did (E2). */
  renew(): void {
    if (this.proposer.busy) return
    const { known } = this.#decider
    this.proposer.propose(known, this.#successor(known.inSync), (decision) => this.#decided(decision))
  }

  /** E1: two histories of one volume. */
  tellSplitBrain(other: Configuration): void {
    this.#world.log.error({ volume: this.#world.volumeId, other: other.id }, 'two histories of one volume (E1)')
    this.#host.tellPeople('split-brain', { other: other.id })
  }

  /** C12: that server's store is an older copy of itself. */
  tellOlderStore(server: ServerId, remembered: number, found: number): void {
    this.#world.log.error(
      { volume: this.#world.volumeId, server, remembered, found },
      'a store returned older than it was: all that lies there is in doubt (C12)',
    )
    this.#host.tellPeople('older-store', { server })
  }

  /** Who left and who joined, for the activity list. @param ownReason why this server left by its own word, or empty */
  tellChanges(before: Configuration, after: Configuration, ownReason: string): void {
    for (const server of before.inSync) {
      if (after.inSync.includes(server)) continue
      const reason = server === this.#world.self && ownReason !== '' ? ownReason : this.removal.reasonOf(server)
      this.#host.tellPeople('left', { server, reason })
    }
    for (const server of after.inSync) if (!before.inSync.includes(server)) this.#host.tellPeople('joined', { server })
  }

  #decided(decision: Decision): void {
    if (this.#decider.learn(decision.current)) return
    // What was decided is known already, and a word of before was taken off when it was learned (C10).
    this.removal.keepAll()
    this.#decider.nothingChanged()
  }

  #successor(inSync: readonly ServerId[], change: VolumeChange = {}): Configuration {
    const { known, openedByAll: presentWasOpened } = this.#decider
    return successor(known, { id: this.#world.random.id() as Configuration['id'], inSync, presentWasOpened, change })
  }
}
