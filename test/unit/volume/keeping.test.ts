/** How long a deleted volume was kept: added up over restarts, for one deletion only, whatever a calendar says. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import { Keeping, keepingKey } from '../../../agent/volume/keeping.ts'
import { TimedRecords } from '../membership/members.ts'
import { VirtualClock } from '../membership/world.ts'

const id = 'a'.repeat(32)
const deletedMs = 1_000_000

test('what ran before a restart counts, up to what was saved; another deletion begins anew', () => {
  const clock = new VirtualClock()
  const records = new TimedRecords(clock)
  const first = new Keeping(clock, records, id, deletedMs)
  clock.pass(limits.deletedKeepMs - limits.keptSaveMs)
  assert.equal(first.isOver(), false)
  clock.pass(100)
  assert.equal(new Keeping(clock, records, id, deletedMs + 1).isOver(), false)
  const again = new Keeping(clock, records, id, deletedMs)
  clock.pass(limits.keptSaveMs - 1_000)
  assert.equal(again.isOver(), false)
  clock.pass(2_000)
  assert.equal(again.isOver(), true)
  const other = new Keeping(clock, records, id, deletedMs + 1)
  clock.pass(limits.keptSaveMs + 2_000)
  assert.equal(other.isOver(), false, 'the days of an earlier deletion were counted')
})

test('a record of garbage counts as none, and an end leaves none', () => {
  const clock = new VirtualClock()
  const records = new TimedRecords(clock)
  for (const garbage of [7, 'x', { deletedMs, keptMs: -1 }, { deletedMs, keptMs: Number.NaN }]) {
    records.put(keepingKey(id), garbage, () => undefined)
    const keeping = new Keeping(clock, records, id, deletedMs)
    assert.equal(keeping.isOver(), false)
    keeping.end()
    assert.equal(records.get(keepingKey(id)), null)
  }
})
