/**
 * The code of agent/policing with its private fields made readable, and, when asked for, broken on purpose.
 *
 * A search that remembers where it has been needs the whole state of the code, also what no method shows. So the text
 * of its files is copied to a temporary folder with `#name` written as `name_` and imports pointing back at
 * agent/; nothing else changes. The same seam breaks a rule: an edit replaces one piece of the text, which must stand
 * there exactly once, so that a test never believes it broke what is no longer there.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Policing } from '../../agent/policing/policing.ts'

const agent = join(import.meta.dirname, '..', '..', 'agent')
const copied = [
  'asks.ts',
  'growth.ts',
  'holds.ts',
  'peer.ts',
  'permission.ts',
  'policing.ts',
  'ranges.ts',
  'recent.ts',
  'span-index.ts',
] as const

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
    if (key === 'world_' || key === 'spare_' || key === 'found_') return undefined
    if (key === 'counters_' || key === 'counters') return undefined
    if (value instanceof Float64Array || value instanceof Uint8Array) return seatsTaken(value)
    if (value instanceof Map || value instanceof Set) return [...value]
    return typeof value === 'object' && value !== null ? (numberOf(value) ?? value) : value
  })
}

/** Of the memory of recent uses: the seats that somebody took, with what stands there. */
function seatsTaken(seats: Float64Array | Uint8Array): number[] {
  const empty = seats instanceof Float64Array ? -1 : 0
  const taken: number[] = []
  for (let seat = 0; seat < seats.length; seat += 1) {
    const value = seats[seat] ?? empty
    if (value !== empty) taken.push(seat, value)
  }
  return taken
}
