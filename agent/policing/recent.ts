/**
 * Where this server's latest uses were, coarsely. It is no permission, only manners: a grant does not grow over what its
 * granter is about to want back (W7: two servers that write beside each other soon ask each other nothing).
 */
import { conflicts, type Mode, type Use } from './use.ts'

/** Blocks per place (1 MiB). */
const placeBlocks = 256
/** Places remembered; a later one takes the seat of an earlier one by its number. */
const seats = 1024

export class Recent {
  readonly #places = new Float64Array(seats).fill(-1)
  readonly #isWritten = new Uint8Array(seats)

  forget(): void {
    this.#places.fill(-1)
    this.#isWritten.fill(0)
  }

  note(use: Use): void {
    const first = Math.floor(use.firstBlock / placeBlocks)
    // Whoever uses more than all seats wants all of it back anyway.
    const last = Math.min(Math.floor(use.lastBlock / placeBlocks), first + seats - 1)
    for (let place = first; place <= last; place += 1) {
      const seat = place % seats
      const isKnownWritten = this.#places[seat] === place && this.#isWritten[seat] === 1
      this.#places[seat] = place
      if (!isKnownWritten) this.#isWritten[seat] = use.mode === 'exclusive' ? 1 : 0
    }
  }

  /** Calls back for every place whose latest use would exclude a use of this mode. */
  eachAgainst(mode: Mode, each: (firstBlock: number, lastBlock: number) => void): void {
    for (let seat = 0; seat < seats; seat += 1) {
      const place = this.#places[seat] ?? -1
      if (place < 0 || !conflicts(mode, this.#isWritten[seat] === 1 ? 'exclusive' : 'shared')) continue
      each(place * placeBlocks, place * placeBlocks + placeBlocks - 1)
    }
  }
}
