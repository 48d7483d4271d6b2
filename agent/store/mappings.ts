/** Which extents of one replica get a slot and lose it, and who waits until that is committed. */
import type { VolumeId } from '../kit/ids.ts'
import { zeroSum } from './checksum.ts'
import type { Commits } from './commits.ts'
import type { ExtentMap } from './extent-map.ts'
import type { FileError } from './files.ts'
import { blocksPerSlot, regionExtents, type SlotHeader, slotBytes } from './format.ts'
import type { Images } from './images.ts'
import type { Operation } from './operation.ts'
import type { Slots } from './slots.ts'
import { type Change, RangeReservations, SpaceReservation } from './space.ts'
import type { SumDoubt } from './sum-doubt.ts'
import type { SumOwner } from './sum-page.ts'
import type { Sums } from './sums.ts'

export interface MappingParts {
  readonly map: ExtentMap
  readonly images: Images
  readonly slots: Slots
  readonly commits: Commits
  readonly sums: Sums
  readonly doubt: SumDoubt
  /** The next (run, counter) of a slot header. */
  readonly nextGeneration: () => { run: number; counter: number }
  readonly fail: (error: FileError) => void
}

export class Mappings {
  readonly #parts: MappingParts
  readonly #owner: SumOwner
  readonly #volume: { readonly id: VolumeId; readonly number: number }
  /** Commits under way for new mappings: a write into a mapping not yet committed waits for it too. */
  readonly #uncommitted = new Map<number, number>()
  #commitNumber = 0
  readonly #reservations = new RangeReservations()

  constructor(parts: MappingParts, owner: SumOwner, volume: { readonly id: VolumeId; readonly number: number }) {
    this.#parts = parts
    this.#owner = owner
    this.#volume = volume
  }

  /** Slots that a write there needs. */
  missing(offsetBytes: number, lengthBytes: number): number {
    const last = Math.floor((offsetBytes + lengthBytes - 1) / slotBytes)
    let missing = 0
    for (let extent = Math.floor(offsetBytes / slotBytes); extent <= last; extent++) {
      if (this.#parts.map.get(extent) < 0) missing += 1
    }
    if (this.#parts.images.isEmpty) return missing
    return missing + this.shared(Math.floor(offsetBytes / slotBytes), last + 1).length
  }

  /** Extents in [from, end) whose slot an image holds, too: they are copied before they change. */
  shared(from: number, end: number): number[] {
    const { images, map } = this.#parts
    const extents: number[] = []
    if (images.isEmpty) return extents
    for (let extent = map.firstMapped(from, end); extent >= 0; extent = map.firstMapped(extent + 1, end)) {
      if (images.isShared(extent, map.get(extent))) extents.push(extent)
    }
    return extents
  }

  /** Slots that such a request needs there now. Zeros take the place of what is stored, but not in an image. */
  needed(change: Change, offsetBytes: number, lengthBytes: number): number {
    if (change === 'data') return this.missing(offsetBytes, lengthBytes)
    if (change === 'discard' || this.#parts.images.isEmpty) return 0
    const end = offsetBytes + lengthBytes
    const isUnmapped = (extent: number) =>
      change === 'zero' && extent * slotBytes >= offsetBytes && (extent + 1) * slotBytes <= end
    const shared = this.shared(Math.floor(offsetBytes / slotBytes), Math.ceil(end / slotBytes))
    return shared.filter((extent) => !isUnmapped(extent)).length
  }

  /** C8: sets slots aside for whatever comes. @returns null when the disk cannot hold that many more */
  reserve(slots: number): SpaceReservation | null {
    const ledger = this.#parts.slots
    return slots <= 0 || ledger.available() >= slots ? new SpaceReservation(ledger, slots) : null
  }

  /** C8: sets aside what is missing now, and what is discarded there before the write comes. */
  reserveFor(change: Change, offsetBytes: number, lengthBytes: number): SpaceReservation | null {
    const needed = this.needed(change, offsetBytes, lengthBytes)
    const ledger = this.#parts.slots
    if (needed > 0 && ledger.available() < needed) return null
    const first = Math.floor(offsetBytes / slotBytes)
    const end = Math.ceil((offsetBytes + lengthBytes) / slotBytes)
    return new SpaceReservation(ledger, needed, this.#reservations, first, end)
  }

  /** Gives slots to the extents that have none. @returns whether the range has new ones, or not yet committed ones */
  allocate(operation: Operation, offsetBytes: number, end: number): boolean {
    const { map, slots, commits, sums } = this.#parts
    let fresh = false
    for (let extent = Math.floor(offsetBytes / slotBytes); extent * slotBytes < end; extent++) {
      if (map.get(extent) < 0) {
        const slot = slots.take()
        if (operation.reservation !== null && operation.reservation.slots > 0) operation.reservation.use()
        map.set(extent, slot)
        sums.fresh(slot, this.#owner, extent)
        commits.touchRegion(this.#volume.number, map, Math.floor(extent / regionExtents))
        this.#header('data', slot, extent)
        this.#uncommitted.set(extent, this.#commitNumber + 1)
        fresh = true
      } else if (this.#uncommitted.size > 0 && this.#uncommitted.has(extent)) fresh = true
    }
    if (fresh) this.awaitCommit(operation)
    return fresh
  }

  /** The headers of a region say anew what the map says. The caller awaits the commit. */
  writeHeaders(region: number): void {
    const { map, images } = this.#parts
    for (let extent = region * regionExtents; extent < (region + 1) * regionExtents; extent += 1) {
      const slot = map.get(extent)
      if (slot >= 0) this.#header('data', slot, extent)
      // What only images hold there is not the volume's.
      else for (const older of images.slotsOf(extent, -1)) this.#header('free', older, extent)
    }
  }

  /** Takes the extent's slot away. The caller awaits the commit. */
  unmap(extent: number): void {
    const { map, images, slots, commits, sums, doubt } = this.#parts
    const slot = map.get(extent)
    map.set(extent, -1)
    doubt.remove(extent)
    if (!images.isEmpty && images.isHeld(extent, slot)) {
      sums.handOver(slot)
      images.left(extent, slot)
    } else {
      this.#reservations.freed(extent)
      sums.forget(slot)
      slots.free(slot)
    }
    commits.touchRegion(this.#volume.number, map, Math.floor(extent / regionExtents))
    this.#header('free', slot, extent)
    if (images.isEmpty) return
    // They claimed the extent before this slot did, and will when its header is another's.
    for (const older of images.slotsOf(extent, slot)) this.#header('free', older, extent, { run: 0, counter: 0 })
  }

  /** The extent has a copy of what an image holds: durable, with these checksums. The caller awaits the commit. */
  replace(extent: number, to: number, sumsOf: BigUint64Array): void {
    const { map, images, slots, commits, sums } = this.#parts
    const from = map.get(extent)
    map.set(extent, to)
    slots.map(to)
    const page = sums.fresh(to, this.#owner, extent)
    for (let block = 0; block < blocksPerSlot; block += 1) page.set(block, sumsOf[block] ?? zeroSum)
    sums.handOver(from)
    images.left(extent, from)
    commits.touchRegion(this.#volume.number, map, Math.floor(extent / regionExtents))
    this.#header('data', to, extent)
    this.#uncommitted.set(extent, this.#commitNumber + 1)
  }

  #header(state: SlotHeader['state'], slot: number, extent: number, generation = this.#parts.nextGeneration()): void {
    this.#parts.commits.header({ state, slot, volumeId: this.#volume.id, extent, ...generation })
  }

  isUncommitted(extent: number): boolean {
    return this.#uncommitted.has(extent)
  }

  /** The operation also waits until all mappings made so far are committed. */
  awaitCommit(operation: Operation): void {
    this.#commitNumber += 1
    const number = this.#commitNumber
    operation.left += 1
    this.#parts.commits.wait((error) => {
      for (const [extent, of] of this.#uncommitted) if (of <= number) this.#uncommitted.delete(extent)
      if (error !== null) {
        this.#parts.fail(error)
        operation.failure ??= 'io'
      }
      operation.part()
    })
  }
}
