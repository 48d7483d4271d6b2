/**
 * The thread that owns SQLite for one storage folder: the lock and the index. Any call here may block while the disk
 * stalls; only this thread waits then. Started by sqlite-index.ts, speaks its messages.
 */
import fs from 'node:fs'
import path from 'node:path'
import { performance } from 'node:perf_hooks'
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import Database from 'better-sqlite3'
import { never } from '../kit/failure.ts'
import { flushMostMs } from './dirty.ts'
import type { IndexBatch, IndexContents } from './index.ts'
import { batcher, rowPutter, volumeAdder } from './index-changes.ts'
import { groupRows, imageRows, regionRows, volumeRows } from './index-rows.ts'
import { addFunctions, makeTables, upgrade } from './index-schema.ts'
import { type PackedRows, packRows } from './packed-rows.ts'
import type { CheckpointTold, IndexAnswer, IndexRequest, LoadedIndex } from './sqlite-index.ts'

const dir = (workerData as { dir: string }).dir // given by sqlite-index.ts, nobody else starts this file
const at = (name: string): string => path.join(dir, name)

let lock: Database.Database | null = null
let index: OpenIndex | null = null

class CodedError extends Error {
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

/** An exclusive transaction that is never committed: the kernel frees the lock when this process is gone (E12). */
function takeLock(): void {
  // Says EROFS or EACCES where SQLite only says that it cannot open.
  fs.accessSync(dir, fs.constants.W_OK | fs.constants.X_OK)
  const database = new Database(at('lock.db'), { timeout: 0 })
  try {
    database.pragma('journal_mode = DELETE')
    database.exec('BEGIN EXCLUSIVE')
    lock = database
  } catch (error) {
    database.close()
    throw error
  }
}

/** Pages the write-ahead log may have before it is written back, at first, at least and at most. */
const logPages = { first: 256, least: 32, most: 1024 }

class OpenIndex {
  readonly #database: Database.Database
  #logPages = logPages.first
  /** Pages in the log when a reader from outside kept it from being emptied. */
  #keptPages = 0
  readonly #run: (batch: IndexBatch) => void

  constructor(file: string, storeId: string | null) {
    if (storeId !== null) {
      for (const ending of ['', '-wal', '-shm']) fs.rmSync(file + ending, { force: true })
    } else if (!fs.existsSync(file)) {
      throw new CodedError('EINDEX', 'index.db is missing')
    }
    this.#database = new Database(file, { timeout: 5000 })
    this.#database.pragma('journal_mode = WAL')
    this.#database.pragma('synchronous = NORMAL')
    // 4 MiB: after the start the index is only written, and neighbours come together.
    this.#database.pragma('cache_size = -4096')
    // Rows that are copied within a table, for an image, pass through a temporary one: 16 MiB for a TiB.
    this.#database.pragma('temp_store = MEMORY')
    // SQLite's own way would make the commit wait that happens to be the thousandth page.
    this.#database.pragma('wal_autocheckpoint = 0')
    addFunctions(this.#database)
    if (storeId !== null) this.#database.transaction(() => makeTables(this.#database, storeId, 0, 0))()
    else upgrade(this.#database)
    this.#run = batcher(this.#database)
  }

  /** A commit, so that the write-ahead log is there for the store's own syncs. */
  begin(): void {
    this.#database.exec('UPDATE store SET opened = opened + 1')
  }

  load(): LoadedIndex {
    const row = this.#database.prepare('SELECT * FROM store').get()
    const store = row as Pick<LoadedIndex, 'storeId' | 'lastVolume' | 'commits'> | undefined // columns of our own table
    if (!store) throw new CodedError('ECORRUPT', 'index.db says nothing about its store')
    return {
      storeId: store.storeId,
      lastVolume: store.lastVolume,
      commits: store.commits,
      volumes: volumeRows(this.#database),
      images: imageRows(this.#database),
      packed: this.#packed(),
      groups: groupRows(this.#database),
    }
  }

  /** Read row by row, so that not all of them are objects at once. */
  #packed(): PackedRows {
    const count = Number(this.#database.prepare('SELECT count(*) FROM regions').pluck().get())
    try {
      return packRows(regionRows(this.#database), count)
    } catch (error) {
      if (error instanceof RangeError) throw new CodedError('ECORRUPT', error.message)
      throw error
    }
  }

  commit(batch: IndexBatch): void {
    this.#run(batch)
  }

  /**
   * Writes the log back when it has become long: the log is synced, its pages go to the database, that is synced, and
   * only then does SQLite begin the log anew, in place. A commit that comes meanwhile waits; so the log is as short as
   * this disk needs for the wait to stay far below a flush's third of E8. @returns what was done, null for nothing
   */
  keepLogShort(): CheckpointTold | null {
    const pages = this.#logLength('NOOP')
    if (pages < this.#keptPages) this.#keptPages = 0
    if (pages - this.#keptPages < this.#logPages) return null
    const startMs = performance.now()
    const left = this.#logLength('PASSIVE')
    const tookMs = performance.now() - startMs
    this.#keptPages = left
    if (tookMs > flushMostMs / 8) this.#logPages = Math.max(logPages.least, this.#logPages / 2)
    else if (tookMs < flushMostMs / 64) this.#logPages = Math.min(logPages.most, this.#logPages * 2)
    return { pages, tookMs }
  }

  /** @returns pages in the log that are not in the database yet; after PASSIVE those that had to stay */
  #logLength(mode: 'NOOP' | 'PASSIVE'): number {
    // What this pragma answers: see SQLite's own page about it.
    const rows = this.#database.pragma(`wal_checkpoint(${mode})`) as { log: number; checkpointed: number }[]
    const { log = 0, checkpointed = 0 } = rows[0] ?? {}
    return log - checkpointed
  }

  close(): void {
    this.#database.close()
  }
}

/** For a rebuild. Not in WAL mode: when it is closed there is one file, and all of it is on the disk. */
function makeAside(name: string, contents: IndexContents): void {
  for (const ending of ['', '-journal', '-wal', '-shm']) fs.rmSync(at(name) + ending, { force: true })
  const database = new Database(at(name), { timeout: 0 })
  try {
    database.pragma('journal_mode = DELETE')
    database.pragma('synchronous = FULL')
    database.transaction(() => {
      makeTables(database, contents.storeId, contents.lastVolume, contents.commits)
      const addVolume = volumeAdder(database)
      for (const volume of contents.volumes) addVolume(volume)
      rowPutter(database)({ regions: [...contents.regions], groups: contents.groups })
    })()
  } finally {
    database.close()
  }
}

function answer(request: IndexRequest): unknown {
  switch (request.kind) {
    case 'lock':
      return takeLock()
    case 'open':
      index = new OpenIndex(at('index.db'), request.storeId)
      return undefined
    case 'begin':
      return index?.begin()
    case 'load':
      return index?.load()
    case 'commit':
      return index?.commit(request.batch)
    case 'make-aside':
      return makeAside(request.name, request.contents)
    case 'close':
      index?.close()
      lock?.close()
      index = null
      lock = null
      return undefined
    default:
      return never(request, 'index thread')
  }
}

/** SQLite's words for an error, as the operating system would say it. */
function codeOf(error: unknown): string {
  const code = String((error as { code?: unknown }).code ?? '') // errors of better-sqlite3 and node:fs carry one
  if (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED')) return 'EBUSY'
  if (code === 'SQLITE_FULL') return 'ENOSPC'
  if (code.startsWith('SQLITE_READONLY')) return 'EROFS'
  if (code === 'SQLITE_CANTOPEN' || code === 'SQLITE_PERM') return 'EACCES'
  if (code === 'SQLITE_CORRUPT' || code === 'SQLITE_NOTADB' || code === 'SQLITE_ERROR') return 'ECORRUPT'
  return code.startsWith('E') ? code : 'EIO'
}

/** After the answer, so that the commit itself does not wait for it. */
function keepLogShort(to: MessagePort): void {
  try {
    const told = index?.keepLogShort() ?? null
    if (told !== null) to.postMessage({ number: 0, error: null, value: told } satisfies IndexAnswer)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    to.postMessage({ number: 0, error: { code: codeOf(error), message }, value: undefined } satisfies IndexAnswer)
  }
}

/** Memory that moves to the other thread instead of being copied. */
function handedOver(value: unknown): ArrayBuffer[] {
  const isLoaded = typeof value === 'object' && value !== null && 'packed' in value
  return isLoaded ? [(value as LoadedIndex).packed.bytes.buffer] : [] // only `load` answers with `packed`
}

const port = parentPort
if (!port) throw new Error('index-thread.ts is a thread, not a program')
port.on('message', (request: IndexRequest) => {
  let reply: IndexAnswer
  try {
    reply = { number: request.number, error: null, value: answer(request) }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    reply = { number: request.number, error: { code: codeOf(error), message }, value: undefined }
  }
  port.postMessage(reply, handedOver(reply.value))
  if (request.kind === 'commit' && reply.error === null) keepLogShort(port)
  if (request.kind === 'close') port.close()
})
