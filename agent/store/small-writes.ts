/**
 * Small writes of one storage folder, executed by a thread of its own: whatever one turn of the event loop brings costs one
 * wake-up there and one back, where the pool of file threads takes both for every single write. Their bytes are copied,
 * which for a few KiB is cheaper than anything else here.
 */
import util from 'node:util'
import { Worker } from 'node:worker_threads'
import { limits } from '../limits.ts'
import { FileError, type FilePiece } from './files.ts'
import { at, entryFields, entryOf, type SharedMemory, sharedMemory, syncState } from './small-writes-memory.ts'

/** @param taken whether the file took all bytes; if not, the asker tries again and hears why */
type Answered = (taken: boolean) => void
/**
 * What became of pieces and the sync behind them. Not taken: the asker does it all again. An error: the sync failed, or nobody
 * knows; then a second one would answer well and mean nothing.
 */
export type SyncAnswer = 'done' | 'not-taken' | FileError

export class SmallWrites {
  readonly #memory: SharedMemory = sharedMemory()
  readonly #bytes = Buffer.from(this.#memory.bytes.buffer)
  readonly #worker: Worker
  readonly #waiting = new Array<Answered | undefined>(limits.diskSmallWrites)
  /** Counters that wrap, as in the shared memory. */
  #submitted = 0
  #answered = 0
  #publishing = false
  #listening = false
  #ended = false

  /** @param threadFile small-writes-thread.ts, or what it was bundled to */
  constructor(threadFile: URL) {
    this.#worker = new Worker(threadFile, { workerData: this.#memory, name: 'store-writes' })
    this.#worker.unref()
    this.#worker.on('error', () => this.#died())
    this.#worker.on('exit', () => this.#died())
  }

  /**
   * The bytes are copied inside this call.
   * @returns false when it cannot take it (not up yet, full, ended): then nothing was done and nothing is answered
   */
  write(descriptor: number, chunks: readonly Uint8Array[], offsetBytes: number, answered: Answered): boolean {
    const { control, entries, entryBytes } = this.#memory
    const pending = (this.#submitted - this.#answered) | 0
    if (this.#ended || pending >= limits.diskSmallWrites || Atomics.load(control, at.ready) === 0) return false
    const entry = entryOf(this.#submitted)
    let lengthBytes = 0
    for (const chunk of chunks) {
      const start = entry * entryBytes + lengthBytes
      lengthBytes += chunk.length
      // Not `set`: into shared memory that copies byte by byte, atomically, seven times as long.
      this.#bytes.fill(chunk, start, start + chunk.length)
    }
    const fields = entry * entryFields
    entries[fields] = descriptor
    entries[fields + 1] = lengthBytes
    entries[fields + 2] = offsetBytes
    entries[fields + 4] = syncState.none
    this.#waiting[entry] = answered
    this.#submitted = (this.#submitted + 1) | 0
    if (!this.#publishing) {
      this.#publishing = true
      process.nextTick(this.#publish)
    }
    return true
  }

  /**
   * Writes all pieces, then syncs the file. Only where nothing else is under way: nobody waits here behind somebody's sync.
   * @returns as `write`
   */
  writeAndSync(descriptor: number, pieces: readonly FilePiece[], answered: (answer: SyncAnswer) => void): boolean {
    const { entries, entryBytes } = this.#memory
    const fits = pieces.length < limits.diskSmallWrites && pieces.every(({ bytes }) => bytes.length <= entryBytes)
    if (!fits || this.#answered !== this.#submitted) return false
    let isTaken = true
    for (const { bytes, offsetBytes } of pieces) {
      const one = (taken: boolean) => {
        isTaken &&= taken
      }
      if (!this.write(descriptor, [bytes], offsetBytes, one)) return false
    }
    const last = entryOf(this.#submitted - 1)
    entries[last * entryFields + 4] = syncState.asked
    this.#waiting[last] = (taken) => {
      const state = entries[last * entryFields + 4] ?? syncState.asked
      if (state === syncState.done) answered(isTaken && taken ? 'done' : 'not-taken')
      else answered(state < 0 ? failedSync(state) : new FileError('EIO', 'the thread of a sync ended'))
    }
    return true
  }

  /** Nothing is taken any more. */
  get ended(): boolean {
    return this.#ended
  }

  /** Nothing is under way or comes after. */
  end(): void {
    this.#ended = true
    void this.#worker.terminate()
  }

  /** Once for all that was submitted in a row. */
  readonly #publish = (): void => {
    this.#publishing = false
    const { control } = this.#memory
    Atomics.store(control, at.submitted, this.#submitted)
    Atomics.notify(control, at.submitted)
    this.#listen()
  }

  #listen(): void {
    if (this.#listening || this.#ended || this.#answered === this.#submitted) return
    const told = Atomics.waitAsync(this.#memory.control, at.done, this.#answered)
    this.#listening = true
    if (told.async) void told.value.then(this.#collect)
    else queueMicrotask(this.#collect)
  }

  readonly #collect = (): void => {
    this.#listening = false
    if (this.#ended) return
    const done = Atomics.load(this.#memory.control, at.done)
    while (this.#answered !== done) {
      const fields = entryOf(this.#answered) * entryFields
      this.#answer(this.#memory.entries[fields + 3] === this.#memory.entries[fields + 1])
    }
    this.#listen()
  }

  #answer(taken: boolean): void {
    const entry = entryOf(this.#answered)
    const answered = this.#waiting[entry]
    this.#waiting[entry] = undefined
    this.#answered = (this.#answered + 1) | 0
    answered?.(taken)
  }

  /** The thread is gone, so nothing of it is under way: everything unanswered is done the ordinary way. */
  #died(): void {
    if (this.#ended) return
    this.#ended = true
    while (this.#answered !== this.#submitted) this.#answer(false)
  }
}

const failedSync = (number: number): FileError => {
  const code = util.getSystemErrorName(number)
  return new FileError(code, `${code}: fdatasync failed`)
}
