/** A1: the time by which a server judges its own lease counts sleep, whatever anybody does to the calendar. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { LeaseTime } from '../../../agent/kit/lease-time.ts'

/** Looks every 100 ms for so long; the wall clock is read in whole milliseconds. */
function run(steps: readonly { readonly forMs: number; readonly asleep?: boolean; readonly setByMs?: number }[]) {
  const time = new LeaseTime()
  let monotonic = 5.25
  let wall = 1_800_000_000_000.5
  const look = () => time.at(monotonic, Math.floor(wall))
  const begin = look()
  let before = begin
  for (const { forMs, asleep, setByMs } of steps) {
    wall += setByMs ?? 0
    for (let passed = 0; passed < forMs; passed += 100) {
      wall += 100
      if (asleep !== true) monotonic += 100
      if (asleep !== true) {
        const now = look()
        assert.ok(now >= before, 'it never goes backwards')
        before = now
      }
    }
  }
  return look() - begin
}

const near = (got: number, wanted: number) => assert.ok(Math.abs(got - wanted) < 25, `${got}, not ${wanted}`)

describe('time for judging the own lease', () => {
  it('is monotonic time while nothing happens', () => near(run([{ forMs: 60_000 }]), 60_000))
  it('counts sleep', () => near(run([{ forMs: 1_000 }, { forMs: 5_000, asleep: true }, { forMs: 1_000 }]), 7_000))
  it('goes on after the calendar was set ahead and back again', () => {
    const steps = [{ forMs: 1_000 }, { forMs: 1_000, setByMs: 3_600_000 }, { forMs: 5_000, setByMs: -3_600_000 }]
    near(run(steps), 7_000 + 3_600_000)
    assert.ok(run(steps) - run(steps.slice(0, 2)) > 4_900, 'it stands still')
  })
  it('counts sleep after the calendar was set back', () => {
    near(run([{ forMs: 1_000 }, { forMs: 1_000, setByMs: -3_600_000 }, { forMs: 5_000, asleep: true }]), 7_000)
  })
  it('takes no time that a slowly corrected wall clock gains', () => {
    const time = new LeaseTime()
    const begin = time.at(0, 0)
    for (let ms = 0; ms <= 100_000; ms += 50) time.at(ms, Math.floor(ms * 1.0005))
    near(time.at(100_000, 100_050) - begin, 100_000)
  })
})
