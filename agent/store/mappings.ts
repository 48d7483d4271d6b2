/** Which extents of one replica get a slot and lose it, and who waits until that is committed. */
import type { VolumeId } from '../kit/ids.ts'
import type { Commits } from './commits.ts'
import type { ExtentMap } from './extent-map.ts'
import type { FileError } from './files.ts'
import { regionExtents, slotBytes } from './format.ts'
import type { Operation } from './operation.ts'
import type { Slots } from './slots.ts'
import { type Change, RangeReservations, SpaceReservation } from './space.ts'
import type { SumDoubt } from './sum-doubt.ts'
import type { SumOwner, Sums } from './sums.ts'

export interface MappingParts {
  readonly map: ExtentMap
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
    return missing
  }

  /** C8: sets slots aside for whatever comes. @returns null when the disk cannot hold that many more */
  reserve(slots: number): SpaceReservation | null {
    const ledger = this.#parts.slots
    return slots <= 0 || ledger.available() >= slots ? new SpaceReservation(ledger, slots) : null
  }

  /** C8: sets aside what is missing now, and what is discarded there before the write comes. */
  reserveFor(change: Change, offsetBytes: number, lengthBytes: number): SpaceReservation | null {
    const needed = change === 'data' ? this.missing(offsetBytes, lengthBytes) : 0
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
        const { run, counter } = this.#parts.nextGeneration()
        commits.header({ state: 'data', slot, volumeId: this.#volume.id, extent, run, counter })
        this.#uncommitted.set(extent, this.#commitNumber + 1)
        fresh = true
      } else if (this.#uncommitted.size > 0 && this.#uncommitted.has(extent)) fresh = true
    }
    if (fresh) this.awaitCommit(operation)
    return fresh
  }

  /** Takes the extent's slot away. The caller awaits the commit. */
  unmap(extent: number): void {
    const { map, slots, commits, sums, doubt } = this.#parts
    const slot = map.get(extent)
    map.set(extent, -1)
    this.#reservations.freed(extent)
    sums.forget(slot)
    doubt.remove(extent)
    slots.free(slot)
    commits.touchRegion(this.#volume.number, map, Math.floor(extent / regionExtents))
    const { run, counter } = this.#parts.nextGeneration()
    commits.header({ state: 'free', slot, volumeId: this.#volume.id, extent, run, counter })
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
