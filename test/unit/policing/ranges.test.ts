import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { InvariantBroken } from '../../../agent/kit/failure.ts'
import { Policing } from '../../../agent/policing/policing.ts'
import { Ranges } from '../../../agent/policing/ranges.ts'
import { idOf, TestUse } from './world.ts'

const block = 4096
const MiB = 1024 * 1024

/** Ranges in which a use is active from the moment it is let in. */
function table(): { ranges: Ranges; active: TestUse[] } {
  const active: TestUse[] = []
  const ranges = new Ranges((use) => {
    // Only uses of the test are handed in, so it is one.
    active.push(use as TestUse)
  })
  return { ranges, active }
}

describe('ranges: order among the uses of one server', () => {
  it('lets in what does not overlap, and readers together', () => {
    const { ranges, active } = table()
    ranges.enter(new TestUse('exclusive', 0, block))
    ranges.enter(new TestUse('exclusive', block, block))
    ranges.enter(new TestUse('shared', 2 * block, block))
    ranges.enter(new TestUse('shared', 2 * block, block))
    assert.equal(active.length, 4)
  })

  it('makes a read wait for an earlier write of the same block, and a write for an earlier read (R4)', () => {
    const { ranges, active } = table()
    const write = new TestUse('exclusive', 100, 10)
    const read = new TestUse('shared', 4000, 200)
    const second = new TestUse('exclusive', 4096, 1)
    for (const use of [write, read, second]) ranges.enter(use)
    assert.deepEqual(active, [write])
    ranges.leave(write)
    assert.deepEqual(active, [write, read])
    ranges.leave(read)
    assert.deepEqual(active, [write, read, second])
  })

  it('is about whole blocks: bytes of one block exclude each other (C7)', () => {
    const { ranges, active } = table()
    ranges.enter(new TestUse('exclusive', 0, 512))
    ranges.enter(new TestUse('exclusive', 512, 512))
    assert.equal(active.length, 1)
  })

  it('counts a pair that shares many buckets once', () => {
    const { ranges, active } = table()
    const one = new TestUse('exclusive', 3 * MiB, 20 * MiB)
    const other = new TestUse('exclusive', 0, 32 * MiB)
    ranges.enter(one)
    ranges.enter(other)
    assert.equal(other.blockers, 1)
    ranges.leave(one)
    assert.deepEqual(active, [one, other])
  })

  it('at random: never two that exclude each other, first come first served, everybody in the end', () => {
    // Now and then one that is so wide that it stands in no bucket: a snapshot of a whole volume.
    const narrow = fc.integer({ min: 1, max: 700 })
    const count = fc.oneof({ weight: 8, arbitrary: narrow }, { weight: 1, arbitrary: fc.constant(300_000) })
    const use = fc.record({ write: fc.boolean(), first: fc.nat(1200), count })
    const property = fc.property(
      fc.array(use, { minLength: 5, maxLength: 60, size: 'max' }),
      fc.array(fc.nat(1000)),
      (wanted, order) => {
        const { ranges, active } = table()
        const uses = wanted.map(({ write, first, count }) => {
          const made = new TestUse(write ? 'exclusive' : 'shared', first * block, count * block)
          ranges.enter(made)
          return made
        })
        const present = new Set(active)
        const begun = new Set(active)
        const overlap = (a: TestUse, b: TestUse) =>
          a.firstBlock <= b.lastBlock &&
          b.firstBlock <= a.lastBlock &&
          (a.mode === 'exclusive' || b.mode === 'exclusive')
        for (let round = 0; present.size > 0; round += 1) {
          for (const a of present) for (const b of present) assert.ok(a === b || !overlap(a, b), 'both at once')
          const leaving = [...present][(order[round % Math.max(1, order.length)] ?? 0) % present.size]
          if (leaving === undefined) break
          present.delete(leaving)
          active.length = 0
          ranges.leave(leaving)
          for (const next of active) {
            const index = uses.indexOf(next)
            const overtaken = uses.slice(0, index).some((earlier) => overlap(earlier, next) && !begun.has(earlier))
            assert.ok(!overtaken, 'a later use overtook an earlier one')
            present.add(next)
            begun.add(next)
          }
        }
        assert.equal(begun.size, uses.length)
      },
    )
    fc.assert(property, { numRuns: 150, seed: 7 })
  })

  it('P1a, P1b, P1c: handing in twice and leaving wrongly are found', () => {
    const { ranges } = table()
    const use = new TestUse('exclusive')
    assert.throws(() => ranges.leave(use), InvariantBroken)
    ranges.enter(use)
    assert.throws(() => ranges.enter(use), InvariantBroken)
    const behind = new TestUse('exclusive')
    ranges.enter(behind)
    assert.throws(() => ranges.leave(behind), InvariantBroken)
    const elsewhere = new TestUse('exclusive', 64 * MiB)
    elsewhere.phase = 'active'
    assert.throws(() => ranges.leave(elsewhere), InvariantBroken)
  })
})

describe('policing: ranges first, then permission', () => {
  const alone = (): Policing => {
    const policing = new Policing({
      self: idOf(0),
      sendAsk: () => undefined,
      sendGrant: () => undefined,
      tick: () => 1,
      observe: () => undefined,
    })
    policing.startSession([])
    policing.openSession()
    return policing
  }

  it('a use behind another one of its own server asks nobody yet', () => {
    const asked: string[] = []
    const policing = new Policing({
      self: idOf(0),
      sendAsk: (to) => asked.push(to),
      sendGrant: () => undefined,
      tick: () => 1,
      observe: () => undefined,
    })
    policing.startSession([idOf(1)])
    policing.openSession()
    const first = new TestUse('exclusive')
    const second = new TestUse('exclusive')
    policing.acquire(first)
    policing.acquire(second)
    assert.deepEqual([policing.counters.asksSent, policing.waiting.size], [1, 1])
    policing.onGrant(idOf(1), { firstBlock: 0, lastBlock: 0, mode: 'exclusive', asked: 1, time: 9 })
    assert.deepEqual([first.begun, second.begun], [1, 0])
    policing.release(first)
    assert.equal(second.begun, 1)
    assert.equal(asked.length, 1)
  })

  it('a read that asks again keeps its place before later writes', () => {
    const policing = alone()
    const read = new TestUse('shared')
    const write = new TestUse('exclusive')
    policing.acquire(read)
    policing.acquire(write)
    policing.endSession()
    policing.again(read)
    policing.startSession([])
    policing.openSession()
    assert.deepEqual([read.begun, write.begun], [2, 0])
    policing.release(read)
    assert.equal(write.begun, 1)
  })

  it('a long chain of uses that end as they begin does not run out of stack', () => {
    const policing = alone()
    const blocker = new TestUse('exclusive')
    policing.acquire(blocker)
    let ended = 0
    for (let index = 0; index < 1_500; index += 1) {
      policing.acquire(
        new TestUse('exclusive', 0, 4096, (use) => {
          ended += 1
          policing.release(use)
        }),
      )
    }
    policing.release(blocker)
    assert.equal(ended, 1_500)
  })
})
