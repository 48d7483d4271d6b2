/**
 * Runs one exhaustive search: spin makes a program of the model, gcc builds it, it visits every state. In a temporary
 * folder, within 2 GB of memory and a time limit. A search that was cut short, by any limit, proves nothing and is never
 * reported as one that found nothing.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { inFolder } from '../kit/folder.ts'
import { mustRun, runTool } from '../kit/tools.ts'

/** `safety`: mutual exclusion and no deadlock. `liveness`: the LTL formula of the model, under weak fairness. */
export type Check = 'safety' | 'liveness'

export interface Configuration {
  readonly model: string
  /** Names and values as for the preprocessor. */
  readonly defines: Readonly<Record<string, number | true>>
  readonly check: Check
  /** Steps; a longer path is not followed, and the search is then not complete. Default 2 million. */
  readonly deepest?: number
  /** Default 2000. */
  readonly memoryMB?: number
}

export interface Verdict {
  readonly error: 'none' | 'assertion' | 'invalid end state' | 'acceptance cycle' | 'other'
  /** Null when every state was visited, else what cut the search short. Always said when there is an error: it ends there. */
  readonly cutShort: string | null
  readonly states: number
  readonly depth: number
  readonly seconds: number
  readonly memoryMB: number
  /** What the verifier said, and the way to the error. */
  readonly said: string
}

/** Milliseconds. A search of this part takes at most two minutes of a core that is its own. */
const searchMs = 400_000
const buildMs = 240_000

/** tools.ts starts programs where the tests run; spin and its verifier write beside them. */
const inside = (folder: string, program: string, args: readonly string[]): readonly string[] => [
  '-c',
  'cd "$0" && exec "$@"',
  folder,
  program,
  ...args,
]

export function verify(configuration: Configuration): Promise<Verdict> {
  const { model, defines, check, deepest = 2_000_000, memoryMB = 2000 } = configuration
  const text = readFileSync(join(import.meta.dirname, model), 'utf8')
  return inFolder({ [model]: text }, async (folder) => {
    const given = Object.entries(defines).map(([name, value]) => (value === true ? `-D${name}` : `-D${name}=${value}`))
    await mustRun('sh', inside(folder, 'spin', [...given, '-a', model]), buildMs)
    // NOREDUCE: steps touch what all see, so partial order reduction finds nothing to leave out.
    const options = ['-DNOREDUCE', `-DMEMLIM=${memoryMB}`]
    // NFAIR: counters for up to 22 processes. SAFETY: no cycles are looked for, so states are smaller.
    options.push(check === 'safety' ? '-DSAFETY' : '-DNFAIR=3')
    await mustRun('sh', inside(folder, 'gcc', ['-O2', ...options, '-o', 'pan', 'pan.c']), buildMs)
    const search = ['-n', `-m${deepest}`, ...(check === 'safety' ? [] : ['-a', '-f'])]
    const { code, said } = await runTool('sh', inside(folder, './pan', search), searchMs)
    const verdict = verdictOf(said, code, check)
    if (verdict.error === 'none') return verdict
    const way = await runTool('sh', inside(folder, 'spin', [...given, '-t', '-p', '-g', model]), buildMs)
    return { ...verdict, said: `${said}\n${way.said.slice(-6_000)}` }
  })
}

const numberIn = (said: string, pattern: RegExp): number => Number(pattern.exec(said)?.[1] ?? Number.NaN)

/** @param said all that the verifier printed @param code its exit code, null when a signal ended it */
export function verdictOf(said: string, code: number | null, check: Check): Verdict {
  return {
    error: errorIn(said),
    cutShort: cutShort(said, code, check),
    states: numberIn(said, /^ *([\d.e+]+) states, stored/m),
    depth: numberIn(said, /depth reached (\d+)/),
    seconds: numberIn(said, /elapsed time ([\d.e+-]+) seconds/),
    memoryMB: numberIn(said, /([\d.]+)\s+total actual memory usage/),
    said,
  }
}

function errorIn(said: string): Verdict['error'] {
  if (/errors: 0\b/.test(said)) return 'none'
  if (/^pan:\d+: assertion violated/m.test(said)) return 'assertion'
  if (/^pan:\d+: invalid end state/m.test(said)) return 'invalid end state'
  if (/^pan:\d+: acceptance cycle/m.test(said)) return 'acceptance cycle'
  return 'other'
}

/** What the verifier says when it left something out; each is a search that is not exhaustive. */
const shortcuts: readonly RegExp[] = [
  /Search not completed.*/,
  /max search depth too small/,
  /reached -DMEMLIM bound/,
  /out of memory/,
  /Bit statespace search.*/,
  /Hash-Compact.*/i,
  /hash-?table full.*/i,
]

function cutShort(said: string, code: number | null, check: Check): string | null {
  for (const shortcut of shortcuts) {
    const [found] = shortcut.exec(said) ?? []
    if (found !== undefined) return found
  }
  if (code !== 0) return `the verifier ended with ${code}`
  if (!/^Full statespace search for:/m.test(said)) return 'it was no full search'
  // That what was to be checked was checked: options that are misunderstood are only visible here.
  const checked = check === 'safety' ? /invalid end states\s+\+/ : /acceptance\s+cycles\s+\+ \(fairness enabled\)/
  if (!checked.test(said) || !/assertion violations\s+\+/.test(said)) return `it did not check ${check}`
  return null
}
