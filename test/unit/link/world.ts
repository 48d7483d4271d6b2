/** Real clock, seeded random and hubs on loopback for the tests of the link. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type ServerId, serverId } from '../../../agent/kit/ids.ts'
import type { Clock, Log, RandomSource } from '../../../agent/kit/world.ts'
import type { LinkEvents, Message } from '../../../agent/link/messages.ts'
import { type LinkHub, type LinkOptions, type PeerAddress, startLinks } from '../../../agent/link/tcp.ts'

export const clock: Clock = {
  monotonicMs: () => performance.now(),
  leaseMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, fire) {
    const timer = setTimeout(fire, delayMs)
    return { cancel: () => clearTimeout(timer) }
  },
  nextTurn: (fire) => setImmediate(fire),
}

/** Mulberry32. */
export function seeded(seed: number): RandomSource {
  let state = seed
  const unit = () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
  const word = () =>
    Math.floor(unit() * 4294967296)
      .toString(16)
      .padStart(8, '0')
  return { unit, id: () => word() + word() + word() + word() }
}

export interface Logged {
  readonly level: string
  readonly fields: Record<string, unknown>
  readonly message: string
}

export function recordingLog(into: Logged[]): Log {
  const at = (level: string) => (fields: Record<string, unknown>, message: string) =>
    void into.push({ level, fields, message })
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

/** Polls until the condition holds. */
export async function until(condition: () => boolean, what: string, limitMs = 8_000): Promise<void> {
  const end = performance.now() + limitMs
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`)
    await sleep(5)
  }
}

export const idOf = (digit: string): ServerId => serverId(digit.repeat(32))

export interface Received {
  readonly from: ServerId
  readonly run: number
  readonly message: Message
  readonly ordered: boolean
}

/** A hub with everything that it told. */
export interface Recorded {
  readonly hub: LinkHub
  readonly received: Received[]
  readonly runs: number[]
  readonly logged: Logged[]
  disconnected: number
}

let hubs = 0

export async function hubOf(
  options: {
    name: string
    id: ServerId
    peers: readonly PeerAddress[]
    run?: number
    port?: number
    onMessage?: LinkEvents['onMessage']
  } & Partial<Pick<LinkOptions, 'secret' | 'knownIds' | 'allowFaults' | 'clock'>>,
): Promise<Recorded> {
  const received: Received[] = []
  const runs: number[] = []
  const logged: Logged[] = []
  hubs += 1
  const recorded = { received, runs, logged, disconnected: 0 }
  const hub = await startLinks({
    self: { id: options.id, name: options.name, role: 'storage', run: options.run ?? 1 },
    listen: { host: '127.0.0.1', port: options.port ?? 0 },
    secret: options.secret ?? 'a secret of the test',
    peers: options.peers,
    knownIds: options.knownIds ?? {},
    allowFaults: options.allowFaults ?? false,
    clock: options.clock ?? clock,
    random: seeded(hubs),
    log: recordingLog(logged),
    events: {
      onMessage: (from, run, message, ordered) => {
        received.push({ from, run, message, ordered })
        options.onMessage?.(from, run, message, ordered)
      },
      onPeerRun: (_peer, run) => void runs.push(run),
      onPeerDisconnected: () => {
        recorded.disconnected += 1
      },
    },
  })
  return Object.assign(recorded, { hub })
}

export const peerAt = (name: string, port: number): PeerAddress => ({ name, host: '127.0.0.1', port, role: 'storage' })

/** A port that nobody listens on now. */
export async function freePort(): Promise<number> {
  const { createServer } = await import('node:net')
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      const port = typeof address === 'object' && address ? address.port : 0
      server.close(() => resolve(port))
    })
  })
}
