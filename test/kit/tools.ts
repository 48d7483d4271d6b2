/** Other people's clients, as tests and demo call them: qemu-io, fio. Every call has a limit, and tells what was said. */
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'

export interface Ran {
  /** Null when a signal ended it. */
  readonly code: number | null
  readonly said: string
}

/** A program under way: tests kill servers meanwhile. */
export interface Running {
  readonly pid: number
  /** Settles when it has ended; rejects when it was not done in time (it is killed then). */
  readonly ended: Promise<Ran>
  kill(): void
}

/** At most this much of a program's words is kept. */
const keptCharacters = 100_000

export function launchTool(program: string, args: readonly string[], limitMs: number): Running {
  // No input: a client that asks something must fail, not wait.
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  const keep = (chunk: Buffer) => {
    if (said.length < keptCharacters) said += chunk.toString()
  }
  child.stdout.on('data', keep)
  child.stderr.on('data', keep)
  const ended = new Promise<Ran>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`${program} ${args.join(' ')} was not done within ${limitMs / 1000} s and said: ${said}`))
    }, limitMs)
    child.once('error', (failure) => {
      clearTimeout(timer)
      reject(new Error(`${program} could not be started: ${failure.message}`))
    })
    child.once('close', (code) => {
      clearTimeout(timer)
      resolve({ code, said })
    })
  })
  // Whoever started it awaits `ended` later, perhaps after something else has failed.
  ended.catch(() => undefined)
  return { pid: child.pid ?? 0, ended, kill: () => child.kill('SIGKILL') }
}

export const runTool = (program: string, args: readonly string[], limitMs = 60_000): Promise<Ran> =>
  launchTool(program, args, limitMs).ended

/** @throws with all that it said, when it did not end with 0 */
export async function mustRun(program: string, args: readonly string[], limitMs = 60_000): Promise<string> {
  const { code, said } = await runTool(program, args, limitMs)
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}: ${said}`)
  return said
}

/** Runs commands of qemu-io one after the other, as `write -P 0x41 0 1M`. It ends with 1 when any of them failed.
 * @param more of its own options, as `-r` (read-only) */
export const qemuIo = (
  uri: string,
  commands: readonly string[],
  limitMs = 60_000,
  more: readonly string[] = [],
): Promise<string> =>
  mustRun('qemu-io', ['-f', 'raw', ...more, ...commands.flatMap((command) => ['-c', command]), uri], limitMs)

export interface FioJob {
  readonly uri: string
  /** `randwrite`, `randread`, `write`, `randrw`… */
  readonly rw: string
  readonly blockSize: string
  readonly depth: number
  readonly offsetBytes: number
  readonly sizeBytes: number
  /** More of fio's own options, e.g. `--verify=crc32c`. */
  readonly more?: readonly string[]
}

export interface FioSide {
  readonly iops: number
  readonly bytesPerSecond: number
  readonly operations: number
  readonly meanMs: number
  readonly medianMs: number
  readonly p99Ms: number
  readonly longestMs: number
}

export interface FioResult {
  readonly code: number | null
  readonly said: string
  readonly read: FioSide
  readonly write: FioSide
}

/** fio under way on one job. */
export interface RunningFio {
  /** Rejects when fio wrote no report or was not done in time; an error of the job shows in `code`. */
  readonly result: Promise<FioResult>
  kill(): void
}

export function launchFio(job: FioJob, limitMs: number): RunningFio {
  const stopped = new AbortController()
  const result = fioReport(job, limitMs, stopped.signal)
  // Whoever started it awaits the result later, perhaps after something else has failed.
  result.catch(() => undefined)
  return { result, kill: () => stopped.abort() }
}

async function fioReport(job: FioJob, limitMs: number, stopped: AbortSignal): Promise<FioResult> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'mirrorbay-fio-'))
  try {
    const report = path.join(folder, 'report.json')
    const running = launchTool('fio', [...fioArguments(job), `--output=${report}`], limitMs)
    stopped.addEventListener('abort', running.kill, { once: true })
    if (stopped.aborted) running.kill()
    const { code, said } = await running.ended
    return parseFio(code, said, await readFile(report, 'utf8').catch(() => ''))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const fioArguments = (job: FioJob): string[] => [
  '--name=job',
  '--ioengine=nbd',
  `--uri=${job.uri}`,
  `--rw=${job.rw}`,
  `--bs=${job.blockSize}`,
  `--iodepth=${job.depth}`,
  `--offset=${job.offsetBytes}`,
  `--size=${job.sizeBytes}`,
  '--thread',
  '--randrepeat=1',
  '--lat_percentiles=1',
  '--clat_percentiles=0',
  '--percentile_list=50:99',
  // fio would leave files about a verification that was cut short where it was started.
  '--verify_state_save=0',
  '--output-format=json',
  ...(job.more ?? []),
]

export const runFio = (job: FioJob, limitMs = 120_000): Promise<FioResult> => launchFio(job, limitMs).result

interface FioReportSide {
  readonly iops: number
  readonly bw_bytes: number
  readonly total_ios: number
  readonly lat_ns: { readonly mean: number; readonly max: number; readonly percentile?: Record<string, number> }
}

/** fio's report, of which only these members are read. */
interface FioReport {
  readonly jobs: readonly { readonly error: number; readonly read: FioReportSide; readonly write: FioReportSide }[]
}

function parseFio(code: number | null, said: string, text: string): FioResult {
  const begin = text.indexOf('{')
  const end = text.lastIndexOf('}')
  if (begin < 0) throw new Error(`fio ended with ${code} and wrote no report: ${said} ${text}`)
  // What fio writes is not ours to validate field by field: a missing member fails right below, with the text.
  const [job] = (JSON.parse(text.slice(begin, end + 1)) as FioReport).jobs
  if (job === undefined) throw new Error(`fio reports no job: ${text}`)
  return {
    code: code === 0 && job.error !== 0 ? 1 : code,
    said: `${said}${text.slice(0, begin)}`,
    read: sideOf(job.read),
    write: sideOf(job.write),
  }
}

function sideOf(side: FioReportSide): FioSide {
  const ms = (nanoseconds: number | undefined) => (nanoseconds ?? 0) / 1e6
  return {
    iops: side.iops,
    bytesPerSecond: side.bw_bytes,
    operations: side.total_ios,
    meanMs: ms(side.lat_ns.mean),
    medianMs: ms(side.lat_ns.percentile?.['50.000000']),
    p99Ms: ms(side.lat_ns.percentile?.['99.000000']),
    longestMs: ms(side.lat_ns.max),
  }
}
