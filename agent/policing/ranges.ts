/**
 * Order among the uses of one server (W3, R4): overlapping uses that exclude each other begin in the order in which they
 * came, each after the ones before it have ended. A use waits only for earlier ones, so nothing deadlocks and nothing
 * starves.
 */
import { invariant } from '../kit/failure.ts'
import { conflicts, type Use } from './use.ts'

/** Blocks per bucket of the table (1 MiB): most requests touch one. */
const bucketBlocks = 256

const bucketOf = (block: number): number => Math.floor(block / bucketBlocks)

/** Beyond so many buckets (1 GiB, more than any request) a use stands in none of them. */
const mostBuckets = 1024

const isWide = (use: Use): boolean => bucketOf(use.lastBlock) - bucketOf(use.firstBlock) >= mostBuckets

const overlap = (one: Use, other: Use): boolean =>
  one.firstBlock <= other.lastBlock && other.firstBlock <= one.lastBlock && conflicts(one.mode, other.mode)

export class Ranges {
  readonly #buckets = new Map<number, Use[]>()
  /** Uses of so much that they would stand in very many buckets. */
  readonly #wide = new Set<Use>()
  readonly #granted: (use: Use) => void

  /** @param granted called for every use once no earlier one excludes it; at once inside `enter` when there is none */
  constructor(granted: (use: Use) => void) {
    this.#granted = granted
  }

  enter(use: Use): void {
    invariant(use.phase === 'idle', 'P1a', 'a use is handed in once')
    use.phase = 'behind'
    for (const earlier of this.#wide) if (overlap(use, earlier)) this.#block(use, earlier)
    if (isWide(use)) this.#enterWide(use)
    else this.#enterBuckets(use)
    if (use.blockers === 0) this.#granted(use)
  }

  #enterWide(use: Use): void {
    const seen = new Set([...this.#buckets.values()].flat())
    for (const earlier of seen) if (overlap(use, earlier)) this.#block(use, earlier)
    this.#wide.add(use)
  }

  #enterBuckets(use: Use): void {
    for (let bucket = bucketOf(use.firstBlock); bucket <= bucketOf(use.lastBlock); bucket += 1) {
      const present = this.#buckets.get(bucket)
      if (present === undefined) {
        this.#buckets.set(bucket, [use])
        continue
      }
      for (const earlier of present) this.#waitFor(use, earlier, bucket)
      present.push(use)
    }
  }

  leave(use: Use): void {
    invariant(use.phase !== 'idle' && use.blockers === 0, 'P1b', 'only a use that was let in leaves')
    use.phase = 'idle'
    if (!this.#wide.delete(use)) {
      for (let bucket = bucketOf(use.firstBlock); bucket <= bucketOf(use.lastBlock); bucket += 1) {
        this.#remove(use, bucket)
      }
    }
    const dependents = use.dependents
    if (dependents === null) return
    use.dependents = null
    for (const dependent of dependents) {
      dependent.blockers -= 1
      if (dependent.blockers === 0) this.#granted(dependent)
    }
  }

  #waitFor(use: Use, earlier: Use, bucket: number): void {
    if (!overlap(use, earlier)) return
    // Two uses can share several buckets; they are counted once, in the first bucket that both touch.
    if (bucket === Math.max(bucketOf(use.firstBlock), bucketOf(earlier.firstBlock))) this.#block(use, earlier)
  }

  #block(use: Use, earlier: Use): void {
    use.blockers += 1
    if (earlier.dependents === null) earlier.dependents = [use]
    else earlier.dependents.push(use)
  }

  #remove(use: Use, bucket: number): void {
    const present = this.#buckets.get(bucket)
    const index = present === undefined ? -1 : present.indexOf(use)
    if (present === undefined || index < 0) invariant(false, 'P1c', 'a use that leaves stands in its buckets')
    if (present.length === 1) this.#buckets.delete(bucket)
    else present.splice(index, 1)
  }
}
