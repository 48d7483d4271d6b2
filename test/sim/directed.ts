/** A small simulated cluster whose history a test writes itself: calm weather, servers `a`, `b`, … and a witness, a filter
 * on what is sent, one volume `d`. */
import { InvariantBroken } from '../../agent/kit/failure.ts'
import type { ServerId } from '../../agent/kit/ids.ts'
import type { Links, Message } from '../../agent/link/messages.ts'
import type { BlockClient, BlockFailure } from '../../agent/volume/block-device.ts'
import type { Volume } from '../../agent/volume/volume.ts'
import { Network } from './network.ts'
import { SimServer, type Tampering } from './server.ts'
import { Story } from './story.ts'
import { World } from './world.ts'

/** How a request ended; undefined while it waits. */
export interface Asked {
  answer: BlockFailure | null | undefined
  /** Of a read: its first byte. */
  first: number | undefined
}

export interface Sending {
  readonly from: SimServer
  readonly to: SimServer
  readonly message: Message
  /** Of a control message; the message's type otherwise. */
  readonly kind: string
}

const MiB = 1024 * 1024

export class Directed {
  readonly world: World
  readonly network: Network
  readonly story: Story
  readonly servers: SimServer[] = []
  readonly witness: SimServer
  readonly problems: string[] = []
  /** What is sent and never arrives, as if the links had lost it; heartbeats and the register's messages too. */
  lost: (sending: Sending) => boolean = () => false

  /** @param count servers with a replica; ids ascend, so that `a` leads @param tampering a rule broken on purpose */
  constructor(count: number, seed = 1, tampering: Tampering = {}) {
    this.world = new World(seed)
    this.story = new Story(this.world, true)
    const calm = { minMs: 0.05, maxMs: 0.5, spike: 0, spikeMs: 0, loss: 0 }
    this.network = new Network(this.world, calm, (words) => this.problems.push(words))
    const names = [...'abcde'.slice(0, count), 'w']
    const ids = names.map((_, index) => String(index + 1).repeat(32) as ServerId) // 32 hex digits, as an identity has
    const { world, network, story } = this
    const parts = { world, network, story, servers: ids, tampering: this.#filter(tampering), changed: () => undefined }
    const made = ids.map((id, index) => new SimServer(parts, id, names[index] ?? '?'))
    this.servers.push(...made.slice(0, count))
    this.witness = made[count] ?? this.server(0)
  }

  server(index: number): SimServer {
    const server = this.servers[index]
    if (server === undefined) throw new Error(`no server ${index}`)
    return server
  }

  volume(index: number): Volume {
    const { volume, name } = this.server(index)
    if (volume === undefined) throw new Error(`${name} has no volume`)
    return volume
  }

  get all(): SimServer[] {
    return [...this.servers, this.witness]
  }

  #filter(broken: Tampering): Tampering {
    return {
      ...broken,
      world: (honest, engine) => {
        const world = broken.world?.(honest, engine) ?? honest
        const { links, self } = world
        const isLost = (to: ServerId, message: Message) => {
          const [from, peer] = [self, to].map((id) => this.all.find((server) => server.id === id))
          if (from === undefined || peer === undefined) return false
          const kind = message.type === 'control' ? message.kind : message.type
          return this.lost({ from, to: peer, message, kind })
        }
        const send: Links['send'] = (to, message) => isLost(to, message) || links.send(to, message)
        const sendNow: Links['sendNow'] = (to, message) => isLost(to, message) || links.sendNow(to, message)
        return { ...world, links: { ...links, send, sendNow } }
      },
    }
  }

  /** All up and connected; no volume yet. */
  start(): this {
    for (const server of this.all) server.start()
    this.untilConnected()
    return this
  }

  /** Runs until all servers see each other. */
  untilConnected(): void {
    this.until('all servers see each other', () => this.all.every((server) => this.#seesAll(server)))
  }

  #seesAll(server: SimServer): boolean {
    const links = server.engine?.world.links
    return this.all.every((other) => other === server || links?.peer(other.id)?.connected === true)
  }

  /** Asks a server, the first one if no other is named, for the volume. @returns what became of it, once it is known */
  create(options: { at?: number; sizeBytes?: number; writeThrough?: boolean } = {}): { outcome: string | null } {
    const made: { outcome: string | null } = { outcome: null }
    const { engine } = this.server(options.at ?? 0)
    if (engine === null) throw new Error('that server is not up')
    engine.creations
      .create({
        name: 'd',
        sizeBytes: options.sizeBytes ?? MiB,
        writeThrough: options.writeThrough ?? false,
        arbiter: { kind: 'witness', serverId: this.witness.id },
        servers: this.servers.map(({ id }) => id),
      })
      .then(
        () => {
          made.outcome = 'made'
        },
        (error: unknown) => {
          made.outcome = error instanceof Error && 'code' in error ? String(error.code) : String(error)
        },
      )
    return made
  }

  /** Everybody up, and the volume open at all. */
  async begin(sizeBytes = MiB, writeThrough = false): Promise<this> {
    this.start()
    const made = this.create({ sizeBytes, writeThrough })
    await this.untilSettled(() => made.outcome !== null)
    if (made.outcome !== 'made') throw new Error(`the volume was not made: ${made.outcome}`)
    this.until('the volume is open', () => this.isWhole())
    return this
  }

  isWhole(): boolean {
    return this.servers.every((_, index) => this.serves(index) && this.inSync(index).length === this.servers.length)
  }

  serves(index: number): boolean {
    const member = this.server(index).volume?.member
    return member?.phase === 'open' && member.mayAnswerRead()
  }

  /** Names of the in-sync set as this server knows it. */
  inSync(index: number): string {
    const members = this.volume(index).member.known.inSync
    return this.servers
      .filter(({ id }) => members.includes(id))
      .map(({ name }) => name)
      .join('')
  }

  attach(index: number): BlockClient {
    const client = this.server(index)
      .engine?.find('d')
      ?.attach({ protocol: 'sim', address: 'directed' }, () => undefined)
    if (client === undefined) throw new Error('there is no volume to attach to')
    return client
  }

  write(client: BlockClient, offsetBytes: number, fill: number, lengthBytes = 4096): Asked {
    const asked: Asked = { answer: undefined, first: undefined }
    client.write(offsetBytes, [new Uint8Array(lengthBytes).fill(fill)], lengthBytes, false, (failure) => {
      asked.answer = failure
    })
    return asked
  }

  read(client: BlockClient, offsetBytes: number, lengthBytes = 4096): Asked {
    const asked: Asked = { answer: undefined, first: undefined }
    client.read(offsetBytes, lengthBytes, (failure, chunks) => {
      asked.answer = failure
      asked.first = chunks[0]?.[0]
    })
    return asked
  }

  flush(client: BlockClient): Asked {
    const asked: Asked = { answer: undefined, first: undefined }
    client.flush((failure) => {
      asked.answer = failure
    })
    return asked
  }

  /** Runs until the condition holds. @throws Error when it did not within that many virtual milliseconds */
  until(what: string, holds: () => boolean, limitMs = 60_000): void {
    const endMs = this.world.nowMs + limitMs
    while (!holds()) {
      if (this.world.nowMs > endMs || !this.#step()) throw new Error(`never: ${what}\n${this.#last()}`)
    }
  }

  /** As `until`, where promises are waited for. */
  async untilSettled(holds: () => boolean): Promise<void> {
    const endMs = this.world.nowMs + 120_000
    while (!holds()) {
      if (this.world.nowMs > endMs || !this.#step()) throw new Error(`no promise was settled\n${this.#last()}`)
      for (let turn = 0; turn < 8; turn += 1) await null
    }
  }

  pass(ms: number): void {
    const endMs = this.world.nowMs + ms
    while (this.world.nowMs < endMs && this.#step());
  }

  /** Whether both replicas hold the same bytes; only where nobody writes. */
  equal(one: number, other: number): boolean {
    const [first, second] = [one, other].map((index) => this.volume(index).store)
    if (first === undefined || second === undefined) return false
    let same: boolean | null = null
    first.read(0, first.sizeBytes, (failed, mine) =>
      second.read(0, second.sizeBytes, (failedToo, theirs) => {
        same = failed === null && failedToo === null && Buffer.compare(mine, theirs) === 0
      }),
    )
    this.until('both replicas are read', () => same !== null)
    return same === true
  }

  #step(): boolean {
    try {
      return this.world.step()
    } catch (error) {
      if (error instanceof InvariantBroken) this.problems.push(error.message)
      throw error
    }
  }

  #last(): string {
    return this.story.lines.slice(-30).join('\n')
  }
}
