/**
 * `npm test` and its larger sisters: runs the parts of an entry one after the other and closes with one summary.
 *
 *     npm test -- [--and PART]… | [--part PART]… [--file GLOB]; --list; --no-install; --restart
 *
 * Long entries (test:long) go on where they were stopped; --restart begins them anew.
 *
 * `--and` adds parts to those of the entry, `--part` runs only those named, `--file` (alone: as part unit) only these.
 *
 * Exit codes: 0 all passed (skipped tests are named; with CI=true they count as failed), 1 a failure, 2 wrong usage.
 */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Entry, type EntryName, entries, entriesTable, type Part, type PartName, parts } from './entries.ts'
import { runEntry } from './entry.ts'
import { installMissing } from './tools.ts'

interface Wish {
  readonly entry: EntryName
  readonly parts: readonly PartName[]
  /** Replaces the glob of the parts that have one. */
  readonly file: string | undefined
  readonly install: boolean
  readonly restart: boolean
}

const isEntry = (name: string): name is EntryName => Object.hasOwn(entries, name)
const isPart = (name: string): name is PartName => Object.hasOwn(parts, name)

/** @returns null when the command line was answered already (--list) @throws Error with a sentence */
function readWish(words: readonly string[]): Wish | null {
  const [entry = '', ...rest] = words
  if (!isEntry(entry)) throw new Error(`there is no entry ${entry}; there are ${Object.keys(entries).join(', ')}`)
  const { values } = parseArgs({
    args: rest,
    options: {
      and: { type: 'string', multiple: true, default: [] },
      part: { type: 'string', multiple: true },
      file: { type: 'string' },
      list: { type: 'boolean' },
      'no-install': { type: 'boolean' },
      restart: { type: 'boolean', default: false },
    },
  })
  if (values.list) {
    console.log(entriesTable())
    for (const [name, part] of Object.entries(parts)) console.log(`${name.padEnd(11)} ${part.about}`)
    return null
  }
  if (values.restart && entries[entry].length !== 'long') {
    throw new Error(`${entries[entry].script} always begins anew; --restart is for the long entries`)
  }
  const usual = values.part ?? (values.file === undefined ? entries[entry].parts : ['unit'])
  const wished = [...usual, ...values.and]
  for (const name of wished) {
    if (!isPart(name)) throw new Error(`there is no part ${name}; there are ${Object.keys(parts).join(', ')}`)
  }
  // In the order of the table, whatever the order of the wishes: claims are judged when all has run.
  const chosen = Object.keys(parts)
    .filter(isPart)
    .filter((name) => wished.includes(name))
  return { entry, parts: chosen, file: values.file, install: !values['no-install'], restart: values.restart }
}

const toolsOf = (part: Part) => (part.kind === 'files' ? part.tools : [])

async function fulfil(wish: Wish): Promise<number> {
  if (wish.install) installMissing(wish.parts.flatMap((name) => [...toolsOf(parts[name])]))
  const chosen = wish.parts.map((name): [PartName, Part] => [name, parts[name]])
  const entry: Entry = entries[wish.entry]
  const root = join(import.meta.dirname, '..', '..')
  return runEntry({ root, name: wish.entry, entry, parts: chosen, file: wish.file, restart: wish.restart })
}

try {
  const wish = readWish(process.argv.slice(2))
  process.exitCode = wish === null ? 0 : await fulfil(wish)
} catch (error) {
  if (!(error instanceof Error)) throw error
  console.error(`npm test: ${error.message}`)
  process.exitCode = 2
}
