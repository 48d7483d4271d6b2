/**
 * Small durable records: one file each in meta/, replaced as a whole (write aside, sync, rename, sync the folder).
 * Values that wait for the same key while a put is under way are taken together: the last one is written, all hear.
 */
import { invariant } from '../kit/failure.ts'
import { limits } from '../limits.ts'
import type { CommitCount } from './commit-count.ts'
import { type BlockFile, FileError, type Files, failureOf } from './files.ts'
import { decodeRecord, encodeRecord } from './format.ts'
import type { Records, StoreDone } from './replica.ts'
import { runSteps, type Steps, wait } from './steps.ts'
import { damaged, unknownVersion } from './trouble.ts'

const keyShape = /^[a-z0-9-]{1,80}$/

/** Replaces a whole small file; durable when the steps end. `path` is in `folder` ('' = the storage folder). */
export function* replaceFile(files: Files, folder: string, path: string, bytes: Buffer): Steps<void> {
  const aside = `${path}.new`
  yield* wait((done) => files.remove(aside, done))
  const file = yield* wait<BlockFile>((done) => files.open(aside, true, done))
  try {
    yield* wait((done) => file.write([bytes], bytes.length, 0, true, done))
    yield* wait((done) => file.sync(done))
  } finally {
    yield* wait((done) => file.close(done))
  }
  yield* wait((done) => files.rename(aside, path, done))
  yield* wait((done) => files.syncFolder(folder, done))
}

/** @throws UserError when the file is not a sound record. */
export function* readRecordFile(files: Files, path: string): Steps<unknown> {
  return (yield* readCountedFile(files, path)).value
}

function* readCountedFile(files: Files, path: string): Steps<{ value: unknown; count: number }> {
  const bytes = yield* wait<Buffer>((done) => files.readAll(path, done))
  const record = decodeRecord(bytes)
  if (record.ok) return record
  throw record.why === 'version' ? unknownVersion(path) : damaged(path, 'its checksum does not fit its content')
}

export class FileRecords implements Records {
  readonly #files: Files
  readonly #fail: (error: FileError) => void
  readonly #values = new Map<string, unknown>()
  /** As JSON, so that what is written is what was put. */
  #waiting = new Map<string, { json: string; waiters: StoreDone[] }>()
  #running = false
  #since = 0
  readonly #now: () => number
  readonly #count: CommitCount

  constructor(files: Files, count: CommitCount, now: () => number, fail: (error: FileError) => void) {
    this.#files = files
    this.#now = now
    this.#count = count
    this.#fail = fail
  }

  /** Reads all records. @throws UserError when one is damaged */
  *load(): Steps<void> {
    const names = yield* wait<string[]>((done) => this.#files.list('meta', done))
    for (const name of names) {
      const key = name.endsWith('.json') ? name.slice(0, -5) : ''
      if (!keyShape.test(key)) continue
      const { value, count } = yield* readCountedFile(this.#files, `meta/${name}`)
      this.#values.set(key, value)
      this.#count.found(count)
    }
  }

  /** Age in ms of the oldest put that the disk has not answered yet; 0 when none. */
  pendingMs(): number {
    return this.#running ? this.#now() - this.#since : 0
  }

  get(key: string): unknown {
    return this.#values.get(key)
  }

  keys(): readonly string[] {
    return [...this.#values.keys()].sort()
  }

  put(key: string, value: unknown, done: StoreDone): void {
    invariant(keyShape.test(key), 'S3', `"${key}" is not a record key`)
    const lengthBytes = encodeRecord(value).length
    invariant(lengthBytes <= limits.recordBytes, 'S3', `record ${key} has ${lengthBytes} bytes`)
    const json = JSON.stringify(value)
    this.#values.set(key, value)
    const known = this.#waiting.get(key)
    if (known) {
      known.json = json
      known.waiters.push(done)
    } else {
      this.#waiting.set(key, { json, waiters: [done] })
    }
    if (!this.#running) this.#next()
  }

  #next(): void {
    const first = this.#waiting.entries().next().value
    if (first === undefined) return
    const [key, { json, waiters }] = first
    const count = this.#count.next()
    this.#waiting.delete(key)
    this.#running = true
    this.#since = this.#now()
    runSteps(replaceFile(this.#files, 'meta', `meta/${key}.json`, encodeRecord(JSON.parse(json), count)), (error) => {
      this.#running = false
      if (error === null) this.#count.ended(count)
      const trouble = error instanceof FileError ? error : null
      if (error && trouble === null) throw error
      const failure = trouble && failureOf(trouble)
      if (trouble && failure === 'io') this.#fail(trouble)
      for (const waiter of waiters) waiter(failure)
      if (!this.#running) this.#next()
    })
  }
}
