/**
 * The code of agent/policing with its private fields made readable, and, when asked for, broken on purpose.
 *
 * A search that remembers where it has been needs the whole state of the code, also what no method shows. So the text
 * of the three files is copied to a temporary folder with `#name` written as `name_` and imports pointing back at
 * agent/; nothing else changes. The same seam breaks a rule: an edit replaces one piece of the text, which must stand
 * there exactly once, so that a test never believes it broke what is no longer there.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Policing } from '../../agent/policing/policing.ts'

const agent = join(import.meta.dirname, '..', '..', 'agent')
const copied = ['permission.ts', 'ranges.ts', 'policing.ts'] as const

export interface Edit {
  readonly file: (typeof copied)[number]
  readonly from: string
  readonly to: string
}

export type PolicingClass = typeof Policing

function edited(file: string, edits: readonly Edit[]): string {
  let text = readFileSync(join(agent, 'policing', file), 'utf8')
  for (const edit of edits.filter((candidate) => candidate.file === file)) {
    const pieces = text.split(edit.from)
    if (pieces.length !== 2) throw new Error(`${file} has ${pieces.length - 1} times, not once: ${edit.from}`)
    text = pieces.join(edit.to)
  }
  return text
}

/** @param folder empty, outlives the class @param edits with the names as in agent/policing @returns its class */
export async function openedPolicing(folder: string, edits: readonly Edit[] = []): Promise<PolicingClass> {
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n')
  for (const file of copied) {
    const text = edited(file, edits)
      .replaceAll(/#([a-z]\w*)/gi, '$1_')
      .replaceAll("'../", `'${pathToFileURL(agent).href}/`)
      .replaceAll("'./use.ts'", `'${pathToFileURL(join(agent, 'policing', 'use.ts')).href}'`)
    writeFileSync(join(folder, file), text)
  }
  const module: unknown = await import(pathToFileURL(join(folder, 'policing.ts')).href)
  // It is the same file but for the names of private fields.
  return (module as { Policing: PolicingClass }).Policing
}

/**
 * @param numberOf what stands for an object that has its own place in the state, undefined for all others
 * @returns all that the opened policing remembers, as text. Counters are left out: nothing is decided by them
 */
export function stateOf(policing: Policing, numberOf: (value: object) => number | undefined): string {
  return JSON.stringify(policing, (key, value: unknown) => {
    if (key === 'world_' || key === 'asksSent' || key === 'grantsSent') return undefined
    if (value instanceof Map) return [...value]
    return typeof value === 'object' && value !== null ? (numberOf(value) ?? value) : value
  })
}
