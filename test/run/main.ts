/**
 * `npm test` and its larger sisters: runs the parts of an entry one after the other and closes with one summary.
 *
 *     npm test -- [--and PART]… | [--part PART]… [--file GLOB]; --list; --no-install
 *
 * `--and` adds parts to those of the entry, `--part` runs only those named, `--file` (alone: as part unit) only these.
 *
 * Exit codes: 0 all passed (skipped tests are named; with CI=true they count as failed), 1 a failure, 2 wrong usage.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { closingOf } from './closing.ts'
import { type Entry, type EntryName, entries, entriesTable, type Part, type PartName, parts } from './entries.ts'
import { runFiles } from './files.ts'
import { count, inSeconds, type PartResult, type RunResult } from './outcome.ts'
import { runProgram } from './programs.ts'
import { installMissing } from './tools.ts'

const root = join(import.meta.dirname, '..', '..')
const resultsFolder = join(root, '.cache', 'results')

interface Wish {
  readonly entry: EntryName
  readonly parts: readonly PartName[]
  /** Replaces the glob of the parts that have one. */
  readonly file: string | undefined
  readonly install: boolean
}

const isEntry = (name: string): name is EntryName => Object.hasOwn(entries, name)
const isPart = (name: string): name is PartName => Object.hasOwn(parts, name)

/** @returns null when the command line was answered already (--list) @throws Error with a sentence */
function readWish(words: readonly string[]): Wish | null {
  const [entry = '', ...rest] = words
  if (!isEntry(entry)) throw new Error(`there is no entry ${entry}; there are ${Object.keys(entries).join(', ')}`)
  const { values } = parseArgs({
    args: rest,
    options: {
      and: { type: 'string', multiple: true, default: [] },
      part: { type: 'string', multiple: true },
      file: { type: 'string' },
      list: { type: 'boolean' },
      'no-install': { type: 'boolean' },
    },
  })
  if (values.list) {
    console.log(entriesTable())
    for (const [name, part] of Object.entries(parts)) console.log(`${name.padEnd(11)} ${part.about}`)
    return null
  }
  const usual = values.part ?? (values.file === undefined ? entries[entry].parts : ['unit'])
  const wished = [...usual, ...values.and]
  for (const name of wished) {
    if (!isPart(name)) throw new Error(`there is no part ${name}; there are ${Object.keys(parts).join(', ')}`)
  }
  // In the order of the table, whatever the order of the wishes: claims are judged when all has run.
  const chosen = Object.keys(parts)
    .filter(isPart)
    .filter((name) => wished.includes(name))
  return { entry, parts: chosen, file: values.file, install: !values['no-install'] }
}

async function runPart(name: PartName, wish: Wish, stop: AbortSignal): Promise<PartResult> {
  const part: Part = parts[name]
  console.log(`\n== ${name}: ${part.about}`)
  const startedMs = performance.now()
  const tests =
    part.kind === 'program'
      ? await runProgram({ part: name, root, command: part.command, signal: stop, environment: process.env })
      : await runFiles({
          part: name,
          root,
          glob: wish.file ?? part.glob,
          concurrency: part.concurrency,
          fileMs: part.fileMinutes * 60_000,
          signal: stop,
        })
  const durationMs = performance.now() - startedMs
  const { passed, failed, skipped } = count(tests)
  console.log(`-- ${name}: ${passed} passed, ${failed} failed, ${skipped} skipped, ${inSeconds(durationMs)}`)
  return { part: name, durationMs, tests }
}

async function runEntry(wish: Wish): Promise<number> {
  const entry: Entry = entries[wish.entry]
  const file = join(resultsFolder, `${wish.entry.replace(':', '-')}.json`)
  mkdirSync(resultsFolder, { recursive: true })
  // Inherited by all that tests start: how long to try, and where the results are.
  process.env.MIRRORBAY_TEST_LENGTH = entry.length
  process.env.MIRRORBAY_TEST_RESULTS = file
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop.abort())

  if (wish.install) installMissing(wish.parts.flatMap((name) => [...(toolsOf(parts[name]) ?? [])]))
  const startedMs = Date.now()
  const results: PartResult[] = []
  const save = () => {
    const run: RunResult = { entry: wish.entry, startedMs, parts: results }
    writeFileSync(file, `${JSON.stringify(run, null, 1)}\n`)
  }
  save() // the results of an earlier run must not stand for this one
  for (const name of wish.parts) {
    if (stop.signal.aborted) break
    results.push(await runPart(name, wish, stop.signal))
    save()
  }
  const { lines, exitCode } = closingOf({
    results,
    stopped: stop.signal.aborted,
    durationMs: Date.now() - startedMs,
    aimMs: entry.minutes * 60_000,
    strict: process.env.CI === 'true',
  })
  for (const line of lines) console.log(line)
  return exitCode
}

const toolsOf = (part: Part) => (part.kind === 'files' ? part.tools : [])

try {
  const wish = readWish(process.argv.slice(2))
  process.exitCode = wish === null ? 0 : await runEntry(wish)
} catch (error) {
  if (!(error instanceof Error)) throw error
  console.error(`npm test: ${error.message}`)
  process.exitCode = 2
}
