/**
 * Many clients at all servers on the same few blocks, as hard on the engine as can be: overlapping writes from two
 * servers, reads meanwhile, flushes. Everything that a client saw goes into a History, whose judgement is the result.
 */
import { blockBytes, History, stampBlocks, stampsIn, type Violation } from './history.ts'
import { connectNbd, type NbdClient, NbdError } from './nbd-client.ts'
import { seeded } from './random.ts'
import { TookTooLong, within } from './until.ts'

export interface LoadServer {
  readonly name: string
  readonly uri: string
}

export interface LoadOptions {
  readonly servers: readonly LoadServer[]
  /** The blocks that are written and read, all from 0 on: few, so that servers meet in them. */
  readonly blocks: number
  readonly connectionsPerServer: number
  /** Requests that one connection has under way. */
  readonly depth: number
  readonly seed: number
}

/** What the clients of one server saw. */
export interface ServerReport {
  reads: number
  writes: number
  flushes: number
  /** Error replies: there should be none. */
  readonly refusals: string[]
  /** Connections that ended by themselves. */
  lost: number
  /** The longest that one request waited for its answer, milliseconds. */
  longestMs: number
}

/** Blocks of one request: mostly one, now and then more, so that requests overlap in part. */
const mostBlocks = 8
/** Milliseconds between two tries to reach a server that is down. */
const reconnectMs = 50
/** How long `stop` waits for requests under way; those of a waiting volume may stay unanswered for ever. */
const drainMs = 15_000

export class Load {
  readonly history = new History()
  readonly reports = new Map<string, ServerReport>()
  readonly #options: LoadOptions
  readonly #open = new Map<NbdClient, ServerReport>()
  readonly #workers: Promise<void>[] = []
  #running = true

  /** Zeroes the blocks, so that the history begins with nothing in them, and lets the clients loose. */
  static async begin(options: LoadOptions): Promise<Load> {
    const [first] = options.servers
    if (first === undefined) throw new Error('a load without servers')
    const client = await connectNbd(first.uri)
    await client.zero(0, options.blocks * blockBytes)
    await client.disconnect()
    return new Load(options)
  }

  private constructor(options: LoadOptions) {
    this.#options = options
    for (const [index, server] of options.servers.entries()) {
      this.reports.set(server.name, { reads: 0, writes: 0, flushes: 0, refusals: [], lost: 0, longestMs: 0 })
      for (let connection = 0; connection < options.connectionsPerServer; connection++) {
        this.#workers.push(this.#client(server, options.seed * 1000 + index * 100 + connection))
      }
    }
  }

  report(name: string): ServerReport {
    const found = this.reports.get(name)
    if (found === undefined) throw new Error(`no load at ${name}`)
    return found
  }

  /** Requests answered so far, at all servers. */
  answered(): number {
    return [...this.reports.values()].reduce((sum, { reads, writes }) => sum + reads + writes, 0)
  }

  /** Ends the load, reads every block once more at the given servers, and judges all that was seen. */
  async stop(finallyReadAt: readonly LoadServer[]): Promise<readonly Violation[]> {
    this.#running = false
    const all = Promise.all(this.#workers)
    try {
      await within('the last answers', drainMs, all)
    } catch (failure) {
      if (!(failure instanceof TookTooLong)) throw failure
      for (const connection of this.#open.keys()) connection.destroy()
      await all
    }
    for (const server of finallyReadAt) await this.#readAll(server)
    return this.history.check()
  }

  async #readAll(server: LoadServer): Promise<void> {
    const connection = await connectNbd(server.uri)
    try {
      for (let from = 0; from < this.#options.blocks; from += 256) {
        const blocks = range(from, Math.min(256, this.#options.blocks - from))
        const read = this.history.beginRead(blocks)
        const data = await connection.read(from * blockBytes, blocks.length * blockBytes)
        this.history.endRead(read, stampsIn(blocks, data))
      }
    } finally {
      connection.destroy()
    }
  }

  /** One client: connects, works, connects again when it was thrown out, until the load ends. */
  async #client(server: LoadServer, seed: number): Promise<void> {
    const report = this.report(server.name)
    const random = seeded(seed)
    while (this.#running) {
      let connection: NbdClient
      try {
        connection = await connectNbd(server.uri)
      } catch {
        // The server is down: that is what these tests are about. It is tried again until the load ends.
        await new Promise((again) => setTimeout(again, reconnectMs))
        continue
      }
      this.#open.set(connection, report)
      const streams = range(0, this.#options.depth).map(() => this.#requests(connection, report, random))
      const ended = await Promise.all(streams)
      connection.destroy()
      this.#open.delete(connection)
      if (ended.includes('lost') && this.#running) report.lost++
    }
  }

  /** Requests one after the other on one connection. */
  async #requests(connection: NbdClient, report: ServerReport, random: () => number): Promise<'done' | 'lost'> {
    while (this.#running) {
      const count = random() < 0.7 ? 1 : 1 + Math.floor(random() * mostBlocks)
      const first = Math.floor(random() * (this.#options.blocks - count + 1))
      const kind = random()
      const beganMs = performance.now()
      try {
        if (kind < 0.5) await this.#write(connection, report, range(first, count))
        else if (kind < 0.98) await this.#read(connection, report, range(first, count))
        else {
          await connection.flush()
          report.flushes++
        }
      } catch (failure) {
        if (!(failure instanceof NbdError)) return 'lost'
        report.refusals.push(failure.message)
      }
      report.longestMs = Math.max(report.longestMs, performance.now() - beganMs)
    }
    return 'done'
  }

  async #write(connection: NbdClient, report: ServerReport, blocks: readonly number[]): Promise<void> {
    const write = this.history.beginWrite(blocks)
    await connection.write((blocks[0] ?? 0) * blockBytes, stampBlocks(blocks, write.stamp))
    this.history.endWrite(write)
    report.writes++
  }

  async #read(connection: NbdClient, report: ServerReport, blocks: readonly number[]): Promise<void> {
    const read = this.history.beginRead(blocks)
    const data = await connection.read((blocks[0] ?? 0) * blockBytes, blocks.length * blockBytes)
    this.history.endRead(read, stampsIn(blocks, data))
    report.reads++
  }
}

const range = (from: number, count: number): number[] => Array.from({ length: count }, (_none, index) => from + index)
