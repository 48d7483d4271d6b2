/** Uses that record what happens to them, and a few servers' permissions joined by queues that keep their order. */
import { type ServerId, serverId } from '../../../agent/kit/ids.ts'
import type { Ask, Grant } from '../../../agent/policing/asks.ts'
import { Policing } from '../../../agent/policing/policing.ts'
import { overlaps } from '../../../agent/policing/span-index.ts'
import { conflicts, type Mode, Use } from '../../../agent/policing/use.ts'

export const idOf = (index: number): ServerId => serverId(String(index + 1).repeat(32))

export class TestUse extends Use {
  begun = 0
  readonly #onBegin: (use: TestUse) => void

  constructor(mode: Mode, offsetBytes = 0, lengthBytes = 4096, onBegin: (use: TestUse) => void = () => undefined) {
    super(mode, offsetBytes, lengthBytes)
    this.#onBegin = onBegin
  }

  override begin(): void {
    this.begun += 1
    this.#onBegin(this)
  }
}

type Told = { readonly kind: 'ask'; readonly body: Ask } | { readonly kind: 'grant'; readonly body: Grant }

/** One server: its machine, its Lamport clock, its uses. */
export class Station {
  readonly id: ServerId
  readonly policing: Policing
  readonly active = new Set<TestUse>()
  readonly waiting = new Set<TestUse>()
  time = 0
  isOpen = false

  constructor(id: ServerId, send: (to: ServerId, told: Told) => void) {
    this.id = id
    this.policing = new Policing({
      self: id,
      sendAsk: (to, body) => send(to, { kind: 'ask', body }),
      sendGrant: (to, body) => send(to, { kind: 'grant', body }),
      tick: () => {
        this.time += 1
        return this.time
      },
      observe: (time) => {
        this.time = Math.max(this.time, time)
      },
    })
  }

  /** @param firstBlock @param blocks how many */
  use(mode: Mode, firstBlock = 0, blocks = 1): TestUse {
    const use = new TestUse(mode, firstBlock * 4096, blocks * 4096, () => {
      this.waiting.delete(use)
      this.active.add(use)
    })
    this.waiting.add(use)
    this.policing.acquire(use)
    return use
  }

  /** What it was granted by the other one and may use. */
  towards(other: Station): { firstBlock: number; lastBlock: number; rank: number }[] {
    const peer = this.policing.peers.find(({ id }) => id === other.id)
    return peer?.hasAnswered ? [...peer.holds] : []
  }

  release(use: TestUse): void {
    this.active.delete(use)
    this.policing.release(use)
  }
}

export class Cluster {
  readonly stations: Station[]
  readonly queues = new Map<string, Told[]>()
  delivered = 0

  constructor(count: number) {
    const ids = Array.from({ length: count }, (_, index) => idOf(index))
    this.stations = ids.map(
      (id) =>
        new Station(id, (to, told) => {
          const key = `${id} ${to}`
          this.queues.set(key, [...(this.queues.get(key) ?? []), told])
        }),
    )
  }

  /** A session that is recorded everywhere and open nowhere yet. */
  start(): void {
    this.queues.clear()
    for (const station of this.stations) {
      station.isOpen = false
      station.policing.startSession(this.stations.filter((other) => other !== station).map((other) => other.id))
    }
  }

  open(station: Station): void {
    station.isOpen = true
    station.policing.openSession()
  }

  startOpen(): this {
    this.start()
    for (const station of this.stations) this.open(station)
    return this
  }

  /** Ends the session everywhere: what was active is handed in again, as reads are. */
  end(): void {
    this.queues.clear()
    for (const station of this.stations) {
      station.isOpen = false
      station.policing.endSession()
      for (const use of [...station.active]) {
        station.active.delete(use)
        station.waiting.add(use)
        station.policing.again(use)
      }
    }
  }

  /** Delivers the oldest message of the queue at this place. @returns false when there is none */
  deliver(choice: number): boolean {
    const full = [...this.queues.entries()].filter(([, queue]) => queue.length > 0)
    const chosen = full[choice % Math.max(1, full.length)]
    if (chosen === undefined) return false
    const [key, queue] = chosen
    const [from = '', to = ''] = key.split(' ')
    const told = queue.shift()
    const station = this.stations.find(({ id }) => id === to)
    const sender = this.stations.find(({ id }) => id === from)
    if (told === undefined || station === undefined || sender === undefined) return false
    this.delivered += 1
    if (told.kind === 'ask') station.policing.onAsk(sender.id, told.body)
    else station.policing.onGrant(sender.id, told.body)
    return true
  }

  /** Delivers and releases until nothing moves. */
  settle(): void {
    for (let round = 0; round < 10_000; round += 1) {
      if (this.deliver(round)) continue
      const busy = this.stations.find((station) => station.active.size > 0)
      const [use] = busy?.active ?? []
      if (busy === undefined || use === undefined) return
      busy.release(use)
    }
    throw new Error('still moving after 10,000 steps')
  }

  /** @returns words about a breach of mutual exclusion, block by block, or null */
  breach(): string | null {
    const active = this.stations.flatMap((station) => [...station.active].map((use) => ({ station, use })))
    for (const one of active) {
      for (const other of active) {
        if (one === other || !conflicts(one.use.mode, other.use.mode) || !overlaps(one.use, other.use)) continue
        return `${one.station.id} ${one.use.mode} while ${other.station.id} ${other.use.mode}`
      }
    }
    return this.#heldByTwo()
  }

  /** P5: what one of two servers was granted, the other one does not hold against it. */
  #heldByTwo(): string | null {
    for (const one of this.stations) {
      for (const other of this.stations) {
        if (one.id >= other.id) continue
        const [ours, theirs] = [one.towards(other), other.towards(one)]
        for (const mine of ours) {
          for (const its of theirs) {
            if (overlaps(mine, its) && mine.rank + its.rank > 2) {
              return `${one.id} holds ${mine.rank} of ${mine.firstBlock}-${mine.lastBlock}, ${other.id} ${its.rank} of ${its.firstBlock}-${its.lastBlock}`
            }
          }
        }
      }
    }
    return null
  }
}
