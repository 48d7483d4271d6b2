/** That the simulator finds rules broken on purpose as soon as it did when the table in its README was made. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { rounds } from '../../kit/length.ts'
import { mutants } from './edits.ts'
import { foundRows } from './found.ts'
import { judge } from './mutant.ts'

describe('a rule broken on purpose is found', async () => {
  const rows = (await foundRows(mutants)).filter(({ isFound }) => isFound)
  const cheapest = rows.sort((one, other) => one.histories - other.histories)
  const count = rounds({ short: 4, full: rows.length, long: rows.length })
  for (const { rule, what, histories } of cheapest.slice(0, count)) {
    it(`${rule}: ${what}`, async (context) => {
      const mutant = mutants.find((one) => one.rule === rule && one.what === what)
      assert.ok(mutant)
      // Another state of the code plays other histories of the same seeds.
      const most = Math.max(10, 3 * histories)
      const verdict = await judge(mutant, 1, most)
      assert.notEqual(verdict.seed, null, `${most} histories looked good`)
      context.diagnostic(`found at seed ${verdict.seed}: ${verdict.problem}`)
    })
  }
})
