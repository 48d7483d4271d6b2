/**
 * The three kinds of failure (HOUSE rule 7): our own bug stops the agent (assert), what can happen is a value, and
 * what a person must read is a UserError.
 */

/** A broken invariant: a bug of ours. The agent stops rather than go on with data it no longer understands. */
export class InvariantBroken extends Error {
  readonly invariant: string
  constructor(invariant: string, detail: string) {
    super(`invariant ${invariant} broken: ${detail}`)
    this.name = 'InvariantBroken'
    this.invariant = invariant
  }
}

/**
 * Asserts a numbered invariant; stays on in production.
 * @param invariant its number, e.g. "W3" for a rule of ENGINE.md or "S2" for a module's own (listed in its README)
 */
export function invariant(condition: boolean, number: string, detail: string): asserts condition {
  if (!condition) throw new InvariantBroken(number, detail)
}

/** Ends a switch over a named union: the compiler refuses a forgotten case, production stops on an impossible one. */
export function never(value: never, where: string): never {
  throw new InvariantBroken('K1', `unexpected value ${JSON.stringify(value)} in ${where}`)
}

/** Something a person must read: what happened, whether the data is safe, what to do next. */
export class UserError extends Error {
  /** Stable machine-readable word, kebab-case. */
  readonly code: string
  readonly dataIsSafe: string
  readonly next: string
  constructor(options: { code: string; happened: string; dataIsSafe: string; next: string }) {
    super(options.happened)
    this.name = 'UserError'
    this.code = options.code
    this.dataIsSafe = options.dataIsSafe
    this.next = options.next
  }
}
