/**
 * Finds processes that tests left behind, by a variable that every child inherits: agents outlive the command that
 * starts them, so neither the parent nor the process group tells. Linux only; elsewhere nothing is found.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'

/** The variable; its value is another one for each test file. */
export const stampName = 'MIRRORBAY_TEST_FILE'

export interface Leftover {
  readonly pid: number
  readonly command: string
}

/** Milliseconds that a process gets to end, before it counts as left behind, and before it is killed. */
const graceMs = 1_000

function readProcess(pid: number, what: 'environ' | 'cmdline' | 'stat'): string {
  try {
    return readFileSync(`/proc/${pid}/${what}`, 'utf8')
  } catch {
    return '' // ended meanwhile, or another user's
  }
}

/**
 * @param stamp the variable's value
 * @returns living processes that inherited it; those that are just ending get a moment
 */
export async function leftoversOf(stamp: string): Promise<Leftover[]> {
  const untilMs = performance.now() + graceMs
  for (;;) {
    const left = heirsOf(stamp)
    if (left.length === 0 || performance.now() > untilMs) return left
    await delay(50)
  }
}

function heirsOf(stamp: string): Leftover[] {
  if (process.platform !== 'linux' || stamp === '') return []
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger)
  return pids
    .filter((pid) => pid !== process.pid)
    .filter((pid) => readProcess(pid, 'environ').split('\0').includes(`${stampName}=${stamp}`))
    .filter((pid) => !/\) Z /.test(readProcess(pid, 'stat')))
    .map((pid) => ({ pid, command: readProcess(pid, 'cmdline').replaceAll('\0', ' ').trim() }))
}

/** Asks, waits a moment, then kills. */
export async function endProcesses(leftovers: readonly Leftover[]): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    for (const { pid } of leftovers) kill(pid, signal)
    const untilMs = performance.now() + graceMs
    while (leftovers.some(({ pid }) => readProcess(pid, 'cmdline') !== '') && performance.now() < untilMs)
      await delay(50)
  }
}

function kill(pid: number, signal: NodeJS.Signals) {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}
