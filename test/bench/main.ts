/**
 * `npm run bench -- store` is store.ts, `-- policing` is policing.ts. `npm run bench`: the mirrored pair side by side with
 * qemu-storage-daemon's, run by run in turns, so that whatever else the machine does disturbs both alike. Ends with 0 when everything was measured, 2 when it could not.
 */
// First, so that the pool of file threads has the agent's size here too.
import '../../agent/thread-pool.ts'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { parseSize } from '../../agent/contract/sizes.ts'
import { findTool } from '../kit/needs.ts'
import { CouldNot, messageOf } from '../lab/answer.ts'
import { describe, down, up } from '../lab/lab.ts'
import { type BenchJob, benchJobs } from './jobs.ts'
import { fill, measure, type Run, type Target } from './measure.ts'
import { benchPolicing } from './policing.ts'
import { canRunQuorumPair, startQuorumPair } from './quorum-pair.ts'
import { benchStore } from './store.ts'
import { rowsOf, tableOf } from './table.ts'

const help = `npm run bench -- [options]        the mirrored pair beside qemu's
npm run bench -- store [options]  one server's store beside a plain file (--help says more)
npm run bench -- policing         who may write: alone, in conflict, on halves (--help says more)

  --quick          three short repetitions on a small disk: a first impression, no figure to quote
  --only NAMES     some jobs only: ${benchJobs.map((job) => job.name).join(', ')}
  --runtime S      seconds of each run (4; quick: 1)
  --reps N         repetitions (5; quick: 3)
  --size SIZE      of the disk (1G; quick: 256M)
  --client KIND    unix or tcp: how fio reaches the servers (unix)
  --dir DIR        where the data stands (the system's temporary folder)
  --json           every run, and the table's rows, as JSON`

interface Plan {
  readonly jobs: readonly BenchJob[]
  readonly runtimeSeconds: number
  readonly warmSeconds: number
  readonly repetitions: number
  readonly sizeBytes: number
  readonly client: 'tcp' | 'unix'
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
  const only = values.only?.split(',').map((name) => name.trim())
  const unknown = only?.find((name) => !benchJobs.some((job) => job.name === name))
  if (unknown !== undefined) throw new CouldNot(`--only: there is no job "${unknown}"`)
  return {
    jobs: benchJobs.filter((job) => only === undefined || only.includes(job.name)),
    runtimeSeconds: number(values.runtime, values.quick ? 1 : 4, 'runtime'),
    warmSeconds: values.quick ? 0.5 : 1,
    repetitions: Math.round(number(values.reps, values.quick ? 3 : 5, 'reps')),
    sizeBytes: parseSize(values.size ?? (values.quick ? '256M' : '1G')),
    client: values.client,
    dir: values.dir,
    json: values.json,
  }
}

/** Progress goes to the standard error, so that `--json` stays readable for programs. */
const tell = (line: string) => process.stderr.write(`${line}\n`)

async function run(plan: Plan): Promise<void> {
  if (findTool('fio') === null) throw new CouldNot('fio is needed (Debian package fio)')
  const folder = await mkdtemp(path.join(plan.dir, 'mirrorbay-bench-'))
  const endings: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })]
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())
  try {
    const targets = await startTargets(plan, folder, endings, interrupted.signal)
    const runs: Run[] = []
    for (const target of targets) {
      tell(`${target.name}: ${target.means}; writing the whole disk once`)
      await fill(target)
    }
    for (let repetition = 1; repetition <= plan.repetitions; repetition++) {
      for (const job of plan.jobs) {
        // Who goes first changes, so that neither always follows the other.
        for (const target of repetition % 2 === 1 ? targets : [...targets].reverse()) {
          if (interrupted.signal.aborted) throw new CouldNot('interrupted')
          runs.push(await measure(job, target, { ...plan, repetition }))
        }
      }
      tell(`repetition ${repetition} of ${plan.repetitions} done`)
    }
    const rows = rowsOf(plan.jobs, targets, runs)
    process.stdout.write(plan.json ? `${JSON.stringify({ rows, runs })}\n` : `\n${tableOf(rows, targets)}\n`)
    if (!plan.json && targets.length > 1) {
      process.stdout.write(
        '\nratio: first over second, median over the repetitions; above 1 means mirrorbay is faster\n',
      )
    }
  } finally {
    for (const ending of endings.reverse()) await ending()
  }
}

async function startTargets(
  plan: Plan,
  folder: string,
  endings: (() => Promise<unknown>)[],
  giveUp: AbortSignal,
): Promise<Target[]> {
  const request = { dir: path.join(folder, 'lab'), servers: 2, witness: true, volume: 'disk' }
  const state = await up({ ...request, sizeBytes: plan.sizeBytes, client: plan.client }, { limitMs: 60_000, giveUp })
  endings.push(() => down(state, { atOnce: true }))
  const lab = await describe(state)
  const targets: Target[] = [
    {
      name: 'mirrorbay',
      means: 'both copies are in the page cache (two agents and a witness)',
      uri: lab.servers[0]?.nbd ?? '',
      sizeBytes: plan.sizeBytes,
      pids: [...lab.servers.flatMap((server) => server.pids), ...(lab.witness?.pids ?? [])],
    },
  ]
  if (canRunQuorumPair()) {
    const pair = await startQuorumPair(path.join(folder, 'pair'), plan.sizeBytes, plan.client)
    endings.push(pair.end)
    targets.push(pair.target)
  } else {
    tell('no qemu-storage-daemon here (Debian package qemu-system-common): measured alone, without ratios')
  }
  return targets
}

try {
  const [first, ...others] = process.argv.slice(2)
  if (first === 'store') await benchStore(others)
  else if (first === 'policing') await benchPolicing(others)
  else {
    const plan = planFrom(process.argv.slice(2))
    if (plan === null) process.stdout.write(`${help}\n`)
    else await run(plan)
  }
} catch (failure) {
  process.stderr.write(`bench: ${messageOf(failure)}\n`)
  process.exitCode = 2
}
