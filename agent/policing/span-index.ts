/** Finds what overlaps a range, among entries that each cover one range of blocks. */
import { invariant } from '../kit/failure.ts'

/** A range of 4 KiB blocks, first and last included. */
export interface Span {
  readonly firstBlock: number
  readonly lastBlock: number
}

export const overlaps = (one: Span, other: Span): boolean =>
  one.firstBlock <= other.lastBlock && other.firstBlock <= one.lastBlock

/** Blocks per bucket of the table (1 MiB): most requests touch one. */
const bucketBlocks = 256

const bucketOf = (block: number): number => Math.floor(block / bucketBlocks)

/** Beyond so many buckets (1 GiB, more than any request) an entry stands in none of them. */
const mostBuckets = 1024

/** Emptied buckets kept for the next entry, so that a request alone in its bucket allocates none. */
const mostSpare = 64

const isWide = (span: Span): boolean => bucketOf(span.lastBlock) - bucketOf(span.firstBlock) >= mostBuckets

export class SpanIndex<Item extends Span> {
  readonly #buckets = new Map<number, Item[]>()
  /** Entries of so much that they would stand in very many buckets. */
  readonly #wide = new Set<Item>()
  readonly #spare: Item[][] = []
  #size = 0

  get size(): number {
    return this.#size
  }

  add(item: Item): void {
    this.#size += 1
    if (isWide(item)) {
      this.#wide.add(item)
      return
    }
    const last = bucketOf(item.lastBlock)
    for (let bucket = bucketOf(item.firstBlock); bucket <= last; bucket += 1) {
      const present = this.#buckets.get(bucket)
      if (present !== undefined) present.push(item)
      else {
        const made = this.#spare.pop() ?? []
        made.push(item)
        this.#buckets.set(bucket, made)
      }
    }
  }

  /** Breaks P1c for an entry that is not there. */
  remove(item: Item): void {
    this.#size -= 1
    if (this.#wide.delete(item)) return
    const last = bucketOf(item.lastBlock)
    for (let bucket = bucketOf(item.firstBlock); bucket <= last; bucket += 1) this.#take(item, bucket)
  }

  /** Adds to `into` every entry that overlaps the range, each once, those of one block in the order they came in (of wide
   * ones nothing is said). The table may be changed while `into` is walked. */
  collect(firstBlock: number, lastBlock: number, into: Item[]): Item[] {
    if (this.#size === 0) return into
    const range = { firstBlock, lastBlock }
    for (const item of this.#wide) if (overlaps(item, range)) into.push(item)
    const first = bucketOf(firstBlock)
    const last = bucketOf(lastBlock)
    if (last - first < this.#buckets.size) {
      for (let bucket = first; bucket <= last; bucket += 1) {
        const present = this.#buckets.get(bucket)
        if (present !== undefined) this.#collectOf(present, bucket, range, into)
      }
    } else {
      for (const [bucket, present] of this.#buckets) this.#collectOf(present, bucket, range, into)
    }
    return into
  }

  #collectOf(present: readonly Item[], bucket: number, range: Span, into: Item[]): void {
    for (const item of present) {
      // Counted once: in the first bucket that both touch.
      if (overlaps(item, range) && bucket === Math.max(bucketOf(range.firstBlock), bucketOf(item.firstBlock))) {
        into.push(item)
      }
    }
  }

  #take(item: Item, bucket: number): void {
    const present = this.#buckets.get(bucket)
    const index = present === undefined ? -1 : present.indexOf(item)
    if (present === undefined || index < 0) invariant(false, 'P1c', 'what leaves the table of ranges stands in it')
    if (present.length > 1) {
      present.splice(index, 1)
      return
    }
    this.#buckets.delete(bucket)
    present.length = 0
    if (this.#spare.length < mostSpare) this.#spare.push(present)
  }
}
