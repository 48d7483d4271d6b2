/** Histories of whole clusters from seeds: all of them good; and rules broken on purpose: found out. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { rounds } from '../kit/length.ts'
import { resumable } from '../kit/resumable.ts'
import { simulate } from './cluster.ts'
import { mutations } from './mutations.ts'

describe('a cluster in a simulated world', () => {
  const count = rounds({ short: 80, full: 2_000, long: 50_000 })
  it(`keeps its promises in ${count} histories with faults`, async (context) => {
    const histories = resumable({ name: 'histories', count, tally: { operations: 0, waiting: 0 } })
    const { tally } = histories
    for (const seed of histories) {
      const result = await simulate({ seed, short: true })
      tally.operations += result.operations
      if (result.waitsFor !== null) tally.waiting += 1
      const again = `node test/sim/main.ts --seed ${seed} --short --story`
      assert.deepEqual(result.problems, [], `${again}\n${result.about}`)
    }
    const { operations, waiting } = tally
    assert.ok(operations > 100 * count, `only ${operations} requests were answered: the histories say little`)
    context.diagnostic(`${count} histories, ${operations} requests, ${waiting} wait for a person to accept a loss`)
  })

  it('the same seed gives the same history', async () => {
    const first = await simulate({ seed: 7, story: true, short: true })
    const second = await simulate({ seed: 7, story: true, short: true })
    assert.deepEqual(second.lines, first.lines)
    assert.equal(second.events, first.events)
  })
})

describe('rules broken on purpose are found out', () => {
  for (const { rule, what, ...broken } of mutations) {
    it(`${rule}: ${what}`, async (context) => {
      for (let seed = 1; seed <= 150; seed += 1) {
        const { problems } = await simulate({ seed, short: true, ...broken })
        if (problems.length === 0) continue
        context.diagnostic(`found at seed ${seed}: ${problems[0]}`)
        return
      }
      assert.fail('150 histories looked good')
    })
  }
})
