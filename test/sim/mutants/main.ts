/**
 * `node test/sim/mutants/main.ts [--rule P1] [--most 500] [--from 1] [--jobs 2] [--write]`: breaks each rule on purpose and tells
 * how many histories the simulator needed to find it out; `--write` puts the table into test/sim/README.md. Ends with 1
 * when one was not found.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { mutants } from './edits.ts'
import type { Mutant } from './kind.ts'
import { judge, type Verdict } from './mutant.ts'

const { values } = parseArgs({
  options: {
    rule: { type: 'string' },
    most: { type: 'string', default: '500' },
    from: { type: 'string', default: '1' },
    jobs: { type: 'string', default: '2' },
    write: { type: 'boolean', default: false },
  },
})

const readme = join(import.meta.dirname, '..', 'README.md')
const marks = ['<!-- mutants: begin -->', '<!-- mutants: end -->'] as const

interface Row {
  readonly mutant: Mutant
  readonly verdict: Verdict
}

async function all(chosen: readonly Mutant[]): Promise<Row[]> {
  const rows: Row[] = []
  const waiting = chosen.map((mutant, place) => ({ mutant, place }))
  const worker = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { mutant, place } = next
      const verdict = await judge(mutant, Number(values.from), Number(values.most))
      const found = verdict.seed === null ? 'NOT FOUND' : `seed ${verdict.seed}`
      console.log(`${mutant.rule}: ${mutant.what}: ${found} (${verdict.seconds.toFixed(0)} s) ${verdict.problem}`)
      rows[place] = { mutant, verdict }
    }
  }
  await Promise.all(Array.from({ length: Number(values.jobs) }, worker))
  return rows
}

function table(rows: readonly Row[]): string {
  const lines = rows.map(({ mutant, verdict }) => {
    const found = verdict.seed === null ? `not in ${verdict.histories}` : `${verdict.histories}`
    return `| ${mutant.rule} | ${mutant.what} | ${found} |`
  })
  const found = rows.map(({ verdict }) => (verdict.seed === null ? Number.POSITIVE_INFINITY : verdict.histories))
  const median = [...found].sort((one, other) => one - other)[Math.floor(found.length / 2)]
  return ['| rule | broken: it | histories |', '| --- | --- | ---: |', ...lines, '', `Median: ${median}.`].join('\n')
}

const rows = await all(mutants.filter(({ rule }) => values.rule === undefined || rule.includes(values.rule)))
const text = table(rows)
console.log(`\n${text}`)
if (values.write) {
  const present = await readFile(readme, 'utf8')
  const [before, rest] = present.split(marks[0])
  const after = rest?.split(marks[1])[1]
  if (before === undefined || after === undefined) throw new Error(`${readme} has no place for the table`)
  await writeFile(readme, `${before}${marks[0]}\n${text}\n${marks[1]}${after}`)
}
process.exitCode = rows.every(({ verdict }) => verdict.seed !== null) ? 0 : 1
