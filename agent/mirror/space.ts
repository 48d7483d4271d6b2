/**
 * Credit for space (C8): a write that may need space executes nowhere before every in-sync replica has set it aside. While
 * a disk has plenty, its server gives the others credit beforehand, and a write costs no message; on a disk that is
 * nearly full each write asks. This is the origin's half; space-giver.ts is the other one.
 */
import { invariant } from '../kit/failure.ts'
import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import type { WriteKind } from '../link/messages.ts'
import type { ReplicaStore } from '../store/replica.ts'
import type { MirrorBody, MirrorSend } from './messages.ts'
import type { ClientWrite } from './outgoing.ts'

/** @returns the most slots that it may need, whatever is stored there: the same number at every replica */
export function mostSlots(kind: WriteKind, offsetBytes: number, lengthBytes: number): number {
  if (kind === 'discard') return 0
  const endBytes = offsetBytes + lengthBytes
  const { extentBytes } = limits
  const touched = Math.ceil(endBytes / extentBytes) - Math.floor(offsetBytes / extentBytes)
  if (kind !== 'zero') return touched
  // Whole extents give their slot back; those at the edges may have to be copied, where an image holds them too.
  return touched - Math.max(0, Math.floor(endBytes / extentBytes) - Math.ceil(offsetBytes / extentBytes))
}

/** `again`: the session ended before all had answered; it is asked for in the next one. */
export type SpaceOutcome = 'covered' | 'no-space' | 'again'

interface Question {
  readonly write: ClientWrite
  readonly missing: Set<ServerId>
  readonly granted: ServerId[]
  refused: boolean
  readonly done: (outcome: SpaceOutcome) => void
}

export interface SpaceWorld {
  readonly store: ReplicaStore
  readonly send: MirrorSend
}

export class Space {
  readonly #world: SpaceWorld
  #session = 0
  /** Slots that each other member lets this server's writes take. */
  #credit = new Map<ServerId, number>()
  #questions = new Map<number, Question>()
  #lastRequest = 0
  /** Writes that had to ask. */
  asked = 0

  constructor(world: SpaceWorld) {
    this.#world = world
  }

  /** Writes whose question is not answered yet. */
  get waiting(): number {
    return this.#questions.size
  }

  /** The session is recorded: credit of an older one is void, and was given back by its givers. */
  startSession(session: number, others: readonly ServerId[]): void {
    this.#session = session
    this.#credit = new Map(others.map((server) => [server, 0]))
  }

  endSession(): void {
    this.#session = 0
    this.#credit = new Map()
    const questions = [...this.#questions.values()]
    this.#questions.clear()
    for (const { write, done } of questions) {
      this.uncover(write)
      done('again')
    }
  }

  /** @returns whether space for it is set aside at every in-sync replica, in this session; takes credit for that, and never waits */
  cover(write: ClientWrite): boolean {
    if (write.coveredIn === this.#session) return true
    this.uncover(write)
    const slots = mostSlots(write.kind, write.offsetBytes, write.lengthBytes)
    if (slots > 0) {
      for (const credit of this.#credit.values()) if (credit < slots) return false
      const own = this.#world.store.reserve(slots)
      if (own === null) return false
      for (const [server, credit] of this.#credit) this.#credit.set(server, credit - slots)
      write.reservation = own
    }
    write.coveredIn = this.#session
    write.creditSlots = slots
    return true
  }

  /** Asks every in-sync replica to set aside what exactly this write needs there. Without a session: `again`. */
  ask(write: ClientWrite, done: (outcome: SpaceOutcome) => void): void {
    invariant(write.reservation === null, 'C8a', 'a write asks for space that it does not have')
    if (this.#session === 0) return done('again')
    const { kind, offsetBytes, lengthBytes } = write
    const own = this.#world.store.reserveFor(kind, offsetBytes, lengthBytes)
    if (own === null) return done('no-space')
    write.reservation = own
    write.coveredIn = this.#session
    this.asked += 1
    if (this.#credit.size === 0) return done('covered')
    this.#lastRequest += 1
    const missing = new Set(this.#credit.keys())
    write.spaceRequest = this.#lastRequest
    this.#questions.set(this.#lastRequest, { write, missing, granted: [], refused: false, done })
    const body = { session: this.#session, attempt: 0, request: this.#lastRequest, kind, offsetBytes, lengthBytes }
    for (const server of this.#credit.keys()) this.#world.send(server, 'space.ask', body)
  }

  onAnswer(from: ServerId, { session, request, granted }: MirrorBody<'space.answer'>): void {
    const question = session === this.#session ? this.#questions.get(request) : undefined
    if (question === undefined || !question.missing.delete(from)) return
    if (granted) question.granted.push(from)
    else question.refused = true
    if (question.missing.size > 0) return
    this.#questions.delete(request)
    if (question.refused) {
      this.#giveBack(question.write, question.granted)
      question.done('no-space')
    } else question.done('covered')
  }

  /** The write will not be executed: what was set aside for it is given back, everywhere. */
  uncover(write: ClientWrite): void {
    if (write.coveredIn !== 0 && write.coveredIn === this.#session) this.#giveBack(write, [...this.#credit.keys()])
    write.reservation?.release()
    write.reservation = null
    write.coveredIn = 0
    write.creditSlots = 0
    write.spaceRequest = 0
  }

  #giveBack(write: ClientWrite, servers: readonly ServerId[]): void {
    for (const server of servers) {
      if (write.spaceRequest === 0) this.#credit.set(server, (this.#credit.get(server) ?? 0) + write.creditSlots)
      else this.#world.send(server, 'space.drop', { session: this.#session, attempt: 0, request: write.spaceRequest })
    }
    write.coveredIn = 0
    write.reservation?.release()
    write.reservation = null
  }

  /** Another member lets this server's writes take so many more slots there. */
  onCredit(from: ServerId, { session, slots }: MirrorBody<'space.credit'>): void {
    const credit = this.#credit.get(from)
    if (session === this.#session && credit !== undefined) this.#credit.set(from, credit + slots)
  }

  /** Space became scarce there: credit that lies idle here goes back, on the stream behind all writes that took some. */
  onRecall(from: ServerId, { session, keep }: MirrorBody<'space.recall'>): void {
    const credit = this.#credit.get(from)
    if (session !== this.#session || credit === undefined) return
    const slots = Math.max(0, credit - keep)
    this.#credit.set(from, credit - slots)
    this.#world.send(from, 'space.return', { session, attempt: 0, slots })
  }
}
