/**
 * Which server may use the volume now (W2, P1-P7): mutual exclusion after Ricart and Agrawala with the caching of
 * Roucairol and Carvalho, pairwise between the servers of a session. In this version a permission covers the whole
 * volume. Pure: no I/O, no clock but the Lamport clock handed in (P4).
 */
import { invariant } from '../kit/failure.ts'
import type { ServerId } from '../kit/ids.ts'
import { conflicts, type Mode, type Use } from './use.ts'

export interface Ask {
  readonly mode: Mode
  /** Lamport time of the oldest waiting use; with the server id it gives the priority (P1). */
  readonly time: number
}

export interface PermissionWorld {
  readonly self: ServerId
  /** On the numbered stream of the link, in the present session (E10). */
  sendAsk(peer: ServerId, ask: Ask): void
  sendGrant(peer: ServerId, grant: Ask): void
  /** The next Lamport time: larger than any told or seen. */
  tick(): number
  /** A Lamport time seen in a message. */
  observe(time: number): void
}

interface Peer {
  readonly id: ServerId
  /** What this peer granted us and has not asked back. */
  hold: Mode | 'none'
  /** Our ask that is under way there. */
  asked: Ask | null
  /** Its ask that we have not granted yet. */
  deferred: Ask | null
}

const covers = (hold: Peer['hold'], mode: Mode): boolean => hold === 'exclusive' || hold === mode

export class Permission {
  readonly #world: PermissionWorld
  #peers: Peer[] = []
  /** Own uses begin only while the session is open here; peers are answered as soon as it is recorded (E9). */
  #open = false
  #activeShared = 0
  #activeExclusive = 0
  /** Uses that wait, oldest first. Bounded by the volume's and the clients' limits. */
  #queue: Use[] = []
  /** Which of this server's sessions it is; what was granted in an older one is void (P3). */
  #generation = 0
  asksSent = 0
  grantsSent = 0

  constructor(world: PermissionWorld) {
    this.#world = world
  }

  /** P3: nobody holds anything. Peers' asks are answered from now on; own uses wait for `openSession`. */
  startSession(others: readonly ServerId[]): void {
    this.#peers = others.map((id) => ({ id, hold: 'none', asked: null, deferred: null }))
    this.#generation += 1
    this.#open = false
    this.#activeShared = 0
    this.#activeExclusive = 0
  }

  openSession(): void {
    this.#open = true
    this.#pump()
  }

  /** The session is over: what was granted is void, waiting uses ask again in the next one. Active uses of the ended
   * session are not released here any more; they are settled or handed in again with `use`. */
  endSession(): void {
    this.startSession([])
  }

  get waiting(): number {
    return this.#queue.length
  }

  /** Begins the use now if this server holds what it needs and nobody older waits for it, else when it does. */
  use(use: Use): void {
    use.phase = 'asking'
    use.askedTime = this.#world.tick()
    this.#queue.push(use)
    // One at a time through the queue, so that no use overtakes an older one of its own server.
    if (this.#queue.length === 1) this.#pump()
    else if (this.#open) this.#askForQueue()
  }

  /** The use has ended: its write is confirmed, its read is answered. Nothing is owed to an ended session. */
  release(use: Use): void {
    if (use.grantedIn !== this.#generation) return
    use.grantedIn = 0
    if (use.mode === 'exclusive') this.#activeExclusive -= 1
    else this.#activeShared -= 1
    invariant(this.#activeExclusive >= 0 && this.#activeShared >= 0, 'P1d', 'a use is released once')
    for (const peer of this.#peers) if (peer.deferred !== null) this.#tryYield(peer)
    if (this.#queue.length > 0) this.#pump()
  }

  onAsk(from: ServerId, ask: Ask): void {
    this.#world.observe(ask.time)
    const peer = this.#peers.find((candidate) => candidate.id === from)
    if (peer === undefined) return
    peer.deferred = ask
    this.#tryYield(peer)
    this.#pump()
  }

  onGrant(from: ServerId, grant: Ask): void {
    this.#world.observe(grant.time)
    const peer = this.#peers.find((candidate) => candidate.id === from)
    if (peer === undefined) return
    peer.asked = null
    if (!covers(peer.hold, grant.mode)) peer.hold = grant.mode
    this.#pump()
    if (peer.deferred === null) return
    // What was asked back while this grant was under way.
    this.#tryYield(peer)
    this.#pump()
  }

  #pump(): void {
    if (!this.#open) return
    for (;;) {
      const head = this.#queue[0]
      if (head === undefined) return
      if (!this.#mayBegin(head)) break
      this.#queue.shift()
      head.phase = 'active'
      head.grantedIn = this.#generation
      if (head.mode === 'exclusive') this.#activeExclusive += 1
      else this.#activeShared += 1
      head.begin()
    }
    this.#askForQueue()
  }

  #mayBegin(use: Use): boolean {
    for (const peer of this.#peers) {
      if (!covers(peer.hold, use.mode)) return false
      // P1: once asked, no younger use begins here.
      if (peer.deferred !== null && conflicts(peer.deferred.mode, use.mode)) {
        if (this.#isOlder(peer.deferred.time, peer.id, use.askedTime, this.#world.self)) return false
      }
    }
    return true
  }

  /** Asks every peer whose permission the oldest waiting use lacks. Only for that one: an ask that said more than its use
   * needs would claim the oldest one's priority for younger ones, and two servers could make each other yield for ever. */
  #askForQueue(): void {
    for (const peer of this.#peers) if (peer.deferred === null) this.#ask(peer)
  }

  #ask(peer: Peer): void {
    const head = this.#queue[0]
    if (head === undefined || peer.asked !== null || covers(peer.hold, head.mode)) return
    peer.asked = { mode: head.mode, time: head.askedTime }
    this.asksSent += 1
    this.#world.sendAsk(peer.id, peer.asked)
  }

  /** P1: yields at once when not using the range and without an older request for it, otherwise later. */
  #tryYield(peer: Peer): void {
    const ask = peer.deferred
    if (ask === null) return
    if (this.#activeExclusive > 0) return
    if (ask.mode === 'exclusive' && this.#activeShared > 0) return
    // Of two asks that cross, the older one is granted first, whatever became of the use that it was sent for: its grant
    // may be on the way already, and yielding now would leave both servers with a grant.
    if (peer.asked !== null && conflicts(peer.asked.mode, ask.mode)) {
      if (this.#isOlder(peer.asked.time, this.#world.self, ask.time, peer.id)) return
    }
    const older = (use: Use) =>
      conflicts(use.mode, ask.mode) && this.#isOlder(use.askedTime, this.#world.self, ask.time, peer.id)
    if (this.#queue.some(older)) {
      // Our older uses come first. If they lack this peer's grant they must ask for it, or both would wait.
      this.#ask(peer)
      return
    }
    peer.deferred = null
    peer.hold = ask.mode === 'exclusive' || peer.hold === 'none' ? 'none' : 'shared'
    this.grantsSent += 1
    this.#world.sendGrant(peer.id, { mode: ask.mode, time: this.#world.tick() })
  }

  #isOlder(time: number, server: ServerId, otherTime: number, other: ServerId): boolean {
    return time < otherTime || (time === otherTime && server < other)
  }
}
