/** Aim: a full or slow link is not taken for a hung disk, a hung disk is seen behind any link, and so is a stuck link (E8). */
import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import { Debts } from '../../../agent/volume/debts.ts'
import { idOf } from '../mirror/world.ts'

describe('what another server owes (E8)', () => {
  const b = idOf(1)
  let acknowledged: number
  let waiting: number
  let debts: Debts
  let nowMs: number
  let askedMs: number
  beforeEach(() => {
    acknowledged = 1_000
    waiting = 0
    nowMs = 50_000
    askedMs = nowMs
    debts = new Debts({ acknowledgedBytes: () => acknowledged, unacknowledgedBytes: () => waiting })
  })
  const owed = () => debts.owedMs(b, nowMs - askedMs, nowMs)
  /** @param arriveBytes that the link brings over in each eighth of a second */
  const pass = (ms: number, arriveBytes = 0): number => {
    let last = 0
    for (let passed = 0; passed < ms; passed += 125) {
      nowMs += 125
      const came = Math.min(arriveBytes, waiting)
      acknowledged += came
      waiting -= came
      last = owed()
    }
    return last
  }

  it('counts from the question when the link has brought it over', () => {
    waiting = 500
    pass(250, 250)
    assert.equal(pass(3_000), 3_000)
    askedMs = nowMs
    assert.equal(owed(), 0, 'answered, and another one asked')
    assert.equal(pass(1_000), 1_000)
  })

  it('counts nothing while the link gets on, however long that takes; then from when the question was there', () => {
    waiting = 1_000_000
    assert.ok(pass(60_000, 1_000) <= 125, 'half of it is over')
    pass(70_000, 1_000)
    assert.equal(waiting, 0)
    assert.ok(owed() >= 2_000)
    const before = owed()
    waiting = 1_000_000
    assert.equal(pass(5_000, 1_000), before + 5_000, 'what is sent later does not help')
  })

  it('counts a link that does not get on', () => {
    waiting = 10_000
    pass(1_000, 100)
    assert.equal(pass(20_000, 0), 20_000)
  })

  it('forgets the old question with its answer, and the old stream with its run', () => {
    waiting = 10_000
    pass(10_000)
    assert.equal(debts.owedMs(b, 0, nowMs), 0)
    askedMs = nowMs
    assert.ok(pass(500) <= 500)
    acknowledged = 0
    waiting = 50
    nowMs += 125
    assert.equal(owed(), 0, 'another stream, on which the question is on its way again')
  })
})
