/**
 * Callback calls in a row, written one under the other. Not promises: every step goes on inside its callback, so a
 * simulator with virtual time decides alone what happens when.
 */
import type { FileError } from './files.ts'

type Start = (done: (error: FileError | null, value?: unknown) => void) => void
export type Steps<T> = Generator<Start, T, unknown>

/** Waits for one callback call: `const names = yield* wait<string[]>((done) => files.list('data', done))`. */
export function* wait<T = void>(start: (done: (error: FileError | null, value?: T) => void) => void): Steps<T> {
  // The value is what `start` gives its own callback, so its type is T; the generator protocol cannot say so.
  return (yield start as Start) as T
}

/** Runs the steps; `done` gets what they returned or threw. */
export function runSteps<T>(steps: Steps<T>, done: (error: unknown, value?: T) => void): void {
  const resume = (error: unknown, value?: unknown) => {
    let result: IteratorResult<Start, T>
    try {
      result = error ? steps.throw(error) : steps.next(value)
    } catch (thrown) {
      done(thrown)
      return
    }
    if (result.done) done(null, result.value)
    else result.value(resume)
  }
  resume(null)
}
