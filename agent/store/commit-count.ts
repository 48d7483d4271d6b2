/**
 * C12: the store's durable commits, counted. Each is numbered before it begins, and its number goes to the disk with
 * it, into a file that it syncs anyway: so counting costs no sync of its own. An older copy of the folder shows a
 * smaller count than the one that was told, whatever it was copied from and when.
 */
import { type Counts, encodeCounts } from './format.ts'

export class CommitCount {
  #given: number
  #durable: number
  #index: number

  /** @param found the greatest numbers that stand in the folder */
  constructor(found: Counts) {
    this.#given = found.commits
    this.#durable = found.commits
    this.#index = found.index
  }

  /**
   * Commits of the index that are known to be durable. Written down with every count, so that an index that lacks one of
   * them is known for what it is: its log was lost, or it is an older copy.
   */
  get index(): number {
    return this.#index
  }

  indexEnded(commits: number): void {
    this.#index = Math.max(this.#index, commits)
  }

  /** The sector that goes to the disk with that commit. */
  sector(commits: number): Buffer {
    return encodeCounts({ commits, index: this.#index })
  }

  /** The number of a commit that begins. */
  next(): number {
    this.#given += 1
    return this.#given
  }

  /** It is durable, number and all. */
  ended(count: number): void {
    this.#durable = Math.max(this.#durable, count)
  }

  /** The next number is at least that one; nothing of it is durable yet. */
  goOnFrom(count: number): void {
    this.#given = Math.max(this.#given, count - 1)
  }

  /** At opening: a number found in a file. */
  found(count: number): void {
    this.#given = Math.max(this.#given, count)
    this.#durable = Math.max(this.#durable, count)
  }

  /** The greatest that is durable: what may be told to others. */
  get value(): number {
    return this.#durable
  }
}
