/** A whole cluster in one process: servers, links, clients, faults; from a seed, in virtual time, to a judgement. */
import { InvariantBroken } from '../../agent/kit/failure.ts'
import type { ServerId } from '../../agent/kit/ids.ts'
import type { ControlMessage } from '../../agent/link/messages.ts'
import type { BlockFailure } from '../../agent/volume/block-device.ts'
import { blockBytes, History, sectorsPerBlock } from './checker.ts'
import { bytesOf, type ClientParts, SimClient } from './clients.ts'
import { compareCopies } from './copies.ts'
import { type FaultKind, Faults } from './faults.ts'
import { Network, type NetworkWeather } from './network.ts'
import { Person } from './person.ts'
import { SimServer, type Tampering } from './server.ts'
import { Story } from './story.ts'
import { type Chance, World } from './world.ts'

export interface SimOptions {
  readonly seed: number
  /** Keeps the transcript. */
  readonly story?: boolean
  /** Less of everything, for many seeds in little time; another history than the long one of the seed. */
  readonly short?: boolean
  /** Puts every control message into it, but for heartbeats and policing. */
  readonly messages?: boolean
  readonly tampering?: Tampering
  /** What goes wrong and how often, instead of the seed's own weather. */
  readonly faults?: Partial<Record<FaultKind, number>>
}

export interface SimResult {
  readonly seed: number
  readonly problems: readonly string[]
  readonly operations: number
  /** Those of them that went through a host, each time counted. */
  readonly passed: number
  readonly events: number
  readonly virtualMs: number
  readonly lines: readonly string[]
  readonly about: string
  /** C2: it stands still until somebody accepts a loss. */
  readonly waitsForPerson: boolean
  /** Blocks that could not be judged. */
  readonly unjudged: number
}

const MiB = 1024 * 1024
/** Virtual milliseconds in which everything must be whole again once nothing goes wrong any more: back-offs add up. */
const healMs = 300_000
const busyMs = 10_000

export class Cluster {
  readonly world: World
  readonly chance: Chance
  readonly network: Network
  readonly story: Story
  readonly history = new History(() => this.world.nowMs)
  readonly storage: SimServer[] = []
  readonly witness: SimServer | null
  readonly clients: SimClient[] = []
  readonly faults: Faults
  readonly person: Person
  readonly sizeBytes: number
  readonly blocks: number[]
  readonly arbiter: 'preferred' | 'witness'
  readonly problems: string[] = []
  waitsForPerson = false
  readonly #powerLostAt = new Map<ServerId, number>()
  readonly #parts: ClientParts
  readonly #weather: NetworkWeather
  #stamp = 0
  #creation: string | null = null

  constructor(options: SimOptions) {
    const world = new World(options.seed)
    this.world = world
    this.story = new Story(world, options.story ?? false)
    this.chance = world.chance('cluster')
    this.#weather = this.#networkWeather()
    const broken = (words: string) => this.problems.push(words)
    const arrived = (from: ServerId, to: ServerId, message: ControlMessage) => {
      if (message.kind.startsWith('police')) return
      const way = `${this.#nameOf(from)} > ${this.#nameOf(to)}`
      this.story.tell(way, `${message.kind} ${JSON.stringify(message.body).slice(0, 300)}`)
    }
    // A volume is made in calm weather: whoever makes one tries again when a message was lost.
    this.network = new Network(world, { ...this.#weather, loss: 0 }, broken, options.messages ? arrived : null)
    const count = this.chance.is(0.6) ? 2 : 3
    this.arbiter = this.chance.is(0.5) ? 'witness' : 'preferred'
    this.sizeBytes = this.chance.pick([1 * MiB, 1 * MiB, 1 * MiB, 17 * MiB])
    this.blocks = this.#pickBlocks()
    const names = ['a', 'b', 'c'].slice(0, count)
    if (this.arbiter === 'witness') names.push('w')
    const ids = names.map(() => this.chance.id() as ServerId) // 32 hex digits, as an identity has
    const servers = names.map((name, index) => this.#server(ids, index, name, options.tampering ?? {}))
    this.witness = this.arbiter === 'witness' ? (servers.pop() ?? null) : null
    this.storage.push(...servers)
    this.#parts = {
      world,
      history: this.history,
      story: this.story,
      sizeBytes: this.sizeBytes,
      blocks: this.blocks,
      nextStamp: () => {
        this.#stamp += 1
        return this.#stamp
      },
      refused: (what, failure) => this.#refused(what, failure),
    }
    this.faults = new Faults(
      {
        world,
        network: this.network,
        story: this.story,
        storage: this.storage,
        witness: this.witness,
        powerLost: (server) => this.#powerLost(server),
      },
      options.faults ?? null,
    )
    this.person = new Person({ world, story: this.story, storage: this.storage })
  }

  #server(ids: readonly ServerId[], index: number, name: string, tampering: Tampering): SimServer {
    const id = ids[index]
    if (id === undefined) throw new Error('a server without id')
    const changed = (server: SimServer) => {
      for (const client of this.clients) if (client.name.startsWith(server.name)) client.serverChanged()
    }
    const { world, network, story } = this
    return new SimServer({ world, network, story, servers: ids, tampering, changed }, id, name)
  }

  #nameOf(id: ServerId): string {
    return this.servers.find((server) => server.id === id)?.name ?? '?'
  }

  #networkWeather(): NetworkWeather {
    const chance = this.chance
    return {
      minMs: 0.05,
      maxMs: chance.pick([0.5, 0.5, 5, 40]),
      spike: chance.pick([0, 0, 0.002, 0.02]),
      spikeMs: chance.pick([50, 400, 2_500]),
      loss: chance.pick([0, 0.01, 0.1]),
    }
  }

  /** Few blocks, so that clients meet: at both ends, around an extent's and a region's border. */
  #pickBlocks(): number[] {
    const last = this.sizeBytes / blockBytes - 1
    const places = [0, 1, 2, 3, 62, 63, 64, 65, last - 1, last]
    if (last > 4096) places.push(4094, 4095, 4096, 4097)
    const most = this.chance.pick([2, 5, places.length])
    const from = this.chance.whole(0, places.length - most)
    return places.slice(from, from + most)
  }

  get servers(): SimServer[] {
    return this.witness === null ? this.storage : [...this.storage, this.witness]
  }

  /** Brings everybody up and makes the volume `d`. The only part that waits for promises. */
  async create(): Promise<void> {
    for (const server of this.servers) server.start()
    await this.#until(5_000, () => this.servers.every((server) => this.#seesAll(server)))
    const [first] = this.storage
    const arbiter = this.witness ?? this.chance.pick(this.storage)
    if (first?.engine == null) throw new Error('no server came up')
    const servers = this.storage.map((server) => server.id)
    const made = first.engine.creations.create({
      name: 'd',
      sizeBytes: this.sizeBytes,
      writeThrough: false,
      arbiter: { kind: this.arbiter, serverId: arbiter.id },
      servers,
    })
    made.then(
      () => {
        this.#creation = 'made'
      },
      (error: unknown) => {
        this.#creation = String(error)
      },
    )
    while (this.#creation === null && this.world.nowMs < 60_000 && this.world.step()) {
      await turns()
    }
    if (this.#creation !== 'made') this.problems.push(`the volume was not made: ${this.#creation}`)
  }

  #seesAll(server: SimServer): boolean {
    const links = server.engine?.world.links
    return this.servers.every((other) => other === server || links?.peer(other.id)?.connected === true)
  }

  addClients(): void {
    this.network.weather = this.#weather
    for (const server of this.storage) {
      const count = this.chance.whole(1, 3)
      // At some servers nobody writes: what they hold is only cached.
      const onlyReads = this.chance.is(0.2)
      for (let number = 1; number <= count; number += 1) {
        const client = new SimClient(this.#parts, server, `${server.name}${number}`, onlyReads)
        this.clients.push(client)
        client.serverChanged()
      }
    }
  }

  /** Runs until the condition holds. @returns whether it did within that many virtual milliseconds */
  async #until(limitMs: number, holds: () => boolean): Promise<boolean> {
    const endMs = this.world.nowMs + limitMs
    let lookMs = this.world.nowMs
    while (this.world.nowMs < endMs) {
      if (this.world.nowMs >= lookMs) {
        if (holds()) return true
        lookMs = this.world.nowMs + 20
      }
      if (!this.step()) return holds()
      if (this.person.waits) await turns()
    }
    return holds()
  }

  /** Lets that many virtual milliseconds pass. */
  async pass(ms: number): Promise<void> {
    const endMs = this.world.nowMs + ms
    while (this.world.nowMs < endMs && this.step()) if (this.person.waits) await turns()
  }

  step(): boolean {
    try {
      return this.world.step()
    } catch (error) {
      if (error instanceof InvariantBroken) this.problems.push(error.message)
      else this.problems.push(`thrown: ${error instanceof Error ? error.stack : String(error)}`)
      // An agent that met its own bug stops; here the whole run does.
      return false
    }
  }

  /** Nothing goes wrong any more; then everything must become whole. */
  heal(): void {
    this.faults.end()
    this.person.end()
    for (const from of this.servers)
      for (const to of this.servers) for (let times = 0; times < 20; times += 1) this.network.unblock(from.id, to.id)
    for (const server of this.servers) {
      if (server.clock.stopped) server.clock.goOn(true)
      server.disk.fault = 'none'
      server.disk.leave(null)
      if (server.hadDiskError) {
        server.hadDiskError = false
        if (server.failedInThisLife) this.#powerLost(server)
        server.kill()
      }
      // Those that are down come back; whoever is being stopped in order comes back after that.
      server.start()
    }
    this.story.tell('', 'all faults are over')
  }

  #isWhole(): boolean {
    return this.storage.every((server) => {
      const { volume } = server
      if (volume?.member.phase !== 'open' || !volume.member.mayAnswerRead()) return false
      return volume.member.known.inSync.length === this.storage.length && volume.world.record.value.word === null
    })
  }

  async becomeWhole(): Promise<boolean> {
    const busyUntilMs = this.world.nowMs + busyMs
    const whole = await this.#until(healMs, () => {
      for (const server of this.servers) if (server.state === 'off') server.start()
      // Under load at first; what waits for calm longer than this still has to come.
      if (this.world.nowMs > busyUntilMs) for (const client of this.clients) client.rest()
      return this.#isWhole()
    })
    if (whole || this.problems.length > 0) return whole
    if (this.#waitsForPerson()) this.waitsForPerson = true
    else this.problems.push(`not whole after ${healMs / 1000} s: ${this.#state()}`)
    return false
  }

  /** C2: a configuration that nobody has opened, all of its members lossy: somebody must accept the loss. */
  #waitsForPerson(): boolean {
    const volumes = this.storage.flatMap((server) => server.volume ?? [])
    const members = volumes.filter((volume) => volume.member.inSet)
    return members.every((volume) => {
      const { known, opened } = volume.world.record.value
      return volume.anyLossy() && opened?.id !== known.id && volume.member.phase === 'gathering'
    })
  }

  #state(): string {
    return this.servers
      .map(({ name, state, volume }) => {
        if (volume === undefined) return `${name} ${state}`
        const { member } = volume
        const { known } = member
        const record = volume.world.record.value
        const inSync = known.inSync.map((id) => this.#nameOf(id)).join('')
        const opened = record.opened?.epoch ?? 0
        const words = [`epoch ${known.epoch}`, `in sync ${inSync}`, `opened ${opened}`, member.waiting()]
        if (member.splitBrain) words.push('SPLIT')
        if (record.word !== null) words.push('word')
        if (volume.anyLossy()) words.push('lossy')
        return `${name} ${member.phase} (${words.join(', ')})`
      })
      .join('; ')
  }

  async clientsFinish(): Promise<boolean> {
    for (const client of this.clients) client.rest()
    const finished = await this.#until(60_000, () => this.clients.every((client) => client.open === 0))
    if (!finished && this.problems.length === 0) {
      const waiting = this.clients.filter((client) => client.open > 0).map((client) => `${client.name} ${client.open}`)
      this.problems.push(`requests without an answer: ${waiting.join(', ')}; ${this.#state()}`)
    }
    return finished
  }

  /** Every block once more at every server, and all replicas byte by byte. */
  async readAll(): Promise<void> {
    let open = 0
    for (const server of this.storage) {
      const client = new SimClient(this.#parts, server, `reader-${server.name}`, true)
      const connection = server.engine?.find('d')?.attach({ protocol: 'sim', address: client.name }, () => undefined)
      if (connection === undefined) continue
      for (const block of this.blocks) {
        open += 1
        const first = block * sectorsPerBlock
        client.read({ first, last: first + sectorsPerBlock - 1 }, (failure) => {
          open -= 1
          if (failure !== null) this.problems.push(`reading at the end: ${failure}`)
        })(connection)
      }
    }
    if (!(await this.#until(30_000, () => open === 0)) && this.problems.length === 0)
      this.problems.push(`the reads at the end got no answer; ${this.#state()}`)
    const runs = (limitMs: number, holds: () => boolean) => this.#until(limitMs, holds)
    this.problems.push(...(await compareCopies(this.storage, this.sizeBytes, runs)))
  }

  judge(): void {
    for (const { block, words } of this.history.check()) {
      this.problems.push(`block ${block}: ${words}`)
      for (const line of this.history.tell(block)) this.story.tell(`BLOCK ${block}`, line)
    }
    this.problems.push(...this.story.errors)
  }

  /** W4: has everybody who held acknowledged writes lost power since? */
  #powerLost(server: SimServer): void {
    this.#powerLostAt.set(server.id, this.history.instant())
    const upTo = Math.min(...this.#lastServing().map((id) => this.#powerLostAt.get(id) ?? 0))
    if (upTo > 0) this.history.lost(upTo)
  }

  /** The in-sync set that was opened last, by whomever, as their disks remember it. */
  #lastServing(): readonly ServerId[] {
    let best: { epoch: number; inSync: readonly ServerId[] } = { epoch: 0, inSync: [] }
    for (const server of this.storage) {
      const opened = server.lastOpened
      if (opened !== null && opened.epoch > best.epoch) best = opened
    }
    return best.inSync.length > 0 ? best.inSync : this.storage.map(({ id }) => id)
  }

  #refused(what: string, failure: BlockFailure): void {
    this.story.tell('CLIENT', `${what}: ${failure}`)
    // C8: a full disk refuses first writes, and the checker knows that they were done nowhere.
    if (failure === 'no-space' && this.servers.some(({ disk }) => disk.wasSmall)) return
    // Only a lone replica's failing disk is an excuse (C6).
    if (failure !== 'io' || !this.servers.some((server) => server.everFailed)) this.problems.push(`${what}: ${failure}`)
  }
}

/** Promises that are settled go on. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 8; turn += 1) await null
}

/** One whole history. */
export async function simulate(options: SimOptions): Promise<SimResult> {
  const cluster = new Cluster(options)
  await cluster.create()
  cluster.addClients()
  if (cluster.problems.length === 0) {
    const part = options.short ? 0.4 : 1
    await cluster.pass(cluster.chance.between(200, 4_000) * part)
    cluster.faults.begin()
    cluster.person.begin()
    await cluster.pass(cluster.chance.pick([8_000, 15_000, 30_000]) * part)
    cluster.heal()
    await cluster.pass(500)
    if (await cluster.becomeWhole()) {
      await cluster.pass(1_500)
      if ((await cluster.clientsFinish()) && (await cluster.becomeWhole())) await cluster.readAll()
    }
    cluster.judge()
  }
  const { storage, arbiter, sizeBytes, blocks } = cluster
  return {
    seed: options.seed,
    problems: cluster.problems,
    operations: cluster.history.operations,
    passed: storage.reduce((sum, server) => sum + server.passed, 0),
    events: cluster.world.events,
    virtualMs: cluster.world.nowMs,
    lines: cluster.story.lines,
    waitsForPerson: cluster.waitsForPerson,
    unjudged: cluster.history.unjudged,
    about: `${storage.length} servers, ${arbiter}, ${sizeBytes / MiB} MiB, blocks ${blocks.join(' ')}`,
  }
}

export { bytesOf }
