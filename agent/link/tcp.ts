/** The links of one server over TCP: listens, dials, and joins proved connections to the streams (README.md). */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { createServer, type Server, type Socket } from 'node:net'
import { invariant, UserError } from '../kit/failure.ts'
import type { ServerId } from '../kit/ids.ts'
import { adoptIntoSlabs } from '../kit/slab-socket.ts'
import { SlabPool } from '../kit/slabs.ts'
import type { Clock, Log, RandomSource, Timer } from '../kit/world.ts'
import { limits } from '../limits.ts'
import { Connection, type ConnectionOwner, type Traffic } from './connection.ts'
import { Handshake, type HandshakeCrypto, type Identity, type Refusal, type Role } from './handshake.ts'
import type { ControlMessage, LinkEvents, Links, Message } from './messages.ts'
import { type Cut, Peer, type PeerAddress } from './peer.ts'
import type { Stream } from './stream.ts'

export type { Cut, PeerAddress } from './peer.ts'

export interface LinkOptions {
  readonly self: { readonly id: ServerId; readonly name: string; readonly role: Role; readonly run: number }
  /** Port 0: any free one; see LinkHub.port. */
  readonly listen: { readonly host: string; readonly port: number }
  /** Known to all servers of the cluster, never sent. */
  readonly secret: string
  readonly peers: readonly PeerAddress[]
  /** Ids that earlier runs have seen, by name: another id under such a name is refused. Kept durably by the caller. */
  readonly knownIds?: Readonly<Record<string, ServerId>>
  readonly events: LinkEvents
  readonly clock: Clock
  /** Must not be foreseeable: nonces are made of it. */
  readonly random: RandomSource
  readonly log: Log
  /** Allows cut() and heal(), for trying out faults. */
  readonly allowFaults?: boolean
}

/** A configured server, as far as the links know it. */
export interface KnownPeer {
  /** Null before the first handshake, unless pinned. */
  readonly id: ServerId | null
  readonly name: string
  readonly role: Role
  readonly address: string
  readonly connected: boolean
  /** Milliseconds since 1970 when it was connected or lost; null when never seen in this run. */
  readonly sinceMs: number | null
}

export interface LinkHub extends Links {
  /** The port that is listened on. */
  readonly port: number
  readonly bytesSent: number
  readonly bytesReceived: number
  known(): readonly KnownPeer[]
  /** Loses the traffic with a peer silently, as a pulled cable does. @throws UserError when not allowed or unknown */
  cut(peerName: string, direction: Cut): void
  /** Ends every cut. @throws UserError when not allowed */
  heal(): void
  /** Sends what waits, closes every connection and the listener; no event comes any more. */
  close(): Promise<void>
}

const nodeCrypto: HandshakeCrypto = {
  hmac(secret, parts) {
    const hmac = createHmac('sha256', secret)
    for (const part of parts) hmac.update(part)
    return hmac.digest()
  },
  equal: (one, other) => one.length === other.length && timingSafeEqual(one, other),
}

/**
 * Starts listening and dialing.
 * @throws UserError when the address cannot be listened on
 */
export async function startLinks(options: LinkOptions): Promise<LinkHub> {
  const hub = new TcpHub(options)
  await hub.listen()
  return hub
}

class TcpHub implements LinkHub, ConnectionOwner {
  readonly #options: LinkOptions
  readonly #self: Identity
  readonly #peers: readonly Peer[]
  readonly #byId = new Map<ServerId, Peer>()
  readonly #byName = new Map<string, Peer>()
  readonly #ofConnection = new Map<Connection, Peer>()
  /** Accepted and not proved, oldest first. */
  readonly #strangers = new Set<Connection>()
  /** Given up while their cable was cut: closed at heal(). */
  readonly #abandoned = new Set<Connection>()
  /** When a refusal of that kind was last told aloud; as many entries as there are kinds. */
  readonly #toldRefusedMs = new Map<Refusal, number>()
  readonly #sockets = new Set<Socket>()
  readonly #slabs = new SlabPool()
  readonly #traffic: Traffic = { bytesSent: 0, bytesReceived: 0 }
  readonly #server: Server
  #tickTimer: Timer | undefined
  #lastTickMs: number
  #closed = false

  constructor(options: LinkOptions) {
    this.#options = options
    this.#self = { ...options.self, instance: options.random.id() }
    this.#lastTickMs = options.clock.monotonicMs()
    const { clock, random, log } = options
    const dialed = (peer: Peer, socket: Socket) => this.#connection(socket, 'dialer', peer)
    const world = { self: this.#self, clock, random, log, slabs: this.#slabs, dialed }
    const pinned = new Map(Object.entries(options.knownIds ?? {}))
    this.#peers = options.peers.map((address) => new Peer(address, world, pinned.get(address.name)))
    for (const peer of this.#peers) {
      this.#byName.set(peer.address.name, peer)
      if (peer.id) this.#byId.set(peer.id, peer)
    }
    this.#server = createServer({ noDelay: true, pauseOnConnect: true }, (socket) => this.#accept(socket))
  }

  // -- Links ----------------------------------------------------------------------------------------------------

  send(id: ServerId, message: Message): boolean {
    const peer = this.#byId.get(id)
    if (!peer?.stream) return false
    peer.stream.send(message)
    peer.connection?.schedule()
    return true
  }

  sendNow(id: ServerId, message: ControlMessage): boolean {
    const peer = this.#byId.get(id)
    if (!peer?.stream || !peer.connection?.canTakeUrgent() || !peer.stream.sendNow(message)) return false
    peer.connection.schedule()
    return true
  }

  peer(id: ServerId): { readonly run: number; readonly connected: boolean } | undefined {
    const peer = this.#byId.get(id)
    return peer?.shown && { run: peer.shown.run, connected: peer.connection !== undefined }
  }

  acknowledgedBytes(id: ServerId): number {
    return this.#byId.get(id)?.stream?.acknowledgedBytes ?? 0
  }

  unacknowledgedBytes(id: ServerId): number {
    return this.#byId.get(id)?.stream?.unacknowledgedBytes ?? 0
  }

  // -- LinkHub --------------------------------------------------------------------------------------------------

  get port(): number {
    const address = this.#server.address()
    return typeof address === 'object' && address ? address.port : 0
  }

  get bytesSent(): number {
    return this.#traffic.bytesSent
  }

  get bytesReceived(): number {
    return this.#traffic.bytesReceived
  }

  known(): readonly KnownPeer[] {
    return this.#peers.map((peer) => ({
      id: peer.id ?? null,
      name: peer.address.name,
      role: peer.address.role,
      address: `${peer.address.host}:${peer.address.port}`,
      connected: peer.connection !== undefined,
      sinceMs: peer.changedMs ?? null,
    }))
  }

  cut(peerName: string, direction: Cut): void {
    this.#checkFaults()
    const peer = this.#byName.get(peerName)
    if (!peer) throw faultRefused(`There is no peer named ${peerName}.`)
    if (direction !== 'out') peer.cutIn = true
    if (direction !== 'in') peer.cutOut = true
    peer.connection?.cut({ input: peer.cutIn, output: peer.cutOut })
  }

  heal(): void {
    this.#checkFaults()
    for (const connection of this.#abandoned) connection.destroy()
    this.#abandoned.clear()
    for (const stranger of this.#strangers) stranger.destroy()
    for (const peer of this.#peers) {
      if (!peer.isCut) continue
      peer.cutIn = false
      peer.cutOut = false
      peer.connection?.cut({ input: false, output: false })
      peer.abandonDialing()
      peer.dial()
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#tickTimer?.cancel()
    for (const peer of this.#peers) {
      peer.close()
      peer.connection?.end()
    }
    for (const connection of [...this.#strangers, ...this.#abandoned]) connection.destroy()
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    // A peer that does not take the rest is not waited for.
    const timer = this.#options.clock.after(limits.heartbeatMs, () => {
      for (const socket of this.#sockets) socket.destroy()
    })
    await Promise.all([closed, ...[...this.#sockets].map(closing)])
    timer.cancel()
  }

  // -- listening and dialing ------------------------------------------------------------------------------------

  async listen(): Promise<void> {
    const { host, port } = this.#options.listen
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => reject(cannotListen(`${host}:${port}`, error)))
      this.#server.listen({ host, port }, () => resolve())
    })
    this.#server.on('error', (error) => this.#options.log.error({ error: error.message }, 'link listener'))
    for (const peer of this.#peers) peer.dial()
    this.#tick()
  }

  #accept(accepted: Socket): void {
    const socket = adoptIntoSlabs(accepted, { pool: this.#slabs, allowHalfOpen: false })
    this.#strangers.add(this.#connection(socket, 'accepter', undefined))
    if (this.#strangers.size > limits.linkStrangers) {
      const [oldest] = this.#strangers
      oldest?.destroy()
    }
  }

  #connection(socket: Socket, side: 'dialer' | 'accepter', dialed: Peer | undefined): Connection {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    const { random, secret, clock } = this.#options
    const handshake = new Handshake({
      side,
      self: this.#self,
      secret,
      nonce: random.id() + random.id(),
      crypto: nodeCrypto,
      owner: {
        expects: (told) => this.#expects(told, dialed),
        admits: (told) => this.#byName.get(told.name)?.admits(told, side),
        lastReceived: (told) => this.#byName.get(told.name)?.lastReceived(told) ?? 0,
      },
    })
    const handshakeMs = side === 'dialer' ? limits.leaseMs : limits.linkHandshakeMs
    const connection = new Connection({
      socket,
      side,
      handshake,
      handshakeMs,
      owner: this,
      clock,
      traffic: this.#traffic,
    })
    if (dialed) this.#ofConnection.set(connection, dialed)
    return connection
  }

  /** Whether what a server tells of itself fits the configuration and what was seen before. */
  #expects(told: Identity, dialed: Peer | undefined): Refusal | 'hush' | undefined {
    const peer = this.#byName.get(told.name)
    if (dialed && peer !== dialed) return 'other-name'
    if (!peer) return 'unknown-name'
    if (peer.isCut) return 'hush'
    if (peer.address.role !== told.role) return 'other-role'
    if (peer.id && peer.id !== told.id) return 'other-id'
    const holder = this.#byId.get(told.id)
    return holder && holder !== peer ? 'duplicate-id' : undefined
  }

  // -- ConnectionOwner ------------------------------------------------------------------------------------------

  onProved(connection: Connection, told: Identity, peerReceived: number): Stream | Refusal {
    const peer = this.#byName.get(told.name)
    if (!peer) return 'unknown-name'
    this.#strangers.delete(connection)
    this.#ofConnection.set(connection, peer)
    const stream = peer.attach(connection, told, peerReceived)
    if (typeof stream !== 'string') this.#byId.set(told.id, peer)
    return stream
  }

  onOpen(connection: Connection): void {
    const shown = this.#ofConnection.get(connection)?.shown
    invariant(shown !== undefined, 'N4', 'an open connection belongs to a proved peer')
    this.#options.log.info({ peer: shown.name, run: shown.run, by: connection.side }, 'peer connected')
    this.#options.events.onPeerRun(shown.id, shown.run)
  }

  onMessage(connection: Connection, message: Message, ordered: boolean): void {
    const shown = this.#ofConnection.get(connection)?.shown
    invariant(shown !== undefined, 'N4', 'a message comes from a proved peer')
    this.#options.events.onMessage(shown.id, shown.run, message, ordered)
  }

  onClosed(connection: Connection, why: string, refusal: Refusal | undefined): void {
    const wasStranger = this.#strangers.delete(connection)
    const peer = this.#ofConnection.get(connection)
    this.#ofConnection.delete(connection)
    if (peer?.cutOut) this.#abandoned.add(connection)
    const { log } = this.#options
    if (wasStranger && refusal) this.#tellRefused(connection, why, refusal)
    if (!peer?.detach(connection, why, refusal) || this.#closed) return
    log.info({ peer: peer.address.name, why }, 'peer disconnected')
    if (peer.shown) this.#options.events.onPeerDisconnected(peer.shown.id)
  }

  /** Each reason aloud now and then, so that a port scanner does not fill the log. */
  #tellRefused(connection: Connection, why: string, refusal: Refusal): void {
    const now = this.#options.clock.monotonicMs()
    const last = this.#toldRefusedMs.get(refusal)
    const isNews = refusal !== 'already-connected' && (last === undefined || now - last > limits.linkTellRefusedMs)
    if (isNews) this.#toldRefusedMs.set(refusal, now)
    this.#options.log[isNews ? 'warn' : 'debug']({ from: connection.remoteAddress, why }, 'connection refused')
  }

  // -- the rest -------------------------------------------------------------------------------------------------

  #tick(): void {
    if (this.#closed) return
    const now = this.#options.clock.monotonicMs()
    const stoodStill = now - this.#lastTickMs > 3 * limits.heartbeatMs
    this.#lastTickMs = now
    for (const peer of this.#peers) {
      if (stoodStill) peer.connection?.excuse(now)
      peer.connection?.tick(now)
    }
    this.#tickTimer = this.#options.clock.after(limits.heartbeatMs, () => this.#tick())
  }

  #checkFaults(): void {
    if (!this.#options.allowFaults) throw faultRefused('This agent was not started with faults allowed.')
  }
}

function closing(socket: Socket): Promise<void> {
  return new Promise((resolve) => (socket.closed ? resolve() : socket.once('close', () => resolve())))
}

function faultRefused(happened: string): UserError {
  return new UserError({
    code: 'fault-refused',
    happened,
    dataIsSafe: 'Nothing was changed.',
    next: 'Faults are for trying things out: start the agent with faults allowed, and name one of its peers.',
  })
}

function cannotListen(address: string, error: Error): UserError {
  return new UserError({
    code: 'link-address-refused',
    happened: `The other servers cannot reach this one: listening on ${address} failed (${error.message}).`,
    dataIsSafe: 'Nothing was changed.',
    next: 'Check link.host and link.port in config.json, and whether another agent already runs there.',
  })
}
