/** Runs the parts of one entry, one after the other, and closes with one summary. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { closingOf } from './closing.ts'
import { codeState } from './code-state.ts'
import type { Entry, Part } from './entries.ts'
import { runFiles } from './files.ts'
import { GoingOn, toldAsDone } from './going-on.ts'
import { count, inSeconds, type PartResult, type RunResult, type TestResult } from './outcome.ts'
import { runProgram } from './programs.ts'

export interface EntryRun {
  /** The checkout. */
  readonly root: string
  readonly name: string
  readonly entry: Pick<Entry, 'minutes' | 'length'>
  readonly parts: readonly (readonly [name: string, part: Part])[]
  /** Replaces the glob of the parts that have one. */
  readonly file: string | undefined
  /** Long entries go on where they were stopped, unless this is true. */
  readonly restart: boolean
}

/** How much longer a file may take where it tries long, beside its loops, in which every round begins its time anew. */
const longFactor = 4

interface PartRun extends EntryRun {
  readonly stop: AbortSignal
  /** Null: every part begins anew. */
  readonly journal: GoingOn | null
}

async function runPart(name: string, part: Part, run: PartRun): Promise<PartResult> {
  console.log(`\n== ${name}: ${part.about}`)
  const startedMs = performance.now()
  const { tests, beforeMs } =
    part.kind === 'program' ? await programOf(name, part, run) : await filesOf(name, part, run)
  const durationMs = performance.now() - startedMs + beforeMs
  const { passed, failed, skipped } = count(tests)
  console.log(`-- ${name}: ${passed} passed, ${failed} failed, ${skipped} skipped, ${inSeconds(durationMs)}`)
  return { part: name, durationMs, tests }
}

interface Came {
  readonly tests: readonly TestResult[]
  /** Milliseconds that earlier runs have spent on what was not run again. */
  readonly beforeMs: number
}

function filesOf(name: string, part: Extract<Part, { kind: 'files' }>, run: PartRun): Promise<Came> {
  const { root, file, entry, stop: signal, journal } = run
  const fullMinutes = entry.length === 'full' ? part.fullFileMinutes : undefined
  const fileMs = (fullMinutes ?? part.fileMinutes) * 60_000 * (entry.length === 'long' ? longFactor : 1)
  const { concurrency } = part
  return runFiles({ part: name, root, glob: file ?? part.glob, concurrency, fileMs, signal, journal })
}

async function programOf(name: string, part: Extract<Part, { kind: 'program' }>, run: PartRun): Promise<Came> {
  const { root, stop: signal, journal } = run
  const file = part.command.join(' ')
  const before = journal?.endedBefore(name, file)
  if (before !== undefined) {
    console.log(toldAsDone(before))
    return { tests: before.tests, beforeMs: before.durationMs }
  }
  const startedMs = performance.now()
  const tests = await runProgram({ part: name, root, command: part.command, signal, environment: process.env })
  if (signal.aborted) return { tests: [], beforeMs: 0 }
  journal?.ended({ part: name, file, durationMs: performance.now() - startedMs, tests })
  return { tests, beforeMs: 0 }
}

/** @returns the exit code. @throws Error with a sentence, when it cannot begin */
export async function runEntry(run: EntryRun): Promise<number> {
  const { root, name, entry } = run
  const fileName = name.replace(':', '-')
  const file = join(root, '.cache', 'results', `${fileName}.json`)
  mkdirSync(join(root, '.cache', 'results'), { recursive: true })
  // Inherited by all that tests start: how long to try, and where the results are.
  process.env.MIRRORBAY_TEST_LENGTH = entry.length
  process.env.MIRRORBAY_TEST_RESULTS = file
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop.abort())
  const journal = entry.length === 'long' ? await openJournal(run, `${fileName}.jsonl`) : null

  const startedMs = Date.now()
  const results: PartResult[] = []
  const save = () => {
    const result: RunResult = { entry: name, startedMs, parts: results }
    writeFileSync(file, `${JSON.stringify(result, null, 1)}\n`)
  }
  save() // the results of an earlier run must not stand for this one
  for (const [index, [partName, part]] of run.parts.entries()) {
    if (stop.signal.aborted) break
    if (journal !== null) console.log(`\nPart ${index + 1} of ${run.parts.length}`)
    results.push(await runPart(partName, part, { ...run, stop: stop.signal, journal }))
    save()
  }
  const { lines, exitCode } = closingOf({
    results,
    stopped: stop.signal.aborted,
    goesOn: journal !== null,
    durationMs: Date.now() - startedMs,
    aimMs: entry.minutes * 60_000,
    strict: process.env.CI === 'true',
  })
  for (const line of lines) console.log(line)
  return exitCode
}

const openJournal = ({ root, name, restart }: EntryRun, file: string): Promise<GoingOn> =>
  GoingOn.open({
    path: join(root, '.cache', 'journal', file),
    entry: name,
    code: codeState(root),
    restart,
    say: (words) => console.log(words),
  })
