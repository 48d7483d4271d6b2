/**
 * C12: the store's durable commits, counted. Each is numbered before it begins, and its number goes to the disk with
 * it, into a file that it syncs anyway: so counting costs no sync of its own. An older copy of the folder shows a
 * smaller count than the one that was told, whatever it was copied from and when.
 */
export class CommitCount {
  #given: number
  #durable: number

  /** @param found the greatest number that stands in the folder */
  constructor(found: number) {
    this.#given = found
    this.#durable = found
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
