/** Clients: each keeps a few requests under way at one server, on few blocks that all of them share. */
import type { BlockClient, BlockFailure } from '../../agent/volume/block-device.ts'
import { blockBytes, type History, type Sectors, sectorBytes, sectorsPerBlock } from './checker.ts'
import { stamped, stampsOf } from './payload.ts'
import type { SimServer } from './server.ts'
import type { Story } from './story.ts'
import type { Chance, World } from './world.ts'

const extentBytes = 256 * 1024

export interface ClientParts {
  readonly world: World
  readonly history: History
  readonly story: Story
  readonly sizeBytes: number
  /** The blocks that requests aim at, ascending; only these are judged. */
  readonly blocks: readonly number[]
  /** Of all clients; null: each one's own. */
  readonly habits?: Habits | null
  /** The same. */
  readonly thinkMs?: number | null
  nextStamp(): number
  /** How a request ended that should not have ended so. */
  refused(what: string, failure: BlockFailure, server: SimServer): void
}

type EndOfWrite = ReturnType<History['write']>
export type Kind = 'read' | 'write' | 'part' | 'many' | 'zero' | 'trim' | 'flush'
/** How often each kind of request is made, beside the others. */
export type Habits = Readonly<Partial<Record<Kind, number>>>
const usual: Readonly<Record<Kind, number>> = { read: 40, write: 30, part: 10, many: 10, zero: 3, trim: 2, flush: 6 }
const nothing: Readonly<Record<Kind, number>> = { read: 0, write: 0, part: 0, many: 0, zero: 0, trim: 0, flush: 0 }
/** Nothing of theirs waits for a write that hangs: they see what a server shows that is cut off. */
const readers: Readonly<Record<Kind, number>> = { read: 97, write: 0, part: 0, many: 0, zero: 0, trim: 0, flush: 3 }

export class SimClient {
  readonly name: string
  readonly #parts: ClientParts
  readonly #chance: Chance
  readonly #server: SimServer
  readonly #depth: number
  readonly #thinkMs: number
  readonly #habits: Readonly<Record<Kind, number>>
  #connection: BlockClient | null = null
  #life = 0
  #open = 0
  #working = true
  answered = 0

  constructor(parts: ClientParts, server: SimServer, name: string, onlyReads: boolean) {
    this.#parts = parts
    this.#server = server
    this.name = name
    this.#chance = parts.world.chance(`client ${name}`)
    this.#depth = this.#chance.whole(1, 3)
    const drawn = onlyReads || this.#chance.is(0.2) ? readers : usual
    this.#habits = parts.habits ? { ...nothing, ...parts.habits } : drawn
    const drawnMs = this.#chance.pick([20, 60, 150, 400])
    this.#thinkMs = parts.thinkMs ?? drawnMs
  }

  /** Requests that wait for their answer. */
  get open(): number {
    return this.#connection === null ? 0 : this.#open
  }

  rest(): void {
    this.#working = false
  }

  /** The agent came up, or is gone. */
  serverChanged(): void {
    if (this.#server.engine === null) this.#lose()
    else if (this.#connection === null) this.#connect()
  }

  #lose(): void {
    // Whoever stops in order closes its connections; a killed one says nothing any more.
    if (this.#server.state === 'leaving') this.#connection?.detach()
    this.#life += 1
    this.#connection = null
    this.#open = 0
  }

  #connect(): void {
    const volume = this.#server.engine?.find('d')
    if (volume === undefined) {
      this.#later(() => this.serverChanged())
      return
    }
    const life = ++this.#life
    this.#connection = volume.attach({ protocol: 'sim', address: this.name }, () => this.#leave(life))
    for (let slot = 0; slot < this.#depth; slot += 1) this.#think(life)
    if (this.#chance.is(0.3)) {
      // Some clients go away in the middle, with requests under way.
      this.#parts.world.after(this.#chance.between(500, 15_000), () =>
        this.#server.clock.arrive(() => this.#leave(life)),
      )
    }
  }

  #leave(life: number): void {
    if (life !== this.#life || this.#connection === null) return
    this.#connection.detach()
    this.#lose()
    this.#later(() => this.serverChanged())
  }

  #later(go: () => void): void {
    this.#parts.world.after(this.#chance.between(1, 200), () => this.#server.clock.arrive(go))
  }

  #think(life: number): void {
    this.#parts.world.after(this.#chance.between(0, this.#thinkMs), () => {
      if (life !== this.#life || !this.#working) return
      this.#open += 1
      const ask = this.#prepare(life)
      // The request reaches the server when that is awake.
      this.#server.clock.arrive(() => {
        if (life === this.#life && this.#connection !== null) ask(this.#connection)
      })
    })
  }

  #prepare(life: number): (connection: BlockClient) => void {
    const kind = this.#chance.weighed(this.#habits)
    const fua = this.#chance.is(0.1)
    switch (kind) {
      case 'read':
        return this.read(this.#range(this.#chance.is(0.2) ? 6 : 1), (failure) => this.#answered(life, kind, failure))
      case 'write':
        return this.#write(life, kind, this.#range(1), fua)
      case 'many':
        return this.#write(life, kind, this.#range(6), fua)
      case 'part': {
        const { first, last } = this.#range(2)
        const from = this.#chance.whole(first, last)
        return this.#write(life, kind, { first: from, last: this.#chance.whole(from, last) }, fua)
      }
      case 'zero':
        return this.#zero(life, this.#range(2), fua)
      case 'trim':
        return this.#trim(life, fua)
      case 'flush':
        return this.#flush(life)
    }
  }

  /** Some neighbouring blocks, whole. */
  #range(most: number): Sectors {
    const { blocks, sizeBytes } = this.#parts
    const first = this.#chance.pick(blocks)
    const last = Math.min(first + this.#chance.whole(1, most), sizeBytes / blockBytes) - 1
    return { first: first * sectorsPerBlock, last: (last + 1) * sectorsPerBlock - 1 }
  }

  /** Also for the readers at the end. */
  read(sectors: Sectors, done: (failure: BlockFailure | null) => void): (connection: BlockClient) => void {
    const { history } = this.#parts
    const begin = history.instant()
    const { offsetBytes, lengthBytes } = bytesOf(sectors)
    return (connection) =>
      connection.read(offsetBytes, lengthBytes, (failure, chunks) => {
        if (failure === null) history.read(begin, sectors, stampsOf(sectors.first, chunks), this.#isTracked)
        done(failure)
      })
  }

  readonly #isTracked = (block: number): boolean => this.#parts.blocks.includes(block)

  #write(life: number, kind: Kind, sectors: Sectors, fua: boolean): (connection: BlockClient) => void {
    const stamp = this.#parts.nextStamp()
    const { offsetBytes, lengthBytes } = bytesOf(sectors)
    const bytes = stamped(sectors.first, sectors.last - sectors.first + 1, stamp)
    const half = Math.floor(lengthBytes / 2)
    const chunks = this.#chance.is(0.5) ? [bytes] : [bytes.subarray(0, half), bytes.subarray(half)]
    const end = this.#parts.history.write(sectors, stamp, this.#isTracked)
    return (connection) =>
      connection.write(offsetBytes, chunks, lengthBytes, fua, (failure) => this.#ended(life, kind, fua, end, failure))
  }

  #zero(life: number, sectors: Sectors, fua: boolean): (connection: BlockClient) => void {
    const { offsetBytes, lengthBytes } = bytesOf(sectors)
    const mayUnmap = this.#chance.is(0.5)
    const end = this.#parts.history.write(sectors, 0, this.#isTracked)
    return (connection) =>
      connection.writeZeroes(offsetBytes, lengthBytes, mayUnmap, fua, (failure) =>
        this.#ended(life, 'zero', fua, end, failure),
      )
  }

  /** One extent, not quite aligned on one side: only whole extents inside become zeros. */
  #trim(life: number, fua: boolean): (connection: BlockClient) => void {
    const { sizeBytes, blocks } = this.#parts
    const extent = Math.floor((this.#chance.pick(blocks) * blockBytes) / extentBytes)
    const offsetBytes = extent * extentBytes
    const lengthBytes = Math.min(extentBytes + this.#chance.pick([0, 4096, 8192]), sizeBytes - offsetBytes)
    const whole = lengthBytes >= extentBytes
    const sectors = { first: offsetBytes / sectorBytes, last: (offsetBytes + extentBytes) / sectorBytes - 1 }
    const end = whole ? this.#parts.history.write(sectors, 0, this.#isTracked) : () => undefined
    return (connection) =>
      connection.trim(offsetBytes, lengthBytes, fua, (failure) => this.#ended(life, 'trim', fua, end, failure))
  }

  #flush(life: number): (connection: BlockClient) => void {
    const begin = this.#parts.history.instant()
    return (connection) =>
      connection.flush((failure) => {
        if (failure === null) this.#parts.history.flush(begin)
        this.#answered(life, 'flush', failure)
      })
  }

  #ended(life: number, kind: Kind, fua: boolean, end: EndOfWrite, failure: BlockFailure | null): void {
    if (failure === null) end(fua ? 'durable' : 'applied')
    else if (failure === 'no-space') end('never')
    this.#answered(life, kind, failure)
  }

  #answered(life: number, kind: Kind, failure: BlockFailure | null): void {
    if (life !== this.#life) {
      this.#parts.story.errors.push(`${this.name}: an answer to ${kind} after its connection was closed`)
      return
    }
    this.#open -= 1
    this.answered += 1
    if (failure === 'unknown-outcome') return this.#leave(life)
    if (failure !== null) this.#parts.refused(`${this.name} ${kind}`, failure, this.#server)
    this.#think(life)
  }
}

export function bytesOf(sectors: Sectors): { offsetBytes: number; lengthBytes: number } {
  return {
    offsetBytes: sectors.first * sectorBytes,
    lengthBytes: (sectors.last - sectors.first + 1) * sectorBytes,
  }
}
