/** The policing module alone, without a network: what one use costs, and one grant, in nanoseconds. */
import { performance } from 'node:perf_hooks'
import { type ServerId, serverId } from '../../agent/kit/ids.ts'
import { limits } from '../../agent/limits.ts'
import type { Ask, Grant } from '../../agent/policing/asks.ts'
import { lastOfAllBlocks } from '../../agent/policing/holds.ts'
import { Policing } from '../../agent/policing/policing.ts'
import { Use } from '../../agent/policing/use.ts'
import { seeded } from '../kit/random.ts'
import { median } from './table.ts'

/** Of a volume of 1 TiB. */
const volumeBlocks = 2 ** 28
/** The state of a busy server: pieces of the map of what the others granted, and requests under way. */
const heldPieces = 10_000
const inFlight = 1_000
/** Blocks of a held piece, and from one to the next: far enough that what was used lately is not all of them (growth.ts). */
const pieceBlocks = 16
const pieceStride = 2048

export const pureJobs = {
  'lone-1': 'acquire and release, one peer, nobody else wants anything',
  'lone-2': 'the same with two peers',
  'held-1': `the same with one peer, ${heldPieces.toLocaleString('en-US')} held pieces, ${inFlight.toLocaleString('en-US')} in flight`,
  'held-2': 'the same with two peers',
  'grant-pieces': 'a grant in that state, growing over the piece around it',
  'grant-whole': `a grant by who holds all, growing past ${inFlight.toLocaleString('en-US')} requests in flight`,
} as const

export type PureJob = keyof typeof pureJobs

class BenchUse extends Use {
  begun = 0
  override begin(): void {
    this.begun += 1
  }
}

const self = serverId('f'.repeat(32))
const peerIds = ['1', '2'].map((digit) => serverId(digit.repeat(32)))

/** A server whose peers are this program. */
class Side {
  readonly policing: Policing
  readonly asked: { readonly peer: ServerId; readonly ask: Ask }[] = []
  granted: Grant | null = null
  #time = 0

  constructor(peers: number) {
    this.policing = new Policing({
      self,
      sendAsk: (peer, ask) => {
        this.asked.push({ peer, ask })
      },
      sendGrant: (_peer, grant) => {
        this.granted = grant
      },
      tick: () => {
        this.#time += 1
        return this.#time
      },
      observe: (time) => {
        this.#time = Math.max(this.#time, time)
      },
    })
    this.policing.startSession(peerIds.slice(0, peers))
    this.policing.openSession()
  }

  time(): number {
    return this.#time + 1
  }

  /** The peers grant all that was asked. @param whole all blocks, not only those */
  grantAll(whole: boolean): void {
    for (const { peer, ask } of this.asked.splice(0)) {
      const range = whole ? { firstBlock: 0, lastBlock: lastOfAllBlocks } : ask
      const { firstBlock, lastBlock } = range
      this.policing.onGrant(peer, { firstBlock, lastBlock, mode: ask.mode, asked: ask.time, time: this.time() })
    }
  }

  /** Begins at once, or with the peers' grants. */
  use(firstBlock: number, blocks: number, whole: boolean): BenchUse {
    const use = new BenchUse('exclusive', firstBlock * limits.blockBytes, blocks * limits.blockBytes)
    this.policing.acquire(use)
    this.grantAll(whole)
    if (use.begun !== 1) throw new Error('a use did not begin')
    return use
  }
}

const pieceAt = (piece: number): number => piece * pieceStride

/** Everything held in pieces, and a thousand requests in flight in as many of them. */
function piecesSide(peers: number): Side {
  const side = new Side(peers)
  for (let piece = 0; piece < heldPieces / 2; piece += 1) {
    side.policing.release(side.use(pieceAt(piece), pieceBlocks, false))
  }
  for (let at = 0; at < inFlight; at += 1) side.use(pieceAt(at * 5), 1, false)
  const pieces = [...(side.policing.peers[0]?.holds ?? [])].length
  if (pieces < heldPieces) throw new Error(`only ${pieces} pieces are held`)
  return side
}

/** Uses that are free where nothing is in flight, as requests that arrive one after the other. */
function usesAt(count: number, blockOf: (unit: number) => number): BenchUse[] {
  const random = seeded(7)
  return Array.from(
    { length: count },
    () => new BenchUse('exclusive', blockOf(random()) * limits.blockBytes, limits.blockBytes),
  )
}

/** Processor time so far, ns: others on the machine do not count. */
function cpuNs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) * 1000
}

/** ns of processor time of one acquire and release. */
function usesNs({ policing, asked }: Side, uses: readonly BenchUse[], rounds: number): number {
  const before = cpuNs()
  for (let round = 0; round < rounds; round += 1) {
    for (const use of uses) {
      policing.acquire(use)
      policing.release(use)
    }
  }
  const ns = (cpuNs() - before) / (rounds * uses.length)
  const wrong = uses.find((use) => use.begun === 0 || use.phase !== 'idle')
  if (asked.length > 0 || wrong !== undefined) throw new Error('a use had to ask: that is not what is measured')
  return ns
}

/** ns of one answer to an ask, the median: what was given is taken back outside of the time. */
function grantsNs(side: Side, rounds: number, rangeOf: (round: number) => number, whole: boolean): number {
  const [peer] = peerIds
  if (peer === undefined) throw new Error('no peer')
  const took: number[] = []
  for (let round = 0; round < rounds; round += 1) {
    const firstBlock = rangeOf(round)
    const time = side.time()
    side.granted = null
    const before = performance.now()
    side.policing.onAsk(peer, { firstBlock, lastBlock: firstBlock, mode: 'exclusive', time })
    took.push(performance.now() - before)
    const granted: Grant | null = side.granted
    if (granted === null) throw new Error('an ask had to wait: that is not what is measured')
    const { lastBlock, firstBlock: from } = granted as Grant // the callback has set it meanwhile
    if (lastBlock === firstBlock && from === firstBlock) throw new Error('a grant did not grow')
    side.policing.release(side.use(from, lastBlock - from + 1, whole))
  }
  return median(took) * 1e6
}

/** @param scale 1 for figures, less for a first impression */
export function measurePure(job: PureJob, scale: number): number {
  const times = (count: number) => Math.max(1, Math.round(count * scale))
  switch (job) {
    case 'lone-1':
    case 'lone-2': {
      const side = new Side(job === 'lone-1' ? 1 : 2)
      side.policing.release(side.use(0, 1, true))
      const uses = usesAt(10_000, (unit) => Math.floor(unit * volumeBlocks))
      return usesNs(side, uses, times(50))
    }
    case 'held-1':
    case 'held-2': {
      const side = piecesSide(job === 'held-1' ? 1 : 2)
      // The second half of a held piece: those in flight are at its beginning.
      const uses = usesAt(10_000, (unit) => pieceAt(Math.floor((unit * heldPieces) / 2)) + pieceBlocks / 2)
      return usesNs(side, uses, times(50))
    }
    case 'grant-pieces':
      // Between those with a request in flight.
      return grantsNs(piecesSide(1), times(5_000), (round) => pieceAt((round % inFlight) * 5 + 2) + 3, false)
    case 'grant-whole': {
      const side = new Side(1)
      const stride = Math.floor(volumeBlocks / inFlight)
      for (let at = 0; at < inFlight; at += 1) side.use(at * stride, 1, true)
      return grantsNs(side, times(2_000), (round) => (round % inFlight) * stride + Math.floor(stride / 2), true)
    }
  }
}
