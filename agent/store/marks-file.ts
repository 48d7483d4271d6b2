/** Making and reading a replica's marks file. It is preallocated: a mark never needs new space (C8). */
import { limits } from '../limits.ts'
import type { DiskQueue } from './disk-queue.ts'
import { type BlockFile, type FileDone, FileError, type Files } from './files.ts'
import {
  decodeMark,
  decodeMarksHeader,
  encodeGrownSize,
  encodeMark,
  encodeMarksHeader,
  type Generation,
  grownSizeOffset,
  markEntryBytes,
  marksFilePath,
  marksPerSector,
  marksStartBytes,
  sectorBytes,
} from './format.ts'
import type { IndexVolume } from './index.ts'
import type { Marks } from './marks.ts'
import { type Steps, wait } from './steps.ts'
import { damaged } from './trouble.ts'

/** Bytes of marks written or read in one call. */
const pieceBytes = 1024 * 1024

/** Length of all entries of a volume's marks file. */
export const marksBytes = (sizeBytes: number): number =>
  Math.ceil(Math.ceil(sizeBytes / limits.regionBytes) / marksPerSector) * sectorBytes

/** Durable, name and all, when the steps end. */
export function* createMarksFile(files: Files, volume: IndexVolume, born: Generation): Steps<BlockFile> {
  const path = marksFilePath(volume.id)
  yield* wait((done) => files.remove(path, done))
  const file = yield* wait<BlockFile>((done) => files.open(path, true, done))
  const header = encodeMarksHeader({ volumeId: volume.id, sizeBytes: volume.sizeBytes, born })
  yield* wait((done) => file.write([header], header.length, 0, true, done))
  yield* writeClean(file, 0, marksBytes(volume.sizeBytes))
  yield* wait((done) => file.sync(done))
  yield* wait((done) => files.syncFolder('marks', done))
  return file
}

/** Entries without mark and stamp, in whole sectors of the file's entries. */
function* writeClean(file: BlockFile, fromBytes: number, endBytes: number): Steps<void> {
  for (let at = fromBytes; at < endBytes; at += pieceBytes) {
    const bytes = Buffer.alloc(Math.min(pieceBytes, endBytes - at))
    for (let offset = 0; offset < bytes.length; offset += markEntryBytes) {
      encodeMark(bytes, offset, (at + offset) / markEntryBytes, 0, 0)
    }
    yield* wait((done) => file.write([bytes], bytes.length, marksStartBytes + at, true, done))
  }
}

/** Room for the marks of a larger volume, then its size; durable when the steps end. No sector of the old entries is touched. */
export function* growMarksFile(queue: DiskQueue, file: BlockFile, fromBytes: number, toBytes: number): Steps<void> {
  // In its turn among the other syncs of the file, which is in use.
  const sync = (done: FileDone) => queue.sync(file, { diskDone: done })
  yield* writeClean(file, marksBytes(fromBytes), marksBytes(toBytes))
  yield* wait(sync)
  yield* writeSize(file, toBytes)
  yield* wait(sync)
}

function* writeSize(file: BlockFile, sizeBytes: number): Steps<void> {
  const size = encodeGrownSize(sizeBytes)
  yield* wait((done) => file.write([size], size.length, grownSizeOffset, false, done))
}

/** @throws UserError when it is missing: the folder itself is there */
export function* findMarksFile(files: Files, volume: IndexVolume): Steps<BlockFile> {
  const path = marksFilePath(volume.id)
  try {
    return yield* wait<BlockFile>((done) => files.open(path, false, done))
  } catch (error) {
    if (error instanceof FileError && error.code === 'ENOENT') throw damaged(path, 'it is missing')
    throw error
  }
}

/** Reads every entry into `marks`; a damaged one is marked and lossy. @throws UserError when the header is not ours */
export function* openMarksFile(file: BlockFile, volume: IndexVolume, marks: Marks): Steps<void> {
  const path = marksFilePath(volume.id)
  const header = Buffer.alloc(marksStartBytes)
  yield* wait<number>((done) => file.read(header, 0, header.length, 0, done))
  const told = decodeMarksHeader(header)
  if (told === null || told.volumeId !== volume.id || told.sizeBytes < volume.sizeBytes) {
    throw damaged(path, 'it is not the marks file of this volume')
  }
  // A crash came before the index had the new size: nobody was told that it has grown. A rebuilt index would believe it.
  if (told.sizeBytes > volume.sizeBytes) {
    yield* writeSize(file, volume.sizeBytes)
    yield* wait((done) => file.sync(done))
  }
  const total = marksBytes(volume.sizeBytes)
  for (let at = 0; at < total; at += pieceBytes) {
    const bytes = Buffer.alloc(Math.min(pieceBytes, total - at))
    yield* wait<number>((done) => file.read(bytes, 0, bytes.length, marksStartBytes + at, done))
    for (let offset = 0; offset < bytes.length; offset += markEntryBytes) {
      const region = (at + offset) / markEntryBytes
      if (region >= marks.regionCount) return
      const { state, stamp } = decodeMark(bytes, offset, region)
      if (state !== 0 || stamp !== 0) marks.load(region, state, stamp)
    }
  }
}
