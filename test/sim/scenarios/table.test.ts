/** Every counterexample has a row in COUNTEREXAMPLES.md, and the test that the row names plays it. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { it } from 'node:test'

const here = new URL('.', import.meta.url)
const simulator = new URL('../', here)
const entries = 59

interface Row {
  readonly number: number
  readonly rules: string
  /** From `test/sim`; `-`: none. */
  readonly where: string
  readonly what: string
}

function rows(): Row[] {
  const table = readFileSync(new URL('COUNTEREXAMPLES.md', simulator), 'utf8')
  return [...table.matchAll(/^\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$/gm)].map(
    ([, number, rules, where, what]) => ({
      number: Number(number),
      rules: rules ?? '',
      where: where ?? '',
      what: what ?? '',
    }),
  )
}

/** Numbers that titles of tests in this file name. */
function played(url: URL): number[] {
  const titles = [...readFileSync(url, 'utf8').matchAll(/\bit\(\s*(['"`])(.*?)\1,/g)].map(([, , title]) => title ?? '')
  return titles.flatMap((title) => [...title.matchAll(/counterexample (\d+)/g)].map(([, number]) => Number(number)))
}

it('every counterexample has one row, in order', () => {
  const numbers = Array.from({ length: entries }, (_, index) => index + 1)
  assert.deepEqual(
    rows().map(({ number }) => number),
    numbers,
  )
})

it('every row names a test that plays it, or says why there is none', () => {
  for (const { number, rules, where, what } of rows()) {
    assert.match(rules, /^[A-Z]\d+(, [A-Z]\d+)*$/, `rules of ${number}`)
    if (where === '-') assert.ok(what.length > 30, `why is ${number} played by nobody?`)
    else assert.ok(played(new URL(where, simulator)).includes(number), `${where} does not play ${number}`)
  }
})

it('every scenario here is in the table', () => {
  const files = readdirSync(here).filter((name) => name.endsWith('.test.ts') && name !== 'table.test.ts')
  assert.ok(files.length > 3)
  for (const file of files) {
    for (const number of played(new URL(file, here))) {
      const row = rows().find((candidate) => candidate.number === number)
      assert.equal(row?.where, `scenarios/${file}`, `${number}`)
    }
  }
})
