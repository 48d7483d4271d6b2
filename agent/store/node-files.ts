/** The real file port: node:fs by callbacks, never a synchronous call. */
import fs from 'node:fs'
import path from 'node:path'
import {
  type BlockFile,
  type DiskSpace,
  type FileDone,
  FileError,
  type FilePiece,
  type Files,
  type FileValueDone,
  isSmallWrite,
  type ReadFileDone,
} from './files.ts'
import { SmallWrites, type SyncAnswer } from './small-writes.ts'

const errorOf = (error: NodeJS.ErrnoException): FileError => new FileError(error.code ?? 'EIO', error.message)
const plain = (done: FileDone) => (error: NodeJS.ErrnoException | null) => done(error ? errorOf(error) : null)

/** Syncs of a folder from which on they have a thread: a short-lived store needs none. */
const syncsBeforeThread = 16

/**
 * The threads of a folder: one for small writes, there from the first one until its last file is closed, and one for syncs
 * that write something first (one turn instead of two).
 */
class FolderThread {
  readonly #threadFile: URL
  #writes: SmallWrites | null = null
  #syncs: SmallWrites | null = null
  #syncCount = 0
  #users = 0

  constructor(threadFile: URL) {
    this.#threadFile = threadFile
  }

  get writes(): SmallWrites {
    this.#writes ??= new SmallWrites(this.#threadFile)
    return this.#writes
  }

  /** Null while it is not worth it. */
  get syncs(): SmallWrites | null {
    this.#syncCount += 1
    if (this.#syncCount >= syncsBeforeThread) this.#syncs ??= new SmallWrites(this.#threadFile)
    return this.#syncs
  }

  opened(): void {
    this.#users += 1
  }

  closed(): void {
    this.#users -= 1
    if (this.#users > 0) return
    this.#writes?.end()
    this.#syncs?.end()
    this.#writes = null
    this.#syncs = null
  }
}

class NodeBlockFile implements BlockFile {
  readonly #fd: number
  readonly #thread: FolderThread
  constructor(fd: number, thread: FolderThread) {
    this.#fd = fd
    this.#thread = thread
    thread.opened()
  }

  read(into: Uint8Array, start: number, lengthBytes: number, offsetBytes: number, done: ReadFileDone): void {
    fs.read(this.#fd, into, start, lengthBytes, offsetBytes, (error, got) => {
      if (error) done(errorOf(error), 0)
      else if (got === 0 || got === lengthBytes) done(null, got)
      else this.read(into, start + got, lengthBytes - got, offsetBytes + got, (e, more) => done(e, got + more))
    })
  }

  write(
    chunks: readonly Uint8Array[],
    lengthBytes: number,
    offsetBytes: number,
    _fresh: boolean,
    done: FileDone,
  ): void {
    const ordinary = () => this.#write(chunks, lengthBytes, offsetBytes, done)
    // W3: no overlapping write is under way, so writing once more what the thread may have written in part is harmless.
    const answered = (taken: boolean) => (taken ? done(null) : ordinary())
    const isSmall = isSmallWrite(lengthBytes, offsetBytes)
    if (!isSmall || !this.#thread.writes.write(this.#fd, chunks, offsetBytes, answered)) ordinary()
  }

  #write(chunks: readonly Uint8Array[], lengthBytes: number, offsetBytes: number, done: FileDone): void {
    const written = (error: NodeJS.ErrnoException | null, got: number) => {
      if (error) done(errorOf(error))
      else if (got === lengthBytes) done(null)
      else if (got === 0) done(new FileError('EIO', 'the disk took no bytes'))
      else this.#write(skip(chunks, got), lengthBytes - got, offsetBytes + got, done)
    }
    const only = chunks[0]
    if (chunks.length === 1 && only) fs.write(this.#fd, only, 0, lengthBytes, offsetBytes, written)
    // Node's types want a mutable array, but writev only reads it.
    else fs.writev(this.#fd, chunks as Uint8Array[], offsetBytes, written)
  }

  sync(done: FileDone): void {
    fs.fdatasync(this.#fd, plain(done))
  }

  writeAndSync(pieces: readonly FilePiece[], done: FileDone): void {
    const answered = (answer: SyncAnswer) => {
      if (answer === 'not-taken') this.#inTurns(pieces, done)
      else done(answer === 'done' ? null : answer)
    }
    // One sync at a time there: a slow one holds no other file's.
    if (this.#thread.syncs?.writeAndSync(this.#fd, pieces, answered) !== true) this.#inTurns(pieces, done)
  }

  /** Without the thread. */
  #inTurns(pieces: readonly FilePiece[], done: FileDone): void {
    let left = pieces.length
    let failed: FileError | null = null
    const written = (error: FileError | null) => {
      failed ??= error
      left -= 1
      if (left > 0) return
      if (failed === null) this.sync(done)
      else done(failed)
    }
    for (const { bytes, offsetBytes } of pieces) this.#write([bytes], bytes.length, offsetBytes, written)
  }

  close(done: FileDone): void {
    this.#thread.closed()
    fs.close(this.#fd, plain(done))
  }
}

/** @returns the chunks without their first `bytes` bytes. */
function skip(chunks: readonly Uint8Array[], bytes: number): Uint8Array[] {
  const rest: Uint8Array[] = []
  let left = bytes
  for (const chunk of chunks) {
    if (left < chunk.length) rest.push(left === 0 ? chunk : chunk.subarray(left))
    left = Math.max(0, left - chunk.length)
  }
  return rest
}

export class NodeFiles implements Files {
  readonly #dir: string
  readonly #thread: FolderThread

  /** @param threadFile small-writes-thread.ts, or what it was bundled to */
  constructor(dir: string, threadFile: URL) {
    this.#dir = dir
    this.#thread = new FolderThread(threadFile)
  }

  #at(name: string): string {
    return path.join(this.#dir, name)
  }

  open(name: string, create: boolean, done: FileValueDone<BlockFile>): void {
    const flags = fs.constants.O_RDWR | (create ? fs.constants.O_CREAT : 0)
    fs.open(this.#at(name), flags, 0o600, (error, fd) => {
      if (error) done(errorOf(error))
      else done(null, new NodeBlockFile(fd, this.#thread))
    })
  }

  readAll(name: string, done: FileValueDone<Buffer>): void {
    fs.readFile(this.#at(name), (error, bytes) => (error ? done(errorOf(error)) : done(null, bytes)))
  }

  list(folder: string, done: FileValueDone<string[]>): void {
    fs.readdir(this.#at(folder), (error, names) => (error ? done(errorOf(error)) : done(null, names.sort())))
  }

  makeFolder(name: string, done: FileDone): void {
    fs.mkdir(this.#at(name), 0o700, (error) => {
      if (error && error.code !== 'EEXIST') done(errorOf(error))
      else done(null)
    })
  }

  rename(from: string, to: string, done: FileDone): void {
    fs.rename(this.#at(from), this.#at(to), plain(done))
  }

  remove(name: string, done: FileDone): void {
    fs.unlink(this.#at(name), (error) => (error && error.code !== 'ENOENT' ? done(errorOf(error)) : done(null)))
  }

  syncFolder(folder: string, done: FileDone): void {
    // Windows cannot sync a folder; NTFS journals its names itself.
    if (process.platform === 'win32') {
      setImmediate(done, null)
      return
    }
    fs.open(this.#at(folder), 'r', (openError, fd) => {
      if (openError) {
        done(errorOf(openError))
        return
      }
      fs.fsync(fd, (error) => fs.close(fd, (closeError) => plain(done)(error ?? closeError ?? null)))
    })
  }

  space(done: FileValueDone<DiskSpace>): void {
    const dir = this.#at('data')
    fs.statfs(this.#dir, (error, stats) => {
      if (error) return done(errorOf(error))
      const freeBytes = stats.bavail * stats.bsize
      fs.readdir(dir, (noDir, names) => {
        if (noDir?.code === 'ENOENT') done(null, { freeBytes, usedBytes: 0 })
        else if (noDir) done(errorOf(noDir))
        else
          sumOfUsed(
            names.map((name) => path.join(dir, name)),
            (failure, usedBytes) => {
              if (failure !== null) done(failure)
              else done(null, { freeBytes, usedBytes })
            },
          )
      })
    })
  }
}

/** One after the other, so that a folder of a thousand files takes one thread of the pool. */
function sumOfUsed(paths: readonly string[], done: (error: FileError | null, usedBytes: number) => void): void {
  let sumBytes = 0
  const next = (at: number): void => {
    const name = paths[at]
    if (name === undefined) return done(null, sumBytes)
    fs.stat(name, (error, stats) => {
      if (error && error.code !== 'ENOENT') return done(errorOf(error), 0)
      // POSIX counts in units of 512 bytes; Windows has no count, there a file is taken for full.
      if (!error) sumBytes += stats.blocks === undefined ? stats.size : stats.blocks * 512
      next(at + 1)
    })
  }
  next(0)
}
