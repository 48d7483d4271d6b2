/** The event log keeps a bounded number, and the notifier tells of changes rarely enough and never forgets the last. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ChangeNotifier, EventLog } from '../../../agent/control/event-log.ts'
import { limits } from '../../../agent/limits.ts'
import { StepClock } from './step-clock.ts'

test('the last events are kept, numbered upwards, and earlier lists do not change', () => {
  const clock = new StepClock()
  let changes = 0
  const changed = () => {
    changes += 1
  }
  const log = new EventLog({ clock, changed })
  for (let index = 0; index < limits.events + 5; index++) log.append('peer-lost', { server: `s${index}` })
  const list = log.list()
  assert.equal(list.length, limits.events)
  assert.deepEqual([list[0]?.number, list.at(-1)?.number], [6, limits.events + 5])
  assert.equal(changes, limits.events + 5)
  const made = log.append('peer-connected')
  assert.deepEqual(made, {
    number: limits.events + 6,
    atMs: 0,
    kind: 'peer-connected',
    volume: null,
    server: null,
    details: {},
  })
  assert.equal(list.at(-1)?.number, limits.events + 5)
})

test('many changes are told once in a while, the last one always, and nothing after the end', () => {
  const clock = new StepClock()
  const notifier = new ChangeNotifier({ clock, minimumMs: 100 })
  const told: number[] = []
  notifier.changed()
  const stop = notifier.subscribe(() => told.push(clock.nowMs))
  for (let ms = 0; ms < 1_000; ms++) {
    notifier.changed()
    clock.step(1)
  }
  clock.step(200)
  assert.ok(told.length >= 10 && told.length <= 11, String(told))
  assert.ok((told.at(-1) ?? 0) >= 999)
  for (const [index, at] of told.slice(1).entries()) assert.ok(at - (told[index] ?? 0) >= 100)
  const before = told.length
  stop()
  notifier.changed()
  clock.step(1_000)
  notifier.subscribe(() => told.push(-1))
  notifier.changed()
  notifier.close()
  clock.step(1_000)
  assert.equal(told.length, before)
  assert.equal(clock.timers, 0)
})
