/**
 * `npm run bench -- store`: one server's store against a plain file through the same calls of Node, in the same
 * process, run by run in turns. The processor's time is steadier than the clock where others use the machine.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { parseSize } from '../../agent/contract/sizes.ts'
import { CouldNot } from '../lab/answer.ts'
import type { Target } from './measure.ts'
import {
  type Bench,
  checksumNs,
  fillBoth,
  indexNs,
  measureStore,
  type StoreJob,
  type StoreRun,
  storeJobs,
} from './store-jobs.ts'
import { PlainSide, StoreSide } from './store-sides.ts'
import { type Row, rowsOf, tableOf } from './table.ts'

export const storeHelp = `npm run bench -- store [options]

  --quick          three short repetitions on a small volume
  --only NAMES     some jobs only: ${storeJobs.map((job) => job.name).join(', ')}
  --runtime S      seconds of each run (2; quick: 0.5)
  --reps N         repetitions (5; quick: 3)
  --size SIZE      of the volume (1G; quick: 256M)
  --dir DIR        where the data stands (the system's temporary folder)
  --json           every run, and the table's rows, as JSON`

interface Plan {
  readonly jobs: readonly StoreJob[]
  readonly runtimeSeconds: number
  readonly repetitions: number
  readonly sizeBytes: number
  readonly dir: string
  readonly json: boolean
}

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
      size: { type: 'string' },
      dir: { type: 'string', default: os.tmpdir() },
    },
  })
  if (values.help) return null
  const number = (text: string | undefined, otherwise: number, name: string): number => {
    const value = text === undefined ? otherwise : Number(text)
    if (!(value > 0 && value <= 3600)) throw new CouldNot(`--${name} takes a number above 0, not "${text}"`)
    return value
  }
  const only = values.only?.split(',').map((name) => name.trim())
  const unknown = only?.find((name) => !storeJobs.some((job) => job.name === name))
  if (unknown !== undefined) throw new CouldNot(`--only: there is no job "${unknown}"`)
  return {
    jobs: storeJobs.filter((job) => only === undefined || only.includes(job.name)),
    runtimeSeconds: number(values.runtime, values.quick ? 0.5 : 2, 'runtime'),
    repetitions: Math.round(number(values.reps, values.quick ? 3 : 5, 'reps')),
    sizeBytes: parseSize(values.size ?? (values.quick ? '256M' : '1G')),
    dir: values.dir,
    json: values.json,
  }
}

const target = (name: string): Target => ({ name, means: '', uri: '', sizeBytes: 0, pids: [] })
const targets = [target('store'), target('plain')]
const tell = (line: string) => process.stderr.write(`${line}\n`)

/** @throws CouldNot for options that make no sense */
export async function benchStore(argv: readonly string[]): Promise<void> {
  const plan = planFrom(argv)
  if (plan === null) {
    process.stdout.write(`${storeHelp}\n`)
    return
  }
  const dir = await mkdtemp(path.join(plan.dir, 'mirrorbay-bench-'))
  let isInterrupted = false
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      isInterrupted = true
    })
  }
  const endings: (() => unknown)[] = [() => rm(dir, { recursive: true, force: true })]
  try {
    const ours = await StoreSide.open(path.join(dir, 'store'), plan.sizeBytes)
    endings.push(() => ours.close())
    const plain = await PlainSide.open(dir, 'plain')
    endings.push(() => plain.close())
    const bench = { dir, sizeBytes: plan.sizeBytes, runtimeSeconds: plan.runtimeSeconds, ours, plain }
    tell('writing both once')
    await fillBoth(bench)
    const runs = await runAll(plan, bench, () => isInterrupted)
    report(plan, runs, { ...checksumNs(), index: await indexNs(path.join(dir, 'index')) })
  } finally {
    for (const ending of endings.reverse()) await ending()
  }
}

async function runAll(plan: Plan, bench: Bench, isInterrupted: () => boolean): Promise<StoreRun[]> {
  const runs: StoreRun[] = []
  for (let repetition = 1; repetition <= plan.repetitions; repetition += 1) {
    for (const job of plan.jobs) {
      // Who goes first changes, so that neither always follows the other.
      const sides = repetition % 2 === 1 ? [bench.ours, bench.plain] : [bench.plain, bench.ours]
      for (const side of sides) {
        if (isInterrupted()) throw new CouldNot('interrupted')
        runs.push(await measureStore(bench, side, job, repetition))
      }
    }
    tell(`repetition ${repetition} of ${plan.repetitions} done`)
  }
  return runs
}

/** ns of processor time for 4 KiB. */
interface BlockCosts {
  readonly cold: number
  readonly hot: number
  readonly index: number
}

function report(plan: Plan, runs: readonly StoreRun[], costs: BlockCosts): void {
  const rows = rowsOf(plan.jobs, targets, runs)
  if (plan.json) {
    process.stdout.write(`${JSON.stringify({ rows, runs, costsNs: costs })}\n`)
    return
  }
  const titled = rows.map((row, at) => {
    const aim = plan.jobs[at]?.aim ?? null
    return { ...row, words: aim === null ? row.words : `${row.words} (aim ${aim})` }
  })
  const longest = (name: string) =>
    Math.max(...runs.filter((run) => run.target === name).map((run) => run.longestStallMs)).toFixed(1)
  const lines = [
    tableOf(titled, targets),
    '',
    'ratio: store over plain, median over the repetitions; of rates more is better, of ms less (an fdatasync is 1)',
    'CPU: of this whole process',
    perBlock(rows, costs),
    `longest turn of the event loop: store ${longest('store')} ms, plain ${longest('plain')} ms`,
  ]
  process.stdout.write(`\n${lines.join('\n')}\n`)
}

/** What 4 KiB of a sequential write cost, ns of processor time. */
function perBlock(rows: readonly Row[], costs: BlockCosts): string {
  const cost = rows.find((row) => row.job === 'sw128k-q8')?.cpuMicroseconds.plain ?? null
  const file = cost === null ? '-' : words((cost * 1000) / 32)
  const sums = `checksum ${words(costs.cold)} (in the processor's cache ${words(costs.hot)})`
  return `ns per 4 KiB: ${sums}, index ${words(costs.index)} (a first write only), file ${file}`
}

const words = (ns: number): string => String(Math.round(ns))
