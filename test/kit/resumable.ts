/**
 * A loop of a test that goes on where an earlier, stopped run of `npm run test:long` was. In every other run it is a
 * plain loop.
 *
 *     const histories = resumable({ name: 'histories', count: 50_000, tally: { operations: 0 } })
 *     for (const seed of histories) histories.tally.operations += await …
 */
import { addLine, journalVariables, type RoundsLine, readLines } from './journal.ts'

export interface Resumable<Tally> extends Iterable<number> {
  /** What all rounds together add up to, those of earlier runs included: numbers to be changed in the loop. */
  readonly tally: Tally
  /** Rounds that an earlier run has done. */
  readonly before: number
}

interface Loop<Tally> {
  /** Another one for each loop of the file. */
  readonly name: string
  /** Rounds are numbered from 1 to this. */
  readonly count: number
  readonly tally: Tally
}

/** A round is done when the loop asks for the next one; one that throws, or in which the run is stopped, is not. */
export function resumable<Tally extends Record<string, number>>(of: Loop<Tally>): Resumable<Tally> {
  const { name, count, tally } = of
  const path = process.env[journalVariables.path]
  const file = process.env[journalVariables.piece]
  if (path === undefined || file === undefined) return { tally, before: 0, [Symbol.iterator]: () => numbers(1, count) }
  const earlier = lastOf(path, file, name)
  const known = Object.entries(earlier?.tally ?? {}).filter(([key]) => Object.hasOwn(tally, key))
  const added = Object.assign(tally, Object.fromEntries(known))
  const before = earlier?.done ?? 0
  const done = (round: number) => addLine(path, { kind: 'rounds', file, name, done: round, count, tally: added })
  return { tally: added, before, [Symbol.iterator]: () => numbers(before + 1, count, done) }
}

function* numbers(from: number, to: number, done?: (round: number) => void): Generator<number, undefined> {
  for (let round = from; round <= to; round++) {
    yield round
    done?.(round)
  }
  return undefined
}

function lastOf(path: string, file: string, name: string): RoundsLine | undefined {
  return readLines(path)
    .lines.filter((line) => line.kind === 'rounds')
    .findLast((line) => line.file === file && line.name === name)
}
