/**
 * The simulator's storage folder: the real store's logic over a disk and an index in memory, with handed-in time and
 * chance. One of these is one disk of one machine; it outlives the agents that open it.
 */
import type { VolumeId } from '../kit/ids.ts'
import { lifeClock } from '../kit/life-clock.ts'
import type { Clock, Log, RandomSource } from '../kit/world.ts'
import { limits } from '../limits.ts'
import { type CoreStore, openCore } from './core.ts'
import {
  blocksPerSlot,
  dataFilePath,
  dataStartBytes,
  decodeSlotHeader,
  headerOffset,
  sectorBytes,
  slotBytes,
  sumsStartBytes,
} from './format.ts'
import type { IndexContents } from './index.ts'
import { type DiskFault, type DiskSlowness, type DiskTuning, MemoryFiles } from './memory-files.ts'
import { MemoryIndexDisk } from './memory-index.ts'
import type { Store } from './replica.ts'

/** Something that lies on the disk and may rot there. */
export interface StoredPage {
  readonly volumeId: VolumeId
  readonly extent: number
  /** Of the volume; null: the page holds the extent's checksums. */
  readonly block: number | null
  readonly bytes: number
  /** @param byte below `bytes` @param bit 0 to 7 */
  flip(byte: number, bit: number): void
}

export class MemoryDisk {
  readonly #clock: Clock
  readonly #random: RandomSource
  readonly #log: Log
  readonly #files: MemoryFiles
  readonly #index: MemoryIndexDisk
  #boot: string
  #stores: CoreStore[] = []
  #life = 0
  readonly #sumPages: number | undefined

  /** @param tuning how long a call takes; 0.05 to 2 ms when not given @param sumPages see CoreOptions */
  constructor(parts: { clock: Clock; random: RandomSource; log: Log; tuning?: DiskTuning; sumPages?: number }) {
    this.#sumPages = parts.sumPages
    this.#clock = parts.clock
    this.#random = parts.random
    this.#log = parts.log
    this.#files = new MemoryFiles(parts.clock, parts.random, parts.tuning ?? { minMs: 0.05, maxMs: 2 })
    this.#index = new MemoryIndexDisk(this.#files, parts.random)
    this.#boot = parts.random.id()
  }

  /** Opens as a new run, by callbacks only: no promise, so that a simulator's loop decides alone what happens when. */
  open(done: (error: Error | null, store?: Store) => void): void {
    const life = this.#life
    // The clock of one life: after a kill no turn and no timer of the dead agent comes any more.
    const alive = () => life === this.#life
    const clock = lifeClock(this.#clock, alive)
    const sumPages = this.#sumPages === undefined ? {} : { sumPages: this.#sumPages }
    const options = { clock, random: this.#random, log: this.#log, bootId: this.#boot, ...sumPages }
    openCore({ ...options, files: this.#files, opener: this.#index.opener() }, (error, store) => {
      if (!alive()) return
      if (store) this.#stores.push(store)
      done(error, store)
    })
  }

  /** As `open`, for tests that run on promises. */
  openStore(): Promise<Store> {
    return new Promise((resolve, reject) => {
      this.open((error, store) => (store ? resolve(store) : reject(error)))
    })
  }

  /** kill -9: what the agent wrote stays in the page cache; no callback of it comes any more. */
  kill(): void {
    this.#life += 1
    for (const store of this.#stores) store.abandon()
    this.#stores = []
    this.#files.kill()
    this.#index.kill()
  }

  /** The machine loses power: unsynced writes are lost, kept or torn at 512 bytes, at random. Next boot, next id. */
  powerCut(): void {
    this.kill()
    this.#files.powerCut()
    this.#index.powerCut()
    this.#boot = this.#random.id()
  }

  /** What a copy of the folder, taken now, holds. @returns brings that copy back; only while no agent runs */
  backup(): () => void {
    const [files, index] = [this.#files.backup(), this.#index.backup()]
    return () => {
      files()
      index()
      this.#boot = this.#random.id()
    }
  }

  /** What its index says, unsynced commits included. */
  indexContents(): IndexContents {
    return this.#index.contents()
  }

  /** As backup, of one record and those whose names begin alike; all else stays as it is. */
  backupRecord(key: string): () => void {
    return this.#files.backup(`meta/${key}`)
  }

  /** A record is gone, with all its versions. */
  forgetRecord(key: string): void {
    this.#files.forget(`meta/${key}`)
  }

  /** Where bits can rot: pages of the volumes' data, and their checksums, of the first data file. */
  stored(): StoredPage[] {
    const pages: StoredPage[] = []
    const path = dataFilePath(0)
    for (const atBytes of this.#files.pagesAt(path)) {
      const isData = atBytes >= dataStartBytes
      if (!isData && atBytes < sumsStartBytes) continue
      for (let at = atBytes; at < atBytes + limits.blockBytes; at += isData ? limits.blockBytes : sectorBytes) {
        const slot = Math.floor(isData ? (at - dataStartBytes) / slotBytes : (at - sumsStartBytes) / sectorBytes)
        const header = decodeSlotHeader(this.#files.peek(path, headerOffset(slot), sectorBytes))
        if (header === null || header.state !== 'data') continue
        const flip = (byte: number, bit: number) => this.#files.flipBit(path, at + byte, bit)
        const { volumeId, extent } = header
        const block = isData ? extent * blocksPerSlot + ((at - dataStartBytes) % slotBytes) / limits.blockBytes : null
        pages.push({ volumeId, extent, block, bytes: isData ? limits.blockBytes : sectorBytes, flip })
      }
    }
    return pages
  }

  /** The index alone, as somebody's copy of index.db. @returns brings that back under what else is there; only while no agent runs */
  backupIndex(): () => void {
    return this.#index.backup()
  }

  /** `hang`: calls wait until another fault (or `none`) is set. `fail`: EIO. `full`: no new space. */
  set fault(fault: DiskFault) {
    this.#files.fault = fault
  }

  /** Null: as fast as it is tuned. */
  set slowness(slowness: DiskSlowness | null) {
    this.#files.slowness = slowness
  }

  get fault(): DiskFault {
    return this.#files.fault
  }

  /** Bit rot: flips a bit of every copy of these bytes in the data files, silently. @returns how many there were */
  rot(bytes: Uint8Array): number {
    return this.#files.rot('data/', bytes)
  }

  /** Of the whole disk, what is stored included. */
  set sizeBytes(bytes: number) {
    this.#files.sizeBytes = bytes
  }

  /** From now on that much fits beside what is there; null: as much as you like. */
  leave(bytes: number | null): void {
    this.#files.leave(bytes)
  }

  /** Whether it was ever told to leave little. */
  get wasSmall(): boolean {
    return this.#files.wasSmall
  }
}
