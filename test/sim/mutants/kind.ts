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
