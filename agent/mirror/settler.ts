/**
 * Carries out a settling (E9): the leader walks the plan, each source gives its pieces. Regions in doubt first, then the
 * blocks that names decide: the second may correct the first (settle-plan.ts).
 */
import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import type { ReplicaStore } from '../store/replica.ts'
import type { Copier } from './copier.ts'
import type { MirrorBody, MirrorSend } from './messages.ts'
import { endOf } from './places.ts'
import { planSettling, type SettlePiece, type Told } from './settle-plan.ts'

export interface SettlerWorld {
  readonly self: ServerId
  readonly store: ReplicaStore
  /** Of the volume, as decided. */
  sizeBytes(): number
  readonly copier: Copier
  readonly send: MirrorSend
}

interface Order {
  readonly source: ServerId
  readonly take: (failed: boolean) => void
}

export class Settler {
  readonly #world: SettlerWorld
  #nextOrder = 1
  readonly #orders = new Map<number, Order>()
  #pieces = 0

  constructor(world: SettlerWorld) {
    this.#world = world
  }

  /**
   * The leader's side. `done(false)`: some member could not; nothing is known about equality then.
   * @returns a number that changes whenever a piece was copied by this server, or a region by another one
   */
  settle(
    session: number,
    epoch: number,
    tells: ReadonlyMap<ServerId, Told>,
    done: (settled: boolean) => void,
  ): () => number {
    this.#orders.clear()
    const plan = planSettling(tells, this.#world.sizeBytes())
    let next = 0
    // One piece of the plan after the other: later ones may correct earlier ones; a piece itself runs in parallel.
    const step = (failed: boolean): void => {
      const piece = plan[next]
      if (failed || piece === undefined) return done(!failed)
      next += 1
      this.#give(session, epoch, piece, step)
    }
    step(false)
    return () => this.#pieces
  }

  #give(session: number, epoch: number, piece: SettlePiece, done: (failed: boolean) => void): void {
    if (piece.source === this.#world.self) {
      this.copyOut(session, epoch, piece, done)
      return
    }
    const order = this.#nextOrder
    this.#nextOrder += 1
    this.#orders.set(order, { source: piece.source, take: done })
    const { offsetBytes, lengthBytes } = piece
    const targets = [...piece.targets]
    this.#world.send(piece.source, 'settle.order', { session, attempt: 0, order, offsetBytes, lengthBytes, targets })
  }

  onDone(from: ServerId, body: MirrorBody<'settle.done'>): void {
    const order = this.#orders.get(body.order)
    if (order === undefined || order.source !== from) return
    this.#orders.delete(body.order)
    this.#pieces += 1
    order.take(body.failed)
  }

  /** A source's side: gives the bytes to every target, a few pieces at a time. */
  copyOut(
    session: number,
    epoch: number,
    order: { targets: readonly ServerId[]; offsetBytes: number; lengthBytes: number },
    done: (failed: boolean) => void,
  ): void {
    const { store, copier } = this.#world
    const endBytes = Math.min(order.offsetBytes + order.lengthBytes, endOf(order.offsetBytes, store.sizeBytes))
    let nextBytes = order.offsetBytes
    let open = 0
    let failed = false
    const pump = (): void => {
      while (!failed && open < limits.copyPieces && nextBytes < endBytes) {
        const offsetBytes = nextBytes
        const lengthBytes = Math.min(limits.copyPieceBytes, endBytes - offsetBytes)
        nextBytes += lengthBytes
        const facts = store.region(Math.floor(offsetBytes / limits.regionBytes))
        const stamp = facts.marked ? epoch : facts.stamp
        for (const target of order.targets) {
          open += 1
          copier.copy({ target, session, attempt: 0, offsetBytes, lengthBytes, stamp }, (movedBytes) => {
            open -= 1
            this.#pieces += 1
            failed ||= movedBytes === null
            pump()
          })
        }
      }
      if (open === 0 && (failed || nextBytes >= endBytes)) {
        // Once only: the last of the open pieces gets here, nobody after it.
        nextBytes = endBytes
        open = -1
        done(failed)
      }
    }
    pump()
  }

  /** The attempt to settle is over; late answers find nothing. */
  end(): void {
    this.#orders.clear()
  }
}
