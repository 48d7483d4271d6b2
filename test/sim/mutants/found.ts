/** What earlier runs found out about each mutant, so that no run has to play all of them. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { Mutant } from './kind.ts'

const path = join(import.meta.dirname, 'found.json')

const rowSchema = z.object({
  rule: z.string(),
  what: z.string(),
  /** How many histories were played: the last one was bad, or (false) none was. */
  histories: z.int().positive(),
  isFound: z.boolean(),
  /** What was said of the bad one. */
  problem: z.string(),
  /** Of the code that was broken. */
  commit: z.string(),
})

export type Row = z.infer<typeof rowSchema>

/** In the order of the mutants; without those that nobody played yet. */
export async function foundRows(mutants: readonly Mutant[]): Promise<Row[]> {
  const rows = z.array(rowSchema).parse(JSON.parse(await readFile(path, 'utf8')))
  return mutants.flatMap(({ rule, what }) => rows.filter((row) => row.rule === rule && row.what === what))
}

/** Puts new rows in the place of older ones of the same mutants; forgets mutants that are no more. */
export async function saveRows(mutants: readonly Mutant[], fresh: readonly Row[]): Promise<void> {
  const isSame = (one: Row, other: Row) => one.rule === other.rule && one.what === other.what
  const older = (await foundRows(mutants)).filter((row) => !fresh.some((other) => isSame(row, other)))
  const place = (row: Row) => mutants.findIndex(({ rule, what }) => rule === row.rule && what === row.what)
  const all = [...older, ...fresh].sort((one, other) => place(one) - place(other))
  await writeFile(path, `${JSON.stringify(all, null, 2)}\n`)
}

/** The table of all that were played, and the median of histories. */
export function tableOf(rows: readonly Row[]): string {
  const lines = rows.map(({ rule, what, histories, isFound }) => {
    return `| ${rule} | ${what} | ${isFound ? histories : `not in ${histories}`} |`
  })
  const counts = rows.map(({ histories, isFound }) => (isFound ? histories : Number.POSITIVE_INFINITY))
  const median = counts.sort((one, other) => one - other)[Math.floor(counts.length / 2)]
  const head = ['| rule | broken: it | histories |', '| --- | --- | ---: |']
  return [...head, ...lines, '', `${rows.length} mutants; median: ${median} histories.`].join('\n')
}
