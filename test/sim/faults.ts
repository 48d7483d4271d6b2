/** What goes wrong, when and for how long: all from the seed. */
import type { ServerId } from '../../agent/kit/ids.ts'
import { limits } from '../../agent/limits.ts'
import type { Network } from './network.ts'
import type { SimServer } from './server.ts'
import type { Story } from './story.ts'
import type { Chance, World } from './world.ts'

export type FaultKind =
  | 'kill'
  | 'power'
  | 'kill-all'
  | 'power-all'
  | 'cut'
  | 'cut-one-way'
  | 'cut-witness'
  | 'isolate'
  | 'pause'
  | 'disk-hang'
  | 'disk-fail'
  | 'disk-small'
  | 'leave'
  | 'end-all'
  | 'disk-slow'

const usual: Readonly<Record<FaultKind, number>> = {
  kill: 10,
  power: 8,
  'kill-all': 2,
  'power-all': 3,
  cut: 8,
  'cut-one-way': 5,
  'cut-witness': 6,
  isolate: 8,
  pause: 8,
  'disk-hang': 4,
  'disk-fail': 3,
  'disk-small': 3,
  leave: 4,
  'end-all': 0,
  'disk-slow': 0,
}

/** Each seed has its own weather: some kinds far more often, some not at all. */
export function faultWeather(chance: Chance): Record<FaultKind, number> {
  const weather = { ...usual }
  // Object.keys forgets that the keys are the record's.
  for (const kind of Object.keys(weather) as FaultKind[])
    if (weather[kind] > 0) weather[kind] *= chance.pick([0, 0.3, 1, 1, 4])
  if (Object.values(weather).every((weight) => weight === 0)) weather.kill = 1
  return weather
}

export interface FaultParts {
  readonly world: World
  readonly network: Network
  readonly story: Story
  /** Those with a replica, then the witness, if there is one. */
  readonly storage: readonly SimServer[]
  readonly witness: SimServer | null
  /** Told before a server loses power. */
  powerLost(server: SimServer): void
}

export class Faults {
  readonly #parts: FaultParts
  readonly #chance: Chance
  readonly #weather: Record<FaultKind, number>
  readonly #everyMs: number
  #over = false

  /** @param weather null: the seed's own @param everyMs null: the seed's own */
  constructor(parts: FaultParts, weather: Partial<Record<FaultKind, number>> | null, everyMs: number | null = null) {
    this.#parts = parts
    this.#chance = parts.world.chance('faults')
    const none = Object.fromEntries(Object.keys(usual).map((kind) => [kind, 0]))
    // The keys are those of `usual`, all of them.
    this.#weather =
      weather === null ? faultWeather(this.#chance) : ({ ...none, ...weather } as Record<FaultKind, number>)
    const drawnMs = this.#chance.pick([700, 2_000, 4_000, 8_000])
    this.#everyMs = everyMs ?? drawnMs
  }

  begin(): void {
    if (this.#over) return
    this.#parts.world.after(this.#chance.between(0, 2 * this.#everyMs), () => {
      if (this.#over) return
      this.#strike()
      this.begin()
    })
  }

  end(): void {
    this.#over = true
  }

  #all(): SimServer[] {
    const { storage, witness } = this.#parts
    return witness === null ? [...storage] : [...storage, witness]
  }

  #strike(): void {
    const kind = this.#chance.weighed(this.#weather)
    const { storage } = this.#parts
    const victim = this.#chance.is(0.85) ? this.#chance.pick(storage) : this.#chance.pick(this.#all())
    switch (kind) {
      case 'kill':
        return this.kill(victim, this.#downMs())
      case 'power':
        return this.power(victim, this.#downMs())
      case 'kill-all':
        for (const server of storage) this.#soon(() => this.kill(server, this.#downMs()))
        return
      case 'power-all':
        for (const server of storage) this.#soon(() => this.power(server, this.#downMs()))
        return
      case 'cut':
        return this.#cutBetween(this.#chance.pick(storage), this.#chance.pick(storage), true)
      case 'cut-one-way':
        return this.#cutBetween(victim, this.#chance.pick(this.#all()), false)
      case 'cut-witness':
        return this.#cutBetween(victim, this.#parts.witness ?? this.#chance.pick(storage), true)
      case 'isolate':
        return this.#isolate(victim)
      case 'pause':
        return this.pause(victim, this.#chance.pick([300, 1_500, 2_500, 6_000, 12_000]))
      case 'disk-hang':
        return this.hang(victim, this.#chance.pick([1_000, 5_000, 15_000]))
      case 'disk-fail':
        return this.fail(victim, this.#chance.between(10, 3_000))
      case 'disk-small':
        return this.small(victim, this.#chance.pick([0, 1, 3, 20]), this.#chance.pick([3_000, 8_000, 20_000]))
      case 'leave':
        return this.leave(victim)
      case 'end-all':
        for (const server of storage) {
          const end = this.#chance.is(0.5)
            ? () => this.kill(server, this.#downMs())
            : () => this.power(server, this.#downMs())
          this.#soon(end)
        }
        return
      case 'disk-slow':
        return this.slow(victim, this.#chance.pick([5, 50, 400]), this.#chance.pick([2_000, 10_000]))
    }
  }

  #soon(go: () => void): void {
    this.#parts.world.after(this.#chance.is(0.5) ? 0 : this.#chance.between(0, 1_500), go)
  }

  /** Often faster than a lease. */
  #downMs(): number {
    return this.#chance.pick([20, 200, 800, 2_500, 8_000, 15_000])
  }

  kill(server: SimServer, downMs: number): void {
    if (server.state === 'off') return
    this.#parts.story.tell('FAULT', `kill ${server.name}, back in ${downMs.toFixed(0)} ms`)
    // C2: what a failing disk has taken since the last flush counts as lost with its agent.
    if (server.failedInThisLife) this.#parts.powerLost(server)
    server.kill()
    this.#parts.world.after(downMs, () => server.start())
  }

  power(server: SimServer, downMs: number): void {
    this.#parts.story.tell('FAULT', `power cut of ${server.name}, back in ${downMs.toFixed(0)} ms`)
    const wasOff = server.state === 'off'
    this.#parts.powerLost(server)
    server.powerCut()
    // Whoever had it down already also brings it back.
    if (!wasOff) this.#parts.world.after(downMs, () => server.start())
  }

  #cutBetween(one: SimServer, other: SimServer, bothWays: boolean): void {
    if (one === other) return
    const lastsMs = this.#chance.pick([500, 1_500, 3_000, 8_000, 20_000])
    const arrow = bothWays ? 'and' : 'to'
    this.#parts.story.tell('FAULT', `cut from ${one.name} ${arrow} ${other.name} for ${lastsMs} ms`)
    this.cut(one.id, other.id, lastsMs)
    if (bothWays) this.cut(other.id, one.id, lastsMs)
  }

  /** Alone, its clients with it; the others go on. */
  #isolate(server: SimServer): void {
    const lastsMs = this.#chance.pick([1_500, 4_000, 8_000, 15_000])
    this.#parts.story.tell('FAULT', `isolation of ${server.name} for ${lastsMs} ms`)
    for (const other of this.#all()) {
      if (other === server) continue
      this.cut(server.id, other.id, lastsMs)
      this.cut(other.id, server.id, lastsMs)
    }
  }

  cut(from: ServerId, to: ServerId, lastsMs: number): void {
    const { network, world } = this.#parts
    network.block(from, to)
    world.after(lastsMs, () => network.unblock(from, to))
  }

  pause(server: SimServer, lastsMs: number): void {
    if (server.state === 'off' || server.clock.stopped) return
    this.#parts.story.tell('FAULT', `pause of ${server.name} for ${lastsMs} ms`)
    server.clock.stop()
    const { run } = server
    this.#parts.world.after(lastsMs, () => {
      if (server.run === run && server.clock.stopped) server.clock.goOn(this.#chance.is(0.5))
    })
  }

  hang(server: SimServer, lastsMs: number): void {
    if (server.disk.fault !== 'none') return
    this.#parts.story.tell('FAULT', `disk of ${server.name} hangs for ${lastsMs} ms`)
    server.disk.fault = 'hang'
    this.#parts.world.after(lastsMs, () => {
      if (server.disk.fault === 'hang') server.disk.fault = 'none'
    })
  }

  /** Some calls of its disk take long, others overtake them. */
  slow(server: SimServer, maxMs: number, lastsMs: number): void {
    this.#parts.story.tell('FAULT', `disk of ${server.name} takes up to ${maxMs} ms for some calls, for ${lastsMs} ms`)
    server.disk.slowness = { share: 0.3, maxMs }
    this.#parts.world.after(lastsMs, () => {
      server.disk.slowness = null
    })
  }

  fail(server: SimServer, lastsMs: number): void {
    if (server.disk.fault !== 'none') return
    this.#parts.story.tell('FAULT', `disk of ${server.name} fails for ${lastsMs.toFixed(0)} ms`)
    server.disk.fault = 'fail'
    server.hadDiskError = true
    server.everFailed = true
    server.failedInThisLife = true
    this.#parts.world.after(lastsMs, () => {
      if (server.disk.fault === 'fail') server.disk.fault = 'none'
    })
    // Somebody looks after it some time later and starts the agent again.
    this.#parts.world.after(lastsMs + this.#chance.between(2_000, 8_000), () => {
      if (!server.hadDiskError) return
      server.hadDiskError = false
      this.kill(server, 500)
    })
  }

  /** Somebody else fills the disk but for that many slots: first writes are refused at every server alike (C8). */
  small(server: SimServer, slots: number, lastsMs: number): void {
    this.#parts.story.tell('FAULT', `disk of ${server.name} has room for ${slots} slots for ${lastsMs} ms`)
    server.disk.leave(limits.diskReserveBytes + slots * (limits.extentBytes + limits.blockBytes))
    this.#parts.world.after(lastsMs, () => server.disk.leave(null))
  }

  leave(server: SimServer): void {
    if (server.state !== 'up') return
    this.#parts.story.tell('FAULT', `planned stop of ${server.name}`)
    const downMs = this.#chance.pick([100, 2_000, 8_000])
    server.leave(() => this.#parts.world.after(downMs, () => server.start()))
  }
}
