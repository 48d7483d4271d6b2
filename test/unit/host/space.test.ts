/** Nearly full, and no more: said once each, also when the number swings around the limit. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isSpaceLow } from '../../../agent/host/space.ts'
import { limits } from '../../../agent/limits.ts'

const GiB = 1024 ** 3

/** @returns how often what is said changes */
function changes(totalBytes: number, frees: readonly number[]): boolean[] {
  const said: boolean[] = []
  let isLow = false
  for (const freeBytes of frees) {
    const next = isSpaceLow(isLow, { freeBytes, totalBytes })
    if (next !== isLow) said.push(next)
    isLow = next
  }
  return said
}

test('a large disk is nearly full below a twentieth, a small one below 2 GiB, a tiny one below a fifth', () => {
  assert.deepEqual(changes(1000 * GiB, [51 * GiB, 49 * GiB]), [true])
  assert.deepEqual(changes(20 * GiB, [2.1 * GiB, 1.9 * GiB]), [true])
  assert.deepEqual(changes(1 * GiB, [0.21 * GiB, 0.19 * GiB]), [true])
  assert.deepEqual(changes(1 * GiB, [0]), [true])
})

test('what swings around the limit is said once', () => {
  const atBytes = 1000 * GiB * limits.spaceLowShare
  const swinging = Array.from({ length: 100 }, (_, index) => atBytes * (index % 2 === 0 ? 0.99 : 1.2))
  assert.deepEqual(changes(1000 * GiB, swinging), [true])
  assert.deepEqual(changes(1000 * GiB, [...swinging, atBytes * 1.26, atBytes * 1.01]), [true, false])
})

test('what is not known changes nothing', () => {
  assert.equal(isSpaceLow(true, { freeBytes: null, totalBytes: 1 }), true)
  assert.equal(isSpaceLow(false, { freeBytes: 0, totalBytes: null }), false)
})
