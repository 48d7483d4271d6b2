/**
 * A volume's writes from where they are admitted until they execute: admission (P7), the right to write (W10), policing,
 * space (C8), what some of them look at (W6), then the mirror. Whoever waits for space holds no permission.
 */
import { limits } from '../limits.ts'
import type { Outgoing } from '../mirror/outgoing.ts'
import type { Space } from '../mirror/space.ts'
import type { Policing } from '../policing/policing.ts'
import { Admission } from './admission.ts'
import { Hold } from './hold.ts'
import { Looks, type LooksWorld } from './looks.ts'
import type { WriteRequest } from './requests.ts'
import { type ReservationCheck, RightToWrite } from './right-to-write.ts'

export interface WritesWorld extends Omit<LooksWorld, 'again' | 'execute' | 'ended'> {
  readonly check: ReservationCheck
  readonly policing: Policing
  readonly outgoing: Outgoing
  readonly space: Space
  /** Bytes of writes that this volume may execute at once beside the agent's others. */
  writeShareBytes(): number
}

export class Writes {
  readonly hold: Hold
  readonly #world: WritesWorld
  readonly #admission: Admission<WriteRequest>
  readonly #right: RightToWrite
  readonly #looks: Looks

  constructor(world: WritesWorld) {
    this.#world = world
    const { policing, outgoing, check } = world
    this.#right = new RightToWrite({ policing, check, enter: (request) => policing.acquire(request) })
    this.#looks = new Looks({
      ...world,
      again: (request) => policing.again(request),
      execute: (request) => outgoing.execute(request),
      ended: (request) => this.ended(request),
    })
    this.#admission = new Admission(
      (request) => this.#enter(request),
      () => this.#namesHaveRoom() && world.outgoing.linksHaveRoom(),
      () => world.writeShareBytes(),
    )
    this.hold = new Hold(this.#admission)
  }

  get admitted(): number {
    return this.#admission.admitted
  }

  /** Those that were admitted and have not ended. */
  get inside(): Iterable<WriteRequest> {
    return this.#admission.inside
  }

  /** Those that wait for admission, for somebody else to take. */
  takeWaiting(): readonly WriteRequest[] {
    return this.#admission.takeWaiting()
  }

  submit(request: WriteRequest): void {
    this.#admission.admit(request)
  }

  /** Forgets what waits for admission and is wanted by nobody any more (W9). */
  drop(unwanted: (request: WriteRequest) => boolean): void {
    this.#admission.drop(unwanted)
  }

  /** Admits who fits now. */
  pump(): void {
    this.#admission.pump()
  }

  /** W10: first the page of the reservations, then its range. Who changes a page of that range holds the page only. */
  #enter(request: WriteRequest): void {
    if (request.isPage) this.#world.policing.acquire(request)
    else this.#right.ask(request)
  }

  /** Gives up every permission that it holds. */
  #release(request: WriteRequest): void {
    this.#world.policing.release(request)
    this.#right.leave(request)
  }

  /** W2 holds: it executes, if space for it is set aside everywhere. Else it gives its permission up and asks for space. */
  start(request: WriteRequest): void {
    const { outgoing, space } = this.#world
    if (!request.isPage) {
      if (!this.#right.covers(request)) return this.#again(request)
      if (!this.#right.permits(request)) return this.#refuse(request)
    }
    if (!space.cover(request)) return this.#askSpace(request)
    if (request.look === null) outgoing.execute(request)
    else this.#looks.start(request)
  }

  /** The session in which it was covered is over: in that order again, so that nobody waits for the page with a range in hand. */
  #again(request: WriteRequest): void {
    this.#release(request)
    this.#enter(request)
  }

  /** W6: its client has no right to write. */
  #refuse(request: WriteRequest): void {
    request.answer('conflict')
    this.ended(request)
  }

  #askSpace(request: WriteRequest): void {
    this.#release(request)
    this.#world.space.ask(request, (outcome) => {
      if (outcome !== 'no-space') return this.#enter(request)
      request.acknowledge('no-space')
      this.#left(request)
    })
  }

  ended(request: WriteRequest): void {
    this.#release(request)
    this.#left(request)
  }

  /** The session is over. */
  endSession(): void {
    this.#looks.endSession()
  }

  /** The lease may hold again. */
  answerWaiting(): void {
    this.#looks.answerWaiting()
  }

  #left(request: WriteRequest): void {
    this.#world.space.uncover(request)
    this.#admission.leave(request)
    this.hold.look()
  }

  /** C7: no write begins too far from the oldest one whose name the others have to keep. */
  #namesHaveRoom(): boolean {
    const { outgoing } = this.#world
    return outgoing.span + this.#admission.admitted - outgoing.inFlight.size < limits.unconfirmedWrites
  }
}
