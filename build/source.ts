/** Reads source files for the checkers: enough of TypeScript's grammar to tell code from comments and strings. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

/** Where our own code lives, relative to the checkout; root files are the configurations of tools. */
export const codeFolders = ['agent', 'electron', 'renderer', 'build', 'test'] as const

const notOurs = new Set(['node_modules', 'dist', 'coverage', 'test-results'])

/**
 * Files below a folder, as paths relative to `root` with forward slashes, sorted; hidden ones are left out.
 * A folder that does not exist has none.
 */
export function filesBelow(root: string, folder: string, keep: RegExp): string[] {
  const found: string[] = []
  const entries = readdirOrNothing(join(root, folder))
  for (const entry of entries) {
    if (entry.name.startsWith('.') || notOurs.has(entry.name)) continue
    const path = `${folder}/${entry.name}`
    if (entry.isDirectory()) found.push(...filesBelow(root, path, keep))
    else if (keep.test(entry.name)) found.push(path)
  }
  return found.sort()
}

function readdirOrNothing(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true })
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw error
  }
}

/** After one of these a slash begins a regular expression, not a division. */
const beforeRegularExpression = /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\b(?:return|typeof|case|of|in|do|else|void|delete))\s*$/

/**
 * The source with the insides of comments, strings and regular expressions turned to spaces: same length, same lines,
 * quotes kept, so that offsets point into the original. Code inside a template's `${}` stays code.
 */
export function blankProse(source: string): string {
  const out = source.split('')
  /** One entry per open template expression: how many braces are open inside it. */
  const templates: number[] = []
  let at = 0

  const blank = (from: number, to: number) => {
    for (let i = from; i < to; i++) if (out[i] !== '\n') out[i] = ' '
  }
  const skipTemplateText = () => {
    const from = at
    while (at < source.length) {
      if (source[at] === '\\') at += 2
      else if (source[at] === '`') {
        blank(from, at++)
        return
      } else if (source.startsWith('${', at)) {
        blank(from, at)
        at += 2
        templates.push(0)
        return
      } else at++
    }
    blank(from, source.length)
  }

  while (at < source.length) {
    const character = source[at]
    const end = endOfProse(source, at)
    if (end !== null) {
      const quoted = character === '"' || character === "'"
      blank(quoted ? at + 1 : at, quoted && source[end - 1] === character ? end - 1 : end)
      at = end
      continue
    }
    at++
    const open = templates.length - 1
    if (character === '`') skipTemplateText()
    else if (open >= 0 && character === '{') templates[open] = (templates[open] ?? 0) + 1
    else if (open >= 0 && character === '}') {
      if (templates[open] === 0) {
        templates.pop()
        skipTemplateText()
      } else templates[open] = (templates[open] ?? 0) - 1
    }
  }
  return out.join('')
}

/** @returns the offset after the comment, string or regular expression that begins at `at`, null when none does */
function endOfProse(source: string, at: number): number | null {
  const character = source[at]
  if (source.startsWith('//', at)) return orEnd(source.indexOf('\n', at), source)
  if (source.startsWith('/*', at)) return orEnd(source.indexOf('*/', at + 2), source, 2)
  // An apostrophe in a page's text is no string: no string crosses a line.
  if (character === '"' || character === "'") return endOfLineBound(source, at, character)
  if (character === '/' && beforeRegularExpression.test(source.slice(Math.max(0, at - 80), at))) {
    return endOfLineBound(source, at, '/')
  }
  return null
}

const orEnd = (index: number, source: string, length = 0) => (index < 0 ? source.length : index + length)

/** The offset after the closing character on the same line; the line's end when there is none. */
function endOfLineBound(source: string, at: number, closing: string): number {
  let inClass = false
  for (let i = at + 1; i < source.length; i++) {
    const character = source[i]
    if (character === '\n') return i
    if (character === '\\') i++
    else if (closing === '/' && character === '[') inClass = true
    else if (closing === '/' && character === ']') inClass = false
    else if (character === closing && !inClass) return i + 1
  }
  return source.length
}

/** One place where a file names another. */
export interface Reference {
  /** `computed`: import() of something that is not a plain string. */
  readonly kind: 'import' | 'url' | 'computed'
  readonly specifier: string
  /** From 1. */
  readonly line: number
}

const referencePattern =
  /\b(?:from|import)\s*(['"])|\bimport\s*\(\s*(?:new\s+URL\s*\(\s*)?(['"`]?)|\bnew\s+URL\s*\(\s*(['"`]?)/g

/** Imports, exports from, import() (of an address, too) and new URL(…), in order. `bare` is blankProse(source). */
export function references(source: string, bare: string): Reference[] {
  const found: Reference[] = []
  for (const match of bare.matchAll(referencePattern)) {
    const quote = match[1] ?? match[2] ?? match[3] ?? ''
    const isUrl = match[0].startsWith('new')
    const line = bare.slice(0, match.index).split('\n').length
    if (quote === '') {
      if (!isUrl) found.push({ kind: 'computed', specifier: '', line })
      continue
    }
    const from = match.index + match[0].length
    const specifier = source.slice(from, bare.indexOf(quote, from))
    found.push({ kind: isUrl ? 'url' : 'import', specifier, line })
  }
  return found
}
