/**
 * Which slot holds which extent of a volume, from what slots say about themselves. Of two headers for one extent the
 * greater (run, counter) holds; when that is a `free` one, a tombstone, the extent has no slot. 13 bytes an extent, in
 * pages made when first needed.
 */
import { type Generation, regionExtents, type SlotHeader } from './format.ts'

const pageExtents = 4096

interface Page {
  /** slot + 1; 0 = nobody spoke of the extent. */
  readonly slots: Uint32Array
  readonly runs: Uint32Array
  readonly counters: Uint32Array
  readonly isFree: Uint8Array
}

const isLater = (one: Generation, other: Generation): boolean =>
  one.run > other.run || (one.run === other.run && one.counter > other.counter)

export class Claims {
  readonly extentCount: number
  readonly #pages: (Page | undefined)[]

  readonly #born: Generation

  /** @param born headers up to then say nothing about this volume */
  constructor(extentCount: number, born: Generation) {
    this.extentCount = extentCount
    this.#born = born
    this.#pages = new Array(Math.ceil(extentCount / pageExtents))
  }

  /** @param header of an extent inside the volume */
  add(header: SlotHeader): void {
    if (!isLater(header, this.#born)) return
    const page = this.#page(header.extent)
    const at = header.extent % pageExtents
    const known = { run: page.runs[at] ?? 0, counter: page.counters[at] ?? 0 }
    if (page.slots[at] !== 0 && !isLater(header, known)) return
    page.slots[at] = header.slot + 1
    page.runs[at] = header.run
    page.counters[at] = header.counter
    page.isFree[at] = header.state === 'free' ? 1 : 0
  }

  /** @returns the slot that holds the extent, or -1 */
  slotOf(extent: number): number {
    const page = this.#pages[Math.floor(extent / pageExtents)]
    const at = extent % pageExtents
    return page === undefined || page.isFree[at] === 1 ? -1 : (page.slots[at] ?? 0) - 1
  }

  /** Regions with at least one extent that has a slot: their number, and the row for the index. */
  *rows(): IterableIterator<{ region: number; slots: Buffer; held: number[] }> {
    for (let first = 0; first < this.extentCount; first += regionExtents) {
      if (this.#pages[Math.floor(first / pageExtents)] === undefined) continue
      const slots = Buffer.alloc(regionExtents * 4)
      const held: number[] = []
      for (let at = 0; at < regionExtents; at++) {
        const slot = this.slotOf(first + at)
        if (slot < 0) continue
        slots.writeUInt32LE(slot + 1, at * 4)
        held.push(slot)
      }
      if (held.length > 0) yield { region: first / regionExtents, slots, held }
    }
  }

  #page(extent: number): Page {
    const number = Math.floor(extent / pageExtents)
    const present = this.#pages[number]
    if (present !== undefined) return present
    const page = {
      slots: new Uint32Array(pageExtents),
      runs: new Uint32Array(pageExtents),
      counters: new Uint32Array(pageExtents),
      isFree: new Uint8Array(pageExtents),
    }
    this.#pages[number] = page
    return page
  }
}
