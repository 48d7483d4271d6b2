/**
 * The port through which the store's logic reaches files. Two implementations: node-files.ts (real) and
 * memory-files.ts (the simulator's disk). Paths are relative to the storage folder, with '/'.
 *
 * Callbacks are called exactly once, never synchronously.
 */
import { limits } from '../limits.ts'
import type { StoreFailure } from './replica.ts'

/** An error of the operating system, with its code (`EIO`, `ENOSPC`, …). */
export class FileError extends Error {
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.name = 'FileError'
    this.code = code
  }
}

export type FileDone = (error: FileError | null) => void
export type FileValueDone<T> = (error: FileError | null, value?: T) => void

/** Whether a write counts as small: the real port has a thread of its own for them, so they take none of the pool. */
export const isSmallWrite = (lengthBytes: number, offsetBytes: number): boolean =>
  lengthBytes <= limits.smallWriteBytes &&
  lengthBytes % limits.blockBytes === 0 &&
  offsetBytes % limits.blockBytes === 0

/** A few bytes of a file. */
export interface FilePiece {
  readonly bytes: Uint8Array
  readonly offsetBytes: number
}

/** An open file of blocks. */
export interface BlockFile {
  /** Reads into `into` from its `start`; `got` is smaller than `lengthBytes` only at the end of the file. */
  read(into: Uint8Array, start: number, lengthBytes: number, offsetBytes: number, done: ReadFileDone): void
  /** Writes all of the chunks (together `lengthBytes`), or fails. @param fresh may need new space on the disk */
  write(chunks: readonly Uint8Array[], lengthBytes: number, offsetBytes: number, fresh: boolean, done: FileDone): void
  /** Done when every write that was done before this call is on the disk (fdatasync). */
  sync(done: FileDone): void
  /** Writes the pieces, none of which needs new space, then syncs; fewer turns than by one call for each. Not every port has it. */
  writeAndSync?(pieces: readonly FilePiece[], done: FileDone): void
  close(done: FileDone): void
}
export type ReadFileDone = (error: FileError | null, gotBytes: number) => void

/** In one call where the port has one for it. */
export function writeAndSync(file: BlockFile, pieces: readonly FilePiece[], done: FileDone): void {
  const [first, ...others] = pieces
  if (first === undefined) file.sync(done)
  else if (file.writeAndSync !== undefined) file.writeAndSync(pieces, done)
  else {
    file.write([first.bytes], first.bytes.length, first.offsetBytes, false, (error) => {
      if (error === null) writeAndSync(file, others, done)
      else done(error)
    })
  }
}

/** Together they do not change by what the store itself writes. */
export interface DiskSpace {
  /** Bytes an ordinary user may still write to the disk. */
  readonly freeBytes: number
  /** Bytes of the disk that the files under `data` take: holes take none. */
  readonly usedBytes: number
}

export interface Files {
  /** @param create makes the file when it is not there; else a missing one is the error ENOENT */
  open(path: string, create: boolean, done: FileValueDone<BlockFile>): void
  /** The whole of a small file. */
  readAll(path: string, done: FileValueDone<Buffer>): void
  /** Names in a folder, sorted; '' is the storage folder itself. */
  list(folder: string, done: FileValueDone<string[]>): void
  /** A folder that is there already is no error. */
  makeFolder(path: string, done: FileDone): void
  rename(from: string, to: string, done: FileDone): void
  /** A missing file is no error. */
  remove(path: string, done: FileDone): void
  /** Makes names in that folder durable. */
  syncFolder(folder: string, done: FileDone): void
  space(done: FileValueDone<DiskSpace>): void
}

/** What an error of the operating system means to the store's callers. */
export function failureOf(error: FileError): StoreFailure {
  return error.code === 'ENOSPC' || error.code === 'EDQUOT' || error.code === 'EFBIG' ? 'no-space' : 'io'
}
