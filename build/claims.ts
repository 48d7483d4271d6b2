/**
 * Checks test/claims.md: each of the 39 things that Mirrorbay must be able to show names the tests that show it, or
 * says "not yet" with the reason. A named test must exist, and must have run and passed where its part belongs to this
 * run (the runner says where its results are in MIRRORBAY_TEST_RESULTS).
 */
import { existsSync, readFileSync } from 'node:fs'
import { join, matchesGlob } from 'node:path'
import { type Part, parts } from '../test/run/entries.ts'
import type { RunResult } from '../test/run/outcome.ts'

const claimCount = 39

export interface Claim {
  readonly number: number
  readonly text: string
  readonly tests: readonly { readonly file: string; readonly name: string }[]
  /** Null when it has tests. */
  readonly notYet: string | null
}

/** What came of the check: problems fail it, gaps are said. */
export interface Verdict {
  readonly shown: number
  readonly notYet: number
  readonly problems: readonly string[]
  /** Claims whose tests are skipped on this machine, or belong to a longer entry. */
  readonly gaps: readonly string[]
}

/** @param page test/claims.md: rows `| number | claim | tests |`, a test as `` `file`: `name` `` */
export function parseClaims(page: string): Claim[] {
  return Array.from(page.matchAll(/^\| *(\d+) *\|(.*)\|(.*)\|$/gm), ([, number, text = '', shown = '']) => {
    const tests = Array.from(shown.matchAll(/`([^`]+)`: `([^`]+)`/g), ([, file = '', name = '']) => ({ file, name }))
    const notYet = /^\s*not yet: *(\S.*?)\s*$/.exec(shown)?.[1] ?? null
    return { number: Number(number), text: text.trim(), tests, notYet }
  })
}

function formProblems(claims: readonly Claim[]): string[] {
  const problems: string[] = []
  for (let number = 1; number <= claimCount; number++) {
    const rows = claims.filter((claim) => claim.number === number)
    if (rows.length !== 1) problems.push(`claim ${number} has ${rows.length} rows, not one`)
  }
  for (const { number, text, tests, notYet } of claims) {
    if (number < 1 || number > claimCount) problems.push(`there is no claim ${number}`)
    if (text === '') problems.push(`claim ${number} says nothing`)
    if (tests.length === 0 && notYet === null) {
      problems.push(`claim ${number} names no test (\`file\`: \`name\`) and gives no reason (not yet: …)`)
    }
    if (tests.length > 0 && notYet !== null) problems.push(`claim ${number} has tests and says "not yet"`)
  }
  return problems
}

/** The parts whose files include this one. */
const partsOf = (file: string) =>
  Object.entries(parts)
    .filter(([, part]: [string, Part]) => part.kind === 'files' && matchesGlob(file, part.glob))
    .map(([name]) => name)

interface Named {
  readonly root: string
  readonly run: RunResult | null
  readonly file: string
  readonly name: string
}

/** @returns null when the test ran and passed */
function judgeTest({ root, run, file, name }: Named): { problem: string } | { gap: string } | null {
  const where = `${file}: ${name}`
  if (!existsSync(join(root, file))) return { problem: `${where}: there is no such file` }
  const owners = partsOf(file)
  if (owners.length === 0) return { problem: `${where}: no part runs this file (test/run/entries.ts)` }
  const ran = (run?.parts ?? []).filter(({ part }) => owners.includes(part))
  if (ran.length === 0) {
    const written = readFileSync(join(root, file), 'utf8').includes(name.split(' > ').at(-1) ?? name)
    return written ? { gap: `${where}: not part of this run` } : { problem: `${where}: the file has no such test` }
  }
  const results = ran
    .flatMap(({ tests }) => tests)
    .filter((test) => test.file === file && (test.name === name || test.name.endsWith(` > ${name}`)))
  if (results.length === 0) return { problem: `${where}: did not run` }
  const failed = results.find(({ outcome }) => outcome === 'failed')
  if (failed !== undefined) return { problem: `${where}: failed: ${failed.reason}` }
  const skipped = results.find(({ outcome }) => outcome === 'skipped')
  return skipped === undefined ? null : { gap: `${where}: skipped: ${skipped.reason}` }
}

/** @param run null: only the page and the existence of its tests are checked */
export function judgeClaims({ root, page, run }: { root: string; page: string; run: RunResult | null }): Verdict {
  const claims = parseClaims(page)
  const problems = formProblems(claims)
  const gaps: string[] = []
  let shown = 0
  for (const { number, tests } of claims) {
    const verdicts = tests.map((test) => judgeTest({ root, run, ...test }))
    for (const verdict of verdicts) {
      if (verdict === null) continue
      if ('problem' in verdict) problems.push(`claim ${number}: ${verdict.problem}`)
      else gaps.push(`claim ${number}: ${verdict.gap}`)
    }
    if (tests.length > 0 && verdicts.every((verdict) => verdict === null)) shown++
  }
  return { shown, notYet: claims.filter(({ notYet }) => notYet !== null).length, problems, gaps }
}

function readRun(): RunResult | null {
  const file = process.env.MIRRORBAY_TEST_RESULTS
  if (file === undefined || !existsSync(file)) return null
  // Written by test/run/main.ts a moment ago, in the same version: its own form.
  return JSON.parse(readFileSync(file, 'utf8')) as RunResult
}

if (import.meta.main) {
  const root = join(import.meta.dirname, '..')
  const page = readFileSync(join(root, 'test/claims.md'), 'utf8')
  const { shown, notYet, problems, gaps } = judgeClaims({ root, page, run: readRun() })
  for (const line of [...gaps, ...problems.map((problem) => `✖ ${problem}`)]) console.log(line)
  console.log(`claims: ${shown} of ${claimCount} shown by this run, ${notYet} not yet, ${problems.length} problems`)
  process.exitCode = problems.length > 0 ? 1 : 0
}
