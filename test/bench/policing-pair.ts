/** Two real agents: what a conflict costs beside the link's round trip, and what two writers get done together. */
import type { VolumeStatus } from '../../agent/contract/status.ts'
import { connectNbd, type NbdClient } from '../kit/nbd-client.ts'
import { mustRun, runFio } from '../kit/tools.ts'
import { statusOf } from '../lab/api.ts'
import { tcpUri, unixUri } from '../lab/layout.ts'
import { type LabState, memberNamed } from '../lab/state.ts'
import { linkRoundTrips } from './link.ts'
import { median } from './table.ts'

const blockBytes = 4096
/** Writes that each of two writers, or half of those that one alone, has under way. */
const depth = 16
const slackMs = 60_000
/** A short run before each one that counts, so that nobody pays for what its neighbour left. */
const warmSeconds = 0.3

export const pairJobs = {
  conflict: 'one block written at both servers in turns: what a turn costs more than a write of one server alone',
  halves: 'two writers, each on a half of the disk at its own server, over one writer with as many writes under way',
  fair: 'writers at both servers on the same 64 blocks: the smaller count over the larger one',
} as const
export type PairJob = keyof typeof pairJobs

export interface PairRun {
  readonly job: PairJob
  readonly repetition: number
  /** The figure: conflict in round trips of the link, the others as shares. */
  readonly value: number
  /** What it is made of: milliseconds, or writes a second; messages of policing where they are counted. */
  readonly parts: Readonly<Record<string, number>>
}

export interface Pair {
  readonly state: LabState
  readonly client: 'tcp' | 'unix'
  readonly runtimeSeconds: number
}

const both = ['a', 'b'] as const
type Name = (typeof both)[number]

const uriOf = ({ state, client }: Pair, name: Name): string => {
  const member = memberNamed(state, name)
  return client === 'unix' ? unixUri(member, state.volume.name) : tcpUri(member, state.volume.name)
}

async function counters({ state }: Pair, name: Name): Promise<VolumeStatus['counters']> {
  const volume = (await statusOf(memberNamed(state, name), 10_000)).volumes[0]
  if (volume === undefined) throw new Error(`${name} has no volume`)
  return volume.counters
}

async function asks(pair: Pair): Promise<number> {
  const each = await Promise.all(both.map((name) => counters(pair, name)))
  return each.reduce((sum, { permissionsAsked }) => sum + permissionsAsked, 0)
}

export async function measurePair(pair: Pair, job: PairJob, repetition: number): Promise<PairRun> {
  const measured = { conflict, halves, fair }[job]
  return { job, repetition, ...(await measured(pair, repetition)) }
}

type Measured = Pick<PairRun, 'value' | 'parts'>

/** Milliseconds of each write, one after the other. */
async function writesMs(clients: readonly NbdClient[], seconds: number): Promise<number[]> {
  const bytes = Buffer.alloc(blockBytes, 0x77)
  const took: number[] = []
  const endMs = performance.now() + seconds * 1000
  while (performance.now() < endMs) {
    for (const client of clients) {
      const begin = performance.now()
      await client.write(0, bytes)
      took.push(performance.now() - begin)
    }
  }
  return took
}

/** Turns and writes of each server alone, in slices beside each other. */
async function conflict(pair: Pair): Promise<Measured> {
  const clients = { a: await connectNbd(uriOf(pair, 'a')), b: await connectNbd(uriOf(pair, 'b')) }
  try {
    const slices = 4
    const seconds = pair.runtimeSeconds / slices / 3
    const took = { alone: [] as number[], turns: [] as number[], link: [] as number[] }
    let asked = 0
    for (let slice = 0; slice < slices; slice += 1) {
      for (const name of both) took.alone.push(...(await writesMs([clients[name]], seconds)))
      const before = await asks(pair)
      took.turns.push(...(await writesMs([clients.a, clients.b], seconds)))
      asked += (await asks(pair)) - before
      took.link.push(...(await linkRoundTrips(300)))
    }
    // Medians: a few that had to wait for the processor say nothing about the protocol.
    const [alone, turn, link] = [median(took.alone), median(took.turns), median(took.link)]
    const parts = {
      aloneMs: alone,
      turnMs: turn,
      costMs: turn - alone,
      costOverAlone: (turn - alone) / alone,
      linkMs: link,
    }
    return { value: (turn - alone) / link, parts: { ...parts, asksPerTurn: asked / took.turns.length } }
  } finally {
    for (const name of both) clients[name].destroy()
  }
}

interface Writer {
  readonly at: Name
  readonly depth: number
  readonly offsetBytes: number
  readonly sizeBytes: number
}

/** @returns writes a second of each, all at once */
async function writers(pair: Pair, all: readonly Writer[], seconds: number, seed: number): Promise<number[]> {
  const results = all.map(({ at, ...of }, index) =>
    runFio(
      {
        uri: uriOf(pair, at),
        rw: 'randwrite',
        blockSize: '4k',
        ...of,
        more: [
          '--time_based',
          `--runtime=${Math.round(seconds * 1000)}ms`,
          '--norandommap',
          `--randseed=${seed + index}`,
          '--refill_buffers=0',
        ],
      },
      seconds * 1000 + slackMs,
    ),
  )
  return (await Promise.all(results)).map(({ code, said, write }) => {
    if (code !== 0) throw new Error(`fio failed: ${said}`)
    return write.iops
  })
}

async function halves(pair: Pair, repetition: number): Promise<Measured> {
  const sizeBytes = pair.state.volume.sizeBytes / 2
  const one: Writer[] = [{ at: 'a', depth: 2 * depth, offsetBytes: 0, sizeBytes }]
  const two: Writer[] = both.map((at, index) => ({ at, depth, offsetBytes: index * sizeBytes, sizeBytes }))
  const perSecond = { one: 0, two: 0 }
  let asked = 0
  // Who goes first changes, so that neither always follows the other.
  for (const which of repetition % 2 === 1 ? (['one', 'two'] as const) : (['two', 'one'] as const)) {
    const all = which === 'one' ? one : two
    await writers(pair, all, warmSeconds, 100 + repetition)
    await mustRun('sync', [], slackMs)
    const before = await asks(pair)
    perSecond[which] = sum(await writers(pair, all, pair.runtimeSeconds / 2, repetition))
    if (which === 'two') asked = (await asks(pair)) - before
  }
  return { value: perSecond.two / perSecond.one, parts: { ...perSecond, asked } }
}

async function fair(pair: Pair, repetition: number): Promise<Measured> {
  const all = both.map((at) => ({ at, depth, offsetBytes: 0, sizeBytes: 64 * blockBytes }))
  const before = await asks(pair)
  const [a = 0, b = 0] = await writers(pair, all, pair.runtimeSeconds, repetition)
  const asked = (await asks(pair)) - before
  return { value: Math.min(a, b) / Math.max(a, b), parts: { a, b, asksPerSecond: asked / pair.runtimeSeconds } }
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
