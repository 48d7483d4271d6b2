/** The asks of one direction between two servers that are not answered yet, by what they ask for and by their time. */
import { SpanIndex } from './span-index.ts'
import type { Mode } from './use.ts'

/** One server asks another one for a range, both ends included. */
export interface Ask {
  readonly firstBlock: number
  readonly lastBlock: number
  readonly mode: Mode
  /** Lamport time of the use that waits; with the server id it gives the priority (P1). No two uses of a server have one. */
  readonly time: number
}

/** The answer to one ask: the asked range and what it has grown by. */
export interface Grant {
  readonly firstBlock: number
  readonly lastBlock: number
  readonly mode: Mode
  /** The time of the ask that it answers. */
  readonly asked: number
  readonly time: number
}

export class Asks {
  readonly index = new SpanIndex<Ask>()
  readonly #byTime = new Map<number, Ask>()

  get size(): number {
    return this.#byTime.size
  }

  at(time: number): Ask | undefined {
    return this.#byTime.get(time)
  }

  add(ask: Ask): void {
    this.#byTime.set(ask.time, ask)
    this.index.add(ask)
  }

  remove(ask: Ask): void {
    this.#byTime.delete(ask.time)
    this.index.remove(ask)
  }

  /** Those that overlap the range, oldest first; the list is the caller's. */
  overlapping(firstBlock: number, lastBlock: number): Ask[] {
    const found = this.index.collect(firstBlock, lastBlock, [])
    return found.length < 2 ? found : found.sort((one, other) => one.time - other.time)
  }
}
