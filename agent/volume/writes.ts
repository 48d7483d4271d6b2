/**
 * A volume's writes from where they are admitted until they execute: admission, credit for space (C8, P7), policing, then
 * the mirror. Whoever waits for space holds no permission.
 */
import { limits } from '../limits.ts'
import type { Outgoing } from '../mirror/outgoing.ts'
import type { Space } from '../mirror/space.ts'
import type { Policing } from '../policing/policing.ts'
import { Admission } from './admission.ts'
import { Hold } from './hold.ts'
import type { WriteRequest } from './requests.ts'

export interface WritesWorld {
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

  constructor(world: WritesWorld) {
    this.#world = world
    this.#admission = new Admission(
      (request) => world.policing.acquire(request),
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

  /** W2 holds: it executes, if space for it is set aside everywhere. Else it gives its permission up and asks for space. */
  start(request: WriteRequest): void {
    const { policing, outgoing, space } = this.#world
    if (space.cover(request)) return outgoing.execute(request)
    policing.release(request)
    space.ask(request, (outcome) => {
      if (outcome !== 'no-space') return policing.acquire(request)
      request.acknowledge('no-space')
      this.#left(request)
    })
  }

  ended(request: WriteRequest): void {
    this.#world.policing.release(request)
    this.#left(request)
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
