/**
 * The index, with its commits counted: how many are known to be durable stands in files of the store beside it, so that an
 * index whose log was lost, or that is an older copy, is found out at the next opening (FORMAT.md).
 */
import type { CommitCount } from './commit-count.ts'
import { type FileDone, FileError, type FileValueDone } from './files.ts'
import type { Index, IndexBatch, IndexContents } from './index.ts'

export class CountedIndex implements Index {
  readonly #index: Index
  readonly #count: CommitCount
  /** The numbers of the last commit that began, and of the last that was done. */
  #given: number
  #done: number
  /** More of them are durable than before. */
  onDurable: () => void = () => undefined

  /** @param commits that the index had when it was loaded */
  constructor(index: Index, count: CommitCount, commits: number) {
    this.#index = index
    this.#count = count
    this.#given = commits
    this.#done = commits
  }

  load(done: FileValueDone<IndexContents>): void {
    this.#index.load(done)
  }

  begin(done: FileDone): void {
    this.#index.begin(done)
  }

  commit(batch: IndexBatch, done: FileDone): void {
    this.#given += 1
    const number = this.#given
    this.#index.commit({ ...batch, number }, (error) => {
      if (error === null) this.#done = number
      done(error)
    })
  }

  sync(done: FileDone): void {
    const covered = this.#done
    this.#index.sync((error) => {
      const isNews = error === null && covered > this.#count.index
      if (isNews) this.#count.indexEnded(covered)
      done(error)
      if (isNews) this.onDurable()
    })
  }

  close(done: FileDone): void {
    this.#index.close(done)
  }
}

/** @param durable how many commits were durable, by what stands beside the index @throws FileError EOLDINDEX */
export function mustHaveCommits(commits: number, durable: number): void {
  if (commits >= durable) return
  throw new FileError('EOLDINDEX', `it has ${commits} commits, and ${durable} were on the disk`)
}
