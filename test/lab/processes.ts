/**
 * The agents as processes of this machine. A process is only signalled when it is still the one that the lab started:
 * same number and same start, since numbers are used again.
 */
import { execFileSync, spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { until } from '../kit/until.ts'
import { CouldNot, messageOf } from './answer.ts'
import type { ProcessIdentity } from './state.ts'

const agentEntry = fileURLToPath(new URL('../../agent/cli/main.ts', import.meta.url))

/** Linux tells processes in files; elsewhere `ps` is asked. */
const hasProc = existsSync('/proc/self/stat')

/** The fields of /proc/PID/stat after the command's name, or undefined when there is no such process. */
function statFields(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    // No file, no process: that is the answer, not a failure.
    return undefined
  }
}

/** When a process began, in a form that only serves to be compared; undefined when it is not running (or a zombie). */
function startOf(pid: number): string | undefined {
  if (hasProc) {
    const fields = statFields(pid)
    // Field 3 of stat is the state, field 22 the start in clock ticks since boot; `fields` begins with field 3.
    return fields === undefined || fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19]
  }
  try {
    const [state = '', ...start] = execFileSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], { encoding: 'utf8' })
      .trim()
      .split(/\s+/)
    return state === '' || state.startsWith('Z') ? undefined : start.join(' ')
  } catch {
    // ps answers 1 when there is no such process.
    return undefined
  }
}

/** @returns undefined when there is no such process */
export function identify(pid: number): ProcessIdentity | undefined {
  const startedAt = startOf(pid)
  return startedAt === undefined ? undefined : { pid, startedAt }
}

export const isRunning = (identity: ProcessIdentity | null): identity is ProcessIdentity =>
  identity !== null && startOf(identity.pid) === identity.startedAt

/** Whether it was stopped by a signal (SIGSTOP): alive, but it answers nobody. */
export const isStopped = (identity: ProcessIdentity): boolean => hasProc && statFields(identity.pid)?.[0] === 'T'

/** The process and everything that descends from it. */
export function withDescendants(pid: number): number[] {
  if (!hasProc) return [pid]
  const children: number[] = []
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const text = readFileSync(`/proc/${pid}/task/${thread}/children`, 'latin1').trim()
      if (text !== '') children.push(...text.split(' ').map(Number))
    }
  } catch {
    // The process or one of its threads ended while we looked.
  }
  return [pid, ...children.flatMap(withDescendants)]
}

/** User and system seconds that a process has used so far; undefined when it is gone or the machine does not tell. */
export function cpuSeconds(pid: number): number | undefined {
  const fields = hasProc ? statFields(pid) : undefined
  if (fields === undefined) return undefined
  // Fields 14 and 15 of stat, in ticks of 1/100 s (USER_HZ is 100 on every Linux that Node runs on).
  return (Number(fields[11]) + Number(fields[12])) / 100
}

/**
 * Starts an agent that outlives this command: own session, nothing but its log file open.
 * @param enter words before its command, see state.ts
 * @throws CouldNot when the process could not be made
 */
export async function startAgent(
  storageDir: string,
  logFile: string,
  enter: readonly string[] = [],
): Promise<ProcessIdentity> {
  const log = openSync(logFile, 'a')
  try {
    const [program = process.execPath, ...words] = [
      ...enter,
      process.execPath,
      agentEntry,
      'agent',
      '--dir',
      storageDir,
    ]
    const child = spawn(program, words, {
      cwd: path.dirname(path.dirname(path.dirname(agentEntry))),
      detached: true,
      stdio: ['ignore', log, log],
      // The lab may break things: agents take faults only when they are told at their start that they may.
      env: { ...process.env, MIRRORBAY_FAULTS: '1' },
    })
    await new Promise<void>((started, failed) => {
      child.once('spawn', started)
      child.once('error', failed)
    })
    child.unref()
    const identity = identify(child.pid ?? 0)
    if (identity === undefined) throw new Error('it ended at once')
    return identity
  } catch (failure) {
    throw new CouldNot(`the agent for ${storageDir} could not be started: ${messageOf(failure)}`)
  } finally {
    closeSync(log)
  }
}

/**
 * Sends a signal to a process that is still the same one.
 * @returns false when it is not running any more
 */
export function signal(identity: ProcessIdentity, name: NodeJS.Signals): boolean {
  if (!isRunning(identity)) return false
  try {
    process.kill(identity.pid, name)
    return true
  } catch (failure) {
    // It ended between the look and the signal.
    if (failure instanceof Error && 'code' in failure && failure.code === 'ESRCH') return false
    throw failure
  }
}

/** @throws TookTooLong */
export async function waitForEnd(identity: ProcessIdentity, limitMs: number): Promise<void> {
  await until(`end of process ${identity.pid}`, limitMs, () => !isRunning(identity))
}

/** The last lines of a log, for a sentence about an agent that did not come up. */
export function lastLines(logFile: string, count = 5): string {
  try {
    return readFileSync(logFile, 'utf8').trim().split('\n').slice(-count).join('\n')
  } catch (failure) {
    return `(no log: ${messageOf(failure)})`
  }
}
