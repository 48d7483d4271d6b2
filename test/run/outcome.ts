/** What came of a part, in the form that the closing lines, the results file and the claims checker share. */

export interface TestResult {
  readonly part: string
  /** Relative to the checkout: the file that was run; for a part that is one program, its command. */
  readonly file: string
  /** Suites and tests from the outside in, joined by ' > '. */
  readonly name: string
  readonly outcome: 'passed' | 'failed' | 'skipped'
  /** Why it was skipped or how it failed, one line; empty when passed. */
  readonly reason: string
}

export interface PartResult {
  readonly part: string
  readonly durationMs: number
  readonly tests: readonly TestResult[]
}

/** The results file, .cache/results/ENTRY.json; read by build/claims.ts. */
export interface RunResult {
  readonly entry: string
  readonly startedMs: number
  readonly parts: readonly PartResult[]
}

export interface Counts {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

export function count(tests: readonly TestResult[]): Counts {
  const of = (outcome: TestResult['outcome']) => tests.filter((result) => result.outcome === outcome).length
  return { passed: of('passed'), failed: of('failed'), skipped: of('skipped') }
}

export const inSeconds = (durationMs: number): string => `${(durationMs / 1000).toFixed(1)} s`
