/**
 * Group sync of one storage folder (W4). A sync that runs does not count for those who ask while it runs: they share
 * the next one. Also begins syncs that nobody asked for, so that a flush never finds more to do than a slow disk can
 * (dirty.ts), and holds writes back while it finds too much.
 */
import type { Clock, Timer } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { CommitCount } from './commit-count.ts'
import type { DataFiles } from './data-files.ts'
import { Dirty } from './dirty.ts'
import type { DiskQueue } from './disk-queue.ts'
import type { StoreFigures } from './figures.ts'
import type { FileError } from './files.ts'
import { commitCountOffset } from './format.ts'
import type { Index } from './index.ts'

/** A file beside the data files that a sync must cover. */
export interface Syncable {
  sync(done: (error: FileError | null) => void): void
}

export type SyncDone = (error: FileError | null) => void

export interface SyncParts {
  readonly clock: Clock
  readonly queue: DiskQueue
  readonly data: DataFiles
  readonly index: Index
  readonly count: CommitCount
  readonly figures: StoreFigures
  /** A sync failed: nothing is trusted to take more. */
  readonly fail: (error: FileError) => void
}

export class Syncs {
  readonly #parts: SyncParts
  readonly #dirty = new Dirty()
  #dirtyFiles = new Set<number>()
  #dirtyOthers = new Set<Syncable>()
  #dirtyIndex = false
  #waiting: SyncDone[] = []
  /** Writes held back until less is dirty. */
  #held: (() => void)[] = []
  /** Also while the index's number is being written down, after a sync or by itself. */
  #running = false
  #stopped = false
  /** The greatest number of the index that was written down. */
  #toldIndex: number
  #idle: (() => void) | null = null
  #timer: Timer | null = null
  /** Number of the latest sync that began, and of the latest that ended well. */
  #started = 0
  #completed = 0

  constructor(parts: SyncParts) {
    this.#parts = parts
    this.#toldIndex = parts.count.index
  }

  /** A write that ends now is covered by every sync with a greater number. */
  get started(): number {
    return this.#started
  }

  get completed(): number {
    return this.#completed
  }

  /** Bytes written and not yet synced. */
  get dirtyBytes(): number {
    return this.#dirty.bytes
  }

  /** A write into that data file has ended. */
  wrote(file: number): void {
    this.#dirtyFiles.add(file)
    // Some systems keep unsynced bytes for a long time; then a flush pays for all of them.
    this.#timer ??= this.#parts.clock.after(limits.dirtyMs, () => {
      this.#timer = null
      this.#background()
    })
    if (this.#dirty.isMuch) this.#background()
  }

  /** Blocks of a slot are being written: counted as dirty from now on. */
  writing(slot: number, inSlotBytes: number, lengthBytes: number): void {
    this.#dirty.add(slot, inSlotBytes, lengthBytes)
  }

  /** Calls `go` when a write may begin: at once, but for a disk that is far behind. */
  admit(go: () => void): void {
    if (!this.#dirty.isFull || this.#stopped) return go()
    this.#held.push(go)
    this.#parts.figures.held += 1
    this.#background()
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

  /**
   * More commits of the index are durable than any file says: it is written down, into the page cache only. A killed agent
   * does not lose that, a power cut may; then the next sync brings it to the disk, or the disk by itself.
   */
  tellIndex(): void {
    if (this.#running) return
    this.#running = true
    this.#tell()
  }

  /** Calls back when no sync is under way, perhaps at once. Only at the end: for one caller. */
  whenIdle(done: () => void): void {
    if (this.#running) this.#idle = done
    else done()
  }

  /** Done when all that ended before this call is durable. Never synchronous. */
  request(done: SyncDone): void {
    this.#waiting.push(done)
    if (!this.#running) this.#start()
  }

  /** The store is being closed: nothing begins any more that nobody asked for. */
  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
    this.#timer = null
  }

  #background(): void {
    if (this.#running || this.#stopped) return
    this.#parts.figures.backgroundSyncs += 1
    this.request(() => undefined)
  }

  #start(): void {
    const { clock, figures, count, queue, data } = this.#parts
    const waiters = this.#waiting
    const files = this.#dirtyFiles
    const others = this.#dirtyOthers
    const syncIndex = this.#dirtyIndex
    this.#waiting = []
    this.#dirtyFiles = new Set()
    this.#dirtyOthers = new Set()
    this.#dirtyIndex = false
    this.#timer?.cancel()
    this.#timer = null
    this.#running = true
    this.#started += 1
    this.#dirty.began()
    const number = this.#started
    const startMs = clock.monotonicMs()
    const commit = files.size > 0 ? count.next() : null
    let left = files.size + others.size + 1
    let failed: FileError | null = null
    const part = (error: FileError | null) => {
      failed ??= error
      left -= 1
      if (left > 0) return
      if (failed === null) this.#completed = number
      if (failed === null && commit !== null) count.ended(commit)
      const tookMs = clock.monotonicMs() - startMs
      figures.longestSyncMs = Math.max(figures.longestSyncMs, tookMs)
      this.#dirty.ended(tookMs)
      // Whoever asked: what the disk forgot with it may be somebody else's, and the next sync knows nothing of it.
      if (failed !== null) this.#parts.fail(failed)
      for (const waiter of waiters) waiter(failed)
      this.#admitHeld()
      if (failed === null) this.#tell()
      else this.#next()
    }
    // C12: in each of them, so that the count is as durable as what it counts.
    const before = commit === null ? [] : [{ bytes: count.sector(commit), offsetBytes: commitCountOffset }]
    for (const file of files) queue.sync(data.get(file), { diskDone: part }, before)
    for (const file of others) file.sync(part)
    if (syncIndex) this.#parts.index.sync(part)
    else queue.turn(() => part(null))
  }

  /** Not beside a sync: of two writes of that sector the later one may come first. */
  #tell(): void {
    const { count, data, fail } = this.#parts
    const { index } = count
    const [number] = data.numbers()
    if (this.#stopped || number === undefined || index <= this.#toldIndex) return this.#next()
    const bytes = count.sector(count.value)
    data.get(number).write([bytes], bytes.length, commitCountOffset, false, (error) => {
      this.#toldIndex = index
      if (error === null) return this.#tell()
      fail(error)
      this.#next()
    })
  }

  /** Writes that were held back go on. */
  #admitHeld(): void {
    const held = this.#held
    this.#held = []
    let at = 0
    for (; at < held.length && !this.#dirty.isFull; at += 1) held[at]?.()
    this.#held = held.slice(at).concat(this.#held)
  }

  /** Whoever asked meanwhile gets the next one. */
  #next(): void {
    this.#running = false
    if (this.#waiting.length > 0) this.#start()
    else if (this.#held.length > 0 || this.#dirty.isMuch) this.#background()
    if (this.#running) return
    const idle = this.#idle
    this.#idle = null
    idle?.()
  }
}
