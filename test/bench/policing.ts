/**
 * `npm run bench -- policing`: the policing module alone, and between two real agents and a witness. Figures are medians of
 * repetitions; ratios are of runs that stood side by side, so that whatever else the machine does disturbs both alike.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { findTool } from '../kit/needs.ts'
import { CouldNot } from '../lab/answer.ts'
import { describe, down, up } from '../lab/lab.ts'
import { fill } from './measure.ts'
import { measurePair, type Pair, type PairJob, type PairRun, pairJobs } from './policing-pair.ts'
import { measurePure, type PureJob, pureJobs } from './policing-pure.ts'
import { median } from './table.ts'

const names = [...Object.keys(pureJobs), ...Object.keys(pairJobs)]

export const policingHelp = `npm run bench -- policing [options]

  --quick          three short repetitions: a first impression, no figure to quote
  --only NAMES     some jobs only: ${names.join(', ')}
  --runtime S      seconds of each run with agents (4; quick: 1)
  --reps N         repetitions (5; quick: 3)
  --client KIND    unix or tcp: how clients reach the servers (unix)
  --dir DIR        where the data stands (the system's temporary folder)
  --json           every run, and the table's rows, as JSON`

interface Plan {
  readonly pure: readonly PureJob[]
  readonly pair: readonly PairJob[]
  readonly runtimeSeconds: number
  readonly repetitions: number
  readonly client: 'tcp' | 'unix'
  readonly dir: string
  readonly quick: boolean
  readonly json: boolean
}

const isPure = (name: string): name is PureJob => Object.hasOwn(pureJobs, name)
const isPair = (name: string): name is PairJob => Object.hasOwn(pairJobs, name)

function planFrom(argv: readonly string[]): Plan | null {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
      only: { type: 'string' },
      runtime: { type: 'string' },
      reps: { type: 'string' },
      client: { type: 'string', default: 'unix' },
      dir: { type: 'string', default: os.tmpdir() },
    },
  })
  if (values.help) return null
  const number = (text: string | undefined, otherwise: number, name: string): number => {
    const value = text === undefined ? otherwise : Number(text)
    if (!(value > 0 && value <= 3600)) throw new CouldNot(`--${name} takes a number above 0, not "${text}"`)
    return value
  }
  if (values.client !== 'unix' && values.client !== 'tcp') throw new CouldNot(`--client takes unix or tcp`)
  const wanted = values.only?.split(',').map((name) => name.trim()) ?? names
  const unknown = wanted.find((name) => !names.includes(name))
  if (unknown !== undefined) throw new CouldNot(`--only: there is no job "${unknown}"`)
  return {
    pure: wanted.filter(isPure),
    pair: wanted.filter(isPair),
    runtimeSeconds: number(values.runtime, values.quick ? 1 : 4, 'runtime'),
    repetitions: Math.round(number(values.reps, values.quick ? 3 : 5, 'reps')),
    client: values.client,
    dir: values.dir,
    quick: values.quick,
    json: values.json,
  }
}

const tell = (line: string) => process.stderr.write(`${line}\n`)

interface PureRun {
  readonly job: PureJob
  readonly repetition: number
  /** Nanoseconds. */
  readonly value: number
}

/** @throws CouldNot for options that make no sense, and without fio */
export async function benchPolicing(argv: readonly string[]): Promise<void> {
  const plan = planFrom(argv)
  if (plan === null) {
    process.stdout.write(`${policingHelp}\n`)
    return
  }
  const pure: PureRun[] = []
  for (let repetition = 1; repetition <= plan.repetitions; repetition += 1) {
    for (const job of plan.pure) pure.push({ job, repetition, value: measurePure(job, plan.quick ? 0.3 : 1) })
  }
  const pair = plan.pair.length === 0 ? [] : await pairRuns(plan)
  report(plan, pure, pair)
}

async function pairRuns(plan: Plan): Promise<PairRun[]> {
  if (findTool('fio') === null) throw new CouldNot('fio is needed (Debian package fio)')
  const folder = await mkdtemp(path.join(plan.dir, 'mirrorbay-bench-'))
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())
  const endings: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })]
  try {
    const { runtimeSeconds, client } = plan
    const request = { dir: path.join(folder, 'lab'), servers: 2, witness: true, volume: 'disk', client }
    const options = { limitMs: 60_000, giveUp: interrupted.signal }
    const state = await up({ ...request, sizeBytes: 256 * 1024 * 1024 }, options)
    endings.push(() => down(state, { atOnce: true }))
    const uri = (await describe(state)).servers[0]?.nbd ?? ''
    tell('two agents and a witness; writing the whole disk once')
    await fill({ name: 'mirrorbay', means: '', uri, sizeBytes: state.volume.sizeBytes, pids: [] })
    const pair: Pair = { state, client, runtimeSeconds }
    const runs: PairRun[] = []
    for (let repetition = 1; repetition <= plan.repetitions; repetition += 1) {
      for (const job of plan.pair) {
        if (interrupted.signal.aborted) throw new CouldNot('interrupted')
        runs.push(await measurePair(pair, job, repetition))
      }
      tell(`repetition ${repetition} of ${plan.repetitions} done`)
    }
    return runs
  } finally {
    for (const ending of endings.reverse()) await ending()
  }
}

interface Row {
  readonly job: string
  readonly words: string
  readonly unit: 'ns' | 'round trips' | 'share'
  readonly median: number
  readonly least: number
  readonly most: number
  /** Medians of what it is made of. */
  readonly parts: Readonly<Record<string, number>>
}

function rowOf(job: string, words: string, unit: Row['unit'], runs: readonly (PureRun | PairRun)[]): Row {
  const values = runs.map(({ value }) => value)
  const parts = runs.flatMap((run) => ('parts' in run ? [run.parts] : []))
  const keys = Object.keys(parts[0] ?? {})
  return {
    job,
    words,
    unit,
    median: median(values),
    least: Math.min(...values),
    most: Math.max(...values),
    parts: Object.fromEntries(keys.map((key) => [key, median(parts.map((each) => each[key] ?? Number.NaN))])),
  }
}

function report(plan: Plan, pure: readonly PureRun[], pair: readonly PairRun[]): void {
  const rows = [
    ...plan.pure.map((job) => rowOf(job, pureJobs[job], 'ns', of(pure, job))),
    ...plan.pair.map((job) => rowOf(job, pairJobs[job], job === 'conflict' ? 'round trips' : 'share', of(pair, job))),
  ]
  if (plan.json) {
    process.stdout.write(`${JSON.stringify({ rows, runs: [...pure, ...pair] })}\n`)
    return
  }
  const lines = rows.flatMap((row) => [
    `${row.job.padEnd(12)} ${figure(row.median)} ${row.unit} (${figure(row.least)} - ${figure(row.most)})  ${row.words}`,
    ...(Object.keys(row.parts).length === 0 ? [] : [`${' '.repeat(13)}${partsOf(row)}`]),
  ])
  process.stdout.write(`\n${lines.join('\n')}\n\nmedians (least - most) of ${plan.repetitions}\n`)
}

const of = <Run extends { readonly job: string }>(runs: readonly Run[], job: string): Run[] =>
  runs.filter((run) => run.job === job)

const partsOf = ({ parts }: Row): string =>
  Object.entries(parts)
    .map(([key, value]) => `${key} ${figure(value)}`)
    .join(', ')

const figure = (value: number): string =>
  value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toFixed(value >= 10 ? 1 : 3)
