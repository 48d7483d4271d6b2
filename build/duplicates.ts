/**
 * Finds text that stands twice: runs of at least twelve equal lines in the product's own code. Two copies drift apart,
 * and the fix that reaches one of them is the bug of the other. Part `duplicates` of `npm run check`.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { blankProse, filesBelow } from './source.ts'

/** Lines, without blank ones, comments and imports. Shorter runs are idiom (a switch, a schema), not copies. */
const runLines = 12

/** Lines in copies, over all of the product, before the check fails: room for two runs that are better left alone. */
const allowedLines = 24

const folders = ['agent', 'electron', 'renderer', 'build']

interface Line {
  /** From 1. */
  readonly number: number
  readonly text: string
}

interface Place {
  readonly file: string
  readonly index: number
}

export interface Duplicate {
  readonly first: { readonly file: string; readonly line: number }
  readonly second: { readonly file: string; readonly line: number }
  readonly lines: number
}

/** The lines that count, without indentation. Strings stay: two texts that differ are no copy. */
function meaningfulLines(source: string): Line[] {
  const bare = blankProse(source).split('\n')
  return source.split('\n').flatMap((text, index) => {
    const code = bare[index] ?? ''
    if (!/\w/.test(code) || /^\s*(import\b|export .* from\b|\} from\b)/.test(code)) return []
    return [{ number: index + 1, text: text.trim().replace(/\s*\/\/.*$/, '') }]
  })
}

/** How many lines are equal from here on; a file is not compared with itself across an overlap. */
function commonLength(files: ReadonlyMap<string, readonly Line[]>, a: Place, b: Place): number {
  const left = files.get(a.file) ?? []
  const right = files.get(b.file) ?? []
  const most = a.file === b.file ? b.index - a.index : Number.POSITIVE_INFINITY
  let length = 0
  while (length < most) {
    const one = left[a.index + length]
    if (one === undefined || one.text !== right[b.index + length]?.text) break
    length++
  }
  return length
}

/** @param sources path to text @returns the runs that stand twice, each named once, by the place seen first */
export function findDuplicates(sources: Readonly<Record<string, string>>): Duplicate[] {
  const files = new Map(Object.entries(sources).map(([file, text]) => [file, meaningfulLines(text)]))
  const seen = new Map<string, Place>()
  const found: Duplicate[] = []
  for (const [file, lines] of files) {
    for (let index = 0; index + runLines <= lines.length; index++) {
      const window = lines.slice(index, index + runLines).map(({ text }) => text)
      const key = window.join('\n')
      const here = { file, index }
      const first = seen.get(key)
      const length = first === undefined ? 0 : commonLength(files, first, here)
      if (first === undefined) seen.set(key, here)
      if (first === undefined || length < runLines) continue
      const lineOf = (place: Place) => files.get(place.file)?.[place.index]?.number ?? 0
      found.push({
        first: { file: first.file, line: lineOf(first) },
        second: { file, line: lineOf(here) },
        lines: length,
      })
      index += length - 1
    }
  }
  return found
}

if (import.meta.main) {
  const root = join(import.meta.dirname, '..')
  const paths = folders.flatMap((folder) => filesBelow(root, folder, /\.(ts|tsx|mts|mjs|css)$/))
  const duplicates = findDuplicates(
    Object.fromEntries(paths.map((path) => [path, readFileSync(join(root, path), 'utf8')])),
  )
  for (const { first, second, lines } of duplicates) {
    console.log(`${second.file}:${second.line}: ${lines} lines as in ${first.file}:${first.line}`)
  }
  const total = duplicates.reduce((sum, { lines }) => sum + lines, 0)
  console.log(`duplicates: ${paths.length} files read, ${total} lines stand twice, ${allowedLines} are allowed`)
  process.exitCode = paths.length === 0 || total > allowedLines ? 1 : 0
}
