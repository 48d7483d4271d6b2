/** What a mutant is: a rule, and the edits of the code that break it. */
import type { FaultKind } from '../faults.ts'

export interface Edit {
  /** Below `agent/`. */
  readonly file: string
  readonly from: string
  readonly to: string
}

export interface Mutant {
  readonly rule: string
  readonly what: string
  readonly edits: readonly Edit[]
  /** The weather in which it shows soonest; the seed's own when not given. */
  readonly faults?: Partial<Record<FaultKind, number>>
  /** False where a short history ends before it can show. */
  readonly short?: boolean
}

export const edit = (file: string, from: string, to: string): Edit => ({ file, from, to })
