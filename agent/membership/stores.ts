/**
 * C12: each store counts its durable commits, and its peers remember how far each other's count was. A store that returns
 * with a smaller one was restored, cloned, or lies on a disk that loses what it synced: it is wholly in doubt, and people
 * are told. No session opens, and nobody is resynced, before those who take part know each other's counts.
 */
import type { ServerId } from '../kit/ids.ts'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { MemberMessage } from './messages.ts'
import type { PeerStore, RecordFile } from './record.ts'

/** This server's store, as far as its count goes. */
export interface OwnStore {
  readonly storeId: string
  /** Of this opening of it. */
  readonly life: string
  /** What stood in the folder when it was opened. */
  readonly found: number
  commits(): number
  /** Marks all that lies there as lossy and goes on counting from `count`; durable when done. */
  doubtAll(count: number, done: (failed: boolean) => void): void
}

export interface StoresWorld {
  readonly clock: Clock
  readonly record: RecordFile
  readonly own: OwnStore
  runOf(server: ServerId): number | undefined
  send(to: ServerId, body: Omit<MemberMessage<'member.store'>, 'volume'>): void
  /** Another server's count arrived: who waited for it looks again. */
  heard(): void
  /** All that lies here is in doubt now, durably. */
  doubted(): void
  /** That server's store is an older copy of itself; for people. */
  alarm(server: ServerId | null, remembered: number, found: number): void
}

export class Stores {
  readonly #world: StoresWorld
  readonly #peers = new Map<ServerId, PeerStore>()
  /** The run of each server whose count is known and not smaller than it was. */
  readonly #sound = new Map<ServerId, number>()
  /** The count up to which all that lies here has been put in doubt. */
  #doubted = 0
  #isDoubting = false
  #alarmedLife = ''
  /** The life of each peer's store that people were told about: it is heard of again until it is in doubt. */
  readonly #alarmedOf = new Map<ServerId, string>()
  #savedMs: number
  /** Something was heard that the record does not say yet. */
  #changed = false

  constructor(world: StoresWorld) {
    this.#world = world
    for (const peer of world.record.value.peers) this.#peers.set(peer.serverId, peer)
    this.#savedMs = world.clock.monotonicMs()
  }

  /** For the record, whenever it is written anyway. */
  list(): PeerStore[] {
    return [...this.#peers.values()]
  }

  /** Whether the count of its present run is known, and not smaller than it was. */
  knows(server: ServerId): boolean {
    const run = this.#sound.get(server)
    return run !== undefined && run === this.#world.runOf(server)
  }

  /** The same; who has not told is asked. */
  knowsOrAsks(server: ServerId): boolean {
    if (this.knows(server)) return true
    this.tell(server, true)
    return false
  }

  /** @param wantsAnswer it has not told of its own store yet */
  tell(to: ServerId, wantsAnswer: boolean): void {
    const { own, send } = this.#world
    const { storeId, life } = own
    const remembered = this.#peers.get(to)
    send(to, {
      facts: { storeId, life, found: Math.max(own.found, this.#doubted), commits: own.commits() },
      remembered: remembered === undefined ? null : { ...remembered },
      wantsAnswer,
    })
  }

  hear(from: ServerId, run: number, body: Omit<MemberMessage<'member.store'>, 'volume'>): void {
    const { facts, remembered, wantsAnswer } = body
    const before = this.#peers.get(from)
    const isOlder =
      before !== undefined &&
      before.storeId === facts.storeId &&
      before.life !== facts.life &&
      facts.found < before.commits
    if (isOlder) {
      if (this.#alarmedOf.get(from) !== facts.life) this.#world.alarm(from, before.commits, facts.found)
      this.#alarmedOf.set(from, facts.life)
    } else {
      const commits = before?.life === facts.life ? Math.max(before.commits, facts.commits) : facts.commits
      this.#peers.set(from, { serverId: from, storeId: facts.storeId, life: facts.life, commits })
      this.#sound.set(from, run)
      this.#changed = true
    }
    if (remembered !== null) this.#heardOfOwn(remembered)
    if (wantsAnswer || isOlder) this.tell(from, false)
    if (!isOlder) this.#world.heard()
  }

  /** A heartbeat of the present session told a count. */
  hearCommits(from: ServerId, commits: number): void {
    const peer = this.#peers.get(from)
    if (peer === undefined || commits <= peer.commits || !this.knows(from)) return
    this.#peers.set(from, { ...peer, commits })
    this.#changed = true
  }

  /** Now and then what was heard becomes durable: a restart of both servers must not forget it. */
  tick(): void {
    const now = this.#world.clock.monotonicMs()
    if (now - this.#savedMs < limits.peerCountMs || !this.#changed) return
    this.#savedMs = now
    this.#changed = false
    this.#world.record.save({ peers: this.list() }, () => undefined)
  }

  /** What another server remembers of the store here. */
  #heardOfOwn({ storeId, life, commits }: PeerStore): void {
    const { own } = this.#world
    const known = Math.max(own.found, this.#doubted)
    if (storeId !== own.storeId || life === own.life || commits <= known || this.#isDoubting) return
    if (this.#alarmedLife !== own.life) this.#world.alarm(null, commits, own.found)
    this.#alarmedLife = own.life
    this.#isDoubting = true
    // A disk that cannot even take that has failed, and leaves as such (C6).
    own.doubtAll(commits, () => {
      this.#isDoubting = false
    })
  }

  /** All that lies in this store, of every volume, has been put in doubt, durably, up to that count. */
  allDoubted(count: number): void {
    if (count <= this.#doubted) return
    this.#doubted = count
    this.#world.doubted()
  }
}
