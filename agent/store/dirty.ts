/**
 * How much may be written and not yet synced (issue 3, item 4): as much as this disk brings to safety in a third of the
 * time after which it would count as hung (E8), so that no flush of a sound slow disk ever takes longer. What a disk
 * brings to safety is measured at its syncs.
 *
 * Counted are blocks, each once however often it is written, and for each that does not follow on another one as much
 * as a disk moves while its head does.
 */
import { limits } from '../limits.ts'

const { blockBytes } = limits

/** The longest a flush may take, milliseconds. */
export const flushMostMs = limits.diskOverdueMs / 3
/** A flush may have to wait for a sync that runs, then for its own: both together; and half of it is kept for surprises. */
const share = 1 / 2
/** Bytes a disk could have moved in the time of one seek: a sound guess, since the rate is measured in the same unit. */
const seekBytes = 256 * 1024

export class Dirty {
  /** Blocks of a slot that are dirty, bits 0-31 and 32-63. */
  #slots = new Map<number, { low: number; high: number }>()
  #bytes = 0
  #cost = 0
  #runningBytes = 0
  #runningCost = 0
  /** Cost that this disk syncs in a millisecond. A slow guess first: 64 MiB or some 250 seeks a second. */
  #ratePerMs = (64 * 1024 * 1024) / 1000

  /** These whole blocks of one slot were written. */
  add(slot: number, inSlotBytes: number, lengthBytes: number): void {
    let bits = this.#slots.get(slot)
    if (bits === undefined) {
      bits = { low: 0, high: 0 }
      this.#slots.set(slot, bits)
    }
    const first = inSlotBytes / blockBytes
    const end = Math.ceil((inSlotBytes + lengthBytes) / blockBytes)
    let follows = first > 0 && isSet(bits, first - 1)
    for (let block = first; block < end; block += 1) {
      if (!isSet(bits, block)) {
        if (block < 32) bits.low |= 1 << block
        else bits.high |= 1 << (block - 32)
        this.#bytes += blockBytes
        this.#cost += follows ? blockBytes : blockBytes + seekBytes
      }
      follows = true
    }
  }

  /** Bytes written and not yet synced. */
  get bytes(): number {
    return this.#bytes + this.#runningBytes
  }

  /** What may be unsynced in all, in the unit of costs. */
  get #most(): number {
    return this.#ratePerMs * flushMostMs * share
  }

  /** A sync should begin. */
  get isMuch(): boolean {
    return (
      this.#cost >= this.#most / 4 || this.#bytes >= limits.dirtyBytes / 4 || this.#slots.size >= limits.dirtySlots / 4
    )
  }

  /** Nothing more may be written before a sync has ended. */
  get isFull(): boolean {
    return (
      this.#cost + this.#runningCost >= this.#most ||
      this.#bytes + this.#runningBytes >= limits.dirtyBytes ||
      this.#slots.size >= limits.dirtySlots
    )
  }

  /** A sync of all of it begins. */
  began(): void {
    this.#runningBytes = this.#bytes
    this.#runningCost = this.#cost
    this.#bytes = 0
    this.#cost = 0
    this.#slots = new Map()
  }

  /**
   * It has ended. A rate is believed at once when it is lower and the sync was long enough to tell, and by and by when
   * it is greater: at most doubled, and only by a sync that had something to do.
   */
  ended(tookMs: number): void {
    const rate = this.#runningCost / Math.max(tookMs, 0.1)
    const isTelling = this.#runningCost >= this.#most / 16
    if (rate > this.#ratePerMs && isTelling) this.#ratePerMs = Math.min(rate, this.#ratePerMs * 2)
    else if (rate < this.#ratePerMs && (isTelling || tookMs > flushMostMs / 16)) {
      this.#ratePerMs = Math.max(rate, leastRatePerMs)
    }
    this.#runningBytes = 0
    this.#runningCost = 0
  }
}

/** Below it a disk is not slow but hung: four scattered blocks a second. */
const leastRatePerMs = (4 * (seekBytes + blockBytes)) / 1000

const isSet = (bits: { readonly low: number; readonly high: number }, block: number): boolean =>
  block < 32 ? ((bits.low >>> block) & 1) === 1 : ((bits.high >>> (block - 32)) & 1) === 1
