/**
 * A storm: clients at every server write, zero, trim and read pieces of 512 bytes to 1 MiB at any sector of one small
 * area, all at once. What each of them asked and got, in the order in which this one process saw it, goes into the checker
 * of the simulator, which judges every 4 KiB block exactly (R1, W5).
 */
import { History, type Sectors, sectorBytes, type Violation } from '../sim/checker.ts'
import type { LoadServer } from './load.ts'
import { connectNbd, type NbdClient, NbdError } from './nbd-client.ts'
import { seeded } from './random.ts'
import { stampedSectors, stampsOfSectors } from './sector-stamps.ts'

export interface StormOptions {
  readonly servers: readonly LoadServer[]
  /** The area, from byte 0 on; a multiple of 4096. */
  readonly areaBytes: number
  readonly connectionsPerServer: number
  /** Requests that one connection has under way. */
  readonly depth: number
  readonly seed: number
}

/** What the clients of one server did. */
export interface StormReport {
  reads: number
  writes: number
  zeroes: number
  trims: number
  /** Error replies: there should be none. */
  readonly refusals: string[]
  /** Connections that ended by themselves. */
  lost: number
  longestMs: number
}

type Kind = 'reads' | 'writes' | 'zeroes' | 'trims'

const extentBytes = 256 * 1024
const mostBytes = 1024 * 1024
/** Milliseconds between two tries to reach a server that is down. */
const reconnectMs = 50
/** Milliseconds that a client tries; a killed server is started again long before. */
const reconnectLimitMs = 60_000

const kindOf = (unit: number): Kind =>
  unit < 0.5 ? 'writes' : unit < 0.85 ? 'reads' : unit < 0.95 ? 'zeroes' : 'trims'

const isTracked = () => true

/** Stamps of all storms of this process differ: what an earlier one left behind is not taken for a later one's. */
let lastStamp = 0

export class Storm {
  readonly history = new History(() => performance.now())
  readonly reports = new Map<string, StormReport>()
  readonly #options: StormOptions
  readonly #random: () => number

  /** Zeroes the area, so that the history begins with nothing in it. */
  static async begin(options: StormOptions): Promise<Storm> {
    const [first] = options.servers
    if (first === undefined) throw new Error('a storm without servers')
    const connection = await connectNbd(first.uri)
    await connection.zero(0, options.areaBytes)
    await connection.disconnect()
    return new Storm(options)
  }

  private constructor(options: StormOptions) {
    this.#options = options
    this.#random = seeded(options.seed)
    for (const { name } of options.servers) {
      this.reports.set(name, { reads: 0, writes: 0, zeroes: 0, trims: 0, refusals: [], lost: 0, longestMs: 0 })
    }
  }

  report(name: string): StormReport {
    const found = this.reports.get(name)
    if (found === undefined) throw new Error(`no storm at ${name}`)
    return found
  }

  answered(): number {
    const counts = [...this.reports.values()].map(({ reads, writes, zeroes, trims }) => reads + writes + zeroes + trims)
    return counts.reduce((sum, count) => sum + count, 0)
  }

  /** Lets the clients loose. @param requests of each stream, of which every connection has `depth` */
  async run(requests: number): Promise<void> {
    const { servers, connectionsPerServer } = this.#options
    const clients = servers.flatMap((server) =>
      Array.from({ length: connectionsPerServer }, () => this.#client(server, requests, this.#random() * 2 ** 32)),
    )
    await Promise.all(clients)
  }

  /** Reads the whole area at every server, one after the other, and judges all that was seen. */
  async judge(): Promise<readonly Violation[]> {
    const { servers, areaBytes } = this.#options
    for (const { uri } of servers) {
      const connection = await connectNbd(uri)
      try {
        for (let at = 0; at < areaBytes; at += mostBytes) {
          await this.#read(connection, at, Math.min(mostBytes, areaBytes - at))
        }
      } finally {
        connection.destroy()
      }
    }
    const violations = this.history.check()
    if (this.history.unjudged > 0) throw new Error(`${this.history.unjudged} blocks were too hard to judge`)
    return violations
  }

  /** One client with its streams; it comes back when its connection ended, and does the rest of its requests then. */
  async #client(server: LoadServer, requests: number, seed: number): Promise<void> {
    const random = seeded(seed)
    const left = { requests: requests * this.#options.depth }
    const report = this.report(server.name)
    while (left.requests > 0) {
      const connection = await reconnected(server.uri)
      const streams = Array.from({ length: this.#options.depth }, () => this.#stream(connection, report, random, left))
      const ended = await Promise.all(streams)
      connection.destroy()
      if (ended.includes('lost')) report.lost++
    }
  }

  async #stream(
    connection: NbdClient,
    report: StormReport,
    random: () => number,
    left: { requests: number },
  ): Promise<'done' | 'lost'> {
    while (left.requests > 0) {
      left.requests -= 1
      const kind = kindOf(random())
      const { offsetBytes, lengthBytes } = this.#range(random)
      const beganMs = performance.now()
      try {
        await this.#ask(connection, kind, offsetBytes, lengthBytes)
        report[kind]++
      } catch (failure) {
        if (!(failure instanceof NbdError)) return 'lost'
        report.refusals.push(failure.message)
      }
      report.longestMs = Math.max(report.longestMs, performance.now() - beganMs)
    }
    return 'done'
  }

  /** Any sector; as many requests of 512 bytes to 1 KiB as of 512 KiB to 1 MiB. */
  #range(random: () => number): { offsetBytes: number; lengthBytes: number } {
    const { areaBytes } = this.#options
    const most = Math.min(mostBytes, areaBytes) / sectorBytes
    const sectors = Math.min(most, Math.floor(2 ** (random() * Math.log2(most + 1))))
    const first = Math.floor(random() * (areaBytes / sectorBytes - sectors + 1))
    return { offsetBytes: first * sectorBytes, lengthBytes: sectors * sectorBytes }
  }

  async #ask(connection: NbdClient, kind: Kind, offsetBytes: number, lengthBytes: number): Promise<void> {
    if (kind === 'reads') return this.#read(connection, offsetBytes, lengthBytes)
    if (kind === 'trims') return this.#trim(connection, offsetBytes, lengthBytes)
    const sectors = sectorsOf(offsetBytes, lengthBytes)
    if (kind === 'zeroes') {
      const end = this.history.write(sectors, 0, isTracked)
      await connection.zero(offsetBytes, lengthBytes)
      return end('applied')
    }
    lastStamp += 1
    const stamp = lastStamp
    const bytes = stampedSectors(sectors.first, lengthBytes / sectorBytes, stamp)
    const end = this.history.write(sectors, stamp, isTracked)
    await connection.write(offsetBytes, bytes)
    end('applied')
  }

  async #read(connection: NbdClient, offsetBytes: number, lengthBytes: number): Promise<void> {
    const sectors = sectorsOf(offsetBytes, lengthBytes)
    const begin = this.history.instant()
    const bytes = await connection.read(offsetBytes, lengthBytes)
    this.history.read(begin, sectors, stampsOfSectors(sectors.first, bytes), isTracked)
  }

  /** The volume's promise: whole extents inside read as zeros afterwards, the rest is unchanged (block-device.ts). */
  async #trim(connection: NbdClient, offsetBytes: number, lengthBytes: number): Promise<void> {
    const from = Math.ceil(offsetBytes / extentBytes) * extentBytes
    const to = Math.floor((offsetBytes + lengthBytes) / extentBytes) * extentBytes
    const end = from < to ? this.history.write(sectorsOf(from, to - from), 0, isTracked) : null
    await connection.trim(offsetBytes, lengthBytes)
    end?.('applied')
  }
}

const sectorsOf = (offsetBytes: number, lengthBytes: number): Sectors => ({
  first: offsetBytes / sectorBytes,
  last: (offsetBytes + lengthBytes) / sectorBytes - 1,
})

async function reconnected(uri: string): Promise<NbdClient> {
  const endMs = performance.now() + reconnectLimitMs
  for (;;) {
    try {
      return await connectNbd(uri)
    } catch (failure) {
      // The server is down: that is what one of these tests is about.
      if (performance.now() > endMs) throw failure
      await new Promise((again) => setTimeout(again, reconnectMs))
    }
  }
}
