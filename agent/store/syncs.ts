/**
 * Group sync of one storage folder (W4). A sync that runs does not count for those who ask while it runs: they share
 * the next one.
 */
import type { DataFiles } from './data-files.ts'
import type { DiskQueue } from './disk-queue.ts'
import type { FileError } from './files.ts'
import type { Index } from './index.ts'

/** A file beside the data files that a sync must cover. */
export interface Syncable {
  sync(done: (error: FileError | null) => void): void
}

export type SyncDone = (error: FileError | null) => void

export class Syncs {
  readonly #queue: DiskQueue
  readonly #data: DataFiles
  readonly #index: Index
  #dirtyFiles = new Set<number>()
  #dirtyOthers = new Set<Syncable>()
  #dirtyIndex = false
  #waiting: SyncDone[] = []
  #running = false
  /** Number of the latest sync that began, and of the latest that ended well. */
  #started = 0
  #completed = 0

  constructor(parts: { queue: DiskQueue; data: DataFiles; index: Index }) {
    this.#queue = parts.queue
    this.#data = parts.data
    this.#index = parts.index
  }

  /** A write that ends now is covered by every sync with a greater number. */
  get started(): number {
    return this.#started
  }

  get completed(): number {
    return this.#completed
  }

  /** A write into that data file has ended. */
  wrote(file: number): void {
    this.#dirtyFiles.add(file)
  }

  wroteOther(file: Syncable): void {
    this.#dirtyOthers.add(file)
  }

  forget(file: Syncable): void {
    this.#dirtyOthers.delete(file)
  }

  committed(): void {
    this.#dirtyIndex = true
  }

  /** Done when all that ended before this call is durable. Never synchronous. */
  request(done: SyncDone): void {
    this.#waiting.push(done)
    if (!this.#running) this.#start()
  }

  #start(): void {
    const waiters = this.#waiting
    const files = this.#dirtyFiles
    const others = this.#dirtyOthers
    const syncIndex = this.#dirtyIndex
    this.#waiting = []
    this.#dirtyFiles = new Set()
    this.#dirtyOthers = new Set()
    this.#dirtyIndex = false
    this.#running = true
    this.#started += 1
    const number = this.#started
    let left = files.size + others.size + 1
    let failed: FileError | null = null
    const part = (error: FileError | null) => {
      failed ??= error
      left -= 1
      if (left > 0) return
      this.#running = false
      if (failed === null) this.#completed = number
      for (const waiter of waiters) waiter(failed)
      if (this.#waiting.length > 0 && !this.#running) this.#start()
    }
    for (const file of files) this.#queue.sync(this.#data.get(file), { diskDone: part })
    for (const file of others) file.sync(part)
    if (syncIndex) this.#index.sync(part)
    else this.#queue.turn(() => part(null))
  }
}
