/**
 * The checksums of the blocks of a storage folder, in pages of one slot each (64 blocks, 512 bytes). They stand in the
 * data files beside the slots; this is the part of them in memory.
 *
 * A page may know some of its entries only: those that were written since. The others are taken from the disk when
 * they are asked for. Changed pages lie in marked regions only (C1): they are written when they are pushed out, and
 * before the mark comes off. After an unclean end the entries of marked regions on the disk are worth nothing; there
 * `load` reads the slot itself and computes them anew (C2).
 */
import type { Log } from '../kit/world.ts'
import { limits } from '../limits.ts'
import { sumOf, zeroSum } from './checksum.ts'
import type { DataFiles } from './data-files.ts'
import type { DiskQueue } from './disk-queue.ts'
import { FileError } from './files.ts'
import { blocksPerSlot, fileOfSlot, sectorBytes, slotBytes, slotOffset, sumsOffset } from './format.ts'
import { heldByImage, type SumOwner, SumPage } from './sum-page.ts'

export type SumsDone = (error: FileError | null) => void

export interface SumParts {
  readonly queue: DiskQueue
  readonly data: DataFiles
  /** Something went into a data file that the next sync must cover. */
  readonly wrote: (file: number) => void
  readonly fail: (error: FileError) => void
  readonly log: Log
  /** Pages kept in memory; beyond it only those in use. */
  readonly mostPages: number
}

/** The volume was deleted while somebody read it. */
const givenBack = new FileError('ENOENT', 'the extent was given back')

/** A block of the slot cannot be read, so its checksum is not known: the region keeps its mark. */
export const unreadable = new FileError('EUNREADABLE', 'a block cannot be read')

/** Pages that are written at once on the hand's way, so that clients' calls do not wait behind thousands (E8). */
const cleansAtOnce = 16
/** Pages that one search for a free one looks at. */
const handSteps = 64

/** Pages whose memory is made at once. */
const pagesTogether = 64

export class Sums {
  readonly #parts: SumParts
  readonly #bySlot = new Map<number, SumPage>()
  /** All pages, in the order in which the hand passes them. */
  readonly #ring: SumPage[] = []
  #hand = 0
  #spare: BigUint64Array[] = []
  /** Pages that are being written so that the hand finds them clean. */
  #cleansUnderWay = 0
  /** Writes that wait until fewer pages are in memory. */
  #waiting: (() => void)[] = []
  /** The store ends: nobody begins anything long any more. */
  isClosing = false
  /** Pages of slots that were given back while their checksums were still being written. */
  readonly #leaving = new Map<number, SumPage>()

  constructor(parts: SumParts) {
    this.#parts = parts
  }

  /** The page of a slot, perhaps with nothing known in it. */
  page(slot: number, owner: SumOwner, extent: number): SumPage {
    const present = this.#bySlot.get(slot)
    if (present !== undefined) {
      present.used = true
      // An image looked at it first; what a volume holds is the volume's.
      if (present.owner === heldByImage) present.owner = owner
      return present
    }
    const page = this.#take()
    page.slot = slot
    page.owner = owner
    page.extent = extent
    page.used = true
    this.#bySlot.set(slot, page)
    return page
  }

  /** The page of a slot that was just handed out: it reads as zeros (S2), and so do its checksums on the disk. */
  fresh(slot: number, owner: SumOwner, extent: number): SumPage {
    const page = this.page(slot, owner, extent)
    page.sums.fill(zeroSum)
    page.low = -1
    page.high = -1
    return page
  }

  /** Whether memory holds checksums of this slot that the disk does not have. */
  isChanged(slot: number): boolean {
    const page = this.#bySlot.get(slot)
    return page !== undefined && (page.changed || page.writing)
  }

  /** Makes every entry known that the disk can give. Calls back at once when all are. The caller has pinned the page. */
  load(page: SumPage, done: SumsDone): void {
    if (page.isWhole) {
      page.owner?.resolved(page.extent)
      return done(null)
    }
    if (page.loading !== null) {
      page.loading.push(done)
      return
    }
    page.loading = [done]
    const { slot, owner, extent } = page
    if (owner?.isDoubtful(extent) === true) this.#compute(page, slot)
    else this.#read(page, slot)
  }

  /** Writes what changed; done when it is in the file (not synced). */
  clean(page: SumPage, done: SumsDone): void {
    if (!page.changed && !page.writing) return done(null)
    page.cleaning.push(done)
    if (!page.writing) this.#write(page)
  }

  /** As `clean`, for a slot: nothing to do when memory has nothing of it. */
  cleanSlot(slot: number, done: SumsDone): void {
    const page = this.#bySlot.get(slot)
    if (page === undefined) done(null)
    else this.clean(page, done)
  }

  /**
   * Every page, a few at a time. Once nothing else is under way.
   * @param isLate whether it has taken too long: then the rest is left, to be computed anew by the next run
   */
  cleanAll(isLate: () => boolean, done: (error: FileError | null, isWhole: boolean) => void): void {
    const changed = this.#ring.filter((page) => page.changed || page.writing)
    let open = 1
    let isWhole = true
    let failed: FileError | null = null
    const part = (error: FileError | null) => {
      if (error === unreadable) isWhole = false
      else failed ??= error
      open -= 1
      while (open < cleansAtOnce && changed.length > 0 && failed === null && !isLate()) {
        const page = changed.pop()
        open += 1
        if (page !== undefined) this.clean(page, part)
      }
      if (open === 0) done(failed, isWhole && changed.length === 0)
    }
    this.#parts.queue.turn(() => part(null))
  }

  /** A write waits here while much more is in memory than should be, until the disk has taken some of it. */
  admit(go: () => void): void {
    if (this.#ring.length <= this.#mostWithWrites()) return go()
    this.#waiting.push(go)
    this.#shrink()
  }

  /** Pages beyond the limit are those of what is under way; with more than these, writes wait. */
  #mostWithWrites(): number {
    return this.#parts.mostPages + Math.max(pagesTogether, this.#parts.mostPages >> 3)
  }

  /** Lets pages go beyond the limit, and writes in. */
  #shrink(): void {
    const most = this.#parts.mostPages
    const tries = 2 + Math.ceil((2 * this.#ring.length) / handSteps)
    for (let tried = 0; tried < tries && this.#ring.length > most; tried += 1) {
      const page = this.#pushOut()
      if (page !== null) this.#drop(page)
      else if (this.#cleansUnderWay >= cleansAtOnce) break
    }
    // With nothing on its way to the disk, all that is there is in use by what is under way: that has an end.
    const isOpen = () => this.#ring.length <= this.#mostWithWrites() || this.#cleansUnderWay === 0
    while (this.#waiting.length > 0 && isOpen()) this.#waiting.shift()?.()
  }

  /** Takes a page that nobody uses out of the ring; its memory is used again. */
  #drop(page: SumPage): void {
    const last = this.#ring.pop()
    if (last !== undefined && last !== page) this.#ring[this.#ring.indexOf(page)] = last
    this.#spare.push(page.sums)
  }

  /** The slot is no extent's any more: what memory holds of it is void. */
  forget(slot: number): void {
    const page = this.#bySlot.get(slot)
    if (page === undefined) return
    this.#bySlot.delete(slot)
    page.changed = false
    if (page.writing) this.#leaving.set(slot, page)
    page.owner = null
    // Its memory may still be looked at or written from; the hand takes it once it is not.
    page.slot = -1
  }

  /** Only images hold the slot now. */
  handOver(slot: number): void {
    const page = this.#bySlot.get(slot)
    if (page !== undefined) page.owner = heldByImage
  }

  /** Extents of that replica of whose checksums memory holds some that the disk does not. */
  changedOf(owner: SumOwner): number[] {
    const isChanged = (page: SumPage) => page.owner === owner && page.slot >= 0 && (page.changed || page.writing)
    return this.#ring.filter(isChanged).map(({ extent }) => extent)
  }

  /** Done when nothing of the slot's checksums is on its way to the disk any more: then they may be zeroed. */
  quiet(slot: number, done: SumsDone): void {
    const page = this.#leaving.get(slot)
    if (page === undefined) done(null)
    else page.cleaning.push(done)
  }

  /** Pages in memory, for tests and counters. */
  get pages(): number {
    return this.#ring.length
  }

  #take(): SumPage {
    const page = (this.#ring.length >= this.#parts.mostPages ? this.#pushOut() : null) ?? this.#make()
    page.low = 0
    page.high = 0
    page.changed = false
    return page
  }

  #make(): SumPage {
    if (this.#spare.length === 0) {
      const memory = new ArrayBuffer(pagesTogether * sectorBytes)
      for (let at = 0; at < pagesTogether; at += 1) {
        this.#spare.push(new BigUint64Array(memory, at * sectorBytes, blocksPerSlot))
      }
    }
    const page = new SumPage(this.#spare.pop() ?? new BigUint64Array(blocksPerSlot))
    this.#ring.push(page)
    return page
  }

  /**
   * A page that nobody needs now; null when the next ones are all in use: then memory grows by what is under way.
   * Changed ones on the hand's way are written, so that the next round finds them clean.
   */
  #pushOut(): SumPage | null {
    for (let looked = 0; looked < handSteps; looked += 1) {
      this.#hand = (this.#hand + 1) % this.#ring.length
      const page = this.#ring[this.#hand]
      if (page === undefined || page.pins > 0 || page.loading !== null || page.writing) continue
      if (page.used && page.slot >= 0) page.used = false
      else if (page.changed) this.#cleanOnTheWay(page)
      else {
        this.#bySlot.delete(page.slot)
        return page
      }
    }
    return null
  }

  #cleanOnTheWay(page: SumPage): void {
    if (this.#cleansUnderWay >= cleansAtOnce) return
    this.#cleansUnderWay += 1
    this.clean(page, (error) => {
      this.#cleansUnderWay -= 1
      // A disk that does not let this page go must not hold all writes: each failure lets one in.
      if (error !== null) this.#waiting.shift()?.()
      if (this.#waiting.length > 0) this.#shrink()
    })
  }

  #read(page: SumPage, slot: number): void {
    const { data, queue } = this.#parts
    const bytes = Buffer.alloc(sectorBytes)
    queue.read(data.get(fileOfSlot(slot)), bytes, 0, sectorBytes, sumsOffset(slot), {
      diskDone: (error, got) => {
        if (page.slot !== slot) return this.#loaded(page, givenBack)
        // Unreadable checksums are no reason to withhold the data: they are computed from it, for this run.
        if (error !== null) this.#tellUnchecked(error, page.extent)
        if (error !== null || page.stale) {
          page.stale = false
          return this.#compute(page, slot)
        }
        // Beyond the end of the file nothing was ever written: zeros.
        if (got < sectorBytes) bytes.fill(0, got)
        for (let block = 0; block < blocksPerSlot; block += 1) {
          if (!page.knows(block)) page.learn(block, bytes.readBigUInt64LE(block * 8))
        }
        this.#loaded(page, null)
      },
    })
  }

  #tellUnchecked({ message }: FileError, extent: number): void {
    const words = 'block checksums cannot be read: what stands there now is taken for right'
    this.#parts.log.error({ extent, error: message }, words)
  }

  /** C2: from the slot's own bytes. What is written there meanwhile is known already and stays. */
  #compute(page: SumPage, slot: number): void {
    const { data, queue } = this.#parts
    const bytes = Buffer.allocUnsafe(slotBytes)
    queue.read(data.get(fileOfSlot(slot)), bytes, 0, slotBytes, slotOffset(slot), {
      diskDone: (error, got) => {
        if (page.slot !== slot) return this.#loaded(page, givenBack)
        if (error !== null) return this.#computeBlock(page, slot, 0)
        if (page.stale) {
          page.stale = false
          return this.#compute(page, slot)
        }
        if (got < slotBytes) bytes.fill(0, got)
        for (let block = 0; block < blocksPerSlot; block += 1) {
          const at = block * limits.blockBytes
          if (!page.knows(block)) page.learn(block, sumOf(bytes.subarray(at, at + limits.blockBytes)))
        }
        this.#computed(page)
      },
    })
  }

  /** One bad sector is one block: the others of its slot are computed one by one, its own stays unknown. */
  #computeBlock(page: SumPage, slot: number, block: number): void {
    if (page.slot !== slot) return this.#loaded(page, givenBack)
    if (block >= blocksPerSlot) return this.#computed(page)
    if (page.knows(block)) return this.#computeBlock(page, slot, block + 1)
    const { data, queue } = this.#parts
    const bytes = Buffer.alloc(limits.blockBytes)
    const offset = slotOffset(slot) + block * limits.blockBytes
    queue.read(data.get(fileOfSlot(slot)), bytes, 0, bytes.length, offset, {
      diskDone: (error) => {
        // A change that failed meanwhile: whatever was read of it, it is computed anew when it is asked for.
        const isSure = error === null && !page.stale && page.slot === slot
        if (isSure && !page.knows(block)) page.learn(block, sumOf(bytes))
        this.#computeBlock(page, slot, block + 1)
      },
    })
  }

  /** Only what lies in doubt, so in a marked region, is for the disk (C1); the rest is computed for this run only. */
  #computed(page: SumPage): void {
    const isDoubtful = page.owner?.isDoubtful(page.extent) === true
    if (isDoubtful) page.changed = true
    if (isDoubtful && page.isWhole) page.owner?.resolved(page.extent)
    this.#loaded(page, null)
  }

  #loaded(page: SumPage, error: FileError | null): void {
    const waiters = page.loading ?? []
    page.stale = false
    page.loading = null
    for (const waiter of waiters) waiter(error)
  }

  /** One write of a page at a time, so that an older state never comes after a newer one. */
  #write(page: SumPage): void {
    const { slot, extent, owner } = page
    page.writing = true
    page.pins += 1
    this.load(page, (error) => {
      page.pins -= 1
      if (page.slot !== slot) return this.#written(page, slot, null)
      if (error !== null || !page.isWhole) return this.#written(page, slot, error ?? unreadable)
      const file = fileOfSlot(slot)
      const bytes = Buffer.from(new Uint8Array(page.sums.buffer, page.sums.byteOffset, sectorBytes))
      page.changed = false
      owner?.sumsBegin(extent)
      this.#parts.queue.write(this.#parts.data.get(file), [bytes], sectorBytes, sumsOffset(slot), false, {
        diskDone: (failure) => {
          this.#parts.wrote(file)
          owner?.sumsEnd(extent)
          if (failure !== null) this.#parts.fail(failure)
          this.#written(page, slot, failure)
        },
      })
    })
  }

  #written(page: SumPage, slot: number, error: FileError | null): void {
    this.#leaving.delete(slot)
    page.writing = false
    const waiters = page.cleaning
    page.cleaning = []
    // Changed again while it was written: whoever asked meanwhile hears when that is written too.
    if (page.changed && error === null && page.slot === slot) {
      page.cleaning = waiters
      this.#write(page)
    } else for (const waiter of waiters) waiter(error)
  }
}
