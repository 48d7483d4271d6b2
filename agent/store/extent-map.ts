/** Which slot holds which extent of one volume, in memory: 4 bytes an extent, in pages made when first needed. */
import { regionExtents } from './format.ts'

const pageExtents = 4096

export class ExtentMap {
  /** slot + 1; 0 = no slot: reads as zeros. */
  readonly #pages: (Uint32Array | undefined)[]
  #mapped = 0
  /** Pages that another map has, too: copied before they change. Null where there never were any. */
  #common: boolean[] | null = null

  constructor(extentCount: number) {
    this.#pages = new Array(Math.ceil(extentCount / pageExtents))
  }

  /** The volume has more extents, all without a slot. */
  grow(extentCount: number): void {
    this.#pages.length = Math.ceil(extentCount / pageExtents)
  }

  /** A map of its own with the same slots; costs nothing until one of the two changes. */
  snapshot(): ExtentMap {
    const copy = new ExtentMap(0)
    copy.#pages.push(...this.#pages)
    copy.#mapped = this.#mapped
    copy.#common = this.#pages.map((page) => page !== undefined)
    this.#common = copy.#common.slice()
    return copy
  }

  /** Where both maps are alike, they have one memory from now on. */
  shareWith(other: ExtentMap): void {
    for (const [number, page] of this.#pages.entries()) {
      const same = other.#pages[number]
      if (page === undefined || same === undefined || page === same || !same.every((slot, at) => slot === page[at]))
        continue
      this.#pages[number] = same
      this.#common ??= []
      this.#common[number] = true
      other.#common ??= []
      other.#common[number] = true
    }
  }

  /** Extents whose slot none of the others has for them. */
  countOnly(others: readonly ExtentMap[]): number {
    let count = 0
    for (const [number, page] of this.#pages.entries()) {
      if (page === undefined) continue
      const pages = others.map((other) => other.#pages[number])
      if (pages.includes(page)) continue
      for (const [at, slot] of page.entries()) {
        if (slot !== 0 && !pages.some((other) => other?.[at] === slot)) count += 1
      }
    }
    return count
  }

  /** Extents that have a slot. */
  get mapped(): number {
    return this.#mapped
  }

  /** @returns the slot, or -1. */
  get(extent: number): number {
    const page = this.#pages[Math.floor(extent / pageExtents)]
    return page === undefined ? -1 : (page[extent % pageExtents] ?? 0) - 1
  }

  /** @param slot -1 takes the extent's slot away */
  set(extent: number, slot: number): void {
    const page = this.#toChange(Math.floor(extent / pageExtents))
    const before = page[extent % pageExtents] ?? 0
    page[extent % pageExtents] = slot + 1
    this.#mapped += (slot >= 0 ? 1 : 0) - (before > 0 ? 1 : 0)
  }

  /** The page, there and this map's alone. */
  #toChange(number: number): Uint32Array {
    let page = this.#pages[number]
    if (page !== undefined && this.#common?.[number] !== true) return page
    page = page === undefined ? new Uint32Array(pageExtents) : page.slice()
    this.#pages[number] = page
    if (this.#common !== null) this.#common[number] = false
    return page
  }

  /** The first extent in [from, to) that has a slot, or -1. Skips empty pages quickly. */
  firstMapped(from: number, to: number): number {
    let extent = from
    while (extent < to) {
      const page = this.#pages[Math.floor(extent / pageExtents)]
      const pageEnd = Math.min(to, (Math.floor(extent / pageExtents) + 1) * pageExtents)
      if (page === undefined) {
        extent = pageEnd
        continue
      }
      for (; extent < pageEnd; extent++) if (page[extent % pageExtents] !== 0) return extent
    }
    return -1
  }

  /** The row of one region for the index; null when none of its extents has a slot. */
  row(region: number): Uint8Array | null {
    const first = region * regionExtents
    if (this.firstMapped(first, first + regionExtents) < 0) return null
    const row = Buffer.alloc(regionExtents * 4)
    for (let at = 0; at < regionExtents; at++) row.writeUInt32LE(this.get(first + at) + 1, at * 4)
    return row
  }

  /**
   * Takes over a row of the index: of a region that has none yet, all of it in one page.
   * @param check is told each slot before it is the extent's
   * @param like whose slots were checked: where it has the very same row, nothing is asked again
   */
  loadRow(
    region: number,
    row: Uint8Array,
    check: (extent: number, slot: number) => void,
    like: ExtentMap | null = null,
  ): void {
    const first = region * regionExtents
    const number = Math.floor(first / pageExtents)
    const start = first % pageExtents
    const words = new DataView(row.buffer, row.byteOffset, row.byteLength)
    const isChecked = like === null ? false : like.#hasRow(number, start, words)
    const page = this.#toChange(number)
    for (let at = 0; at < regionExtents; at++) {
      const word = words.getUint32(at * 4, true)
      if (word === 0) continue
      if (!isChecked) check(first + at, word - 1)
      if (page[start + at] === 0) this.#mapped += 1
      page[start + at] = word
    }
  }

  #hasRow(number: number, start: number, words: DataView): boolean {
    const page = this.#pages[number]
    if (page === undefined) return false
    for (let at = 0; at < regionExtents; at++) if (page[start + at] !== words.getUint32(at * 4, true)) return false
    return true
  }
}
