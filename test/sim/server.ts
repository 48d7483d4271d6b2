/** One simulated machine: its disk outlives its agents; the agent is the real engine over simulated clock, links, disk. */
import { crc32 } from 'node:zlib'
import type { ServerId } from '../../agent/kit/ids.ts'
import { lifeClock } from '../../agent/kit/life-clock.ts'
import type { Log } from '../../agent/kit/world.ts'
import type { LinkEvents, Links } from '../../agent/link/messages.ts'
import { MemoryDisk } from '../../agent/store/memory-store.ts'
import type { Store } from '../../agent/store/replica.ts'
import { Engine, type EngineWorld } from '../../agent/volume/engine.ts'
import type { Volume } from '../../agent/volume/volume.ts'
import type { Network } from './network.ts'
import { ServerClock } from './server-clock.ts'
import type { Story } from './story.ts'
import type { Chance, World } from './world.ts'

export type ServerState = 'off' | 'starting' | 'up' | 'leaving'

/** What a mutation may put between the engine and its world; production code stays as it is. */
export interface Tampering {
  world?(world: EngineWorld, engine: () => Engine | undefined): EngineWorld
  events?(events: LinkEvents, engine: Engine): LinkEvents
}

export interface ServerParts {
  readonly world: World
  readonly network: Network
  readonly story: Story
  readonly servers: readonly ServerId[]
  readonly tampering: Tampering
  /** What a server tells people. */
  told?(server: SimServer, kind: string): void
  /** The agent runs, or runs no more: clients connect and are thrown out. */
  changed(server: SimServer): void
}

/** Fast and good enough for stamps that nobody forges. */
const digest = (data: Uint8Array): string =>
  `${crc32(data).toString(16).padStart(8, '0')}${crc32(data, 0x5eed).toString(16).padStart(8, '0')}`

export class SimServer {
  readonly id: ServerId
  readonly name: string
  readonly clock: ServerClock
  readonly disk: MemoryDisk
  readonly #parts: ServerParts
  readonly #chance: Chance
  readonly #log: Log
  state: ServerState = 'off'
  /** Requests that its lives before this one passed to hosts. */
  #passedBefore = 0
  engine: Engine | null = null
  #store: Store | null = null
  #life = 0
  /** A disk that failed once is trusted again only by a new agent. */
  hadDiskError = false
  /** Links refuse a run that was there before, or one before it: an older copy of a folder is started until they do not. */
  leastRun = 1
  everFailed = false
  /** Lives that ended uncleanly. */
  ends = 0
  /** Bits have rotted on its disk. */
  everRotted = false
  failedInThisLife = false
  /** The newest in-sync set that this server has served in. */
  lastOpened: { readonly epoch: number; readonly inSync: readonly ServerId[] } | null = null

  constructor(parts: ServerParts, id: ServerId, name: string) {
    this.#parts = parts
    this.id = id
    this.name = name
    this.#chance = parts.world.chance(`server ${name}`)
    this.clock = new ServerClock(parts.world, this.#chance.between(0.9905, 1.0095), this.#chance.between(0, 1e6))
    this.#log = parts.story.logOf(name)
    const random = parts.world.chance(`disk ${name}`)
    this.disk = new MemoryDisk({ clock: this.clock, random, log: this.#log, tuning: { minMs: 0.05, maxMs: 1.5 } })
    this.blank = this.disk.backup()
  }

  /** The disk was replaced by an empty one; only while no agent runs. */
  readonly blank: () => void

  get volume(): Volume | undefined {
    const [volume] = this.engine?.volumes.values() ?? []
    return volume
  }

  /** Requests of its clients that went through a host. */
  get passed(): number {
    return this.#passedBefore + (this.volume?.service.passing.counters.passed ?? 0)
  }

  get run(): number {
    return this.#store?.run ?? 0
  }

  start(): void {
    if (this.state !== 'off') return
    this.state = 'starting'
    this.failedInThisLife = this.disk.fault === 'fail'
    const life = ++this.#life
    this.disk.open((error, store) => {
      if (life !== this.#life) return
      if (store === undefined) {
        this.#parts.story.tell(this.name, `cannot open its store: ${error?.message ?? ''}`)
        this.state = 'off'
        this.#parts.world.after(1_000, () => {
          if (life === this.#life) this.start()
        })
        return
      }
      if (store.run < this.leastRun) {
        this.#parts.story.tell(this.name, `run ${store.run} has been there before: refused, started again`)
        this.state = 'off'
        this.disk.kill()
        return this.start()
      }
      this.leastRun = store.run + 1
      this.#run(store, life)
    })
  }

  #run(store: Store, life: number): void {
    const { network, story, tampering } = this.#parts
    this.#store = store
    const alive = () => life === this.#life
    const box: { engine: Engine | undefined } = { engine: undefined }
    const clock = lifeClock(this.clock, alive)
    const events: LinkEvents = {
      onMessage: (from, run, message, ordered) =>
        box.engine && tampered(box.engine).onMessage(from, run, message, ordered),
      onPeerRun: (peer, run) => box.engine?.onPeerRun(peer, run),
      onPeerDisconnected: (peer) => box.engine?.onPeerDisconnected(peer),
    }
    const tampered = (engine: Engine): LinkEvents => tampering.events?.(engine, engine) ?? engine
    const links: Links = network.join(this.id, store.run, this.clock, events)
    const world: EngineWorld = {
      self: this.id,
      selfRun: store.run,
      clock,
      random: this.#chance,
      log: this.#log,
      store,
      links,
      digest,
      servers: () => this.#parts.servers.filter((server) => server !== this.id),
      event: (kind, volume, details) => {
        if (kind === 'serving') this.lastOpened = this.volume?.world.record.value.opened ?? null
        this.#parts.told?.(this, kind)
        story.tell(this.name, `${volume} ${kind} ${JSON.stringify(details)}`)
      },
      changed: () => undefined,
    }
    const engine = new Engine(tampering.world?.(world, () => box.engine) ?? world)
    box.engine = engine
    this.engine = engine
    this.state = 'up'
    story.tell(this.name, `runs as run ${store.run} after ${store.previousEnd}`)
    engine.start()
    this.#parts.changed(this)
  }

  /** kill -9 */
  kill(): void {
    this.#end(true)
    this.disk.kill()
  }

  powerCut(): void {
    this.#end(false)
    this.disk.powerCut()
  }

  #end(keepsKernel: boolean): void {
    if (this.state === 'off') {
      this.#life += 1
      return
    }
    this.#life += 1
    this.ends += 1
    this.state = 'off'
    this.engine?.stop()
    this.#passedBefore = this.passed
    this.engine = null
    this.#store = null
    this.#parts.network.leave(this.id, keepsKernel)
    this.clock.forget()
    this.#parts.changed(this)
  }

  /** A planned stop, as agent/main.ts does it: hold, flush, leave, then close the store. */
  leave(done: () => void): void {
    const { volume } = this
    const life = this.#life
    if (this.state !== 'up' || volume === undefined) return
    this.state = 'leaving'
    const close = () => this.#close(life, done)
    // Each step takes at most its time; then the next one begins without it.
    const steps = [
      (next: () => void) => volume.hold.begin(next),
      (next: () => void) => {
        if (volume.serving === null) return next()
        volume.flusher.flush(next)
        const look = () => {
          if (volume.member.removal.anyStopsAsPlanned(volume.member.known.inSync)) next()
          else if (life === this.#life) this.clock.after(20, look)
        }
        look()
      },
      (next: () => void) => {
        if (!volume.member.leave('left')) return next()
        const look = () => {
          if (volume.member.phase !== 'left' || volume.member.everybodyStops()) next()
          else this.clock.after(20, look)
        }
        look()
      },
    ]
    const step = (index: number) => {
      const run = steps[index]
      if (life !== this.#life) return
      if (run === undefined) return close()
      let over = false
      const next = () => {
        if (over) return
        over = true
        step(index + 1)
      }
      this.clock.after(6_000, next)
      run(next)
    }
    step(0)
  }

  #close(life: number, done: () => void): void {
    const store = this.#store
    this.engine?.stop()
    this.#passedBefore = this.passed
    this.engine = null
    this.#parts.network.leave(this.id, true)
    this.#parts.changed(this)
    let over = false
    const end = () => {
      if (over || life !== this.#life) return
      over = true
      this.#life += 1
      this.state = 'off'
      this.#store = null
      this.disk.kill()
      this.#parts.story.tell(this.name, 'stopped in order')
      done()
    }
    this.clock.after(10_000, end)
    store?.close(end)
  }
}
