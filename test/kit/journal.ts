/**
 * How far a long run has come: a file of lines, one of them for every piece of work that is done. Lines are only ever
 * added, each with one call, by the runner and by the test files that it runs; so whatever moment the run is stopped in,
 * at most the last line is torn.
 */
import { appendFileSync, readFileSync } from 'node:fs'
import { z } from 'zod'

/** Variables that a test file gets from the runner: the journal's path, and under which name it writes there. */
export const journalVariables = { path: 'MIRRORBAY_TEST_JOURNAL', piece: 'MIRRORBAY_TEST_PIECE' } as const

const testResult = z.strictObject({
  part: z.string(),
  file: z.string(),
  name: z.string(),
  outcome: z.enum(['passed', 'failed', 'skipped']),
  reason: z.string(),
})
const pieceName = { part: z.string(), file: z.string() }

const line = z.discriminatedUnion('kind', [
  /** The first one, and only that: whose journal it is. `code` tells the state of the code that is tested. */
  z.strictObject({ kind: z.literal('journal'), version: z.literal(1), entry: z.string(), code: z.string() }),
  /** A runner began, or went on. */
  z.strictObject({ kind: z.literal('run'), pid: z.number(), startedAt: z.string() }),
  /** A file of tests began; its processes inherit the stamp (test/run/leftovers.ts). */
  z.strictObject({ kind: z.literal('began'), ...pieceName, stamp: z.string() }),
  /** A test has failed, told at once: it counts although its file may be stopped before it ends. */
  z.strictObject({ kind: z.literal('failed'), ...pieceName, test: testResult }),
  /** Of the rounds (seeds, kills) of one loop in a file, those from 1 to `done` are done; and what they added up. */
  z.strictObject({
    kind: z.literal('rounds'),
    file: z.string(),
    name: z.string(),
    done: z.number(),
    count: z.number(),
    tally: z.record(z.string(), z.number()),
  }),
  z.strictObject({ kind: z.literal('ended'), ...pieceName, durationMs: z.number(), tests: z.array(testResult) }),
])

export type JournalLine = z.infer<typeof line>
export type RoundsLine = Extract<JournalLine, { kind: 'rounds' }>

export function addLine(path: string, added: JournalLine): void {
  appendFileSync(path, `${JSON.stringify(added)}\n`)
}

export interface JournalText {
  readonly lines: readonly JournalLine[]
  /** Bytes up to the end of the last whole line; behind it is what a sudden end tore. */
  readonly wholeBytes: number
}

/** @throws Error with a sentence, when a whole line is none of a journal; whatever node throws, when there is no file */
export function readLines(path: string, fromByte = 0): JournalText {
  const bytes = readFileSync(path).subarray(fromByte)
  const wholeBytes = bytes.lastIndexOf('\n') + 1
  const texts = bytes.subarray(0, wholeBytes).toString().split('\n').slice(0, -1)
  const lines = texts.map((text, index) => {
    const parsed = line.safeParse(jsonOrNothing(text))
    if (parsed.success) return parsed.data
    throw new Error(`its line ${index + 1} is none of a test run's`)
  })
  return { lines, wholeBytes: fromByte + wholeBytes }
}

function jsonOrNothing(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // no JSON is as wrong as the wrong JSON: the caller says so
  }
}
