/** That every rule that is said to be broken is: an edit that no longer fits the code breaks nothing. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { mutants } from './edits.ts'
import { judge } from './mutant.ts'

test('every edit of a mutant stands in the code exactly once', () => {
  for (const { rule, what, edits } of mutants) {
    assert.ok(edits.length > 0, `${rule}: ${what}`)
    for (const { file, from, to } of edits) {
      const text = readFileSync(join(import.meta.dirname, '..', '..', '..', 'agent', file), 'utf8')
      assert.equal(text.split(from).length - 1, 1, `${rule}: ${what}: agent/${file}: ${from}`)
      assert.notEqual(from, to)
    }
  }
})

test('a mutant is found, and one that does not fit or does not run is no finding', async () => {
  const [first] = mutants.filter(({ rule }) => rule === 'P6')
  assert.ok(first)
  const verdict = await judge(first, 1, 5)
  assert.ok(verdict.seed !== null, 'a write under shared permission looked good')
  const [edit] = first.edits
  assert.ok(edit)
  await assert.rejects(judge({ ...first, edits: [{ ...edit, from: 'what no file says' }] }, 1, 1), /0 times, not once/)
  await assert.rejects(judge({ ...first, edits: [{ ...edit, to: 'super(' }] }, 1, 1), /does not run/)
})
