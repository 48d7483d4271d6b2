/**
 * The real index: SQLite in a thread of its own, asked by messages; and asynchronous fdatasync of its write-ahead log,
 * so that a durable commit blocks neither the event loop nor the thread (decision 0003).
 */
import fs from 'node:fs'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { type FileDone, FileError, type FileValueDone } from './files.ts'
import type { Index, IndexBatch, IndexContents, IndexOpener } from './index.ts'
import { type PackedRows, unpackRows } from './packed-rows.ts'

type Asked =
  | { readonly kind: 'lock' | 'load' | 'begin' | 'close' }
  | { readonly kind: 'open'; readonly storeId: string | null }
  | { readonly kind: 'commit'; readonly batch: IndexBatch }
  | { readonly kind: 'make-aside'; readonly name: string; readonly contents: IndexContents }
export type IndexRequest = Asked & { readonly number: number }
export interface IndexAnswer {
  /** Of the question; 0 for what the thread tells by itself: CheckpointTold. */
  readonly number: number
  readonly error: { readonly code: string; readonly message: string } | null
  readonly value: unknown
}

/** The answer to `load`: the contents, with the rows of regions packed. */
export interface LoadedIndex extends Omit<IndexContents, 'regions'> {
  readonly packed: PackedRows
}

/** The write-ahead log was written back. */
export interface CheckpointTold {
  /** That were in the log. */
  readonly pages: number
  readonly tookMs: number
}

export class SqliteOpener implements IndexOpener, Index {
  readonly #dir: string
  readonly #worker: Worker
  readonly #waiting = new Map<number, FileValueDone<unknown>>()
  #number = 0
  #logFd = -1
  #isSyncing = false
  #syncWaiters: FileDone[] = []
  #dead: FileError | null = null
  /** How often the log was written back, how long that took at most, and how long the log was then. */
  readonly checkpoints = { count: 0, longestMs: 0, mostPages: 0 }

  /** @param threadFile index-thread.ts, or what it was bundled to */
  constructor(dir: string, threadFile: URL) {
    this.#dir = dir
    // Reading the rows leaves garbage that this thread's own collector would let grow to as much as the rows.
    const resourceLimits = { maxYoungGenerationSizeMb: 4 }
    this.#worker = new Worker(threadFile, { workerData: { dir }, name: 'store-index', resourceLimits })
    this.#worker.on('message', (answer: IndexAnswer) => this.#answered(answer))
    this.#worker.on('error', (error) => this.#died(error.message))
    this.#worker.on('exit', () => this.#died('the index thread ended'))
  }

  lock(done: FileDone): void {
    this.#ask({ kind: 'lock' }, done)
  }

  open(storeId: string | null, done: FileValueDone<Index>): void {
    this.#ask({ kind: 'open', storeId }, (error) => (error ? done(error) : done(null, this)))
  }

  begin(done: FileDone): void {
    this.#ask({ kind: 'begin' }, (error) => (error ? done(error) : this.#openLog(done)))
  }

  /** A whole index under another name, for a rebuild (rebuild.ts). */
  makeAside(name: string, contents: IndexContents, done: FileDone): void {
    this.#ask({ kind: 'make-aside', name, contents }, done)
  }

  load(done: FileValueDone<IndexContents>): void {
    this.#ask({ kind: 'load' }, (error, value) => {
      if (error) return done(error)
      // What the thread answers to `load`; messages between threads carry no types.
      const { packed, ...contents } = value as LoadedIndex
      done(null, { ...contents, regions: { [Symbol.iterator]: () => unpackRows(packed) } })
    })
  }

  commit(batch: IndexBatch, done: FileDone): void {
    this.#ask({ kind: 'commit', batch }, done)
  }

  sync(done: FileDone): void {
    if (this.#dead) {
      setImmediate(done, this.#dead)
      return
    }
    if (this.#logFd < 0) {
      this.#openLog((error) => (error ? done(error) : this.sync(done)))
      return
    }
    this.#syncWaiters.push(done)
    if (!this.#isSyncing) this.#sync()
  }

  /** One at a time: of two, the system tells only one that what both were to cover is lost. Who waits shares the next. */
  #sync(): void {
    const waiters = this.#syncWaiters
    this.#syncWaiters = []
    this.#isSyncing = true
    fs.fdatasync(this.#logFd, (error) => {
      this.#isSyncing = false
      const failed = error ? new FileError(error.code ?? 'EIO', error.message) : null
      const told = failed === null ? waiters : waiters.concat(this.#syncWaiters)
      if (failed !== null) this.#syncWaiters = []
      if (this.#syncWaiters.length > 0) this.#sync()
      for (const done of told) done(failed)
    })
  }

  close(done: FileDone): void {
    const closeThread = () =>
      this.#ask({ kind: 'close' }, (error) => {
        // Answer when the thread is gone, so that nothing of the store is left behind.
        this.#worker.once('exit', () => done(error))
      })
    if (this.#logFd < 0) closeThread()
    else fs.close(this.#logFd, closeThread)
    this.#logFd = -1
  }

  unlock(done: FileDone): void {
    this.close(done)
  }

  /** The first commit has made it. */
  #openLog(done: FileDone): void {
    fs.open(path.join(this.#dir, 'index.db-wal'), 'r+', (error, fd) => {
      if (error) return done(new FileError(error.code ?? 'EIO', error.message))
      if (this.#logFd >= 0) fs.close(fd, () => done(null))
      else {
        this.#logFd = fd
        done(null)
      }
    })
  }

  #ask(asked: Asked, done: FileValueDone<unknown>): void {
    if (this.#dead) {
      setImmediate(done, this.#dead)
      return
    }
    this.#number += 1
    this.#waiting.set(this.#number, done)
    this.#worker.postMessage({ ...asked, number: this.#number })
  }

  #answered(answer: IndexAnswer): void {
    if (answer.number === 0) return this.#told(answer)
    const done = this.#waiting.get(answer.number)
    this.#waiting.delete(answer.number)
    if (answer.error) done?.(new FileError(answer.error.code, answer.error.message))
    else done?.(null, answer.value)
  }

  #told(answer: IndexAnswer): void {
    // A log that cannot be written back is a disk that failed: nothing is committed any more.
    if (answer.error) return this.#died(answer.error.message, answer.error.code)
    const { pages, tookMs } = answer.value as CheckpointTold // see IndexAnswer
    this.checkpoints.count += 1
    this.checkpoints.longestMs = Math.max(this.checkpoints.longestMs, tookMs)
    this.checkpoints.mostPages = Math.max(this.checkpoints.mostPages, pages)
  }

  #died(why: string, code = 'EIO'): void {
    this.#dead ??= new FileError(code, why)
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const done of waiting) done(this.#dead)
  }
}
