/**
 * A look at a storage folder from outside, read only and without its lock: for comparing replicas and for support.
 * Works while an agent runs (what it is changing just then may show half) and after it died. Synchronous: never call
 * it in an agent.
 */
import fs from 'node:fs'
import path from 'node:path'
import Database from 'better-sqlite3'
import type { VolumeId } from '../kit/ids.ts'
import { FileError } from './files.ts'
import {
  dataFilePath,
  decodeMark,
  decodeRecord,
  fileOfSlot,
  formatVersion,
  gradeOf,
  markEntryBytes,
  marksFilePath,
  marksStartBytes,
  parseStoreFile,
  regionExtents,
  slotBytes,
  slotOffset,
} from './format.ts'
import type { RegionFacts } from './replica.ts'
import { damaged, notAStore, openingFailed, unknownVersion } from './trouble.ts'

export interface InspectedReplica {
  readonly volumeId: VolumeId
  readonly sizeBytes: number
  /** Any range inside the volume; holes are zeros. */
  readBlocks(offsetBytes: number, lengthBytes: number): Buffer
  /** Numbers of the extents (256 KiB) that have a slot, ascending. */
  allocated(): IterableIterator<number>
  /** As the marks file says now. */
  region(index: number): RegionFacts
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
    const code = (error as NodeJS.ErrnoException).code // errors of node:fs carry one, others give undefined
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
      const volumes = database.prepare('SELECT number, id, sizeBytes FROM volumes ORDER BY id').all()
      return (volumes as { number: number; id: VolumeId; sizeBytes: number }[]).map((volume) => {
        const rows = database
          .prepare('SELECT region, slots FROM regions WHERE volume = ? ORDER BY region')
          .all(volume.number)
        return replicaOf(volume, rows as { region: number; slots: Buffer }[], open) // columns of our own table
      })
    })
    const replicas = read()
    const close = () => {
      for (const fd of fds.values()) fs.closeSync(fd)
      fds.clear()
    }
    return { storeId: storeFile.storeId, records, replicas, close }
  } finally {
    database.close()
  }
}

function replicaOf(
  volume: { id: VolumeId; sizeBytes: number },
  rows: readonly { region: number; slots: Buffer }[],
  open: (name: string) => number,
): InspectedReplica {
  const slots = new Map<number, number>()
  for (const { region, slots: row } of rows) {
    for (let at = 0; at < regionExtents; at++) {
      const slot = row.readUInt32LE(at * 4) - 1
      if (slot >= 0) slots.set(region * regionExtents + at, slot)
    }
  }
  const readBlocks = (offsetBytes: number, lengthBytes: number): Buffer => {
    const bytes = Buffer.alloc(lengthBytes)
    for (let at = 0; at < lengthBytes; ) {
      const inSlot = (offsetBytes + at) % slotBytes
      const length = Math.min(slotBytes - inSlot, lengthBytes - at)
      const slot = slots.get(Math.floor((offsetBytes + at) / slotBytes))
      if (slot !== undefined) {
        fs.readSync(open(dataFilePath(fileOfSlot(slot))), bytes, at, length, slotOffset(slot) + inSlot)
      }
      at += length
    }
    return bytes
  }
  const region = (index: number): RegionFacts => {
    const entry = Buffer.alloc(markEntryBytes)
    fs.readSync(open(marksFilePath(volume.id)), entry, 0, markEntryBytes, marksStartBytes + index * markEntryBytes)
    const { state, stamp } = decodeMark(entry, 0, index)
    return { marked: state !== 0, grade: gradeOf(state), stamp }
  }
  const allocated = () => [...slots.keys()].sort((a, b) => a - b).values()
  return { volumeId: volume.id, sizeBytes: volume.sizeBytes, readBlocks, allocated, region }
}
