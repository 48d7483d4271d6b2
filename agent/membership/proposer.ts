/**
 * A volume's way to its arbiter (E2): one proposal at a time, asked again until its decision is known. The same proposal
 * asked twice is decided once (register.ts), so a lost answer costs a question, never a guess.
 */
import { invariant } from '../kit/failure.ts'
import type { Clock } from '../kit/world.ts'
import { type Configuration, contains, relation } from './configuration.ts'
import type { RegisterAnswer, RegisterRequest } from './register.ts'

export interface ArbiterPort {
  /** Whether the register's server is connected now, so that a question has a chance. */
  reachable(): boolean
  /** Asks once. `done(null)`: no answer in time, which proves nothing. Never synchronous. */
  ask(request: RegisterRequest, done: (answer: RegisterAnswer | null) => void): void
}

/** `won`: the proposal, or something built on it, is the present configuration; `lost`: another one is. */
export type Decision = { readonly outcome: 'won' | 'lost'; readonly current: Configuration }

interface Proposal {
  readonly present: Configuration
  readonly next: Configuration
  readonly decided: (decision: Decision) => void
  /** E2: once it was sent, only the register can tell what became of it. */
  sent: boolean
}

const retryMs = 300

export class Proposer {
  readonly #arbiter: ArbiterPort
  readonly #clock: Clock
  readonly #alarm: (words: string) => void
  #proposal: Proposal | null = null
  #alarmed = ''

  /** @param alarm told when the register shows what it cannot rightly hold (E11) */
  constructor(arbiter: ArbiterPort, clock: Clock, alarm: (words: string) => void) {
    this.#arbiter = arbiter
    this.#clock = clock
    this.#alarm = alarm
  }

  get busy(): boolean {
    return this.#proposal !== null
  }

  reachable(): boolean {
    return this.#arbiter.reachable()
  }

  /** Asks until it is decided. @param present the configuration it replaces. Only when not `busy`. */
  propose(present: Configuration, next: Configuration, decided: (decision: Decision) => void): void {
    invariant(this.#proposal === null, 'E2a', 'one proposal at a time')
    invariant(next.epoch === present.epoch + 1 && relation(next, present) === 'newer', 'E2b', 'a proposal follows')
    this.#proposal = { present, next, decided, sent: false }
    this.#send(this.#proposal)
  }

  /** Takes a proposal back that was never sent. @returns whether nothing is outstanding now */
  withdraw(): boolean {
    if (this.#proposal?.sent === false) this.#proposal = null
    return this.#proposal === null
  }

  /** Reads the register once. `found(null)`: no answer, or not one to believe (E11). */
  read(known: Configuration, found: (current: Configuration | null) => void): void {
    if (!this.#arbiter.reachable()) return found(null)
    this.#arbiter.ask({ operation: 'read', volumeId: known.volumeId }, (answer) => {
      found(answer === null ? null : this.#believable(answer, known))
    })
  }

  #send(proposal: Proposal): void {
    if (this.#proposal !== proposal) return
    if (!this.#arbiter.reachable()) return this.#later(proposal)
    proposal.sent = true
    const { next, present } = proposal
    this.#arbiter.ask({ operation: 'swap', expectedId: present.id, configuration: next }, (answer) => {
      const current = answer === null ? null : this.#believable(answer, present)
      // Judged by what the register holds, never by the answer's word alone: an answer may belong to an older question.
      const won = current !== null && contains(current, next.id)
      const lost = current !== null && !won && relation(current, present) === 'newer'
      if (current === null || !(won || lost)) return this.#later(proposal)
      this.#end(proposal, won ? 'won' : 'lost', current)
    })
  }

  /** A newer configuration was learned from somebody else: the register has left what the proposal would replace. */
  learned(current: Configuration): void {
    const proposal = this.#proposal
    if (proposal === null || relation(current, proposal.present) !== 'newer') return
    this.#end(proposal, contains(current, proposal.next.id) ? 'won' : 'lost', current)
  }

  #end(proposal: Proposal, outcome: Decision['outcome'], current: Configuration): void {
    if (this.#proposal !== proposal) return
    this.#proposal = null
    proposal.decided({ outcome, current })
  }

  #later(proposal: Proposal): void {
    this.#clock.after(retryMs, () => this.#send(proposal))
  }

  /** E11: an empty, older or other register is an unreachable one, and an alarm. */
  #believable(answer: RegisterAnswer, known: Configuration): Configuration | null {
    if (answer.outcome === 'failed') return null
    const current = answer.current
    if (current === null) {
      this.#alarmOnce('the register is empty')
      return null
    }
    const stands = relation(current, known)
    if (current.arbiter.instance !== known.arbiter.instance || stands === 'strange' || stands === 'older') {
      this.#alarmOnce(`the register holds a configuration that is ${stands} to epoch ${known.epoch}`)
      return null
    }
    this.#alarmed = ''
    return current
  }

  /** Asked again and again, it would otherwise fill the activity list with the same words. */
  #alarmOnce(words: string): void {
    if (words === this.#alarmed) return
    this.#alarmed = words
    this.#alarm(words)
  }
}
