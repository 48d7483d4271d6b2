/** Reads what the index can be made of: the headers of marks files, data files and slots. Changes nothing. */
import { UserError } from '../kit/failure.ts'
import { type VolumeId, volumeId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import type { BlockFile, Files } from './files.ts'
import {
  dataFilePath,
  decodeFileHeader,
  decodeMarksHeader,
  decodeSlotHeader,
  fileHeaderBytes,
  formatVersion,
  headerOffset,
  isFileHeader,
  marksStartBytes,
  type SlotHeader,
  sectorBytes,
  slotOffset,
  slotsPerFile,
} from './format.ts'
import { Claims } from './rebuild-claims.ts'
import { type Steps, wait } from './steps.ts'
import { damaged, unknownVersion } from './trouble.ts'

/** Headers read in one call. */
const pieceSlots = 2048
const pieceBytes = pieceSlots * sectorBytes
const noHeaders = Buffer.alloc(pieceBytes)
/** Damaged headers that are told one by one; of the others only how many. */
const mostTold = 1000

export interface DamagedHeader {
  readonly path: string
  /** Where in that file. */
  readonly offsetBytes: number
  /** Null: the header of the whole file, which is written anew. */
  readonly slot: number | null
  readonly what: string
}

export interface FoundVolume {
  readonly id: VolumeId
  readonly sizeBytes: number
  readonly claims: Claims
}

export interface Found {
  /** In the order of their ids. */
  readonly volumes: readonly FoundVolume[]
  /** By the number of the data file: slots below this one, counted in the file, may hold bytes. */
  readonly usedSlots: ReadonlyMap<number, number>
  readonly damaged: readonly DamagedHeader[]
  /** Also those beyond the ones told. */
  readonly damagedCount: number
  /** Data files whose own header is to be written anew. */
  readonly headless: readonly number[]
  /** The greatest run that a header names; 0 when there is none. */
  readonly greatestRun: number
}

export type Told = (doneBytes: number, totalBytes: number) => void

/** @throws UserError when a volume's size cannot be known, or a data file is another store's or version's */
export function* scanFolder(files: Files, storeId: string, told: Told): Steps<Found> {
  const scan = new Scan(files, storeId)
  yield* scan.readVolumes()
  yield* scan.readDataFiles(told)
  return scan.found()
}

class Scan {
  readonly #files: Files
  readonly #storeId: string
  readonly #volumes = new Map<VolumeId, FoundVolume>()
  readonly #usedSlots = new Map<number, number>()
  readonly #damaged: DamagedHeader[] = []
  readonly #headless: number[] = []
  #damagedCount = 0
  #greatestRun = 0

  constructor(files: Files, storeId: string) {
    this.#files = files
    this.#storeId = storeId
  }

  found(): Found {
    return {
      volumes: [...this.#volumes.values()],
      usedSlots: this.#usedSlots,
      damaged: this.#damaged,
      damagedCount: this.#damagedCount,
      headless: this.#headless,
      greatestRun: this.#greatestRun,
    }
  }

  *readVolumes(): Steps<void> {
    const names = yield* wait<string[]>((done) => this.#files.list('marks', done))
    for (const name of names) {
      if (!name.endsWith('.marks')) continue
      const path = `marks/${name}`
      const bytes = yield* this.#readStart(path, marksStartBytes)
      const header = decodeMarksHeader(bytes)
      const fits =
        header !== null &&
        `${header.volumeId}.marks` === name &&
        header.sizeBytes > 0 &&
        header.sizeBytes % limits.blockBytes === 0 &&
        header.sizeBytes <= limits.volumeMaxBytes
      if (!fits) throw sizeUnknown(path)
      const claims = new Claims(Math.ceil(header.sizeBytes / limits.extentBytes), header.born)
      this.#volumes.set(header.volumeId, { id: header.volumeId, sizeBytes: header.sizeBytes, claims })
    }
  }

  *readDataFiles(told: Told): Steps<void> {
    const names = yield* wait<string[]>((done) => this.#files.list('data', done))
    const numbers = names.flatMap((name) => {
      const digits = /^(\d{5,9})\.slots$/.exec(name)?.[1]
      return digits === undefined ? [] : [Number(digits)]
    })
    const totalBytes = numbers.length * slotsPerFile * sectorBytes
    let doneBytes = 0
    for (const number of numbers) {
      const file = yield* wait<BlockFile>((done) => this.#files.open(dataFilePath(number), false, done))
      try {
        let used = yield* slotsWithBytes(file, number)
        for (let first = 0; first < slotsPerFile; first += pieceSlots) {
          used = Math.max(used, yield* this.#readHeaders(file, number, first))
          doneBytes += pieceBytes
          told(doneBytes, totalBytes)
        }
        yield* this.#readFileHeader(file, number, used)
        if (used > 0) this.#usedSlots.set(number, used)
      } finally {
        yield* wait((done) => file.close(done))
      }
    }
  }

  *#readStart(path: string, length: number): Steps<Buffer> {
    const file = yield* wait<BlockFile>((done) => this.#files.open(path, false, done))
    try {
      const bytes = Buffer.alloc(length)
      yield* wait<number>((done) => file.read(bytes, 0, length, 0, done))
      return bytes
    } finally {
      yield* wait((done) => file.close(done))
    }
  }

  /** @param used 0: nothing was ever handed out in it; then it is made anew when it is needed */
  *#readFileHeader(file: BlockFile, number: number, used: number): Steps<void> {
    const path = dataFilePath(number)
    const bytes = Buffer.alloc(fileHeaderBytes)
    yield* wait<number>((done) => file.read(bytes, 0, fileHeaderBytes, 0, done))
    if (isFileHeader(bytes, this.#storeId, number) || used === 0) return
    const header = decodeFileHeader(bytes)
    if (header !== null) {
      if (header.version !== formatVersion) throw unknownVersion(path)
      throw damaged(path, 'it is a data file of another storage folder, or another one of this folder')
    }
    this.#headless.push(number)
    this.#tell({ path, offsetBytes: 0, slot: null, what: 'the header of the file is damaged; it is written anew' })
  }

  /** @returns how many slots of the file, counted from its first one, have a header or come before one that has */
  *#readHeaders(file: BlockFile, number: number, first: number): Steps<number> {
    const bytes = Buffer.alloc(pieceBytes)
    const start = number * slotsPerFile + first
    yield* wait<number>((done) => file.read(bytes, 0, pieceBytes, headerOffset(start), done))
    if (bytes.equals(noHeaders)) return 0
    let used = 0
    for (let at = 0; at < pieceSlots; at++) {
      const sector = bytes.subarray(at * sectorBytes, (at + 1) * sectorBytes)
      if (sector.equals(noHeaders.subarray(0, sectorBytes))) continue
      used = first + at + 1
      this.#take(sector, start + at)
    }
    return used
  }

  #take(sector: Buffer, slot: number): void {
    const header = decodeSlotHeader(sector)
    if (header === null) return this.#tellSlot(slot, `its header is damaged${this.#guess(sector)}`)
    if (header.slot !== slot) return this.#tellSlot(slot, `its header is that of slot ${header.slot}`)
    this.#greatestRun = Math.max(this.#greatestRun, header.run)
    const volume = this.#volumes.get(header.volumeId)
    // Of a deleted volume: free.
    if (volume === undefined) return
    if (header.extent < volume.claims.extentCount) volume.claims.add(header)
    else this.#tellSlot(slot, `its header ${saysWhere(header)}, which is outside of the volume`)
  }

  /** What the damaged header of a slot still seems to say: for the report only. */
  #guess(sector: Buffer): string {
    const id = volumeId(sector.toString('hex', 16, 32))
    const extent = sector.readUIntLE(32, 6)
    if (extent >= (this.#volumes.get(id)?.claims.extentCount ?? 0)) return ''
    return `; perhaps it held the ${limits.extentBytes} bytes from ${extent * limits.extentBytes} on of volume ${id}`
  }

  #tellSlot(slot: number, what: string): void {
    const path = dataFilePath(Math.floor(slot / slotsPerFile))
    this.#tell({ path, offsetBytes: headerOffset(slot), slot, what })
  }

  #tell(header: DamagedHeader): void {
    this.#damagedCount += 1
    if (this.#damaged.length < mostTold) this.#damaged.push(header)
  }
}

const saysWhere = (header: SlotHeader) => `names extent ${header.extent} of volume ${header.volumeId}`

/** How many slots of a file begin before its end: what lies beyond was never written. */
function* slotsWithBytes(file: BlockFile, number: number): Steps<number> {
  const byte = Buffer.alloc(1)
  let from = 0
  let to = slotsPerFile
  while (from < to) {
    const middle = Math.floor((from + to) / 2)
    const got = yield* wait<number>((done) => file.read(byte, 0, 1, slotOffset(number * slotsPerFile + middle), done))
    if (got > 0) from = middle + 1
    else to = middle
  }
  return from
}

const sizeUnknown = (path: string): UserError =>
  new UserError({
    code: 'store-damaged',
    happened: `${path} is damaged: how large its volume is stands only there.`,
    dataIsSafe: 'Nothing was changed.',
    next: 'Put the file back from a backup. Or move it away to give up this copy of the volume: what it holds here is erased at the next start.',
  })
