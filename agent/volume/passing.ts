/**
 * Requests of this server's clients while its own replica is not in sync: passed whole to a host, which executes them as
 * its own and answers (P5). Pure.
 *
 *   waiting --a host, room--> passed --done or refused--> answered
 *   passed --the host dropped it--> waiting (in the host's next session, at another host, or here)
 *   passed --the host is gone--> waiting (reads, flushes), or answered: unknown-outcome (writes, W8)
 *   waiting --this server is in sync again--> served here
 *
 * Why nothing is executed twice: a write is passed again only when its host said that it dropped it, in its stream.
 */
import { never } from '../kit/failure.ts'
import type { ServerId } from '../kit/ids.ts'
import { handBack } from '../kit/slabs.ts'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { Links, PassedMessage, PassKind } from '../link/messages.ts'
import { Admission } from './admission.ts'
import type { BlockFailure, CompareDone } from './block-device.ts'
import type { HostBody, HostSend } from './host-messages.ts'
import { type Host, Hosts } from './hosts.ts'
import type { Connection, WriteWish } from './requests.ts'

/** Where a request was passed to. */
interface Place {
  readonly host: ServerId
  readonly run: number
  readonly session: number
  readonly number: number
}

/** `differsAtBytes`: of a compare-and-write that did not write (CompareDone). */
export type PassDone = (
  failure: BlockFailure | null,
  chunks: readonly Uint8Array[],
  differsAtBytes?: number | null,
) => void

export interface PassWish {
  readonly connection: Connection
  readonly kind: PassKind
  readonly offsetBytes: number
  /** 0 for a flush. */
  readonly lengthBytes: number
  /** Of a compare-and-write: what is expected, and behind it as many bytes of replacement. */
  readonly chunks: readonly Uint8Array[]
  readonly fua: boolean
  readonly arrivedMs: number
  readonly done: PassDone
  /** Whether these bytes are nobody else's once it is done (kit/slabs.ts); false: they were sent elsewhere before. */
  readonly ownsChunks: boolean
}

/** A compare-and-write as it is passed. */
export function passedCompare(
  wish: Omit<PassWish, 'kind' | 'done'>,
  expected: Uint8Array,
  done: CompareDone,
): PassWish {
  const chunks = [expected, ...wish.chunks]
  return {
    ...wish,
    kind: 'compare',
    chunks,
    done: (failure, _chunks, differsAtBytes = null) => done(failure, differsAtBytes),
  }
}

/** The same as a server executes it. The bytes are copied: they may have come in any pieces. */
export function comparedOf(passed: Pick<PassWish, 'offsetBytes' | 'lengthBytes' | 'chunks' | 'fua'>): WriteWish {
  const { offsetBytes, lengthBytes, fua } = passed
  const both = Buffer.concat(passed.chunks)
  const look = { expected: both.subarray(0, lengthBytes) }
  return { kind: 'data', offsetBytes, lengthBytes, chunks: [both.subarray(lengthBytes)], fua, look }
}

export class PassedRequest {
  readonly wish: PassWish
  readonly lengthBytes: number
  at: Place | null = null

  constructor(wish: PassWish) {
    this.wish = wish
    this.lengthBytes = wish.lengthBytes
  }

  get isWrite(): boolean {
    return this.wish.kind !== 'read' && this.wish.kind !== 'flush'
  }
}

export interface PassingWorld {
  readonly volumeKey: number
  readonly clock: Clock
  readonly links: Links
  readonly send: HostSend
  sizeBytes(): number
  /** The other servers with a replica. */
  others(): readonly ServerId[]
  /** The in-sync set as it is known here. */
  inSync(): readonly ServerId[]
  /** False where this server's history is not the others' (E1). */
  mayPass(): boolean
  /** Bytes of requests that this volume may have passed at once (limits.ts shareOfLinks). */
  mostBytes(): number
  /** The own replica is in sync again. */
  serveHere(wish: PassWish): void
  answered(wish: PassWish): void
}

export class Passing {
  readonly #world: PassingWorld
  readonly hosts: Hosts
  readonly #window: Admission<PassedRequest>
  readonly #passed = new Map<number, PassedRequest>()
  /** W9: each connection's number, and the hosts that its requests were passed to. */
  readonly #connections = new Map<Connection, { readonly number: number; readonly hosts: Set<ServerId> }>()
  #isOn = false
  #lastRequest = 0
  #lastConnection = 0
  readonly counters = { passed: 0, again: 0, unknown: 0 }

  constructor(world: PassingWorld) {
    this.#world = world
    this.hosts = new Hosts(world)
    this.#window = new Admission(
      (request) => this.#enter(request),
      () => this.#hasRoom(),
      () => world.mostBytes(),
    )
  }

  /** Whether clients' requests go through a host now. */
  get isOn(): boolean {
    return this.#isOn
  }

  /** The present host, for people. */
  get via(): ServerId | null {
    return this.#isOn ? (this.#host()?.server ?? null) : null
  }

  get underWay(): number {
    return this.#passed.size
  }

  /** This server is not in sync. */
  begin(): void {
    if (this.#isOn) return
    this.#isOn = true
    // What was offered before this server had opened the volume was said to nobody.
    for (const server of this.#world.others()) this.#world.send(server, 'host.find', {})
  }

  /** It is in sync again: what waits is served here; what was passed is answered or dropped by its host. */
  end(): void {
    this.#isOn = false
    for (const request of this.#window.takeWaiting()) this.#world.serveHere(request.wish)
  }

  submit(wish: PassWish): void {
    this.#window.admit(new PassedRequest(wish))
  }

  /** W9: nothing of it is passed any more, and its hosts do not start what they have. */
  closed(connection: Connection): void {
    this.#window.drop((request) => request.wish.connection.closed)
    const known = this.#connections.get(connection)
    if (known === undefined) return
    this.#connections.delete(connection)
    for (const host of known.hosts) this.#world.send(host, 'host.closed', { connection: known.number })
  }

  // --- what hosts say ---------------------------------------------------------------------------------------------

  onOffer(from: ServerId, run: number, body: HostBody<'host.offer'>): void {
    this.hosts.onOffer(from, run, body)
    this.#window.pump()
  }

  /** W9: a turn of the event loop shows which connections are closed; that is said first, on the same stream. */
  onAsk(from: ServerId, run: number, { sentMs }: HostBody<'host.ask'>): void {
    this.#world.clock.nextTurn(() => {
      if (this.#world.links.peer(from)?.run === run) this.#world.send(from, 'host.alive', { heardMs: sentMs })
    })
  }

  /** An answer to what was never passed, or was answered or given up before, is nothing. */
  onPassed(from: ServerId, run: number, message: PassedMessage): void {
    this.hosts.heard(from, run, message.sentMs)
    const request = this.#passed.get(message.request)
    const { at } = request ?? {}
    if (request === undefined || at?.host !== from || at.run !== run || at.session !== message.session) {
      return handBack(message.chunks)
    }
    switch (message.outcome) {
      case 'done':
        return this.#done(request, message)
      case 'io':
      case 'no-space':
      case 'conflict':
        return this.#answer(request, message.outcome, [])
      case 'differs':
        return this.#differs(request, message.lengthBytes)
      case 'unknown':
        return this.#unknown(request)
      case 'dropped':
        return this.#again(request)
      default:
        return never(message.outcome, 'Passing.onPassed')
    }
  }

  #done(request: PassedRequest, message: PassedMessage): void {
    const { wish } = request
    const wantedBytes = wish.kind === 'read' ? wish.lengthBytes : 0
    if (message.lengthBytes !== wantedBytes) {
      handBack(message.chunks)
      return this.#answer(request, 'io', [])
    }
    // The host has them, and the stream that brought its answer acknowledged the frame.
    if (wish.ownsChunks) handBack(wish.chunks)
    this.#answer(request, null, message.chunks)
  }

  /** It compared, and wrote nothing. */
  #differs(request: PassedRequest, differsAtBytes: number): void {
    const { kind, lengthBytes } = request.wish
    if (kind !== 'compare' || differsAtBytes >= lengthBytes) this.#answer(request, 'io', [])
    else this.#answer(request, null, [], differsAtBytes)
  }

  /** Another server's link shows a run: what was passed to an older one has no host any more. */
  peerRun(peer: ServerId): void {
    const run = this.#world.links.peer(peer)?.run
    for (const request of [...this.#passed.values()]) {
      if (request.at?.host === peer && request.at.run !== run) this.#hostLost(request)
    }
    this.#window.pump()
  }

  /** Several times a second. */
  tick(): void {
    if (!this.#isOn && this.#passed.size === 0) return
    const other = this.#host()
    const inSync = this.#world.inSync()
    for (const request of [...this.#passed.values()]) {
      const { at } = request
      const awayMs = at === null ? 0 : this.hosts.awayMs(at.host)
      if (at === null || awayMs === 0) continue
      // Out of the set and out of reach, or out of reach for long while another one serves.
      const isLost = !inSync.includes(at.host) || (other !== null && awayMs > limits.passedAwayMs)
      if (isLost || (other !== null && !request.isWrite)) this.#hostLost(request)
    }
    this.#window.pump()
  }

  // --- the way of one request -------------------------------------------------------------------------------------

  #host(): Host | null {
    return this.#world.mayPass() ? this.hosts.pick() : null
  }

  #hasRoom(): boolean {
    const host = this.#isOn ? this.#host() : null
    // N2: who waits for a slow link waits here.
    return host !== null && this.#world.links.unacknowledgedBytes(host.server) <= limits.linkBacklogBytes
  }

  #enter(request: PassedRequest): void {
    const { clock } = this.#world
    if (clock.monotonicMs() - request.wish.arrivedMs <= limits.staleRequestMs) return this.#pass(request)
    // W9: after a long wait, a full turn of the event loop must still show the connection open.
    clock.nextTurn(() => this.#pass(request))
  }

  #pass(request: PassedRequest): void {
    const { wish } = request
    const host = this.#isOn ? this.#host() : null
    if (wish.connection.closed || host === null) return this.#again(request)
    this.#lastRequest += 1
    const number = this.#lastRequest
    const { server, run, session } = host
    request.at = { host: server, run, session, number }
    this.#passed.set(number, request)
    this.counters.passed += 1
    this.#world.links.send(server, {
      type: 'pass',
      volumeKey: this.#world.volumeKey,
      session,
      request: number,
      connection: this.#numberFor(wish.connection, server),
      heardMs: this.hosts.heardMs(server, run),
      kind: wish.kind,
      fua: wish.fua,
      offsetBytes: wish.offsetBytes,
      lengthBytes: wish.lengthBytes,
      chunks: wish.chunks,
    })
  }

  #numberFor(connection: Connection, host: ServerId): number {
    let known = this.#connections.get(connection)
    if (known === undefined) {
      this.#lastConnection += 1
      known = { number: this.#lastConnection, hosts: new Set() }
      this.#connections.set(connection, known)
    }
    known.hosts.add(host)
    return known.number
  }

  /**
   * Its host is a new run, or out of reach for good. Reads and flushes change nothing: they are passed again. Of a write
   * nobody can say here whether it was started (W8). Here, and nowhere else, the session could be asked for its outcome by
   * the name that its host gave it (outcomes.ts asks so for this server's own writes): then it is acknowledged, or passed again.
   */
  #hostLost(request: PassedRequest): void {
    if (request.isWrite) this.#unknown(request)
    else this.#again(request)
  }

  #unknown(request: PassedRequest): void {
    const { at, wish } = request
    this.counters.unknown += 1
    // Its connection is about to be closed; where it was passed to it must not start after that (W9).
    const number = this.#connections.get(wish.connection)?.number
    if (at !== null && number !== undefined) this.#world.send(at.host, 'host.closed', { connection: number })
    this.#answer(request, 'unknown-outcome', [])
  }

  /** Nobody has started it, or it changes nothing. */
  #again(request: PassedRequest): void {
    const { wish } = request
    this.#leave(request)
    if (wish.connection.closed) return
    this.counters.again += 1
    if (this.#isOn) this.#window.admit(request)
    else this.#world.serveHere(wish)
  }

  #answer(
    request: PassedRequest,
    failure: BlockFailure | null,
    chunks: readonly Uint8Array[],
    differsAtBytes: number | null = null,
  ): void {
    const { wish } = request
    this.#leave(request)
    if (wish.connection.closed) return handBack(chunks)
    if (failure === null) this.#world.answered(wish)
    wish.done(failure, chunks, differsAtBytes)
  }

  #leave(request: PassedRequest): void {
    if (request.at !== null) this.#passed.delete(request.at.number)
    request.at = null
    this.#window.leave(request)
  }
}
