/**
 * Where a client's request goes: to this server's own replica while that is in sync, else through a host (passing.ts); and
 * the same for what other servers pass here (hosting.ts). What a request waits for here, from its arrival to its answer.
 */
import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import { leaderOf, type Session } from '../membership/session.ts'
import { Admission } from './admission.ts'
import type { BlockFailure, CompareDone, Done, ReadDone } from './block-device.ts'
import type { HostBody, HostSend } from './host-messages.ts'
import { Hosting } from './hosting.ts'
import { OpenWrites, Outcomes } from './outcomes.ts'
import type { Overdue } from './overdue.ts'
import { Pages } from './pages.ts'
import { comparedOf, Passing, type PassWish } from './passing.ts'
import { Reads } from './reads.ts'
import {
  type Connection,
  FlushRequest,
  ReadRequest,
  type RequestHost,
  WriteRequest,
  type WriteWish,
} from './requests.ts'
import { everybody } from './right-to-write.ts'
import type { Volume } from './volume.ts'
import { cutRead, flushWish, isOwnClient, writeWish } from './wishes.ts'
import { Writes } from './writes.ts'

export class Service implements RequestHost {
  readonly #volume: Volume
  readonly #send: HostSend
  readonly #reads: Admission<ReadRequest>
  readonly #reading: Reads
  /** Of this server's clients, not answered yet. */
  readonly #flushes = new Set<FlushRequest>()
  readonly writes: Writes
  readonly passing: Passing
  readonly hosting: Hosting
  readonly pages: Pages
  readonly outcomes = new Outcomes()
  readonly #openWrites: OpenWrites
  /** What this server's clients got answered. */
  readonly counters = { reads: 0, writes: 0, flushes: 0, readBytes: 0, writtenBytes: 0 }

  constructor(volume: Volume, overdue: Overdue) {
    const { world, store, policing, outgoing, space, repairs, key } = volume
    const { clock, links } = world
    this.#volume = volume
    this.#reads = new Admission((request) => policing.acquire(request))
    const looking = {
      store,
      repairs,
      overdue,
      session: () => volume.serving?.number ?? 0,
      mayAnswer: () => volume.member.mayAnswerRead(),
    }
    const writeShareBytes = () => world.writeShareBytes()
    this.writes = new Writes({ ...looking, policing, outgoing, space, check: everybody, writeShareBytes })
    this.#reading = new Reads({
      ...looking,
      again: (request) => policing.again(request),
    })
    this.pages = new Pages({
      read: (connection, offsetBytes, lengthBytes, done) => {
        if (this.passing.isOn) return clock.nextTurn(() => done('shutdown', []))
        this.#read(connection, offsetBytes, lengthBytes, clock.monotonicMs(), done)
      },
      write: (connection, wish, done) => {
        if (this.passing.isOn) return clock.nextTurn(() => done('shutdown', null))
        this.#write(connection, wish, clock.monotonicMs(), done)
      },
    })
    const send: HostSend = (to, kind, body) => {
      links.send(to, { type: 'control', kind, body: { ...body, volume: world.volumeId } })
    }
    this.#send = send
    const replicas = () => volume.member.known.replicas.map(({ serverId }) => serverId)
    const common = { volumeKey: key, clock, links, send, sizeBytes: () => volume.sizeBytes }
    this.passing = new Passing({
      ...common,
      others: () => replicas().filter((server) => server !== world.self),
      inSync: () => volume.member.known.inSync,
      mayPass: () => !volume.member.splitBrain,
      mostBytes: () => world.writeShareBytes(),
      serveHere: (wish) => this.#serveHere(wish),
      answered: (wish) => this.#count(wish.kind === 'flush' ? null : wish.kind === 'read', wish.lengthBytes),
    })
    this.#openWrites = new OpenWrites({
      send,
      leader: () => leaderOf(volume.member.known),
      offerOf: (server) => this.passing.hosts.offerOf(server),
      again: (write) => this.#again(write),
    })
    this.hosting = new Hosting({
      ...common,
      replicas,
      read: (connection, offsetBytes, lengthBytes, done) =>
        this.#read(connection, offsetBytes, lengthBytes, clock.monotonicMs(), done),
      write: (connection, wish, done) =>
        this.#write(connection, { ...wish, fua: wish.fua || volume.writeThrough }, clock.monotonicMs(), done),
      flush: (connection, done) => this.#flush(connection, clock.monotonicMs(), done),
      dropUnwanted: () => this.dropUnwanted(),
    })
  }

  get underWay(): number {
    return this.#reads.admitted + this.writes.admitted + this.passing.underWay
  }

  // --- what clients ask -------------------------------------------------------------------------------------------

  submitRead(connection: Connection, offsetBytes: number, lengthBytes: number, done: ReadDone): void {
    const arrivedMs = this.#volume.world.clock.monotonicMs()
    if (this.#passes(connection)) {
      const wish = {
        connection,
        kind: 'read',
        offsetBytes,
        lengthBytes,
        chunks: [],
        fua: false,
        arrivedMs,
        ownsChunks: false,
        done,
      } as const
      for (const part of cutRead(wish)) this.passing.submit(part)
    } else this.#read(connection, offsetBytes, lengthBytes, arrivedMs, done)
  }

  submitWrite(connection: Connection, write: WriteWish, done: CompareDone): void {
    const arrivedMs = this.#volume.world.clock.monotonicMs()
    if (this.#passes(connection)) this.passing.submit(writeWish(write, connection, arrivedMs, done))
    else this.#write(connection, write, arrivedMs, done)
  }

  submitFlush(connection: Connection, done: Done): void {
    const arrivedMs = this.#volume.world.clock.monotonicMs()
    if (this.#passes(connection)) this.passing.submit(flushWish(connection, arrivedMs, done))
    else this.#flush(connection, arrivedMs, done)
  }

  /** What the agent reads of its own accord it reads from its own replica, or not at all. */
  #passes(connection: Connection): boolean {
    return this.passing.isOn && connection.isInternal !== true
  }

  #read(connection: Connection, offsetBytes: number, lengthBytes: number, arrivedMs: number, done: ReadDone): void {
    this.#reads.admit(new ReadRequest(this, connection, offsetBytes, lengthBytes, arrivedMs, done))
  }

  #write(connection: Connection, write: WriteWish, arrivedMs: number, done: CompareDone): WriteRequest {
    const request = new WriteRequest(this, connection, write, arrivedMs, done)
    this.writes.submit(request)
    return request
  }

  #flush(connection: Connection, arrivedMs: number, done: Done): void {
    const request = new FlushRequest(connection, arrivedMs, done)
    this.#flushes.add(request)
    this.#volume.flusher.flush(
      (failure) => {
        this.#flushes.delete(request)
        if (request.connection.closed) return
        if (failure === null) this.#count(null, 0)
        done(failure)
      },
      () => !request.connection.closed,
    )
  }

  /** A client is gone: what waits of it is forgotten, so that one that comes again and again leaves nothing behind (W9). */
  detached(connection: Connection): void {
    this.passing.closed(connection)
    this.#openWrites.dropUnwanted()
    this.dropUnwanted()
  }

  dropUnwanted(): void {
    this.#reads.drop((request) => request.connection.closed)
    this.writes.drop((request) => request.connection.closed)
    for (const request of this.#flushes) if (request.connection.closed) this.#flushes.delete(request)
    this.#volume.flusher.dropUnwanted()
  }

  // --- RequestHost: what policing has let begin -------------------------------------------------------------------

  mayStart(request: ReadRequest | WriteRequest, start: () => void): void {
    const { clock } = this.#volume.world
    const { connection } = request
    if (connection.closed) return this.ended(request)
    if (connection.mayStart !== undefined) return connection.mayStart(start, () => this.ended(request))
    if (clock.monotonicMs() - request.arrivedMs <= limits.staleRequestMs) return start()
    // W9: after a long wait, a full turn of the event loop must still show the connection open.
    const session = this.#volume.serving
    clock.nextTurn(() => {
      if (request.connection.closed) this.ended(request)
      else if (session !== this.#volume.serving) this.#volume.policing.again(request)
      else start()
    })
  }

  startRead(request: ReadRequest): void {
    this.#reading.start(request)
  }

  startWrite(request: WriteRequest): void {
    this.writes.start(request)
  }

  answered(request: ReadRequest | WriteRequest, failure: BlockFailure | null): void {
    const { connection, lengthBytes } = request
    // Another server's client is counted there.
    if (failure !== null || connection.isInternal === true || connection.mayStart !== undefined) return
    if (connection.isOfPages === true) return
    this.#count(request instanceof ReadRequest, lengthBytes)
  }

  /** @param isRead null: a flush */
  #count(isRead: boolean | null, lengthBytes: number): void {
    const { counters } = this
    if (isRead === null) counters.flushes += 1
    else if (isRead) {
      counters.reads += 1
      counters.readBytes += lengthBytes
    } else {
      counters.writes += 1
      counters.writtenBytes += lengthBytes
    }
  }

  ended(request: ReadRequest | WriteRequest): void {
    if (request instanceof WriteRequest) return this.writes.ended(request)
    this.#volume.policing.release(request)
    this.#reads.leave(request)
  }

  // --- from one session to the next -------------------------------------------------------------------------------

  /** @param isOutside whether this server's replica is known not to be in sync any more */
  endSession(isOutside: boolean): void {
    this.hosting.endSession()
    this.#reading.endSession()
    this.writes.endSession()
    if (!isOutside) return
    this.outcomes.forget()
    // At once: a hung disk may never end them here.
    this.#volume.outgoing.abandon((write) => write instanceof WriteRequest && this.#openWrites.add(write))
    this.#moveAway()
  }

  sessionOpened(session: Session): void {
    // It has come back before anybody told it.
    this.#openWrites.giveUp()
    this.hosting.startSession(session)
    this.passing.end()
  }

  /** C6: everything that has not begun to write goes through a host, also what a hung disk still reads. */
  #moveAway(): void {
    this.passing.begin()
    const waiting = this.#reads.takeWaiting()
    const reads = [...this.#reads.inside, ...waiting]
    const writes = [...this.writes.inside, ...this.writes.takeWaiting()]
    this.#giveUpPages(reads, writes)
    for (const request of reads) {
      if (!isOwnClient(request.connection)) continue
      const { connection, offsetBytes, lengthBytes, arrivedMs, done } = request
      request.moveAway()
      const wish = {
        connection,
        kind: 'read',
        offsetBytes,
        lengthBytes,
        chunks: [],
        fua: false,
        arrivedMs,
        ownsChunks: false,
        done,
      } as const
      for (const part of cutRead(wish)) this.passing.submit(part)
    }
    for (const request of writes) {
      if (!isOwnClient(request.connection) || request.number !== 0) continue
      const { connection, arrivedMs, done } = request
      const wish = writeWish(request, connection, arrivedMs, done)
      request.moveAway()
      this.passing.submit(wish)
    }
    for (const request of this.#flushes) {
      if (!isOwnClient(request.connection)) continue
      const { connection, arrivedMs, done } = request
      request.moveAway()
      this.passing.submit(flushWish(connection, arrivedMs, done))
    }
    // The agent's own wait on, for its own replica.
    for (const request of waiting) if (request.connection.isInternal === true) this.#reads.admit(request)
    this.dropUnwanted()
  }

  /** Whoever asked for a page asks the host (pages.ts). */
  #giveUpPages(reads: readonly ReadRequest[], writes: readonly WriteRequest[]): void {
    const { clock } = this.#volume.world
    for (const request of reads) {
      const { connection, done } = request
      if (connection.isOfPages !== true) continue
      request.moveAway()
      clock.nextTurn(() => done('shutdown', []))
    }
    for (const request of writes) {
      const { done, isPage, number } = request
      if (!isPage || number !== 0 || request.connection.closed) continue
      request.moveAway()
      clock.nextTurn(() => done('shutdown', null))
    }
  }

  /** The own replica is in sync again. */
  #serveHere(wish: PassWish): void {
    const { connection, kind, offsetBytes, lengthBytes, arrivedMs, done } = wish
    if (kind === 'read') this.#read(connection, offsetBytes, lengthBytes, arrivedMs, done)
    else if (kind === 'flush') this.#flush(connection, arrivedMs, (failure) => done(failure, []))
    else {
      const what = kind === 'compare' ? comparedOf(wish) : { ...wish, kind }
      const ended: CompareDone = (failure, differsAtBytes) => done(failure, [], differsAtBytes)
      const write = this.#write(connection, what, arrivedMs, ended)
      if (!wish.ownsChunks) write.abandonedBytes = true
    }
  }

  /** W8: it was done nowhere. Another server's goes back there; this server's own is passed to a host. One that compares does so
   * anew: nothing of it is anywhere. */
  #again(write: WriteRequest): void {
    const { connection, arrivedMs, done } = write
    if (connection.mayStart !== undefined || write.isPage) return write.answer('shutdown')
    const wish = { ...writeWish(write, connection, arrivedMs, done), ownsChunks: false }
    if (this.passing.isOn) this.passing.submit(wish)
    else this.#serveHere(wish)
  }

  // --- what other servers ask ------------------------------------------------------------------------------------

  onOffer(from: ServerId, run: number, body: HostBody<'host.offer'>): void {
    this.passing.onOffer(from, run, body)
    this.#askOutcomes()
  }

  onOutcome(from: ServerId, run: number, body: HostBody<'outcome.answer'>): void {
    this.#openWrites.onAnswer(from, run, body)
  }

  /** W8: answered only while this server serves: then what was settled is everywhere, and durable. */
  onOutcomeAsked(from: ServerId, run: number, body: HostBody<'outcome.ask'>): void {
    if (this.#volume.serving === null) return
    const writes = body.writes.map(({ number, session }) => ({
      number,
      outcome: this.outcomes.of(from, run, session, number),
    }))
    this.#send(from, 'outcome.answer', { writes })
  }

  #askOutcomes(): void {
    if (this.#volume.member.splitBrain) this.#openWrites.giveUp()
    else this.#openWrites.ask()
  }

  // --- now and then -----------------------------------------------------------------------------------------------

  /** Another server's link shows a run, perhaps the one that it showed before. */
  peerRun(peer: ServerId): void {
    this.passing.peerRun(peer)
    this.hosting.peerRun(peer)
  }

  leaseMayHold(): void {
    this.#reading.answerWaiting()
    this.writes.answerWaiting()
  }

  tick(): void {
    this.passing.tick()
    this.hosting.tick()
    this.#askOutcomes()
    // A link's backlog shrinks without a request of this volume leaving.
    this.writes.pump()
  }
}
