/**
 * What a lab command says: yes, no, or that it could not be found out. Outside programs read the exit code (0, 1, 2),
 * people the sentence.
 */

export interface Answer {
  readonly yes: boolean
  /** For people, on the standard output (yes) or error (no). */
  readonly says: string
}

export const yes = (says: string): Answer => ({ yes: true, says })
export const no = (says: string): Answer => ({ yes: false, says })

/** The question could not be answered or the thing not be tried (exit 2). */
export class CouldNot extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'CouldNot'
  }
}

export const messageOf = (failure: unknown): string => (failure instanceof Error ? failure.message : String(failure))
