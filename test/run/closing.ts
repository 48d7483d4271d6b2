/** The last lines of a run: for people, and for programs that read node's own closing lines. */
import { type Counts, count, inSeconds, type PartResult, type TestResult } from './outcome.ts'

interface Closing {
  readonly results: readonly PartResult[]
  /** Somebody ended the run before its last part. */
  readonly stopped: boolean
  /** The same command goes on from here. */
  readonly goesOn: boolean
  readonly durationMs: number
  /** What the entry should take at most. */
  readonly aimMs: number
  /** CI=true: a skipped test is no success. */
  readonly strict: boolean
}

/** Reasons and how often each was given, most frequent first. */
function byReason(skipped: readonly TestResult[]): [reason: string, times: number][] {
  const times = new Map<string, number>()
  for (const { reason } of skipped) times.set(reason, (times.get(reason) ?? 0) + 1)
  return [...times].sort((a, b) => b[1] - a[1])
}

/** @returns the lines to print, the last one for whoever reads only that, and the exit code of the run */
export function closingOf(closing: Closing): { lines: string[]; exitCode: number } {
  const { results, stopped, goesOn, durationMs, aimMs, strict } = closing
  const tests = results.flatMap((part) => part.tests)
  const { passed, failed, skipped } = count(tests)
  const lines = ['', ...results.map((part) => `${part.part.padEnd(11)} ${inSeconds(part.durationMs).padStart(8)}`)]
  for (const { part, file, name, reason, outcome } of tests) {
    if (outcome === 'failed') lines.push(`✖ ${part}: ${file}: ${name}: ${reason}`)
  }
  for (const [reason, times] of byReason(tests.filter((test) => test.outcome === 'skipped'))) {
    lines.push(`SKIPPED ${times} ${times === 1 ? 'test' : 'tests'}: ${reason}`)
  }
  if (strict && skipped > 0) lines.push('CI=true: a skipped test is no success.')
  if (stopped) lines.push('Stopped before the end: the parts that did not run are not counted.')
  if (stopped && goesOn) lines.push('The same command goes on from here; with --restart it begins anew.')
  if (durationMs > aimMs) lines.push(`Took ${inSeconds(durationMs)}, more than the aim of ${inSeconds(aimMs)}.`)
  lines.push(
    ...nodeStyle({ suites: results.length, passed, failed, skipped, durationMs }),
    `${passed} passed, ${failed} failed, ${skipped} skipped`,
  )
  const bad = failed > 0 || stopped || passed === 0 || (strict && skipped > 0)
  return { lines, exitCode: bad ? 1 : 0 }
}

/** As node's own runner ends, for programs that read it. */
function nodeStyle(total: Counts & { suites: number; durationMs: number }): string[] {
  const { passed, failed, skipped, suites, durationMs } = total
  const values = {
    tests: passed + failed + skipped,
    suites,
    pass: passed,
    fail: failed,
    cancelled: 0,
    skipped,
    todo: 0,
    duration_ms: Math.round(durationMs),
  }
  return Object.entries(values).map(([name, value]) => `ℹ ${name} ${value}`)
}
