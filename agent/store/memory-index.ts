/** The simulator's index: same promises as sqlite-index.ts about kills and power cuts, in memory. */
import type { RandomSource } from '../kit/world.ts'
import { type FileDone, FileError, type FileValueDone } from './files.ts'
import type { Index, IndexBatch, IndexContents, IndexOpener } from './index.ts'
import { IndexTables } from './index-tables.ts'
import type { MemoryFiles } from './memory-files.ts'

export class MemoryIndexDisk {
  readonly #files: MemoryFiles
  readonly #random: RandomSource
  /** Null: there is no index yet. */
  #durable: IndexTables | null = null
  /** Commits since, in order. */
  #commits: IndexBatch[] = []
  #locked = false
  #life = 0

  constructor(files: MemoryFiles, random: RandomSource) {
    this.#files = files
    this.#random = random
  }

  /** The agent dies: finished commits stay, its lock is free. */
  kill(): void {
    this.#locked = false
    this.#life += 1
  }

  /** Of the commits that no sync covers, a random first part stays. */
  powerCut(): void {
    this.kill()
    const kept = Math.floor(this.#random.unit() * (this.#commits.length + 1))
    for (const batch of this.#commits.slice(0, kept)) this.#durable?.apply(batch)
    this.#commits = []
  }

  /** What a copy of the folder, taken now, holds. @returns to be called where that copy comes back, with no agent running */
  backup(): () => void {
    const kept = this.#durable?.copy() ?? null
    for (const batch of this.#commits) kept?.apply(batch)
    return () => {
      this.#durable = kept?.copy() ?? null
      this.#commits = []
    }
  }

  opener(): IndexOpener {
    let has = false
    const unlock = (done: FileDone) => {
      if (has) this.#locked = false
      has = false
      this.#files.call(false, () => undefined, done)
    }
    return {
      lock: (done) => {
        const free = !this.#locked
        if (free) {
          this.#locked = true
          has = true
        }
        this.#files.call(
          false,
          () => undefined,
          (error) => done(error ?? (free ? null : new FileError('EBUSY', 'locked'))),
        )
      },
      open: (storeId, done) => this.#open(storeId, unlock, done),
      unlock,
    }
  }

  #open(storeId: string | null, unlock: (done: FileDone) => void, done: FileValueDone<Index>): void {
    const effect = () => {
      if (storeId === null) return
      this.#durable = new IndexTables(storeId)
      this.#commits = []
    }
    this.#files.call(storeId !== null, effect, (error) => {
      if (error) done(error)
      else if (this.#durable === null) done(new FileError('EINDEX', 'the index is missing'))
      else done(null, this.#index(unlock))
    })
  }

  #index(unlock: (done: FileDone) => void): Index {
    // Commits go one after the other, as through the index thread.
    let queue: (() => void)[] = []
    let busy = false
    const next = () => {
      const first = queue.shift()
      busy = first !== undefined
      first?.()
    }
    const inTurn = (call: (finished: () => void) => void) => {
      queue.push(() => call(next))
      if (!busy) next()
    }
    const life = this.#life
    const alive = () => life === this.#life
    return {
      load: (done) =>
        this.#files.call(
          false,
          () => undefined,
          (error) => done(error, this.contents()),
        ),
      begin: (done) => this.#files.call(false, () => undefined, done),
      commit: (batch, done) =>
        inTurn((finished) => {
          const effect = () => {
            if (this.#durable !== null) this.#commits.push(batch)
          }
          this.#files.call(false, effect, (error) => {
            done(error)
            finished()
          })
        }),
      sync: (done) => {
        // Another sync that ended meanwhile may have taken a first part of these.
        const last = this.#commits[this.#commits.length - 1]
        const effect = () => {
          const count = last === undefined ? 0 : this.#commits.indexOf(last) + 1
          for (const batch of this.#commits.splice(0, count)) this.#durable?.apply(batch)
        }
        this.#files.call(false, effect, done)
      },
      close: (done) => {
        queue = []
        if (alive()) unlock(done)
      },
    }
  }

  /** Everything that was committed, synced or not. */
  contents(): IndexContents {
    const now = this.#durable?.copy() ?? new IndexTables('')
    for (const batch of this.#commits) now.apply(batch)
    return now.contents()
  }
}
