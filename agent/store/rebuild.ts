/**
 * Makes index.db anew from the data files alone (FORMAT.md). The rebuilt store is wholly in doubt (C11): every region
 * of every replica is marked lossy, and no block checksum is believed, durably, before the new index is in place.
 *
 * What an end in the middle leaves: until the new index is in place either the old one, or none, and then the store
 * refuses to open until this has run again. Running it again is always right: all it needs is never changed.
 */
import type { UserError } from '../kit/failure.ts'
import type { VolumeId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import { findCounts } from './counts-found.ts'
import { type BlockFile, type FileDone, FileError, type Files } from './files.ts'
import {
  commitCountOffset,
  dataFilePath,
  decodeCounts,
  decodeMark,
  encodeFileHeader,
  encodeMark,
  markEntryBytes,
  markState,
  marksFilePath,
  marksStartBytes,
  sectorBytes,
  slotBytes,
  slotsPerFile,
  slotsPerGroup,
} from './format.ts'
import { withoutHidden } from './hidden-range.ts'
import type { GroupRow, IndexContents, IndexOpener, RegionRow } from './index.ts'
import { marksBytes } from './marks-file.ts'
import { type DamagedHeader, type Found, scanFolder, type Told } from './rebuild-scan.ts'
import { readRun, writeRun } from './run.ts'
import { type Steps, wait } from './steps.ts'
import { readStoreFile } from './store-folder.ts'
import { damaged, inUse, notAStore } from './trouble.ts'

/** The index as it is being made, and the old one while the new one takes its place. */
const asideName = 'index.db.rebuilt'
const beforeName = 'index.db.before-rebuild'

/** So many more commits than were told: a lost index that comes back later has fewer, and is known for an older one. */
const commitsAhead = 2 ** 20

/** Bytes of marks changed in one call. */
const pieceBytes = 1024 * 1024

/** What rebuilding needs of the index beside its lock. */
export interface IndexMaker extends Pick<IndexOpener, 'lock' | 'unlock'> {
  /** Makes a whole index under that name, in the place of one that is there; durable when done, its name not yet. */
  makeAside(name: string, contents: IndexContents, done: FileDone): void
}

export interface RebuildReport {
  readonly volumes: readonly { readonly id: VolumeId; readonly sizeBytes: number; readonly allocatedBytes: number }[]
  /** Slots that no extent holds and that may hold bytes: they are zeroed by the next run before anybody gets them. */
  readonly doubtfulSlots: number
  /** The first thousand. */
  readonly damaged: readonly DamagedHeader[]
  readonly damagedCount: number
  /** Whether there was an index that this replaces. */
  readonly hadIndex: boolean
}

export interface RebuildOptions {
  readonly files: Files
  readonly index: IndexMaker
  /** Of reading: what takes long. */
  readonly told: Told
  /** Asked when all is read and nothing changed yet; false ends it there. */
  readonly confirm: (report: RebuildReport) => Promise<boolean>
}

/** @returns the report, or null when it was not confirmed. @throws UserError, FileError; the lock is free again then */
export function* rebuild(options: RebuildOptions): Steps<RebuildReport | null> {
  const { files, index } = options
  try {
    // First: taking the lock leaves a file, also in a folder that is no store.
    const storeFile = yield* readStoreFile(files)
    if (storeFile === null) throw notAStore('The folder')
    yield* wait((done) => index.lock(done))
    return yield* rebuildLocked(options, storeFile.storeId)
  } catch (error) {
    if (error instanceof FileError && error.code === 'EBUSY') throw inUse()
    throw error
  } finally {
    yield* wait((done) => index.unlock(done))
  }
}

function* rebuildLocked(options: RebuildOptions, storeId: string): Steps<RebuildReport | null> {
  const { files, index, told, confirm } = options
  const before = yield* readRun(files)
  const found = yield* scanFolder(files, storeId, told)
  if ((before?.run ?? 0) < found.greatestRun) throw runLost(before === null)
  const names = yield* wait<string[]>((done) => files.list('', done))
  const counts = yield* findCounts(files, storeId)
  const commits = Math.max(counts.index, before?.index ?? 0) + commitsAhead
  const { contents, report } = contentsOf(found, { storeId, commits }, names.includes('index.db'))
  const isWanted = yield* wait<boolean>((done) => {
    confirm(report).then(
      (answer) => done(null, answer),
      (error: unknown) => done(new FileError('EIO', String(error))),
    )
  })
  if (!isWanted) return null
  for (const volume of found.volumes) yield* markAllLossy(files, volume)
  // As after a power cut: also what the marks covered before is not better than lossy now.
  if (before !== null) yield* writeRun(files, { ...before, end: 'running', failed: true, sums: false })
  for (const number of found.headless) yield* writeFileHeader(files, storeId, number)
  yield* wait((done) => index.makeAside(asideName, contents, done))
  yield* putInPlace(files, names)
  return report
}

const runLost = (isMissing: boolean): UserError =>
  damaged('run.json', isMissing ? 'it is missing, but slots were used' : 'its run is older than those of slots')

/** The whole index, as FORMAT.md describes its tables. */
function contentsOf(
  found: Found,
  { storeId, commits }: Pick<IndexContents, 'storeId' | 'commits'>,
  hadIndex: boolean,
): { contents: IndexContents; report: RebuildReport } {
  const doubtful = new Map<number, Uint8Array>()
  let doubtfulSlots = 0
  const setDoubtful = (slot: number, on: boolean) => {
    const group = Math.floor(slot / slotsPerGroup)
    const bits = doubtful.get(group) ?? new Uint8Array(slotsPerGroup / 8)
    doubtful.set(group, bits)
    const at = slot % slotsPerGroup
    bits[at >> 3] = on ? (bits[at >> 3] ?? 0) | (1 << (at & 7)) : (bits[at >> 3] ?? 0) & ~(1 << (at & 7))
    doubtfulSlots += on ? 1 : -1
  }
  for (const [file, used] of found.usedSlots) {
    for (let at = 0; at < used; at++) setDoubtful(file * slotsPerFile + at, true)
  }
  const regions: RegionRow[] = []
  const volumes = found.volumes.map(({ id, sizeBytes, claims }, index) => {
    let allocatedBytes = 0
    for (const { region, slots, held } of claims.rows()) {
      regions.push({ volume: index + 1, region, slots })
      for (const slot of held) setDoubtful(slot, false)
      allocatedBytes += held.length * slotBytes
    }
    return { id, sizeBytes, allocatedBytes }
  })
  const groups: GroupRow[] = [...doubtful]
    .filter(([, bits]) => bits.some((byte) => byte !== 0))
    .map(([group, bits]) => ({ group, doubtful: bits }))
  const { damaged: told, damagedCount } = found
  return {
    contents: {
      storeId,
      volumes: volumes.map(({ id, sizeBytes }, index) => ({ number: index + 1, id, sizeBytes })),
      images: [],
      // Numbers stand in the index alone: with a new one they begin anew.
      lastVolume: volumes.length,
      commits,
      regions,
      groups,
    },
    report: { volumes: withoutHidden(volumes, ({ id }) => id), doubtfulSlots, damaged: told, damagedCount, hadIndex },
  }
}

/** Durable when the steps end. Stamps stay: they only rise (C3). */
function* markAllLossy(files: Files, volume: { id: VolumeId; sizeBytes: number }): Steps<void> {
  const file = yield* wait<BlockFile>((done) => files.open(marksFilePath(volume.id), false, done))
  try {
    const regionCount = Math.ceil(volume.sizeBytes / limits.regionBytes)
    const total = marksBytes(volume.sizeBytes)
    for (let at = 0; at < total; at += pieceBytes) {
      const bytes = Buffer.alloc(Math.min(pieceBytes, total - at))
      yield* wait<number>((done) => file.read(bytes, 0, bytes.length, marksStartBytes + at, done))
      for (let offset = 0; offset < bytes.length; offset += markEntryBytes) {
        const region = (at + offset) / markEntryBytes
        if (region >= regionCount) break
        encodeMark(bytes, offset, region, markState.lossy, decodeMark(bytes, offset, region).stamp)
      }
      yield* wait((done) => file.write([bytes], bytes.length, marksStartBytes + at, false, done))
    }
    yield* wait((done) => file.sync(done))
  } finally {
    yield* wait((done) => file.close(done))
  }
}

function* writeFileHeader(files: Files, storeId: string, number: number): Steps<void> {
  const file = yield* wait<BlockFile>((done) => files.open(dataFilePath(number), false, done))
  try {
    const header = encodeFileHeader(storeId, number)
    const present = Buffer.alloc(header.length)
    yield* wait<number>((done) => file.read(present, 0, present.length, 0, done))
    // The count of commits has a checksum of its own (C12).
    if (decodeCounts(present).commits > 0)
      present.copy(header, commitCountOffset, commitCountOffset, commitCountOffset + sectorBytes)
    yield* wait((done) => file.write([header], header.length, 0, false, done))
    yield* wait((done) => file.sync(done))
  } finally {
    yield* wait((done) => file.close(done))
  }
}

/**
 * The old index moves aside with its log, then the new one gets its name, and only when that is durable the old one
 * goes. In between there is no index.db: who opens the store then is told to rebuild it. A log of an old index never
 * stands beside a new one.
 * @param names what is in the folder
 */
function* putInPlace(files: Files, names: readonly string[]): Steps<void> {
  const remove = (name: string) => wait((done) => files.remove(name, done))
  const moveAside = function* (name: string, to: string): Steps<void> {
    if (names.includes(name)) yield* wait((done) => files.rename(name, to, done))
  }
  // With an index in place, what an earlier rebuild kept is older than it.
  if (names.includes('index.db')) yield* remove(`${beforeName}-wal`)
  yield* moveAside('index.db', beforeName)
  yield* moveAside('index.db-wal', `${beforeName}-wal`)
  yield* remove('index.db-shm')
  yield* wait((done) => files.syncFolder('', done))
  yield* wait((done) => files.rename(asideName, 'index.db', done))
  yield* wait((done) => files.syncFolder('', done))
  for (const ending of ['', '-wal', '-shm']) yield* remove(beforeName + ending)
}
