/** The last lines of a run: for people, and for programs that read node's own closing lines. */
import { count, inSeconds, type PartResult, type TestResult } from './outcome.ts'

interface Closing {
  readonly results: readonly PartResult[]
  /** Somebody ended the run before its last part. */
  readonly stopped: boolean
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

/** @returns the exit code */
export function printClosing({ results, stopped, durationMs, aimMs, strict }: Closing): number {
  const tests = results.flatMap((part) => part.tests)
  const { passed, failed, skipped } = count(tests)
  console.log('')
  for (const { part, durationMs: partMs } of results) console.log(`${part.padEnd(11)} ${inSeconds(partMs).padStart(8)}`)
  for (const { part, file, name, reason, outcome } of tests) {
    if (outcome === 'failed') console.log(`✖ ${part}: ${file}: ${name}: ${reason}`)
  }
  for (const [reason, times] of byReason(tests.filter((test) => test.outcome === 'skipped'))) {
    console.log(`SKIPPED ${times} ${times === 1 ? 'test' : 'tests'}: ${reason}`)
  }
  if (strict && skipped > 0) console.log('CI=true: a skipped test is no success.')
  if (stopped) console.log('Stopped before the end: the parts that did not run are not counted.')
  if (durationMs > aimMs) console.log(`Took ${inSeconds(durationMs)}, more than the aim of ${inSeconds(aimMs)}.`)
  const lines = {
    tests: tests.length,
    suites: results.length,
    pass: passed,
    fail: failed,
    cancelled: 0,
    skipped,
    todo: 0,
    duration_ms: Math.round(durationMs),
  }
  for (const [name, value] of Object.entries(lines)) console.log(`ℹ ${name} ${value}`)
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
  return failed > 0 || stopped || passed === 0 || (strict && skipped > 0) ? 1 : 0
}
