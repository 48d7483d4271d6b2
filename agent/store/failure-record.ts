/** That this run's disk failed: said at once, written down as soon as the disk takes it (C2). */
import type { Clock, Log } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { CommitCount } from './commit-count.ts'
import { FileError, type Files } from './files.ts'
import type { Marks } from './marks.ts'
import { writeRun } from './run.ts'
import { runSteps } from './steps.ts'

export interface FailureParts {
  readonly clock: Clock
  readonly log: Log
  readonly files: Files
  readonly run: number
  readonly bootId: string | null
  readonly count: CommitCount
  /** Of all replicas that there are. */
  readonly marks: () => Iterable<Marks>
}

export class FailureRecord {
  readonly #parts: FailureParts
  /** The first failure of this run. */
  error: FileError | null = null
  #toldUnsaved = false
  #closing = false

  constructor(parts: FailureParts) {
    this.#parts = parts
  }

  /** From now on the end of the store says so itself (closing.ts). */
  close(): void {
    this.#closing = true
  }

  /** Once failed, a store takes nothing more in this run; its marked regions count as lossy (C2). */
  fail(error: FileError): void {
    if (this.error !== null) return
    this.error = error
    this.#parts.log.error({ code: error.code, error: error.message }, 'the storage folder failed')
    if (!this.#closing) this.#record()
  }

  /** C2: durable as soon as the disk takes it: until then a kill would leave what its marks cover for merely torn. */
  #record(): void {
    const { bootId, clock, count, files, log, run } = this.#parts
    const all = [...this.#parts.marks()]
    let left = all.length + 1
    let isSaved = true
    const saved = (failure: FileError | null) => {
      left -= 1
      if (failure !== null) isSaved = false
      if (left > 0 || isSaved || this.#closing) return
      if (!this.#toldUnsaved) log.warn({ error: failure?.message }, 'the failure could not be written down yet')
      this.#toldUnsaved = true
      clock.after(limits.failureRecordMs, () => this.#closing || this.#record())
    }
    for (const marks of all) marks.allLossy(saved)
    const record = {
      run,
      bootId,
      commits: count.next(),
      index: count.index,
      end: 'running',
      failed: true,
      sums: false,
    } as const
    runSteps(writeRun(files, record), (failure) => saved(failure instanceof FileError ? failure : null))
  }
}
