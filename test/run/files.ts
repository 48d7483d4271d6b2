/**
 * Runs the files of one part with node:test: a process per file, a few at once, each with a time limit that also ends
 * a file that hangs after its last test. A file without tests, and a part without files, have failed: node itself
 * calls both a success.
 */
import { randomBytes } from 'node:crypto'
import { globSync } from 'node:fs'
import { join, relative } from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { journalVariables } from '../kit/journal.ts'
import { type GoingOn, toldAsDone } from './going-on.ts'
import { endProcesses, type Leftover, leftoversOf, stampName } from './leftovers.ts'
import { inSeconds, type TestResult } from './outcome.ts'

interface FilesRun {
  readonly part: string
  readonly root: string
  readonly glob: string
  readonly concurrency: number
  /** Milliseconds that a file may take, or that may pass between two rounds of a long loop in it. */
  readonly fileMs: number
  /** Ends everything at once (Ctrl-C). */
  readonly signal: AbortSignal
  /** Files that it knows as done are not run again; null: all are run. */
  readonly journal: GoingOn | null
}

/** What came of the files, and how long those took that need not run again. */
interface FilesResult {
  readonly tests: TestResult[]
  readonly beforeMs: number
}

/** @returns one result per test, and one more for whatever went wrong around the tests */
export async function runFiles(options: FilesRun): Promise<FilesResult> {
  const { part, root, glob, journal } = options
  const files = globSync(glob, { cwd: root }).sort()
  if (files.length === 0) return { tests: [failure(part, glob, 'has tests', `no file matches ${glob}`)], beforeMs: 0 }
  const done = files.map((file) => journal?.endedBefore(part, file)).filter((piece) => piece !== undefined)
  for (const piece of done) process.stdout.write(`${toldAsDone(piece)}\n`)
  const tests: TestResult[] = done.flatMap((piece) => piece.tests)
  const waiting = files.filter((file) => journal?.endedBefore(part, file) === undefined)
  const worker = async () => {
    for (let file = waiting.shift(); file !== undefined && !options.signal.aborted; file = waiting.shift()) {
      tests.push(...(await runFile(file, options)))
    }
  }
  const progress = journal?.tellProgress()
  try {
    await Promise.all(Array.from({ length: options.concurrency }, worker))
  } finally {
    progress?.stop()
  }
  return { tests, beforeMs: done.reduce((sum, { durationMs }) => sum + durationMs, 0) }
}

/** As `runTests`, and written into the journal; a file that was stopped stays open there. */
async function runFile(file: string, options: FilesRun): Promise<TestResult[]> {
  const { part, journal, signal } = options
  const startedMs = performance.now()
  const stamp = randomBytes(8).toString('hex')
  const before = journal?.failedBefore(part, file) ?? []
  journal?.began(part, file, stamp)
  const results = [...(await runTests(file, stamp, options)), ...(await leftBehind(part, file, stamp))]
  // What failed before the file was stopped has failed, even if it passed now.
  const lost = before.filter((old) => !results.some(({ name, outcome }) => outcome === 'failed' && name === old.name))
  const tests = [...lost, ...results]
  if (!signal.aborted) journal?.ended({ part, file, durationMs: performance.now() - startedMs, tests })
  return tests
}

const failure = (part: string, file: string, name: string, reason: string): TestResult => ({
  part,
  file,
  name,
  outcome: 'failed',
  reason,
})

/** Tests must end what they start; what is still there is named, and ended so that the next file runs alone. */
async function leftBehind(part: string, file: string, stamp: string): Promise<TestResult[]> {
  const left = await leftoversOf(stamp)
  if (left.length === 0) return []
  await endProcesses(left)
  const named = left.map(({ pid, command }: Leftover) => `${pid} ${command}`).join('; ')
  return [failure(part, file, 'leaves no process behind', `still running after the last test: ${named}`)]
}

/** Milliseconds between two looks at whether a file's time is over. */
const lookMs = 100

/** A file's time, which begins anew with every round of a long loop that it has done. */
function silenceLimit(file: string, { fileMs, journal }: FilesRun): { readonly signal: AbortSignal; stop(): void } {
  const over = new AbortController()
  const startedMs = performance.now()
  const look = setInterval(() => {
    if (performance.now() - Math.max(startedMs, journal?.movedAtMs(file) ?? 0) > fileMs) over.abort()
  }, lookMs)
  return { signal: over.signal, stop: () => clearInterval(look) }
}

async function runTests(file: string, stamp: string, options: FilesRun): Promise<TestResult[]> {
  const { part, root, fileMs, concurrency, signal, journal } = options
  const startedMs = performance.now()
  const limit = silenceLimit(file, options)
  const forTheJournal =
    journal === null ? {} : { [journalVariables.path]: journal.path, [journalVariables.piece]: file }
  const stream = run({
    files: [join(root, file)],
    cwd: root,
    env: { ...process.env, ...forTheJournal, [stampName]: stamp },
    signal: AbortSignal.any([signal, limit.signal]),
  })
  const results: TestResult[] = []
  const names: string[] = []
  stream.on('test:start', ({ nesting, name }) => {
    names[nesting] = name
    names.length = nesting + 1
  })
  const ended = (event: TestEnd, failed: boolean) => {
    const result = resultOf({ event, failed, names, part, root })
    // What somebody stopped has neither passed nor failed.
    if (result === null || signal.aborted) return
    results.push(result)
    if (result.outcome === 'failed') journal?.failed(part, file, result)
  }
  stream.on('test:pass', (event) => ended(event, false))
  stream.on('test:fail', (event) => ended(event, true))

  const printed = stream.filter(isNoSummary).compose(new spec())
  const text: string[] = []
  if (concurrency === 1) process.stdout.write(`${file}\n`)
  for await (const piece of printed) {
    if (concurrency === 1) process.stdout.write(String(piece))
    else text.push(String(piece))
  }
  const took = inSeconds(performance.now() - startedMs)
  process.stdout.write(concurrency === 1 ? `(${took})\n` : `${file} (${took})\n${text.join('')}`)
  limit.stop()
  if (limit.signal.aborted) {
    results.push(
      failure(part, file, 'ends in time', `stopped after ${inSeconds(fileMs)}: hangs, or left something open`),
    )
  } else if (results.length === 0 && !signal.aborted) {
    results.push(failure(part, file, 'has tests', 'the file ran no test'))
  }
  return results
}

/** The part of node's event that we read; its own type differs between pass and fail. */
interface TestEnd {
  readonly name: string
  readonly nesting: number
  readonly file?: string | undefined
  /** The file that was run; `file` is the one in which the test is written (a shared suite). */
  readonly entryFile?: string | undefined
  readonly skip?: string | boolean | undefined
  readonly todo?: string | boolean | undefined
  readonly details: { readonly type?: string | undefined; readonly error?: Error | undefined }
}

interface EndedTest {
  readonly event: TestEnd
  readonly failed: boolean
  readonly names: readonly string[]
  readonly part: string
  readonly root: string
}

/** @returns null for what is no test of its own: suites that passed, and node's "test" that is a file without tests */
function resultOf({ event, failed, names, part, root }: EndedTest): TestResult | null {
  const isFile = event.nesting === 0 && event.name === event.file
  if (!failed && (event.details.type === 'suite' || isFile)) return null
  const cause = event.details.error?.cause ?? event.details.error
  // A suite fails because a test in it did; that one is counted already.
  if (event.details.type === 'suite' && /subtests? failed/.test(String(cause))) return null
  const common = {
    part,
    file: relative(root, event.entryFile ?? event.file ?? ''),
    name: [...names.slice(0, event.nesting), isFile ? 'runs to its end' : event.name].join(' > '),
  }
  if (failed) return { ...common, outcome: 'failed', reason: firstLine(cause) }
  const skipped = event.skip ?? event.todo
  if (skipped === undefined || skipped === false) return { ...common, outcome: 'passed', reason: '' }
  const fallback = event.skip === undefined ? 'is still to be written' : 'gives no reason'
  return { ...common, outcome: 'skipped', reason: typeof skipped === 'string' && skipped !== '' ? skipped : fallback }
}

const firstLine = (cause: unknown): string => {
  const text = cause instanceof Error ? cause.message : String(cause)
  return text.split('\n')[0] ?? ''
}

const closing = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) [\d.]+$/

/** One closing summary for all parts is printed at the end; node's own per file would be counted twice. */
function isNoSummary(event: { type: string; data?: unknown }): boolean {
  if (event.type !== 'test:diagnostic') return true
  const { data } = event
  const message = typeof data === 'object' && data !== null && 'message' in data ? String(data.message) : ''
  return !closing.test(message)
}
