/** What a mutant is: a rule, and the edits of the code that break it. */
import type { SimOptions } from '../cluster.ts'

export interface Edit {
  /** Below `agent/`. */
  readonly file: string
  readonly from: string
  readonly to: string
}

/** In which histories it shows soonest; what is not given is each seed's own. */
export type Weather = Omit<SimOptions, 'seed' | 'story' | 'messages' | 'short' | 'tampering' | 'operations'>

export interface Mutant {
  readonly rule: string
  readonly what: string
  readonly edits: readonly Edit[]
  readonly weather?: Weather
  /** False where a short history ends before it can show. */
  readonly short?: boolean
}

export const edit = (file: string, from: string, to: string): Edit => ({ file, from, to })

/** Links on which much is under way at once. */
export const slowLinks = { network: { maxMs: 40, skewMs: 60 } } as const

/** Many requests at once on one block or two: what is ordered wrongly meets. */
export const crowd: Weather = {
  shape: { ...slowLinks, blocks: 2 },
  habits: { read: 3, write: 6, part: 1, many: 1 },
  thinkMs: 10,
}
