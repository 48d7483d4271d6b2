/**
 * What one other server has granted this one, block by block: a map of intervals that is complete (every block of every
 * size of volume is in one) and as short as it can be (neighbours differ).
 */
import { invariant } from '../kit/failure.ts'
import type { Mode } from './use.ts'

/** 0 nothing, 1 shared, 2 exclusive: the greater one includes the smaller. */
export type Rank = 0 | 1 | 2

export const rankOf = (mode: Mode): Rank => (mode === 'exclusive' ? 2 : 1)

/** The last block that any volume can have: byte offsets are safe integers. */
export const lastOfAllBlocks = 2 ** 41 - 1

export class Holds {
  /** First block of each piece, rising, the first one 0; a piece ends before the next one's first block. */
  #starts: number[] = [0]
  #ranks: Rank[] = [0]

  /** How many pieces the map has; at least 1. */
  get pieces(): number {
    return this.#starts.length
  }

  reset(rank: Rank): void {
    this.#starts = [0]
    this.#ranks = [rank]
  }

  /** Whether every block of the range (both ends included) is held at least so. */
  covers(firstBlock: number, lastBlock: number, rank: Rank): boolean {
    for (let index = this.#indexOf(firstBlock); ; index += 1) {
      if (this.#rankAt(index) < rank) return false
      if (this.#endOf(index) >= lastBlock) return true
    }
  }

  /** Holds the range at least so from now on. */
  raise(firstBlock: number, lastBlock: number, rank: Rank): void {
    this.#change(firstBlock, lastBlock, (present) => (present > rank ? present : rank))
  }

  /** Holds the range at most so from now on. */
  lower(firstBlock: number, lastBlock: number, rank: Rank): void {
    this.#change(firstBlock, lastBlock, (present) => (present < rank ? present : rank))
  }

  /** Holds nothing any more but the largest pieces, so many of them. */
  keepLargest(count: number): void {
    const held = [...this].filter(({ rank }) => rank > 0)
    held.sort((one, other) => other.lastBlock - other.firstBlock - (one.lastBlock - one.firstBlock))
    const kept = held.slice(0, count).sort((one, other) => one.firstBlock - other.firstBlock)
    this.reset(0)
    for (const { firstBlock, lastBlock, rank } of kept) this.raise(firstBlock, lastBlock, rank)
  }

  /** @returns the first block of the longest run of blocks right before this one that are all held at least so; the block
   * itself when the one before it is not */
  reachBelow(block: number, rank: Rank): number {
    let reach = block
    while (reach > 0) {
      const index = this.#indexOf(reach - 1)
      if (this.#rankAt(index) < rank) break
      reach = this.#starts[index] ?? 0
    }
    return reach
  }

  /** @returns the same upwards */
  reachAbove(block: number, rank: Rank): number {
    let reach = block
    while (reach < lastOfAllBlocks) {
      const index = this.#indexOf(reach + 1)
      if (this.#rankAt(index) < rank) break
      reach = this.#endOf(index)
    }
    return reach
  }

  /** The pieces in order, with the last block of each. */
  *[Symbol.iterator](): Generator<{ readonly firstBlock: number; readonly lastBlock: number; readonly rank: Rank }> {
    for (const [index, firstBlock] of this.#starts.entries()) {
      yield { firstBlock, lastBlock: this.#endOf(index), rank: this.#rankAt(index) }
    }
  }

  #rankAt(index: number): Rank {
    return this.#ranks[index] ?? 0
  }

  #endOf(index: number): number {
    const next = this.#starts[index + 1]
    return next === undefined ? lastOfAllBlocks : next - 1
  }

  /** The piece that this block is in. */
  #indexOf(block: number): number {
    let low = 0
    let high = this.#starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((this.#starts[middle] ?? 0) <= block) low = middle
      else high = middle - 1
    }
    return low
  }

  #change(firstBlock: number, lastBlock: number, to: (rank: Rank) => Rank): void {
    invariant(firstBlock >= 0 && firstBlock <= lastBlock && lastBlock <= lastOfAllBlocks, 'P5a', 'a hold is of a range')
    const from = this.#indexOf(firstBlock)
    const upTo = this.#indexOf(lastBlock)
    const starts: number[] = []
    const ranks: Rank[] = []
    // Begins with the rank of the piece before, so that an equal neighbour swallows what follows it.
    let before: Rank | null = from > 0 ? this.#rankAt(from - 1) : null
    const put = (start: number, rank: Rank) => {
      if (rank === before) return
      starts.push(start)
      ranks.push(rank)
      before = rank
    }
    for (let index = from; index <= upTo; index += 1) {
      const start = this.#starts[index] ?? 0
      const rank = this.#rankAt(index)
      if (start < firstBlock) put(start, rank)
      put(Math.max(start, firstBlock), to(rank))
      if (this.#endOf(index) > lastBlock) put(lastBlock + 1, rank)
    }
    // The piece behind keeps its place unless it has become one with what is before it.
    const joins = upTo + 1 < this.#starts.length && this.#rankAt(upTo + 1) === before
    const replaced = upTo - from + 1 + (joins ? 1 : 0)
    this.#starts.splice(from, replaced, ...starts)
    this.#ranks.splice(from, replaced, ...ranks)
  }
}
