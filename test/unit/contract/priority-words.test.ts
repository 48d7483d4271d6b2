/** What people read about write priority: never more than the facts, and a word only when something waits too long. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { longWaitWords, priorityWords } from '../../../agent/contract/priority-words.ts'
import type { VolumeStatus } from '../../../agent/contract/status.ts'
import { volume } from '../control/recording-port.ts'

const MiB = 1024 * 1024
type Policing = VolumeStatus['policing']

const nothing: Policing = {
  stretchBytes: MiB,
  exclusiveBytes: [0, 0, 0, 0],
  sharedBytes: [0, 0, 0, 0],
  queued: 0,
  oldestMs: 0,
  waiting: [],
}
/** A disk of three and a half stretches. */
const of = (policing: Partial<Policing>, over: Partial<VolumeStatus> = {}) =>
  volume({ sizeBytes: 3.5 * MiB, policing: { ...nothing, ...policing }, ...over })

const waiting = (waitsFor: 'here' | 'servers', forMs: number): Policing['waiting'][number] => ({
  mode: 'exclusive',
  offsetBytes: 2_000_000,
  lengthBytes: 4096,
  forMs,
  waitsFor,
})

test('one sign for each stretch; the last one may be shorter', () => {
  const strip = (exclusiveBytes: number[], sharedBytes: number[]) =>
    priorityWords(of({ exclusiveBytes, sharedBytes }), 'nas-1').strip
  assert.equal(strip([MiB, 4096, 0, 0], [0, 0, 4096, 0]), '#+r.')
  assert.equal(strip([MiB, MiB, MiB, MiB / 2], [0, 0, 0, 0]), '####')
  assert.equal(strip([0, 0, 0, MiB / 2 - 4096], [MiB, MiB, MiB, 0]), 'rrr+')
})

test('shares are never rounded up to all, nor down to nothing', () => {
  const held = (exclusiveBytes: number[], sharedBytes = [0, 0, 0, 0]) =>
    priorityWords(of({ exclusiveBytes, sharedBytes }), 'nas-1').held
  assert.equal(held([MiB, MiB, MiB, MiB / 2]), 'nas-1 may write all of it without asking.')
  assert.equal(held([MiB, MiB, MiB, MiB / 2 - 4096]), 'nas-1 may write 99 % of it without asking.')
  assert.equal(held([4096, 0, 0, 0]), 'nas-1 may write less than 1 % of it without asking.')
  assert.equal(held([0, 0, 0, 0], [MiB, 0, 0, 0]), 'nas-1 may write nothing of it without asking, and read 28 % more.')
  assert.equal(held([0, 0, 0, 0]), 'nas-1 asks before it writes or reads anywhere.')
  const away = priorityWords(of({}, { serving: false, waiting: 'peers' }), 'nas-1')
  assert.equal(away.held, 'nas-1 does not serve this disk now, so it may write nowhere.')
})

test('what waits is told with its place, its age and whom it waits for', () => {
  const all = [waiting('servers', 3210), { ...waiting('here', 400), mode: 'shared' as const }]
  const words = priorityWords(of({ queued: 20, oldestMs: 3210, waiting: all }), 'nas-1')
  assert.equal(words.waits, '20 requests wait here, the oldest for 3.2 s.')
  assert.deepEqual(words.requests, [
    'write of 4 KiB at 2 MB: for another server, 3.2 s',
    'read of 4 KiB at 2 MB: behind an earlier request here, 0.4 s',
  ])
  assert.equal(priorityWords(of({}), 'nas-1').waits, null)
})

test('only waiting for another server for over a second is said beside the status', () => {
  const said = (all: Policing['waiting'], over: Partial<VolumeStatus> = {}) =>
    longWaitWords(of({ queued: all.length, waiting: all }, over))
  assert.equal(said([]), null)
  assert.equal(said([waiting('servers', 1_000), waiting('here', 60_000)]), null)
  assert.equal(
    said([waiting('here', 60_000), waiting('servers', 1_001)]),
    '1 request here has waited up to 1.0 s for another server to finish there; it goes on by itself.',
  )
  assert.equal(
    said([waiting('servers', 12_300), waiting('servers', 2_000), waiting('servers', 5)]),
    '2 requests here have waited up to 12 s for another server to finish there; they go on by themselves.',
  )
  // All work waits then, and the headline says for whom.
  assert.equal(said([waiting('servers', 5_000)], { serving: false, waiting: 'peers' }), null)
})
