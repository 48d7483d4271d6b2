/**
 * Requests that other servers pass here, because their own replicas are not in sync: executed as this server's own (P5),
 * but started only in the session in which they were passed, and only while their client is known to be there (W9). Pure.
 *
 *   passed here --credit, permission--> may start? --client lately heard of--> started --> answered
 *   may start? --not heard of for limits.staleRequestMs--> asked --it is there--> started
 *   asked --no answer within a lease--> dropped        any, not started --session over, client gone--> dropped
 *
 * Every request that was passed has one answer. A dropped one is told so, and its origin passes it again.
 */
import type { ServerId } from '../kit/ids.ts'
import { handBack } from '../kit/slabs.ts'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { Links, PassMessage, PassOutcome } from '../link/messages.ts'
import type { Session } from '../membership/session.ts'
import type { BlockFailure, CompareDone, Done, ReadDone } from './block-device.ts'
import type { HostBody, HostSend } from './host-messages.ts'
import { comparedOf } from './passing.ts'
import type { Connection, WriteRequest, WriteWish } from './requests.ts'

export interface HostingWorld {
  readonly volumeKey: number
  readonly clock: Clock
  readonly links: Links
  readonly send: HostSend
  sizeBytes(): number
  /** Servers with a replica, this one included. */
  replicas(): readonly ServerId[]
  read(connection: Connection, offsetBytes: number, lengthBytes: number, done: ReadDone): void
  write(connection: Connection, wish: WriteWish, done: CompareDone): WriteRequest
  flush(connection: Connection, done: Done): void
  /** Some of their requests that wait for credit have become unwanted. */
  dropUnwanted(): void
}

/** A request that holds permission and waits for its origin's word. */
interface Doubted {
  readonly hosted: Hosted
  readonly start: () => void
  readonly end: () => void
  readonly sinceMs: number
}

/** One run of a server whose requests are executed here. */
interface Origin {
  readonly server: ServerId
  readonly run: number
  readonly hosted: Map<number, Hosted>
  bytes: number
  lastRequest: number
  /** The latest of this server's own times as of which the origin has said that its clients are there. */
  provedMs: number
  /** When the question was asked that is not answered yet; 0 when none is. */
  askedMs: number
  doubted: Doubted[]
}

/** One passed request: to the rest of the volume, a connection with one request. */
class Hosted implements Connection {
  closed = false
  readonly origin: Origin
  readonly message: PassMessage
  /** Null for reads and flushes, which change nothing. */
  write: WriteRequest | null = null
  readonly #hosting: Hosting

  constructor(hosting: Hosting, origin: Origin, message: PassMessage) {
    this.#hosting = hosting
    this.origin = origin
    this.message = message
  }

  /** Bytes that it holds, here or on the link. */
  get bytes(): number {
    return bytesOf(this.message)
  }

  /** Once a write is executed it has an outcome, whatever becomes of session and client (W3, C7). */
  get isStarted(): boolean {
    return this.write !== null && this.write.number !== 0
  }

  mayStart(start: () => void, end: () => void): void {
    this.#hosting.mayStart(this, start, end)
  }
}

const bytesOf = ({ kind, lengthBytes }: PassMessage): number => {
  if (kind === 'compare') return 2 * lengthBytes
  return kind === 'data' || kind === 'read' ? lengthBytes : 0
}

export class Hosting {
  readonly #world: HostingWorld
  readonly #origins = new Map<ServerId, Origin>()
  #session: Session | null = null
  readonly counters = { hosted: 0, dropped: 0, asked: 0 }

  constructor(world: HostingWorld) {
    this.#world = world
  }

  /** Passed requests that are not answered yet. */
  get underWay(): number {
    let sum = 0
    for (const { hosted } of this.#origins.values()) sum += hosted.size
    return sum
  }

  // --- sessions and servers ---------------------------------------------------------------------------------------

  /** This server serves: whoever is not in sync may pass requests here. */
  startSession(session: Session): void {
    this.#session = session
    for (const server of this.#outside(session)) this.#offer(server, session.number)
  }

  endSession(): void {
    const session = this.#session
    if (session === null) return
    this.#session = null
    // First, so that nothing is passed again into the session that is over.
    for (const server of this.#outside(session)) this.#offer(server, 0)
    for (const origin of this.#origins.values()) this.#drop(origin, () => true)
  }

  /** Somebody has fallen out, or has opened the volume only now. */
  onFind(from: ServerId): void {
    const session = this.#session
    if (session !== null && this.#outside(session).includes(from)) this.#offer(from, session.number)
  }

  #outside(session: Session): ServerId[] {
    return this.#world.replicas().filter((server) => !session.configuration.inSync.includes(server))
  }

  #offer(to: ServerId, session: number): void {
    this.#world.send(to, 'host.offer', { session, sizeBytes: this.#world.sizeBytes(), sentMs: this.#nowMs() })
  }

  /** Another server's link shows a run: an older one's clients are gone. */
  peerRun(peer: ServerId): void {
    const origin = this.#origins.get(peer)
    if (origin !== undefined && origin.run !== this.#world.links.peer(peer)?.run) {
      this.#origins.delete(peer)
      this.#drop(origin, () => true)
    }
    this.onFind(peer)
  }

  // --- what origins say -------------------------------------------------------------------------------------------

  onPass(from: ServerId, run: number, message: PassMessage): void {
    const origin = this.#origin(from, run)
    if (!this.#world.replicas().includes(from) || message.request <= origin.lastRequest) return handBack(message.chunks)
    origin.lastRequest = message.request
    const { lengthBytes, offsetBytes, session } = message
    const hosted = new Hosted(this, origin, message)
    const isInside = offsetBytes + lengthBytes <= this.#world.sizeBytes()
    const isTooMuch = origin.hosted.size >= limits.passedRequests || origin.bytes + hosted.bytes > limits.volumeBytes
    origin.hosted.set(message.request, hosted)
    origin.bytes += hosted.bytes
    if (this.#session?.number !== session || isTooMuch) this.#answerDropped(hosted)
    else if (isInside) this.#submit(hosted)
    else this.#answer(hosted, 'io', [])
  }

  #origin(server: ServerId, run: number): Origin {
    const known = this.#origins.get(server)
    if (known !== undefined && known.run === run) return known
    const hosted = new Map<number, Hosted>()
    const made: Origin = { server, run, hosted, bytes: 0, lastRequest: 0, provedMs: 0, askedMs: 0, doubted: [] }
    this.#origins.set(server, made)
    return made
  }

  #submit(hosted: Hosted): void {
    const { kind, offsetBytes, lengthBytes, chunks, fua } = hosted.message
    const done = (failure: BlockFailure | null, read: readonly Uint8Array[] = []) => this.#done(hosted, failure, read)
    this.counters.hosted += 1
    if (kind === 'read') this.#world.read(hosted, offsetBytes, lengthBytes, done)
    else if (kind === 'flush') this.#world.flush(hosted, done)
    else if (kind === 'compare') this.#compare(hosted)
    else
      hosted.write = this.#world.write(hosted, { kind, offsetBytes, lengthBytes, chunks, fua }, (failure) =>
        done(failure),
      )
  }

  /** The compare happens here, under this server's permission (W6). */
  #compare(hosted: Hosted): void {
    const wish = comparedOf(hosted.message)
    handBack(hosted.message.chunks)
    hosted.write = this.#world.write(hosted, wish, (failure, differsAtBytes) => {
      if (failure !== null || differsAtBytes === null) this.#done(hosted, failure, [])
      else this.#answer(hosted, 'differs', [], differsAtBytes)
    })
  }

  /** W9: a client is gone. */
  onClosed(from: ServerId, run: number, { connection }: HostBody<'host.closed'>): void {
    const origin = this.#origins.get(from)
    if (origin?.run === run) this.#drop(origin, (hosted) => hosted.message.connection === connection)
  }

  onAlive(from: ServerId, run: number, { heardMs }: HostBody<'host.alive'>): void {
    const origin = this.#origins.get(from)
    // Nobody proves more than was asked.
    if (origin?.run !== run || heardMs > origin.askedMs) return
    origin.provedMs = heardMs
    origin.askedMs = 0
    const doubted = origin.doubted
    origin.doubted = []
    for (const { hosted, start, end, sinceMs } of doubted) {
      if (hosted.closed) end()
      else if (heardMs >= sinceMs) start()
      else origin.doubted.push({ hosted, start, end, sinceMs })
    }
    if (origin.doubted.length > 0) this.#ask(origin)
  }

  // --- the way of one request -------------------------------------------------------------------------------------

  /** It holds permission. @param end gives everything up that it holds here */
  mayStart(hosted: Hosted, start: () => void, end: () => void): void {
    const { origin, message } = hosted
    const provedMs = Math.max(origin.provedMs, message.heardMs)
    const sinceMs = this.#nowMs()
    if (sinceMs - provedMs <= limits.staleRequestMs) return start()
    origin.doubted.push({ hosted, start, end, sinceMs })
    if (origin.askedMs === 0) this.#ask(origin)
  }

  #ask(origin: Origin): void {
    origin.askedMs = this.#nowMs()
    this.counters.asked += 1
    this.#world.send(origin.server, 'host.ask', { sentMs: origin.askedMs })
  }

  /** Several times a second. No answer, no start; and nobody else waits longer than that for what it holds. */
  tick(): void {
    const nowMs = this.#nowMs()
    for (const origin of this.#origins.values()) {
      if (origin.doubted.length === 0) continue
      const late = new Set<Hosted>()
      for (const { hosted, sinceMs } of origin.doubted) if (nowMs - sinceMs > limits.leaseMs) late.add(hosted)
      if (late.size > 0) this.#drop(origin, (hosted) => late.has(hosted))
    }
  }

  /** What was not started never will be, and is told so; a write that was started goes on to its answer. */
  #drop(origin: Origin, which: (hosted: Hosted) => boolean): void {
    let any = false
    for (const hosted of [...origin.hosted.values()]) {
      if (hosted.isStarted || !which(hosted)) continue
      any = true
      hosted.closed = true
      this.#answerDropped(hosted)
    }
    if (!any) return
    const doubted = origin.doubted
    origin.doubted = doubted.filter(({ hosted }) => !hosted.closed)
    for (const { hosted, end } of doubted) if (hosted.closed) end()
    this.#world.dropUnwanted()
  }

  #done(hosted: Hosted, failure: BlockFailure | null, chunks: readonly Uint8Array[]): void {
    const { links } = this.#world
    if (failure === 'unknown-outcome') this.#answer(hosted, 'unknown', [])
    else if (failure === 'shutdown') this.#answerDropped(hosted)
    else if (failure !== null) this.#answer(hosted, failure, [])
    else if (chunks.length > 0 && links.unacknowledgedBytes(hosted.origin.server) > limits.linkBacklogBytes) {
      // N2: its origin may read again when the link has got on, which is when it hears of this.
      handBack(chunks)
      this.#answerDropped(hosted)
    } else this.#answer(hosted, 'done', chunks)
  }

  #answerDropped(hosted: Hosted): void {
    this.counters.dropped += 1
    this.#answer(hosted, 'dropped', [])
  }

  #answer(hosted: Hosted, outcome: PassOutcome, chunks: readonly Uint8Array[], differsAtBytes = 0): void {
    const { origin, message } = hosted
    if (!origin.hosted.delete(message.request)) return
    origin.bytes -= hosted.bytes
    // Nobody waits for it in another run.
    if (this.#origins.get(origin.server) !== origin) return
    const lengthBytes = chunks.reduce((sum, chunk) => sum + chunk.length, differsAtBytes)
    this.#world.links.send(origin.server, {
      type: 'passed',
      volumeKey: this.#world.volumeKey,
      session: message.session,
      request: message.request,
      sentMs: this.#nowMs(),
      outcome,
      lengthBytes,
      chunks,
    })
  }

  /** Whole milliseconds, as they travel; rounded down, so that nothing seems younger than it is. Sleep counts (A1): clients
   * go meanwhile. */
  #nowMs(): number {
    return Math.floor(this.#world.clock.leaseMs())
  }
}
