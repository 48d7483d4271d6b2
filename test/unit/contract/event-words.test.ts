import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventWords } from '../../../agent/contract/event-words.ts'
import type { Event } from '../../../agent/contract/events.ts'

const words = (kind: Event['kind'], details: Event['details']) =>
  eventWords({ number: 1, atMs: 0, kind, volume: 'office', server: 'nas-1', details })

test('what a scrub found is said by what it means, the worst first', () => {
  const done = { readBytes: 5e9, durationMs: 1000 }
  assert.deepEqual(words('scrub-ended', { ...done, repairedBytes: 0, unreadablePieces: 0 }), {
    weight: 'good',
    text: 'Everything that nas-1 holds of office was read: all is as it was written.',
  })
  const repaired = words('scrub-ended', { ...done, repairedBytes: 1e6, unreadablePieces: 0 })
  assert.equal(repaired.weight, 'trouble')
  assert.match(repaired.text, /1 MB were repaired from the other copy/)
  const lost = words('scrub-ended', { ...done, repairedBytes: 1e6, unreadablePieces: 2 })
  assert.match(lost.text, /at 2 places no copy could give back what was written/)
})

test('a repair says which disk, and that the data is good', () => {
  const { weight, text } = words('repaired', { from: 'nas-2', pieces: 1, bytes: 262_144 })
  assert.equal(weight, 'trouble')
  assert.match(text, /^The disk of nas-1 could not give back what was written.*It was read from the other copy\.$/)
})
