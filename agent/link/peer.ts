/**
 * One other server as the links see it: its identity once shown, the stream to its present run, the one connection
 * that carries it, and the dialing when there is none.
 */
import type { Socket } from 'node:net'
import { crc32 } from 'node:zlib'
import type { ServerId } from '../kit/ids.ts'
import { connectIntoSlabs } from '../kit/slab-socket.ts'
import type { SlabPool } from '../kit/slabs.ts'
import type { Clock, Log, RandomSource, Timer } from '../kit/world.ts'
import { limits } from '../limits.ts'
import { FrameEncoder } from './codec.ts'
import type { Connection } from './connection.ts'
import type { Identity, Refusal, Role } from './handshake.ts'
import { Stream } from './stream.ts'

export interface PeerAddress {
  readonly name: string
  readonly host: string
  readonly port: number
  readonly role: Role
}

/** Which direction of the traffic with a peer is lost, as seen from this server. */
export type Cut = 'both' | 'in' | 'out'

export interface PeerWorld {
  readonly self: Identity
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Log
  readonly slabs: SlabPool
  /** Makes a connection of a socket that was just dialed. */
  dialed(peer: Peer, socket: Socket): Connection
}

export class Peer {
  readonly address: PeerAddress
  readonly #world: PeerWorld
  readonly #encoder = new FrameEncoder(crc32)
  /** Pinned by the caller, or learned at the first handshake. */
  id: ServerId | undefined
  shown: Identity | undefined
  stream: Stream | undefined
  connection: Connection | undefined
  /** Wall milliseconds of the last change between connected and not; undefined when never connected. */
  changedMs: number | undefined
  cutIn = false
  cutOut = false
  #dialing: Connection | undefined
  #retry: Timer | undefined
  #failures = 0
  #lastTrouble = ''
  #closed = false

  constructor(address: PeerAddress, world: PeerWorld, id: ServerId | undefined) {
    this.address = address
    this.#world = world
    this.id = id
  }

  get isCut(): boolean {
    return this.cutIn || this.cutOut
  }

  /** Of each pair the lower id dials; before ids are known both do. */
  get #dialsFirst(): boolean {
    return this.id === undefined || this.#world.self.id < this.id
  }

  /**
   * Whether a proved identity may become this peer's connection. Newest run first; then the connection that the lower
   * id dialed; then the newer one, since its dialer would not have dialed with the old one alive.
   */
  admits(told: Identity, side: 'dialer' | 'accepter'): Refusal | undefined {
    const shown = this.shown
    if (!shown) return undefined
    if (told.run < shown.run) return 'older-run'
    if (told.run > shown.run) return undefined
    if (told.instance !== shown.instance) return 'duplicate-id'
    if (!this.connection) return undefined
    const lowerSide = this.#world.self.id < told.id ? 'dialer' : 'accepter'
    return this.connection.side === lowerSide && side !== lowerSide ? 'already-connected' : undefined
  }

  /** @returns the last number received from that run */
  lastReceived(told: Identity): number {
    return this.shown?.run === told.run ? (this.stream?.lastReceived ?? 0) : 0
  }

  /**
   * A proved connection takes over the stream; a new run begins a new one.
   * @returns the connection that was replaced, if any, for the caller to close
   */
  attach(connection: Connection, told: Identity, peerReceived: number): Stream | Refusal {
    const isNewRun = this.shown?.run !== told.run || !this.stream
    const stream = isNewRun ? new Stream(this.#encoder) : this.stream
    if (!stream?.attach(peerReceived)) return 'impossible-position'
    const replaced = this.connection
    this.id = told.id
    this.shown = told
    this.stream = stream
    this.connection = connection
    replaced?.close('replaced by another connection')
    if (!replaced) this.changedMs = this.#world.clock.wallMs()
    if (this.#dialing === connection) this.#dialing = undefined
    this.#failures = 0
    this.#lastTrouble = ''
    this.#retry?.cancel()
    this.#retry = undefined
    return stream
  }

  /** @returns whether this was the connection that carried the stream */
  detach(connection: Connection, why: string, refusal: Refusal | undefined): boolean {
    const wasDialing = this.#dialing === connection
    const wasCarrier = this.connection === connection
    if (wasDialing) {
      this.#dialing = undefined
      this.#failures += 1
      this.#tellTrouble(why, refusal)
    }
    if (wasCarrier) {
      this.connection = undefined
      this.changedMs = this.#world.clock.wallMs()
    }
    if (wasDialing || wasCarrier) this.#dialLater()
    return wasCarrier
  }

  /** Dials now, unless that is under way, needless, or impossible. */
  dial(): void {
    this.#retry?.cancel()
    this.#retry = undefined
    if (this.#closed || this.connection || this.#dialing) return
    if (this.isCut) {
      this.#dialLater()
      return
    }
    const { host, port } = this.address
    this.#dialing = this.#world.dialed(this, connectIntoSlabs({ host, port, noDelay: true }, this.#world.slabs))
  }

  /** Ends an attempt to dial that a cut has frozen. */
  abandonDialing(): void {
    this.#dialing?.destroy()
  }

  close(): void {
    this.#closed = true
    this.#retry?.cancel()
    this.#dialing?.destroy()
  }

  #dialLater(): void {
    if (this.#closed || this.#retry) return
    const doubled = limits.linkRetryMs * 2 ** Math.min(this.#failures, 10)
    // The higher id dials too after a lease without connection: perhaps only this direction can be reached.
    const waitMs = Math.min(doubled, limits.linkRetryMaxMs) + (this.#dialsFirst ? 0 : limits.leaseMs)
    this.#retry = this.#world.clock.after(waitMs * (0.5 + this.#world.random.unit() / 2), () => this.dial())
  }

  /** The first failure of a kind is told aloud, its repetitions are not. */
  #tellTrouble(why: string, refusal: Refusal | undefined): void {
    if (this.#closed || refusal === 'already-connected') return
    const fields = { peer: this.address.name, address: `${this.address.host}:${this.address.port}`, why }
    if (why === this.#lastTrouble) this.#world.log.debug(fields, 'peer not reached')
    else if (refusal) this.#world.log.warn(fields, 'peer refused')
    else this.#world.log.info(fields, 'peer not reached')
    this.#lastTrouble = why
  }
}
