/** One run of one job against one target, with the processor time that the target's servers used meanwhile. */

import { mustRun, runFio } from '../kit/tools.ts'
import { cpuSeconds, withDescendants } from '../lab/processes.ts'
import type { BenchJob } from './jobs.ts'

export interface Target {
  readonly name: string
  /** One sentence: what an acknowledged write means here. */
  readonly means: string
  readonly uri: string
  readonly sizeBytes: number
  /** Every server process, so that no copy's work is left out. */
  readonly pids: readonly number[]
}

export interface Run {
  readonly job: string
  readonly target: string
  readonly repetition: number
  /** In the job's unit. */
  readonly value: number
  readonly meanMs: number
  readonly p99Ms: number
  readonly operations: number
  /** Of all server processes; null where the machine does not tell. */
  readonly serverCpuSeconds: number | null
}

/** fio may be late by its own start and the closing of its connections. */
const slackMs = 60_000

const allPids = (target: Target): number[] => target.pids.flatMap(withDescendants)

function cpuOf(pids: readonly number[]): number | null {
  let sum = 0
  for (const pid of pids) {
    const seconds = cpuSeconds(pid)
    if (seconds === undefined) return null
    sum += seconds
  }
  return sum
}

function load(job: BenchJob, target: Target, seconds: number, seed: number) {
  return runFio(
    {
      uri: target.uri,
      rw: job.rw,
      blockSize: job.blockSize,
      depth: job.depth,
      offsetBytes: 0,
      sizeBytes: target.sizeBytes,
      more: [
        '--time_based',
        `--runtime=${Math.round(seconds * 1000)}ms`,
        '--norandommap',
        `--randseed=${seed}`,
        '--refill_buffers=0',
        '--scramble_buffers=1',
        ...job.more,
      ],
    },
    seconds * 1000 + slackMs,
  )
}

/**
 * A short run that is not counted, everything dirty written out (nobody pays for a neighbour's pages), then the run.
 * @throws when fio reports an error
 */
export async function measure(
  job: BenchJob,
  target: Target,
  of: { runtimeSeconds: number; warmSeconds: number; repetition: number },
): Promise<Run> {
  await load(job, target, of.warmSeconds, 1000 + of.repetition)
  await mustRun('sync', [], slackMs)
  const pids = allPids(target)
  const before = cpuOf(pids)
  const result = await load(job, target, of.runtimeSeconds, of.repetition)
  const after = cpuOf(pids)
  if (result.code !== 0) throw new Error(`fio failed at ${target.name}, ${job.words}: ${result.said}`)
  const { read, write } = result
  const busier = read.operations > write.operations ? read : write
  const bytes = read.bytesPerSecond + write.bytesPerSecond
  return {
    job: job.name,
    target: target.name,
    repetition: of.repetition,
    value: job.unit === 'IOPS' ? read.iops + write.iops : bytes / 1e6,
    meanMs: busier.meanMs,
    p99Ms: Math.max(read.p99Ms, write.p99Ms),
    operations: read.operations + write.operations,
    serverCpuSeconds: before === null || after === null ? null : after - before,
  }
}

/** Writes the whole device once, so that nobody is measured on holes. */
export async function fill(target: Target): Promise<void> {
  const result = await runFio(
    {
      uri: target.uri,
      rw: 'write',
      blockSize: '1m',
      depth: 8,
      offsetBytes: 0,
      sizeBytes: target.sizeBytes,
      more: ['--end_fsync=1', '--refill_buffers=1'],
    },
    600_000,
  )
  if (result.code !== 0) throw new Error(`${target.name} could not be filled: ${result.said}`)
}
