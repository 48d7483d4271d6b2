/** A whole cluster in one process: servers, links, clients, faults; from a seed, in virtual time, to a judgement. */
import { InvariantBroken } from '../../agent/kit/failure.ts'
import type { ServerId } from '../../agent/kit/ids.ts'
import { limits } from '../../agent/limits.ts'
import type { ControlMessage } from '../../agent/link/messages.ts'
import type { BlockFailure } from '../../agent/volume/block-device.ts'
import { History, sectorsPerBlock } from './checker.ts'
import { bytesOf, type ClientParts, type Habits, SimClient } from './clients.ts'
import { compareCopies } from './copies.ts'
import { type FaultKind, Faults } from './faults.ts'
import { type MishapKind, Mishaps } from './mishaps.ts'
import { Network } from './network.ts'
import { Person } from './person.ts'
import { PowerLosses } from './power.ts'
import { SimServer, type Tampering } from './server.ts'
import { type Shape, shapeOf, type WantedShape } from './shape.ts'
import { Story } from './story.ts'
import { isSplit, reasonToWait, stateOf, type WaitsFor } from './waits.ts'
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
  /** What goes wrong strangely, instead of the seed's own. */
  readonly mishap?: MishapKind | 'none'
  /** Servers with a replica, 1 to 5; the seed's own when not given. */
  readonly servers?: number
  /** Faults end, and clients rest, when so many requests were answered. */
  readonly operations?: number
  /** Parts of what the cluster is like, instead of the seed's own. */
  readonly shape?: WantedShape
  /** Mean virtual milliseconds from one fault to the next. */
  readonly faultsEveryMs?: number
  /** What all clients do, and how often, instead of each one's own. */
  readonly habits?: Habits
  /** Virtual milliseconds that clients wait at most before their next request. */
  readonly thinkMs?: number
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
  readonly waitsFor: WaitsFor | null
  /** What went wrong strangely. */
  readonly mishap: MishapKind | 'none'
  /** Blocks that could not be judged. */
  readonly unjudged: number
  /** Blocks in which what had rotted was believed, since no checksum and no sound copy was left. */
  readonly believed: number
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
  readonly mishaps: Mishaps
  readonly shape: Shape
  readonly problems: string[] = []
  waitsFor: WaitsFor | null = null
  /** Blocks in which rot was believed after unclean ends. */
  believed = 0
  /** What people were told, by kind. */
  readonly told = new Set<string>()
  readonly #power = new PowerLosses(this.storage, this.history)
  readonly #parts: ClientParts
  /** Whose register decides. */
  readonly #arbiter: SimServer
  #stamp = 0
  #creation: string | null = null

  constructor(options: SimOptions) {
    const world = new World(options.seed)
    this.world = world
    this.story = new Story(world, options.story ?? false)
    this.chance = world.chance('cluster')
    this.shape = shapeOf(world, this.chance, options.servers ?? null, options.shape ?? {})
    const { count, arbiter, sizeBytes, blocks, network } = this.shape
    const broken = (words: string) => this.problems.push(words)
    const arrived = (from: ServerId, to: ServerId, message: ControlMessage) => {
      if (message.kind.startsWith('police')) return
      const way = `${this.#nameOf(from)} > ${this.#nameOf(to)}`
      this.story.tell(way, `${message.kind} ${JSON.stringify(message.body).slice(0, 300)}`)
    }
    // A volume is made in calm weather: whoever makes one tries again when a message was lost.
    this.network = new Network(
      world,
      { ...network, loss: 0, skewMs: 0, register: undefined },
      broken,
      options.messages ? arrived : null,
    )
    this.network.mishap = (from, to, words) =>
      this.story.tell('FAULT', `${this.#nameOf(from)} to ${this.#nameOf(to)}: ${words}`)
    const names = [...'abcde'].slice(0, count)
    if (arbiter === 'witness') names.push('w')
    const ids = names.map(() => this.chance.id() as ServerId) // 32 hex digits, as an identity has
    const servers = names.map((name, index) => this.#server(ids, index, name, options.tampering ?? {}))
    this.witness = arbiter === 'witness' ? (servers.pop() ?? null) : null
    this.storage.push(...servers)
    this.#parts = {
      world,
      history: this.history,
      story: this.story,
      sizeBytes,
      blocks,
      habits: options.habits ?? null,
      thinkMs: options.thinkMs ?? null,
      nextStamp: () => {
        this.#stamp += 1
        return this.#stamp
      },
      refused: (what, failure, server) => this.#refused(what, failure, server),
    }
    const parts = {
      world,
      network: this.network,
      story: this.story,
      storage: this.storage,
      witness: this.witness,
      powerLost: (server: SimServer) => this.#power.lost(server),
    }
    this.faults = new Faults(parts, options.faults ?? null, options.faultsEveryMs ?? null)
    this.#arbiter = this.witness ?? this.chance.pick(this.storage)
    this.mishaps = new Mishaps(parts, this.#arbiter, options.mishap ?? (options.faults === undefined ? null : 'none'))
    this.person = new Person({ world, story: this.story, storage: this.storage })
  }

  #server(ids: readonly ServerId[], index: number, name: string, tampering: Tampering): SimServer {
    const id = ids[index]
    if (id === undefined) throw new Error('a server without id')
    const changed = (server: SimServer) => {
      for (const client of this.clients) if (client.name.startsWith(server.name)) client.serverChanged()
    }
    const { world, network, story } = this
    const told = (server: SimServer, kind: string) => {
      this.told.add(kind)
      // W4: all that was acknowledged is durable, or held, at whoever opened a session since its power went.
      if (kind === 'serving') this.#power.opened(server)
    }
    return new SimServer({ world, network, story, servers: ids, tampering, told, changed }, id, name)
  }

  #nameOf(id: ServerId): string {
    return this.servers.find((server) => server.id === id)?.name ?? '?'
  }

  get servers(): SimServer[] {
    return this.witness === null ? this.storage : [...this.storage, this.witness]
  }

  /** Brings everybody up and makes the volume `d`. The only part that waits for promises. */
  async create(): Promise<void> {
    for (const server of this.servers) server.start()
    await this.#until(5_000, () => this.servers.every((server) => this.#seesAll(server)))
    const [first] = this.storage
    const { arbiter, sizeBytes } = this.shape
    if (first?.engine == null) throw new Error('no server came up')
    const servers = this.storage.map((server) => server.id)
    const made = first.engine.creations.create({
      name: 'd',
      sizeBytes,
      writeThrough: false,
      arbiter: { kind: arbiter, serverId: this.#arbiter.id },
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
    this.network.weather = this.shape.network
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

  /** The part of the history in which things go wrong. */
  async goWrong(options: SimOptions): Promise<void> {
    const part = options.short ? 0.4 : 1
    const calmMs = this.chance.between(200, 4_000) * part
    const wildMs = this.chance.pick([8_000, 15_000, 30_000]) * part
    if (options.operations === undefined) await this.pass(calmMs)
    this.faults.begin()
    this.mishaps.begin()
    this.person.begin()
    const most = options.operations ?? Number.POSITIVE_INFINITY
    await this.#until(wildMs, () => this.history.operations >= most)
    if (options.operations !== undefined) for (const client of this.clients) client.rest()
  }

  /** Nothing goes wrong any more; then everything must become whole. */
  heal(): void {
    this.faults.end()
    this.mishaps.end()
    this.network.weather = { ...this.network.weather, register: undefined }
    this.person.end()
    for (const from of this.servers)
      for (const to of this.servers) for (let times = 0; times < 20; times += 1) this.network.unblock(from.id, to.id)
    for (const server of this.servers) {
      if (server.clock.stopped) server.clock.goOn(true)
      server.disk.fault = 'none'
      server.disk.leave(null)
      server.disk.slowness = null
      if (server.hadDiskError) {
        server.hadDiskError = false
        if (server.failedInThisLife) this.#power.lost(server)
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
    this.waitsFor = reasonToWait(this)
    if (this.waitsFor === null) this.problems.push(`not whole after ${healMs / 1000} s: ${stateOf(this)}`)
    return false
  }

  async clientsFinish(): Promise<boolean> {
    for (const client of this.clients) client.rest()
    const finished = await this.#until(60_000, () => this.clients.every((client) => client.open === 0))
    if (!finished && this.problems.length === 0) this.waitsFor = reasonToWait(this)
    if (!finished && this.problems.length === 0 && this.waitsFor === null) {
      const waiting = this.clients.filter((client) => client.open > 0).map((client) => `${client.name} ${client.open}`)
      this.problems.push(`requests without an answer: ${waiting.join(', ')}; ${stateOf(this)}`)
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
      for (const block of this.shape.blocks) {
        open += 1
        const first = block * sectorsPerBlock
        client.read({ first, last: first + sectorsPerBlock - 1 }, (failure) => {
          open -= 1
          if (failure !== null) this.problems.push(`reading at the end: ${failure}`)
        })(connection)
      }
    }
    if (!(await this.#until(30_000, () => open === 0)) && this.problems.length === 0)
      this.problems.push(`the reads at the end got no answer; ${stateOf(this)}`)
    await this.#findRot()
    await this.#peopleKnow()
    const runs = (limitMs: number, holds: () => boolean) => this.#until(limitMs, holds)
    this.problems.push(...(await compareCopies(this.storage, this.shape.sizeBytes, runs)))
  }

  /** R3: what has rotted where nobody reads is found by a scrub, and repaired. */
  async #findRot(): Promise<void> {
    const rotten = this.storage.filter(({ everRotted }) => everRotted)
    for (const { volume } of rotten) volume?.steerScrub('now')
    const ended = () => rotten.every(({ volume }) => volume?.scrub.record.startedMs === null)
    if (!(await this.#until(60_000, ended))) this.problems.push('a scrub did not end')
    for (const { name, volume } of rotten) {
      const pieces = volume?.scrub.record.unreadablePieces ?? 0
      if (pieces > 0) this.problems.push(`${pieces} pieces of ${name} could not be repaired`)
    }
  }

  /** What people must have been told by now. */
  async #peopleKnow(): Promise<void> {
    const must = async (kind: string) => {
      const known = await this.#until(3 * limits.registerReadMs, () => this.told.has(kind))
      if (!known) this.problems.push(`nobody was told: ${kind}`)
    }
    if (this.mishaps.storeLost) await must('older-store')
    if (this.mishaps.registerMissed) await must('register-alarm')
  }

  judge(): void {
    // A3 was broken: two servers may have gone on, each by itself, and people know (E1, E11).
    if (this.mishaps.registerLost && isSplit(this)) {
      this.waitsFor = 'split-brain'
      this.problems.length = 0
      return
    }
    for (const { block, words } of this.history.check()) {
      if (this.mishaps.mayBeBelieved(block)) this.believed += 1
      else this.problems.push(`block ${block}: ${words}`)
      for (const line of this.history.tell(block)) this.story.tell(`BLOCK ${block}`, line)
    }
    this.problems.push(...this.story.errors)
  }

  #refused(what: string, failure: BlockFailure, server: SimServer): void {
    this.story.tell('CLIENT', `${what}: ${failure}`)
    // C8: a full disk refuses first writes, and the checker knows that they were done nowhere.
    if (failure === 'no-space' && this.servers.some(({ disk }) => disk.wasSmall)) return
    // Only a lone replica's failing disk is an excuse (C6), or what rotted on it (R3); also for whom it is the host.
    const open = this.storage.filter(({ volume }) => volume?.member.phase === 'open')
    const executing = open.includes(server) ? server : open[0]
    const session = executing?.volume?.member.session?.number
    const isAlone = !open.some((other) => other !== executing && other.volume?.member.session?.number === session)
    const excused = this.servers.some(({ everFailed }) => everFailed) || (executing?.everRotted === true && isAlone)
    if (failure !== 'io' || !excused) this.problems.push(`${what}: ${failure}`)
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
    await cluster.goWrong(options)
    cluster.heal()
    await cluster.pass(500)
    if (await cluster.becomeWhole()) {
      if (options.operations === undefined) await cluster.pass(1_500)
      if ((await cluster.clientsFinish()) && (await cluster.becomeWhole())) await cluster.readAll()
    }
    cluster.judge()
  }
  const { count, arbiter, sizeBytes, blocks } = cluster.shape
  const { kind } = cluster.mishaps
  return {
    seed: options.seed,
    problems: cluster.problems,
    operations: cluster.history.operations,
    passed: cluster.storage.reduce((sum, server) => sum + server.passed, 0),
    events: cluster.world.events,
    virtualMs: cluster.world.nowMs,
    lines: cluster.story.lines,
    waitsFor: cluster.waitsFor,
    mishap: kind,
    unjudged: cluster.history.unjudged,
    believed: cluster.believed,
    about: `${count} servers, ${arbiter}, ${sizeBytes / MiB} MiB, blocks ${blocks.join(' ')}${kind === 'none' ? '' : `, ${kind}`}`,
  }
}

export { bytesOf }
