/**
 * Which server may use a range of the volume now (W2, P1-P7): mutual exclusion after Ricart and Agrawala with the caching
 * of Roucairol and Carvalho, pairwise between the servers of a session and block by block, with grants that grow beyond
 * what was asked for, as Lustre's extent locks do. Pure: no I/O, no clock but the Lamport clock handed in (P4).
 */
import { invariant } from '../kit/failure.ts'
import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import type { Ask, Grant } from './asks.ts'
import { grown } from './growth.ts'
import { lastOfAllBlocks, rankOf } from './holds.ts'
import { Peer } from './peer.ts'
import { Recent } from './recent.ts'
import type { SpanIndex } from './span-index.ts'
import { conflicts, type Use } from './use.ts'

export interface PermissionWorld {
  readonly self: ServerId
  /** On the numbered stream of the link, in the present session (E10). */
  sendAsk(peer: ServerId, ask: Ask): void
  sendGrant(peer: ServerId, grant: Grant): void
  /** The next Lamport time: larger than any told or seen. */
  tick(): number
  /** A Lamport time seen in a message. */
  observe(time: number): void
}

export interface PermissionCounters {
  asksSent: number
  grantsSent: number
  /** Uses that began. */
  begun: number
  /** Uses that had to ask before they could begin. */
  waited: number
  /** Asks of others that had to wait for a use or an older request of this server. */
  conflicts: number
}

/** P1: the smaller (time, server id) goes first. */
const isOlder = (time: number, server: ServerId, otherTime: number, other: ServerId): boolean =>
  time < otherTime || (time === otherTime && server < other)

const isSane = ({ firstBlock, lastBlock }: { firstBlock: number; lastBlock: number }): boolean =>
  firstBlock >= 0 && firstBlock <= lastBlock && lastBlock <= lastOfAllBlocks

export class Permission {
  readonly #world: PermissionWorld
  /** This server's uses, from where they queue for their range until they end; those that exclude each other are never both
   * behind this door (ranges.ts). */
  readonly #uses: SpanIndex<Use>
  readonly #recent = new Recent()
  /** Uses that wait for a grant. Bounded by the volume's and the clients' limits. */
  readonly #waiting = new Set<Use>()
  #peers: Peer[] = []
  /** Own uses begin only while the session is open here; peers are answered as soon as it is recorded (E9). */
  #open = false
  /** Which of this server's sessions it is; what was granted in an older one is void (P3). */
  #generation = 0
  readonly counters: PermissionCounters = { asksSent: 0, grantsSent: 0, begun: 0, waited: 0, conflicts: 0 }

  constructor(world: PermissionWorld, uses: SpanIndex<Use>) {
    this.#world = world
    this.#uses = uses
  }

  /** P3: nobody holds anything. Peers' asks are answered from now on; own uses wait for `openSession`. */
  startSession(others: readonly ServerId[]): void {
    this.#peers = others.map((id) => new Peer(id, this.#world.self < id))
    this.#recent.forget()
    this.#generation += 1
    this.#open = false
  }

  openSession(): void {
    this.#open = true
    for (const use of this.#oldestFirst(this.#waiting)) this.#tryBegin(use)
  }

  /** The session is over: what was granted is void, waiting uses ask again in the next one. Active uses of the ended
   * session are not released here any more; they are settled or handed in again with `use`. */
  endSession(): void {
    this.startSession([])
  }

  /** Uses that wait for other servers, in no order. */
  get waiting(): ReadonlySet<Use> {
    return this.#waiting
  }

  get peers(): readonly Peer[] {
    return this.#peers
  }

  /** Begins the use now if this server holds what it needs and nobody older waits for it, else when it does. */
  use(use: Use): void {
    use.phase = 'asking'
    use.askedTime = this.#world.tick()
    if (this.#mayBegin(use)) return this.#begin(use)
    this.counters.waited += 1
    this.#waiting.add(use)
    this.#askFor(use)
  }

  /** Whether the use has begun in this session and has not ended: what it was granted holds. */
  isHeld(use: Use): boolean {
    return use.phase === 'active' && use.grantedIn === this.#generation
  }

  /** The use has ended: its write is confirmed, its read is answered. Nothing is owed to an ended session. */
  release(use: Use): void {
    if (use.grantedIn !== this.#generation) return
    use.grantedIn = 0
    for (const peer of this.#peers) {
      if (peer.deferred.size > 0) this.#yieldOver(peer, use.firstBlock, use.lastBlock)
    }
  }

  onAsk(from: ServerId, ask: Ask): void {
    const peer = this.#peers.find((candidate) => candidate.id === from)
    // Garbage gets no answer: to answer it could only be wrong.
    if (peer === undefined || !isSane(ask) || peer.deferred.at(ask.time) !== undefined) return
    if (peer.deferred.size >= limits.policeAsks) return
    this.#world.observe(ask.time)
    peer.deferred.add(ask)
    if (!this.#tryYield(peer, ask)) this.counters.conflicts += 1
  }

  onGrant(from: ServerId, grant: Grant): void {
    const peer = this.#peers.find((candidate) => candidate.id === from)
    const ask = peer?.asked.at(grant.asked)
    if (peer === undefined || ask === undefined || !isSane(grant)) return
    if (grant.mode !== ask.mode || grant.firstBlock > ask.firstBlock || grant.lastBlock < ask.lastBlock) return
    this.#world.observe(grant.time)
    peer.asked.remove(ask)
    peer.holds.raise(grant.firstBlock, grant.lastBlock, rankOf(grant.mode))
    const isFirst = !peer.hasAnswered
    peer.hasAnswered = true
    const served = isFirst ? this.#waiting : this.#waitingIn(grant.firstBlock, grant.lastBlock)
    for (const use of this.#oldestFirst(served)) this.#tryBegin(use)
    // Who began may have ended the session (P3): what it owed is void, and must not be sent in the next one.
    if (!this.#peers.includes(peer)) return
    this.#forgetTooMany(peer)
    // What was asked back while this grant was under way.
    this.#yieldOver(peer, ask.firstBlock, ask.lastBlock)
  }

  #tryBegin(use: Use): void {
    // Whoever began before it in this round may have ended the session.
    if (use.phase !== 'asking' || !this.#waiting.has(use)) return
    if (this.#mayBegin(use)) this.#begin(use)
    else this.#askFor(use)
  }

  #begin(use: Use): void {
    this.#waiting.delete(use)
    use.phase = 'active'
    use.grantedIn = this.#generation
    this.counters.begun += 1
    if (this.#peers.length > 0) this.#recent.note(use)
    for (const peer of this.#peers) peer.quietGrants = 0
    use.begin()
  }

  #mayBegin(use: Use): boolean {
    if (!this.#open) return false
    for (const peer of this.#peers) {
      if (!peer.granted(use)) return false
      if (peer.deferred.size > 0 && this.#comesFirst(peer, use)) return false
    }
    return true
  }

  /** P1: once asked, no younger use begins here. */
  #comesFirst(peer: Peer, use: Use): boolean {
    for (const ask of peer.deferred.index.collect(use.firstBlock, use.lastBlock, [])) {
      if (!conflicts(ask.mode, use.mode)) continue
      if (isOlder(ask.time, peer.id, use.askedTime, this.#world.self)) return true
    }
    return false
  }

  /** Asks every peer whose permission this use lacks. Only for what the use needs: an ask that said more would claim its
   * priority for younger uses, and two servers could make each other yield for ever. */
  #askFor(use: Use): void {
    if (!this.#open) return
    for (const peer of this.#peers) {
      if (peer.granted(use) || peer.asked.at(use.askedTime) !== undefined) continue
      const { firstBlock, lastBlock, mode } = use
      const ask: Ask = { firstBlock, lastBlock, mode, time: use.askedTime }
      peer.asked.add(ask)
      invariant(peer.asked.size <= limits.policeAsks, 'P4a', 'asks under way are limited by the uses that wait')
      this.counters.asksSent += 1
      this.#world.sendAsk(peer.id, ask)
    }
  }

  /** Tries to yield what this peer asked for, of what overlaps the range; oldest first. */
  #yieldOver(peer: Peer, firstBlock: number, lastBlock: number): void {
    for (const ask of peer.deferred.overlapping(firstBlock, lastBlock)) {
      if (peer.deferred.at(ask.time) === ask) this.#tryYield(peer, ask)
    }
  }

  /** P1: yields at once when not using the range and without an older request for it, otherwise later. */
  #tryYield(peer: Peer, ask: Ask): boolean {
    const inTheWay = this.#uses
      .collect(ask.firstBlock, ask.lastBlock, [])
      .filter((use) => conflicts(use.mode, ask.mode))
    const { self } = this.#world
    const older = (time: number) => isOlder(time, self, ask.time, peer.id)
    for (const use of inTheWay) {
      if (this.isHeld(use) || (this.#waiting.has(use) && older(use.askedTime))) use.wanted()
    }
    // Whoever left at that has yielded it already.
    if (peer.deferred.at(ask.time) !== ask) return true
    const own = inTheWay.filter((use) => use.phase !== 'idle')
    if (own.some((use) => this.isHeld(use))) return false
    // Of two asks that cross, the older one is granted first, whatever became of the use that it was sent for: its grant
    // may be on the way already, and yielding now would leave both servers with a grant.
    const crossing = peer.asked.index.collect(ask.firstBlock, ask.lastBlock, [])
    if (crossing.some((mine) => conflicts(mine.mode, ask.mode) && older(mine.time))) return false
    // What waits here for a third server and is older comes first.
    if (own.some((use) => this.#waiting.has(use) && older(use.askedTime))) return false
    this.#grant(peer, ask)
    // Who still waits asks again, with its old time.
    for (const use of this.#oldestFirst(own)) if (this.#waiting.has(use)) this.#askFor(use)
    this.#forgetTooMany(peer)
    return true
  }

  #grant(peer: Peer, ask: Ask): void {
    const recent = peer.quietGrants < limits.quietGrants ? this.#recent : null
    peer.quietGrants = Math.min(peer.quietGrants + 1, limits.quietGrants)
    const { firstBlock, lastBlock } = grown(ask, { peer, uses: this.#uses, recent })
    invariant(firstBlock <= ask.firstBlock && lastBlock >= ask.lastBlock, 'P1e', 'an asked range is granted whole')
    peer.deferred.remove(ask)
    peer.holds.lower(firstBlock, lastBlock, ask.mode === 'exclusive' ? 0 : 1)
    this.counters.grantsSent += 1
    this.#world.sendGrant(peer.id, {
      firstBlock,
      lastBlock,
      mode: ask.mode,
      asked: ask.time,
      time: this.#world.tick(),
    })
  }

  /**
   * Holding less is always safe: what was forgotten is asked for again, first of all by who waits. But what both servers of a
   * pair have forgotten no grant grows over any more, so only the smallest pieces are: each costs one ask at most.
   */
  #forgetTooMany(peer: Peer): void {
    if (peer.holds.pieces <= limits.heldPieces) return
    peer.holds.keepLargest(limits.heldPieces / 4)
    for (const use of this.#oldestFirst(this.#waiting)) this.#askFor(use)
  }

  #waitingIn(firstBlock: number, lastBlock: number): Use[] {
    return this.#uses.collect(firstBlock, lastBlock, []).filter((use) => this.#waiting.has(use))
  }

  #oldestFirst(uses: Iterable<Use>): Use[] {
    return [...uses].sort((one, other) => one.askedTime - other.askedTime)
  }
}
