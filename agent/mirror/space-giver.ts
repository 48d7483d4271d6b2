/**
 * The replica's half of C8: sets space aside for the writes of each other member, beforehand while there is plenty, write
 * by write when there is not. What was set aside in a session ends with it.
 */
import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import type { WriteMessage } from '../link/messages.ts'
import type { ReplicaStore, SpaceReservation } from '../store/replica.ts'
import type { MirrorBody, MirrorSend } from './messages.ts'
import { isInside } from './places.ts'
import { mostSlots } from './space.ts'

interface Asked {
  readonly request: number
  readonly kind: WriteMessage['kind']
  readonly offsetBytes: number
  readonly lengthBytes: number
  readonly reservation: SpaceReservation
}

interface Given {
  /** Credit that the origin has, or that writes on their way have taken. */
  readonly credit: SpaceReservation
  /** What single writes asked for. At most limits.volumeRequests: as many requests a volume executes at once. */
  readonly asked: Asked[]
  recalled: boolean
}

export interface SpaceGiverWorld {
  readonly store: ReplicaStore
  readonly send: MirrorSend
}

export class SpaceGiver {
  readonly #world: SpaceGiverWorld
  #session = 0
  #given = new Map<ServerId, Given>()
  #open = false

  constructor(world: SpaceGiverWorld) {
    this.#world = world
  }

  /** The session is recorded: single writes may ask. */
  startSession(session: number, others: readonly ServerId[]): void {
    this.endSession()
    this.#session = session
    for (const server of others) {
      const credit = this.#world.store.reserve(0)
      if (credit !== null) this.#given.set(server, { credit, asked: [], recalled: false })
    }
  }

  /** All members have recorded it: who is given credit now knows the session. */
  openSession(): void {
    this.#open = true
    for (const [server, given] of this.#given) this.#topUp(server, given)
  }

  endSession(): void {
    this.#session = 0
    this.#open = false
    for (const { credit, asked } of this.#given.values()) {
      credit.release()
      for (const { reservation } of asked) reservation.release()
    }
    this.#given.clear()
  }

  /** @returns what was set aside for this write of another member; undefined when nothing was (a joiner is given none) */
  cover(from: ServerId, message: WriteMessage): SpaceReservation | undefined {
    const given = message.attempt === 0 ? this.#given.get(from) : undefined
    if (given === undefined) return undefined
    const asked = given.asked.length === 0 ? undefined : takeAsked(given.asked, message)
    if (asked !== undefined) return asked
    const slots = mostSlots(message.kind, message.offsetBytes, message.lengthBytes)
    if (slots === 0 || given.credit.slots < slots) return undefined
    const reservation = given.credit.split(slots)
    this.#topUp(from, given)
    return reservation
  }

  onAsk(from: ServerId, body: MirrorBody<'space.ask'>): void {
    const { session, request, kind, offsetBytes, lengthBytes } = body
    const given = session === this.#session ? this.#given.get(from) : undefined
    // The session is over here, so it ends there too, and the write asks again in the next one: "no" would be no true word.
    if (given === undefined) return
    const { store, send } = this.#world
    const isSound = isInside(offsetBytes, lengthBytes, store.sizeBytes) && given.asked.length < limits.volumeRequests
    const reservation = isSound ? store.reserveFor(kind, offsetBytes, lengthBytes) : null
    if (isSound && reservation !== null) given.asked.push({ request, kind, offsetBytes, lengthBytes, reservation })
    send(from, 'space.answer', { session, attempt: 0, request, granted: reservation !== null })
    this.#topUp(from, given)
  }

  /** The write that asked will not come. */
  onDrop(from: ServerId, { session, request }: MirrorBody<'space.drop'>): void {
    const given = session === this.#session ? this.#given.get(from) : undefined
    const at = given?.asked.findIndex((asked) => asked.request === request) ?? -1
    if (at >= 0) given?.asked.splice(at, 1)[0]?.reservation.release()
  }

  onReturn(from: ServerId, { session, slots }: MirrorBody<'space.return'>): void {
    const given = session === this.#session ? this.#given.get(from) : undefined
    if (given === undefined) return
    given.recalled = false
    given.credit.split(Math.min(slots, given.credit.slots)).release()
  }

  /** Now and then: takes back what lies idle at others while this disk gets full, gives more when it has room again. */
  tick(): void {
    if (!this.#open) return
    const goal = this.#goal()
    for (const [server, given] of this.#given) {
      if (goal < given.credit.slots / 2 && !given.recalled) {
        given.recalled = true
        this.#world.send(server, 'space.recall', { session: this.#session, attempt: 0, keep: goal })
      } else this.#topUp(server, given)
    }
  }

  #topUp(server: ServerId, given: Given): void {
    if (!this.#open || given.recalled || given.credit.slots >= limits.creditSlots / 2) return
    const goal = this.#goal()
    if (given.credit.slots >= goal / 2) return
    const slots = goal - given.credit.slots
    given.credit.add(slots)
    this.#world.send(server, 'space.credit', { session: this.#session, attempt: 0, slots })
  }

  /** Little of what is left, so that what lies idle at one server refuses nothing to another. */
  #goal(): number {
    const share = Math.floor(this.#world.store.availableSlots() / limits.creditShare)
    return Math.max(0, Math.min(limits.creditSlots, share))
  }
}

function takeAsked(all: Asked[], { kind, offsetBytes, lengthBytes }: WriteMessage): SpaceReservation | undefined {
  const at = all.findIndex(
    (asked) => asked.kind === kind && asked.offsetBytes === offsetBytes && asked.lengthBytes === lengthBytes,
  )
  return at < 0 ? undefined : all.splice(at, 1)[0]?.reservation
}
