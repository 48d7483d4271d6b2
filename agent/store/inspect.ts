/**
 * A look at a storage folder from outside, read only and without its lock: for comparing replicas and for support.
 * Works while an agent runs (what it is changing just then may show half) and after it died. Synchronous: never call
 * it in an agent.
 */
import fs from 'node:fs'
import path from 'node:path'
import Database from 'better-sqlite3'
import type { VolumeId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import { sumOf } from './checksum.ts'
import { FileError } from './files.ts'
import {
  blocksPerSlot,
  dataFilePath,
  decodeCounts,
  decodeMark,
  decodeRecord,
  fileHeaderBytes,
  fileOfSlot,
  formatVersion,
  gradeOf,
  markEntryBytes,
  marksFilePath,
  marksStartBytes,
  parseStoreFile,
  regionExtents,
  sectorBytes,
  slotBytes,
  slotOffset,
  sumsOffset,
} from './format.ts'
import { hiddenIdOf, withoutHidden } from './hidden-range.ts'
import { mustHaveCommits } from './index-number.ts'
import { imageRows, regionRows, volumeRows } from './index-rows.ts'
import type { RegionFacts } from './replica.ts'
import { parseRun } from './run.ts'
import { damaged, notAStore, openingFailed, unknownVersion } from './trouble.ts'

export interface Place {
  /** Of a data file, in the storage folder. */
  readonly path: string
  readonly offsetBytes: number
}

export interface BadBlock {
  /** In the volume; whole blocks of 4096 bytes. */
  readonly offsetBytes: number
  readonly why: 'checksum' | 'unreadable'
}

/** What a volume holds, or what it held when an image of it was made. */
export interface InspectedBlocks {
  readonly volumeId: VolumeId
  readonly sizeBytes: number
  /** Any range inside the volume; holes are zeros. */
  readBlocks(offsetBytes: number, lengthBytes: number): Buffer
  /**
   * Holds the blocks of an extent against their checksums (R3).
   * @returns those that do not fit, or cannot be read; null where the checksums on the disk are worth nothing now: the
   * region is marked (C2), and no image holds the slot
   */
  check(extent: number): readonly BadBlock[] | null
  /** Where a byte of the volume stands; null in a hole. */
  placeOf(offsetBytes: number): Place | null
  /** Numbers of the extents (256 KiB) that have a slot, ascending. */
  allocated(): IterableIterator<number>
}

export interface InspectedImage extends InspectedBlocks {
  readonly name: string
  readonly madeMs: number
  /** Numbers of the extents whose slot it has and its volume has not, ascending. */
  own(): IterableIterator<number>
}

export interface InspectedReplica extends InspectedBlocks {
  /** From the oldest to the newest. */
  readonly images: readonly InspectedImage[]
  /** As the marks file says now. */
  region(index: number): RegionFacts
  /** Its hidden range, by offsets from its own start; null: nothing was ever written there. */
  readonly hidden: InspectedReplica | null
}

export interface InspectedStore {
  readonly storeId: string
  readonly records: ReadonlyMap<string, unknown>
  readonly replicas: readonly InspectedReplica[]
  close(): void
}

/** @throws UserError when the folder is no store, or is damaged */
export function inspectStore(dir: string): InspectedStore {
  try {
    return inspect(dir)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code // errors of node:fs and SQLite carry one, others give undefined
    if (error instanceof FileError) throw openingFailed(error)
    if (error instanceof Database.SqliteError) {
      const isThere = fs.existsSync(path.join(dir, 'index.db'))
      throw openingFailed(new FileError(isThere ? 'ECORRUPT' : 'EINDEX', error.message))
    }
    if (error instanceof Error && typeof code === 'string' && /^E[A-Z]+$/.test(code)) {
      throw openingFailed(new FileError(code, error.message))
    }
    throw error
  }
}

function readRecord(dir: string, name: string): unknown {
  const record = decodeRecord(fs.readFileSync(path.join(dir, name)))
  if (record.ok) return record.value
  throw record.why === 'version' ? unknownVersion(name) : damaged(name, 'its checksum does not fit its content')
}

function inspect(dir: string): InspectedStore {
  if (!fs.readdirSync(dir).includes('store.json')) throw notAStore('store.json')
  const storeFile = parseStoreFile(readRecord(dir, 'store.json'))
  if (storeFile === null) throw notAStore('store.json')
  if (storeFile.version !== formatVersion) throw unknownVersion('store.json')
  const records = new Map<string, unknown>()
  for (const name of fs.readdirSync(path.join(dir, 'meta')).sort()) {
    if (name.endsWith('.json')) records.set(name.slice(0, -5), readRecord(dir, `meta/${name}`))
  }
  // After such an end all of them are on the disk, else only those of regions without a mark.
  const run = fs.existsSync(path.join(dir, 'run.json')) ? parseRun(readRecord(dir, 'run.json')) : null
  const allSums = run !== null && run.end === 'clean' && run.sums
  // Before the index is read: an agent that runs may add to both.
  const durable = Math.max(run?.index ?? 0, indexCount(dir))
  const fds = new Map<string, number>()
  const open = (name: string): number => {
    const known = fds.get(name)
    if (known !== undefined) return known
    const fd = fs.openSync(path.join(dir, name), 'r')
    fds.set(name, fd)
    return fd
  }
  const database = new Database(path.join(dir, 'index.db'), { readonly: true, fileMustExist: true, timeout: 5000 })
  try {
    // One read transaction: volumes and slots of one moment.
    const read = database.transaction(() => {
      mustBeSound(database, durable)
      const volumes = database.prepare('SELECT number, id, sizeBytes FROM volumes ORDER BY id').all()
      return (volumes as { number: number; id: VolumeId; sizeBytes: number }[]).map((volume) => {
        const slotsOf = (number: number) =>
          slotsOfRows(database.prepare('SELECT * FROM regions WHERE volume = ? ORDER BY region').all(number))
        const images = imagesOf(database, volume.number).map((image) => ({ ...image, slots: slotsOf(image.number) }))
        return replicaOf({ ...volume, slots: slotsOf(volume.number), images }, open, allSums)
      })
    })
    const replicas = withHidden(read())
    const close = () => {
      for (const fd of fds.values()) fs.closeSync(fd)
      fds.clear()
    }
    return { storeId: storeFile.storeId, records, replicas, close }
  } finally {
    database.close()
  }
}

/** The greatest number of the index's commits that a file says was durable. */
function indexCount(dir: string): number {
  let greatest = 0
  for (const [folder, ending] of [
    ['data', '.slots'],
    ['marks', '.marks'],
  ] as const) {
    for (const name of fs.readdirSync(path.join(dir, folder))) {
      if (!name.endsWith(ending)) continue
      const fd = fs.openSync(path.join(dir, folder, name), 'r')
      try {
        const header = Buffer.alloc(fileHeaderBytes)
        fs.readSync(fd, header, 0, header.length, 0)
        greatest = Math.max(greatest, decodeCounts(header).index)
      } finally {
        fs.closeSync(fd)
      }
    }
  }
  return greatest
}

/** An index that no agent of this version has opened yet has neither count nor checksums. @throws FileError EOLDINDEX, ECORRUPT */
function mustBeSound(database: Database.Database, durable: number): void {
  const row = database.prepare('SELECT * FROM store').get() as { version?: number; commits?: number } | undefined // our own table
  mustHaveCommits(row?.commits ?? 0, durable)
  if (row?.commits === undefined) return
  volumeRows(database)
  imageRows(database)
  for (const _ of regionRows(database));
}

interface ImageRow {
  readonly number: number
  readonly name: string
  readonly madeMs: number
  readonly sizeBytes: number
}

/** An index that no agent of this version has opened yet has no table of them. */
function imagesOf(database: Database.Database, volume: number): ImageRow[] {
  if (database.prepare('SELECT version FROM store').pluck().get() === 1) return []
  const sql = 'SELECT number, name, madeMs, sizeBytes FROM images WHERE volume = ? AND leaving = 0 ORDER BY number'
  return database.prepare(sql).all(volume) as ImageRow[] // columns of our own table
}

type Slots = ReadonlyMap<number, number>

/** @param rows of our own table */
function slotsOfRows(rows: readonly unknown[]): Slots {
  const slots = new Map<number, number>()
  for (const { region, slots: row } of rows as { region: number; slots: Buffer }[]) {
    for (let at = 0; at < regionExtents; at++) {
      const slot = row.readUInt32LE(at * 4) - 1
      if (slot >= 0) slots.set(region * regionExtents + at, slot)
    }
  }
  return slots
}

/** The blocks of a volume or an image, by its slots. @param isDoubtful whether an extent's checksums are worth nothing now */
function blocksOf(
  { volumeId, sizeBytes, slots }: { readonly volumeId: VolumeId; readonly sizeBytes: number; readonly slots: Slots },
  open: (name: string) => number,
  isDoubtful: (extent: number) => boolean,
): InspectedBlocks {
  const placeOf = (offsetBytes: number): Place | null => {
    const slot = slots.get(Math.floor(offsetBytes / slotBytes))
    if (slot === undefined) return null
    return { path: dataFilePath(fileOfSlot(slot)), offsetBytes: slotOffset(slot) + (offsetBytes % slotBytes) }
  }
  const readBlocks = (offsetBytes: number, lengthBytes: number): Buffer => {
    const bytes = Buffer.alloc(lengthBytes)
    for (let at = 0; at < lengthBytes; ) {
      const length = Math.min(slotBytes - ((offsetBytes + at) % slotBytes), lengthBytes - at)
      const place = placeOf(offsetBytes + at)
      if (place !== null) fs.readSync(open(place.path), bytes, at, length, place.offsetBytes)
      at += length
    }
    return bytes
  }
  const check = (extent: number): readonly BadBlock[] | null => {
    const slot = slots.get(extent)
    if (slot === undefined) return []
    if (isDoubtful(extent)) return null
    const bad = badBlocks(open, slot, { startBytes: extent * slotBytes, sizeBytes })
    // A running agent may have begun to change it meanwhile: then it was marked first (C1).
    return bad.length > 0 && isDoubtful(extent) ? null : bad
  }
  const allocated = () => [...slots.keys()].sort((a, b) => a - b).values()
  return { volumeId, sizeBytes, readBlocks, check, placeOf, allocated }
}

function replicaOf(
  volume: {
    readonly id: VolumeId
    readonly sizeBytes: number
    readonly slots: Slots
    readonly images: readonly (ImageRow & { readonly slots: Slots })[]
  },
  open: (name: string) => number,
  allSums: boolean,
): InspectedReplica {
  const { id: volumeId, sizeBytes, slots } = volume
  const region = (index: number): RegionFacts => {
    const entry = Buffer.alloc(markEntryBytes)
    fs.readSync(open(marksFilePath(volume.id)), entry, 0, markEntryBytes, marksStartBytes + index * markEntryBytes)
    const { state, stamp } = decodeMark(entry, 0, index)
    return { marked: state !== 0, grade: gradeOf(state), stamp }
  }
  // What an image holds does not change, and its checksums were durable before it was there.
  const isHeld = (extent: number) => volume.images.some((image) => image.slots.get(extent) === slots.get(extent))
  const isDoubtful = (extent: number) =>
    !allSums && region(Math.floor(extent / regionExtents)).marked && !isHeld(extent)
  const images = volume.images.map((image): InspectedImage => {
    const { name, madeMs } = image
    const own = () => [...image.slots].filter(([extent, slot]) => slots.get(extent) !== slot)
    const blocks = blocksOf({ volumeId, sizeBytes: image.sizeBytes, slots: image.slots }, open, () => false)
    return {
      ...blocks,
      name,
      madeMs,
      own: () =>
        own()
          .map(([extent]) => extent)
          .sort((a, b) => a - b)
          .values(),
    }
  })
  return { ...blocksOf({ volumeId, sizeBytes, slots }, open, isDoubtful), images, region, hidden: null }
}

/** Hidden ranges stand beside their volumes (decision 0012). */
function withHidden(replicas: readonly InspectedReplica[]): InspectedReplica[] {
  const volumes = withoutHidden(replicas, ({ volumeId }) => volumeId)
  return volumes.map((volume) => {
    const id = hiddenIdOf(volume.volumeId)
    return { ...volume, hidden: replicas.find(({ volumeId }) => volumeId === id) ?? null }
  })
}

/** @param of where the slot's extent begins in its volume, and where the volume ends: beyond that nobody reads */
function badBlocks(
  open: (name: string) => number,
  slot: number,
  of: { readonly startBytes: number; readonly sizeBytes: number },
): BadBlock[] {
  const name = dataFilePath(fileOfSlot(slot))
  const sums = tryRead(open, name, sumsOffset(slot), sectorBytes)
  const bytes = tryRead(open, name, slotOffset(slot), slotBytes)
  const bad: BadBlock[] = []
  for (let block = 0; block < blocksPerSlot; block++) {
    const at = block * limits.blockBytes
    const offsetBytes = of.startBytes + at
    if (offsetBytes >= of.sizeBytes) break
    // A disk that does not give all of them may still give this one.
    const here =
      bytes?.subarray(at, at + limits.blockBytes) ?? tryRead(open, name, slotOffset(slot) + at, limits.blockBytes)
    if (here === null || sums === null) bad.push({ offsetBytes, why: 'unreadable' })
    else if (sumOf(here) !== sums.readBigUInt64LE(block * 8)) bad.push({ offsetBytes, why: 'checksum' })
  }
  return bad
}

/** @returns null when the disk answers with an error, or the file is gone; zeros beyond the end of the file */
function tryRead(
  open: (name: string) => number,
  name: string,
  offsetBytes: number,
  lengthBytes: number,
): Buffer | null {
  const bytes = Buffer.alloc(lengthBytes)
  try {
    fs.readSync(open(name), bytes, 0, lengthBytes, offsetBytes)
    return bytes
  } catch (error) {
    if (error instanceof Error && 'code' in error) return null
    throw error
  }
}
