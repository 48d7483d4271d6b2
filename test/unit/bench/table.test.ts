/** The ratio is of runs that stood side by side, and the table says which way round. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { benchJobs } from '../../bench/jobs.ts'
import type { Run, Target } from '../../bench/measure.ts'
import { median, rowsOf, tableOf } from '../../bench/table.ts'

const target = (name: string): Target => ({ name, means: '', uri: '', sizeBytes: 1, pids: [] })
const targets = [target('ours'), target('theirs')]
const job = benchJobs[0]
if (job === undefined) throw new Error('no jobs')

const run = (name: string, repetition: number, value: number, serverCpuSeconds: number | null = null): Run => ({
  job: job.name,
  target: name,
  repetition,
  value,
  meanMs: 1,
  p99Ms: 2,
  operations: 1_000_000,
  serverCpuSeconds,
})

test('median', () => {
  assert.equal(median([3]), 3)
  assert.equal(median([9, 1, 5]), 5)
  assert.equal(median([1, 2, 3, 4]), 2.5)
  assert.ok(Number.isNaN(median([])))
})

test('ratios pair the runs of one repetition, whatever their order', () => {
  const runs = [run('ours', 1, 100), run('theirs', 2, 400), run('theirs', 1, 50), run('ours', 2, 200)]
  const [row] = rowsOf([job], targets, runs)
  assert.deepEqual(row?.ratio, { median: 1.25, least: 0.5, most: 2 })
  assert.deepEqual(row?.medians, { ours: 150, theirs: 225 })
})

test('a missing run makes no ratio, missing processor times make a dash', () => {
  const [row] = rowsOf([job], targets, [run('ours', 1, 100, 2)])
  assert.equal(row?.ratio, null)
  assert.deepEqual(row?.cpuMicroseconds, { ours: 2, theirs: null })
  const text = tableOf(row === undefined ? [] : [row], targets)
  assert.match(text, /4k random write QD1 .* 100 .* - /)
})

test('the table with one target has no ratio column', () => {
  const rows = rowsOf([job], [target('ours')], [run('ours', 1, 12_345)])
  const text = tableOf(rows, [target('ours')])
  assert.doesNotMatch(text, /ratio/)
  assert.match(text, /12,345/)
})
