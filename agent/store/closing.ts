/** How a store ends: everything durable, then the word that it was a clean end; or the word that it failed (C2). */
import type { Clock, Log } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { CommitCount } from './commit-count.ts'
import type { Commits } from './commits.ts'
import type { DataFiles } from './data-files.ts'
import { type BlockFile, FileError, type Files } from './files.ts'
import type { Index } from './index.ts'
import type { Marks } from './marks.ts'
import { writeRun } from './run.ts'
import type { Slots } from './slots.ts'
import { type Steps, wait } from './steps.ts'
import type { SumDoubt } from './sum-doubt.ts'
import type { Sums } from './sums.ts'
import type { Syncs } from './syncs.ts'

export interface ClosingParts {
  readonly files: Files
  readonly clock: Clock
  readonly log: Log
  readonly bootId: string | null
  readonly run: number
  readonly slots: Slots
  readonly commits: Commits
  readonly sums: Sums
  readonly syncs: Syncs
  readonly count: CommitCount
  readonly data: DataFiles
  readonly index: Index
  readonly replicas: readonly { readonly marks: Marks; readonly doubt: SumDoubt }[]
  readonly marksFiles: readonly BlockFile[]
  /** Calls back when no call of a replica is under way. */
  readonly whenIdle: (done: () => void) => void
  readonly failed: () => FileError | null
  /** From now on the store counts as failed. */
  readonly fail: (error: FileError) => void
}

/** Times that a failed store tries to write down that it failed, a second apart, before it ends all the same. */
const failureTries = 2

/** @throws FileError when the end is not a clean one; everything is closed then too */
export function* closeSteps(parts: ClosingParts): Steps<void> {
  // Whoever closes has given up on what is still under way (a hung disk). It has not ended: what it writes would come after a
  // clean end, or into a file that is closed. So the end is not clean before it has come; the caller does not wait for that.
  yield* wait((done) => parts.whenIdle(() => done(null)))
  parts.slots.giveBackPool()
  yield* wait((done) => parts.slots.whenIdle(() => done(null)))
  try {
    if (parts.failed() === null) yield* endCleanly(parts)
  } finally {
    if (parts.failed() !== null) yield* tellFailure(parts)
    // Not while a sync writes into one of them.
    yield* wait((done) => parts.syncs.whenIdle(() => done(null)))
    for (const file of parts.marksFiles) yield* wait((done) => file.close(done))
    yield* parts.data.closeAll()
    yield* wait((done) => parts.index.close(done))
  }
}

function* endCleanly(parts: ClosingParts): Steps<void> {
  const { files, run, bootId, count } = parts
  const isWhole = yield* saveAll(parts)
  if (parts.failed() !== null) return
  const commits = count.next()
  const sums = isWhole && parts.replicas.every(({ doubt }) => doubt.isEmpty)
  yield* writeRun(files, { run, bootId, end: 'clean', failed: false, sums, commits, index: count.index })
  count.ended(commits)
}

/** @returns whether every block checksum is on the disk */
function* saveAll({ clock, commits, sums, syncs, fail }: ClosingParts): Steps<boolean> {
  const lateMs = clock.monotonicMs() + limits.sumsCloseMs
  sums.isClosing = true
  // What fails here was promised to somebody: what the marks cover counts as lossy (C2).
  const sure = (done: (error: FileError | null) => void) => (error: FileError | null) => {
    if (error !== null) fail(error)
    done(error)
  }
  yield* wait((done) => commits.wait(sure(done)))
  const isLate = () => clock.monotonicMs() > lateMs
  const isWhole = yield* wait<boolean>((done) => sums.cleanAll(isLate, done))
  yield* wait((done) => syncs.request(sure(done)))
  // Marks written without waiting (stamps, marks taken off) are part of the clean end.
  yield* wait((done) => syncs.request(sure(done)))
  return isWhole
}

/** C2: also a failure at the very end, and one that could not be written down before. */
function* tellFailure({ clock, files, bootId, run, count, replicas }: ClosingParts): Steps<void> {
  for (let tried = 0; tried < failureTries; tried += 1) {
    try {
      for (const { marks } of replicas) yield* wait((done) => marks.allLossy(done))
      const counts = { commits: count.next(), index: count.index }
      yield* writeRun(files, { run, bootId, end: 'running', failed: true, sums: false, ...counts })
      return
    } catch (error) {
      if (!(error instanceof FileError)) throw error
      yield* wait((done) => void clock.after(limits.failureRecordMs, () => done(null)))
    }
  }
}
