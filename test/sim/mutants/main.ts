/**
 * `node test/sim/mutants/main.ts [--rule P1] [--what WORD] [--most 500] [--from 1] [--jobs 2] [--new] [--keep] [--table]`:
 * breaks each rule on purpose and tells how many histories the simulator needed to find it out. `--keep` remembers that
 * (found.json); `--table` plays nothing and puts all that is remembered into test/sim/README.md; `--new` plays only what
 * nothing is remembered of. Ends with 1 when one was not found.
 */
import { execFileSync } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { mutants } from './edits.ts'
import { foundRows, type Row, saveRows, tableOf } from './found.ts'
import type { Mutant } from './kind.ts'
import { judge } from './mutant.ts'

const { values } = parseArgs({
  options: {
    rule: { type: 'string', default: '' },
    what: { type: 'string', default: '' },
    most: { type: 'string', default: '500' },
    from: { type: 'string', default: '1' },
    jobs: { type: 'string', default: '2' },
    new: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    table: { type: 'boolean', default: false },
  },
})

const readme = join(import.meta.dirname, '..', 'README.md')
const marks = ['<!-- mutants: begin -->', '<!-- mutants: end -->'] as const

async function play(mutant: Mutant, commit: string): Promise<Row> {
  const { rule, what } = mutant
  const { seed, histories, problem, seconds } = await judge(mutant, Number(values.from), Number(values.most))
  const found = seed === null ? `NOT FOUND in ${histories}` : `seed ${seed}`
  console.log(`${rule}: ${what}: ${found} (${seconds.toFixed(0)} s) ${problem}`)
  return { rule, what, histories, isFound: seed !== null, problem: problem.slice(0, 120), commit }
}

/** @returns whether all were found */
async function playAll(chosen: readonly Mutant[]): Promise<boolean> {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
  const waiting = [...chosen]
  let allFound = true
  let saving = Promise.resolve()
  const worker = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const row = await play(next, commit)
      allFound &&= row.isFound
      // One after the other: each reads the file and writes it anew.
      if (values.keep) saving = saving.then(() => saveRows(mutants, [row]))
    }
  }
  await Promise.all(Array.from({ length: Number(values.jobs) }, worker))
  await saving
  return allFound
}

async function writeTable(): Promise<void> {
  const text = tableOf(await foundRows(mutants))
  const [before, rest] = (await readFile(readme, 'utf8')).split(marks[0])
  const after = rest?.split(marks[1])[1]
  if (before === undefined || after === undefined) throw new Error(`${readme} has no place for the table`)
  await writeFile(readme, `${before}${marks[0]}\n${text}\n${marks[1]}${after}`)
}

if (values.table) await writeTable()
else {
  const known = values.new ? await foundRows(mutants) : []
  const chosen = mutants.filter(({ rule, what }) => {
    const isKnown = known.some((row) => row.rule === rule && row.what === what)
    return rule.includes(values.rule) && what.includes(values.what) && !isKnown
  })
  process.exitCode = (await playAll(chosen)) ? 0 : 1
}
