/**
 * The bytes of the store's own files (FORMAT.md, version 2), encoded and decoded. Pure: no file is touched here.
 */
import { crc32 } from 'node:zlib'
import { isIdText, type VolumeId, volumeId } from '../kit/ids.ts'
import type { Grade } from './replica.ts'

export const formatVersion = 2

export const sectorBytes = 512
export const slotBytes = 256 * 1024
/** Slots of one data file: 16 GiB, so that a flush of a large volume has few files to sync. */
export const slotsPerFile = 65_536
export const fileHeaderBytes = 4096
/** Block checksums of a slot fill one sector: 64 of 64 bits. */
export const blocksPerSlot = 64
export const sumsStartBytes = fileHeaderBytes + slotsPerFile * sectorBytes
/** Offset of slot 0 in a data file: behind the file header and two sectors for each slot, its header and its checksums. */
export const dataStartBytes = sumsStartBytes + slotsPerFile * sectorBytes
/** Slots whose "may hold bytes" bits stand in one index row. */
export const slotsPerGroup = 4096
export const regionExtents = 64
export const marksStartBytes = 4096
export const markEntryBytes = 16
export const marksPerSector = sectorBytes / markEntryBytes

export const headerOffset = (slot: number): number => fileHeaderBytes + (slot % slotsPerFile) * sectorBytes
export const sumsOffset = (slot: number): number => sumsStartBytes + (slot % slotsPerFile) * sectorBytes
export const slotOffset = (slot: number): number => dataStartBytes + (slot % slotsPerFile) * slotBytes
export const fileOfSlot = (slot: number): number => Math.floor(slot / slotsPerFile)
export const dataFilePath = (file: number): string => `data/${String(file).padStart(5, '0')}.slots`
export const marksFilePath = (id: VolumeId): string => `marks/${id}.marks`

/** C12: the sector in a file's header, of data and of marks, that counts durable commits. Their checksum takes it for zeros. */
export const commitCountOffset = sectorBytes
/** The sector in a marks file's header that says the size of a volume that has grown. Its checksum takes it for zeros too. */
export const grownSizeOffset = 2 * sectorBytes

const putMagic = (bytes: Buffer, magic: string) => bytes.write(magic, 0, 8, 'latin1')
const hasMagic = (bytes: Buffer, magic: string) => bytes.toString('latin1', 0, 8) === magic

/** The first 4096 bytes of a data file. */
export function encodeFileHeader(storeId: string, file: number): Buffer {
  const bytes = Buffer.alloc(fileHeaderBytes)
  putMagic(bytes, 'MBDATA01')
  bytes.writeUInt32LE(formatVersion, 8)
  bytes.writeUInt32LE(file, 12)
  bytes.write(storeId, 16, 16, 'hex')
  bytes.writeUInt32LE(slotsPerFile, 32)
  bytes.writeUInt32LE(slotBytes, 36)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, fileHeaderBytes - 4)), fileHeaderBytes - 4)
  return bytes
}

/** @returns null when these are not the first bytes of that data file of that store. */
export function isFileHeader(bytes: Buffer, storeId: string, file: number): boolean {
  return withoutSectors(bytes, commitCountOffset).equals(encodeFileHeader(storeId, file))
}

/** A copy in which these sectors, which change by themselves, are zeros. */
function withoutSectors(header: Buffer, ...offsets: readonly number[]): Buffer {
  const copy = Buffer.from(header)
  for (const offset of offsets) copy.subarray(offset, offset + sectorBytes).fill(0)
  return copy
}

/** A sector of its own with one number in it, or two, so that a power cut leaves the old or the new. */
function encodeNumberSector(magic: string, value: number, second = 0): Buffer {
  const bytes = Buffer.alloc(sectorBytes)
  putMagic(bytes, magic)
  bytes.writeUIntLE(value, 8, 6)
  bytes.writeUIntLE(second, 14, 6)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, sectorBytes - 4)), sectorBytes - 4)
  return bytes
}

function decodeNumberSector(magic: string, bytes: Buffer): number | null {
  if (bytes.length < sectorBytes || !hasMagic(bytes, magic)) return null
  const isSound = crc32(bytes.subarray(0, sectorBytes - 4)) === bytes.readUInt32LE(sectorBytes - 4)
  return isSound ? bytes.readUIntLE(8, 6) : null
}

/** What the sector at `commitCountOffset` says. */
export interface Counts {
  /** C12: durable commits of the folder. */
  readonly commits: number
  /** Commits of the index that were durable when the sector was written: an index with fewer lacks some of them. */
  readonly index: number
}

export function encodeCounts({ commits, index }: Counts): Buffer {
  return encodeNumberSector('MBCOUNT1', commits, index)
}

/** @param header the first bytes of a data file or a marks file @returns zeros when nothing was counted there yet */
export function decodeCounts(header: Buffer): Counts {
  const sector = header.subarray(commitCountOffset, commitCountOffset + sectorBytes)
  const commits = decodeNumberSector('MBCOUNT1', sector)
  return commits === null ? { commits: 0, index: 0 } : { commits, index: sector.readUIntLE(14, 6) }
}

/** @returns null when it is damaged, or no data file at all. */
export function decodeFileHeader(bytes: Buffer): { version: number; file: number; storeId: string } | null {
  if (bytes.length < fileHeaderBytes || !hasMagic(bytes, 'MBDATA01')) return null
  if (
    bytes.readUInt32LE(fileHeaderBytes - 4) !==
    crc32(withoutSectors(bytes, commitCountOffset).subarray(0, fileHeaderBytes - 4))
  )
    return null
  return { version: bytes.readUInt32LE(8), file: bytes.readUInt32LE(12), storeId: bytes.toString('hex', 16, 32) }
}

/** Ascends with every allocation and freeing, over all runs: of two claims on an extent the greater holds. */
export interface Generation {
  readonly run: number
  readonly counter: number
}

/** What a slot says about itself, so that the index can be made again from the data files alone. */
export interface SlotHeader extends Generation {
  readonly state: 'data' | 'free'
  readonly slot: number
  readonly volumeId: VolumeId
  readonly extent: number
}

export function encodeSlotHeader(header: SlotHeader): Buffer {
  const bytes = Buffer.alloc(sectorBytes)
  putMagic(bytes, 'MBSLOT01')
  bytes.writeUInt16LE(formatVersion, 8)
  bytes.writeUInt8(header.state === 'data' ? 1 : 2, 10)
  bytes.writeUInt32LE(header.slot, 12)
  bytes.write(header.volumeId, 16, 16, 'hex')
  bytes.writeUIntLE(header.extent, 32, 6)
  bytes.writeUInt32LE(header.run, 40)
  bytes.writeUInt32LE(header.counter, 44)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, sectorBytes - 4)), sectorBytes - 4)
  return bytes
}

/** @returns null for a slot that was never used, or whose header is damaged. */
export function decodeSlotHeader(bytes: Buffer): SlotHeader | null {
  if (bytes.length < sectorBytes || !hasMagic(bytes, 'MBSLOT01')) return null
  if (bytes.readUInt32LE(sectorBytes - 4) !== crc32(bytes.subarray(0, sectorBytes - 4))) return null
  if (bytes.readUInt16LE(8) !== formatVersion) return null
  const state = bytes.readUInt8(10)
  if (state !== 1 && state !== 2) return null
  return {
    state: state === 1 ? 'data' : 'free',
    slot: bytes.readUInt32LE(12),
    volumeId: volumeId(bytes.toString('hex', 16, 32)),
    extent: bytes.readUIntLE(32, 6),
    run: bytes.readUInt32LE(40),
    counter: bytes.readUInt32LE(44),
  }
}

export interface MarksHeader {
  readonly volumeId: VolumeId
  readonly sizeBytes: number
  /** When the replica was made: slot headers up to then are those of one of the same id that was deleted before. */
  readonly born: Generation
}

export function encodeMarksHeader(header: MarksHeader): Buffer {
  const bytes = Buffer.alloc(marksStartBytes)
  putMagic(bytes, 'MBMARK01')
  bytes.writeUInt32LE(formatVersion, 8)
  bytes.write(header.volumeId, 16, 16, 'hex')
  bytes.writeUIntLE(header.sizeBytes, 32, 6)
  bytes.writeUInt32LE(header.born.run, 40)
  bytes.writeUInt32LE(header.born.counter, 44)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, marksStartBytes - 4)), marksStartBytes - 4)
  return bytes
}

export const encodeGrownSize = (sizeBytes: number): Buffer => encodeNumberSector('MBGROWN1', sizeBytes)

/** @returns null when it is damaged, or no marks file at all; the size is that to which the volume has grown */
export function decodeMarksHeader(header: Buffer): MarksHeader | null {
  const bytes = withoutSectors(header, commitCountOffset, grownSizeOffset)
  if (bytes.length < marksStartBytes || !hasMagic(bytes, 'MBMARK01')) return null
  if (bytes.readUInt32LE(marksStartBytes - 4) !== crc32(bytes.subarray(0, marksStartBytes - 4))) return null
  if (bytes.readUInt32LE(8) !== formatVersion) return null
  const id = volumeId(bytes.toString('hex', 16, 32))
  const born = { run: bytes.readUInt32LE(40), counter: bytes.readUInt32LE(44) }
  const grown = header.subarray(grownSizeOffset, grownSizeOffset + sectorBytes)
  if (grown.every((byte) => byte === 0)) return { volumeId: id, sizeBytes: bytes.readUIntLE(32, 6), born }
  const sizeBytes = decodeNumberSector('MBGROWN1', grown)
  return sizeBytes === null ? null : { volumeId: id, sizeBytes, born }
}

/** The state byte of a mark entry. The order is the order of badness: the worst ever is the greatest (C2). */
export const markState = { clean: 0, marked: 1, torn: 2, lossy: 3 } as const
export type MarkState = (typeof markState)[keyof typeof markState]

/** @returns the grade of a region in that state. */
export const gradeOf = (state: number): Grade => (state === 3 ? 'lossy' : state === 2 ? 'torn' : 'sound')

/** Writes the 16 bytes of one region's entry. The region's number is under the checksum: a misplaced sector shows. */
export function encodeMark(into: Buffer, offset: number, region: number, state: number, stamp: number): void {
  into.writeUInt32LE(state, offset)
  into.writeUIntLE(stamp, offset + 4, 6)
  into.writeUInt16LE(0, offset + 10)
  into.writeUInt32LE((crc32(into.subarray(offset, offset + 12)) ^ region) >>> 0, offset + 12)
}

/** A damaged entry is in the worst doubt: marked and lossy; its stamp does not matter then (C3). */
export function decodeMark(from: Buffer, offset: number, region: number): { state: MarkState; stamp: number } {
  const state = from.readUInt8(offset)
  const sum = (crc32(from.subarray(offset, offset + 12)) ^ region) >>> 0
  if (sum !== from.readUInt32LE(offset + 12)) return { state: markState.lossy, stamp: 0 }
  if (state !== 0 && state !== 1 && state !== 2 && state !== 3) return { state: markState.lossy, stamp: 0 }
  return { state, stamp: from.readUIntLE(offset + 4, 6) }
}

/** A small durable record: one line that says what it is, with a checksum of the JSON text behind it. @param count C12 */
export function encodeRecord(value: unknown, count = 0): Buffer {
  const text = Buffer.from(JSON.stringify(value), 'utf8')
  const sum = crc32(text).toString(16).padStart(8, '0')
  const counted = count > 0 ? ` ${count}` : ''
  const line = `mirrorbay-record ${formatVersion} ${sum} ${text.length}${counted}\n`
  return Buffer.concat([Buffer.from(line, 'latin1'), text])
}

export type DecodedRecord = { ok: true; value: unknown; count: number } | { ok: false; why: 'garbage' | 'version' }

export function decodeRecord(bytes: Buffer): DecodedRecord {
  const end = bytes.indexOf(10)
  const line = end < 0 || end > 80 ? null : bytes.toString('latin1', 0, end)
  const match = line === null ? null : /^mirrorbay-record (\d{1,6}) ([0-9a-f]{8}) (\d{1,9})(?: (\d{1,15}))?$/.exec(line)
  if (match === null) return { ok: false, why: 'garbage' }
  if (Number(match[1]) !== formatVersion) return { ok: false, why: 'version' }
  const text = bytes.subarray(end + 1)
  const sum = crc32(text).toString(16).padStart(8, '0')
  if (text.length !== Number(match[3]) || sum !== match[2]) return { ok: false, why: 'garbage' }
  try {
    return { ok: true, value: JSON.parse(text.toString('utf8')), count: Number(match[4] ?? 0) }
  } catch {
    return { ok: false, why: 'garbage' }
  }
}

/** store.json: what makes a folder a store. A record like the others, so that one reader reads both. */
export interface StoreFile {
  readonly kind: 'mirrorbay-store'
  readonly version: number
  readonly storeId: string
}

export function parseStoreFile(value: unknown): StoreFile | null {
  if (typeof value !== 'object' || value === null) return null
  const { kind, version, storeId } = value as Record<string, unknown> // parsed here, field by field
  if (kind !== 'mirrorbay-store' || typeof version !== 'number' || !isIdText(storeId)) return null
  return { kind, version, storeId }
}
