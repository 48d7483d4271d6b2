/**
 * Space set aside before a write executes (C8): slots counted off from what the disk can hold, so that nobody else's
 * write takes them. A reservation for a range also keeps what its extents have now: a slot that a discard frees there
 * stays with the reservation.
 */
import { invariant } from '../kit/failure.ts'

/** Where reservations are counted: the slots of one storage folder. */
export interface SlotLedger {
  /** Slots that are neither mapped nor set aside; may be negative when others filled the disk. */
  available(): number
  setAside(slots: number): void
}

export class SpaceReservation {
  readonly #ledger: SlotLedger
  #slots: number
  readonly #firstExtent: number
  readonly #endExtent: number
  #kept: RangeReservations | null

  /** Counts `slots` off; the caller has looked that they are available. */
  constructor(
    ledger: SlotLedger,
    slots: number,
    kept: RangeReservations | null = null,
    firstExtent = 0,
    endExtent = 0,
  ) {
    this.#ledger = ledger
    this.#slots = slots
    this.#kept = kept
    this.#firstExtent = firstExtent
    this.#endExtent = endExtent
    ledger.setAside(slots)
    kept?.add(this)
  }

  get slots(): number {
    return this.#slots
  }

  /** @returns a reservation of its own for some of these slots */
  split(slots: number): SpaceReservation {
    invariant(slots <= this.#slots, 'S6', `${slots} slots of a reservation of ${this.#slots}`)
    this.#change(-slots)
    return new SpaceReservation(this.#ledger, slots)
  }

  /** Sets more aside. The caller has looked that they are available. */
  add(slots: number): void {
    this.#change(slots)
  }

  /** One of its slots is handed out now. */
  use(): void {
    invariant(this.#slots > 0, 'S6', 'a slot beyond a reservation is used')
    this.#change(-1)
  }

  /** A slot of the extent was freed. */
  freed(extent: number): void {
    if (extent >= this.#firstExtent && extent < this.#endExtent) this.#change(1)
  }

  /** What was not used is everybody's again. Harmless twice. */
  release(): void {
    this.#change(-this.#slots)
    this.#kept?.remove(this)
    this.#kept = null
  }

  #change(slots: number): void {
    this.#slots += slots
    this.#ledger.setAside(slots)
  }
}

/** The reservations for ranges of one replica: only on a disk that is nearly full are there any. */
export class RangeReservations {
  readonly #all = new Set<SpaceReservation>()

  add(reservation: SpaceReservation): void {
    this.#all.add(reservation)
  }

  remove(reservation: SpaceReservation): void {
    this.#all.delete(reservation)
  }

  freed(extent: number): void {
    for (const reservation of this.#all) reservation.freed(extent)
  }
}

/** What a request does to its range: the kinds of link/messages.ts. */
export type Change = 'data' | 'zero' | 'zero-keep' | 'discard'
