/** The index port for crash images: keeps every commit with the instants at which it began and ended. */
import type { FileDone, FileValueDone } from '../../../agent/store/files.ts'
import { FileError } from '../../../agent/store/files.ts'
import type { Index, IndexBatch, IndexOpener } from '../../../agent/store/index.ts'
import { IndexTables } from '../../../agent/store/index-tables.ts'
import { type Choices, type RecordedDisk, type Span, wasThere } from './recorded-disk.ts'

export interface IndexEntry extends Span {
  readonly make: string | null
  readonly batch: IndexBatch | null
}

const after = (before: IndexTables | null, entry: IndexEntry): IndexTables | null => {
  if (entry.make !== null) return new IndexTables(entry.make)
  if (before !== null && entry.batch !== null) before.apply(entry.batch)
  return before
}

export class RecordedIndex {
  readonly #disk: RecordedDisk
  readonly #base: IndexTables | null
  #entries: IndexEntry[] = []
  #syncs: Span[] = []
  #locked = false

  constructor(disk: RecordedDisk, base: IndexTables | null = null) {
    this.#disk = disk
    this.#base = base
  }

  #after(entries: readonly IndexEntry[]): IndexTables | null {
    let tables = this.#base?.copy() ?? null
    for (const entry of entries) tables = after(tables, entry)
    return tables
  }

  /** The index as the machine finds it: commits are taken in order, so always a first part of them. */
  fork(disk: RecordedDisk, at: number, choices: Choices | null): RecordedIndex {
    const begun = this.#entries.filter(({ begin }) => begin <= at)
    if (choices === null) {
      const fork = new RecordedIndex(disk, this.#base)
      fork.#entries = begun
        .filter((entry) => wasThere(entry, at) || disk.unit() < 0.5)
        .map((entry) => ({ ...entry, end: Math.min(entry.end, at) }))
      fork.#syncs = this.#syncs.filter(({ end }) => end <= at)
      return fork
    }
    const covered = Math.max(-1, ...this.#syncs.filter(({ end }) => end <= at).map(({ begin }) => begin))
    const durable = begun.filter(({ end }) => end <= covered).length
    return new RecordedIndex(disk, this.#after(begun.slice(0, durable + choices.commits(begun.length - durable))))
  }

  opener(): IndexOpener {
    let has = false
    const unlock = (done: FileDone) => {
      if (has) this.#locked = false
      has = false
      this.#disk.call('index', 'unlock', false, () => undefined, done)
    }
    return {
      lock: (done) => {
        const free = !this.#locked
        this.#locked = true
        has ||= free
        const answer = (error: FileError | null) => done(error ?? (free ? null : new FileError('EBUSY', 'locked')))
        this.#disk.call('index', 'lock', false, () => undefined, answer)
      },
      open: (storeId, done) => this.#open(storeId, unlock, done),
      unlock,
    }
  }

  #open(storeId: string | null, unlock: (done: FileDone) => void, done: FileValueDone<Index>): void {
    const answer = (error: FileError | null) => {
      if (error !== null) done(error)
      else if (this.#after(this.#entries) === null) done(new FileError('EINDEX', 'the index is missing'))
      else done(null, this.#index(unlock))
    }
    if (storeId === null) this.#disk.call('index', 'open', false, () => undefined, answer)
    else this.#add({ make: storeId, batch: null }, answer)
  }

  #add(what: Pick<IndexEntry, 'make' | 'batch'>, answer: FileDone): void {
    const entry: IndexEntry = { ...what, begin: this.#disk.tick(), end: Number.POSITIVE_INFINITY }
    this.#entries.push(entry)
    const ended = () => {
      entry.end = this.#disk.tick()
    }
    this.#disk.call('index', 'commit', true, ended, (error) => {
      if (error !== null && entry.end === Number.POSITIVE_INFINITY) {
        // SQLite takes a failed commit back.
        this.#entries = this.#entries.filter((other) => other !== entry)
      }
      answer(error)
    })
  }

  #index(unlock: (done: FileDone) => void): Index {
    const queue: (() => void)[] = []
    let busy = false
    const next = () => {
      const first = queue.shift()
      busy = first !== undefined
      first?.()
    }
    return {
      load: (done) =>
        this.#disk.call(
          'index',
          'load',
          false,
          () => undefined,
          (error) => done(error, (this.#after(this.#entries) ?? new IndexTables('')).contents()),
        ),
      begin: (done) => this.#disk.call('index', 'begin', false, () => undefined, done),
      commit: (batch, done) => {
        const kept = structuredClone(batch)
        queue.push(() =>
          this.#add({ make: null, batch: kept }, (error) => {
            done(error)
            next()
          }),
        )
        if (!busy) next()
      },
      sync: (done) => {
        const begin = this.#disk.tick()
        const ended = () => this.#syncs.push({ begin, end: this.#disk.tick() })
        this.#disk.call('index', 'sync', false, ended, done)
      },
      close: (done) => unlock(done),
    }
  }
}
