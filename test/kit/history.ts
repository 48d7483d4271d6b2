/**
 * R1, W5: is what the clients saw what one disk could have shown? Every write puts a stamp never used before into each
 * 4 KiB block that it covers, so that a read tells which write it saw. Each block is then a register with unique
 * values, for which linearizability can be decided exactly (Gibbons and Korach, "Testing Shared Memories", 1997):
 * the span between the first end and the last begin of a write and its reads is that value's zone; the history is
 * good when no read ends before its write begins, no two forward zones overlap, and no backward zone lies within a
 * forward one.
 *
 * A write without an answer (its connection was lost, its server killed) may have happened, at any later time, or not:
 * its end is infinite, and it counts only when somebody has read it.
 */

export const blockBytes = 4096

/** What stands in a block that nobody has written: zeros. */
export const neverWritten = 0

/** Instants are numbers that count up in the one process that drives all clients; no clock is compared. */
type Instant = number

interface Value {
  readonly stamp: number
  writeBegan: Instant
  /** Infinity while, and when, nobody knows. */
  firstEnd: Instant
  lastBegan: Instant
  seen: boolean
}

export interface Violation {
  readonly block: number
  readonly what: string
}

/** A write or read under way. */
export interface Operation {
  readonly blocks: readonly number[]
  readonly began: Instant
  /** Writes only. */
  readonly stamp: number
}

/** Stamps of all histories of this process differ: what an earlier load left behind is not taken for a later one's. */
let lastStamp = neverWritten

export class History {
  #now: Instant = 1
  readonly #blocks = new Map<number, Map<number, Value>>()
  readonly violations: Violation[] = []

  #value(block: number, stamp: number): Value | undefined {
    let values = this.#blocks.get(block)
    if (values === undefined) {
      values = new Map()
      values.set(neverWritten, { stamp: neverWritten, writeBegan: 0, firstEnd: 0, lastBegan: 0, seen: true })
      this.#blocks.set(block, values)
    }
    return values.get(stamp)
  }

  /** To be called before the request is sent. */
  beginWrite(blocks: readonly number[]): Operation {
    lastStamp++
    const began = this.#now++
    const stamp = lastStamp
    for (const block of blocks) {
      this.#value(block, neverWritten)
      this.#blocks
        .get(block)
        ?.set(stamp, { stamp, writeBegan: began, firstEnd: Number.POSITIVE_INFINITY, lastBegan: began, seen: false })
    }
    return { blocks, began, stamp }
  }

  /** To be called when the acknowledgement has come. Without a call the outcome stays unknown. */
  endWrite(write: Operation): void {
    const ended = this.#now++
    for (const block of write.blocks) {
      const value = this.#value(block, write.stamp)
      if (value === undefined) throw new Error(`a write of stamp ${write.stamp} ended that never began`)
      value.firstEnd = Math.min(value.firstEnd, ended)
      value.seen = true
    }
  }

  beginRead(blocks: readonly number[]): Operation {
    return { blocks, began: this.#now++, stamp: neverWritten }
  }

  /** To be called when the data has come: one stamp per block, or undefined for a block that no write could have made. */
  endRead(read: Operation, stamps: readonly (number | undefined)[]): void {
    const ended = this.#now++
    for (const [index, block] of read.blocks.entries()) {
      const stamp = stamps[index]
      if (stamp === undefined) {
        this.violations.push({ block, what: 'holds bytes that no single write has put there (torn, or foreign)' })
        continue
      }
      const value = this.#value(block, stamp)
      if (value === undefined) {
        this.violations.push({ block, what: `shows stamp ${stamp}, which nobody wrote there` })
        continue
      }
      value.firstEnd = Math.min(value.firstEnd, ended)
      value.lastBegan = Math.max(value.lastBegan, read.began)
      value.seen = true
    }
  }

  /** Judges all blocks. @returns the violations, at most one of each kind per block */
  check(): readonly Violation[] {
    const found = [...this.violations]
    for (const [block, values] of this.#blocks) {
      const what = judge([...values.values()].filter((value) => value.seen))
      if (what !== undefined) found.push({ block, what })
    }
    return found
  }

  /** How many blocks and values the judgement rests on, so that a test can see that it was not an empty one. */
  size(): { blocks: number; values: number } {
    let values = 0
    for (const of of this.#blocks.values()) values += of.size
    return { blocks: this.#blocks.size, values }
  }
}

function judge(values: readonly Value[]): string | undefined {
  for (const value of values) {
    if (value.firstEnd < value.writeBegan) return `stamp ${value.stamp} was read before its write began`
  }
  // Forward: everybody who touched the value did so one after the other, so it was the block's value in between.
  const forward = values.filter((value) => value.firstEnd < value.lastBegan).sort((a, b) => a.firstEnd - b.firstEnd)
  for (const [index, earlier] of forward.entries()) {
    const later = forward[index + 1]
    if (later !== undefined && later.firstEnd < earlier.lastBegan) {
      return `stamps ${earlier.stamp} and ${later.stamp} were both seen, in turns: an older value came back`
    }
  }
  // Backward: the value must have stood for a moment somewhere in its zone, which another value's may not fill.
  for (const value of values) {
    if (value.firstEnd < value.lastBegan) continue
    const around = lastStartingBefore(forward, value.lastBegan)
    if (around !== undefined && value.firstEnd < around.lastBegan) {
      return `stamp ${value.stamp} was written or read while stamp ${around.stamp} stood there before and after`
    }
  }
  return undefined
}

/** The forward zone (sorted, not overlapping) that begins last before an instant. */
function lastStartingBefore(forward: readonly Value[], instant: Instant): Value | undefined {
  let low = 0
  let high = forward.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((forward[middle]?.firstEnd ?? Number.POSITIVE_INFINITY) < instant) low = middle + 1
    else high = middle
  }
  return forward[low - 1]
}

/** Fills blocks so that a torn mix of two writes shows: every 8 bytes hold the stamp and a word that depends on place. */
export function stampBlocks(blocks: readonly number[], stamp: number): Uint8Array {
  const words = new Uint32Array((blocks.length * blockBytes) / 4)
  for (const [index, block] of blocks.entries()) {
    const start = (index * blockBytes) / 4
    for (let at = 0; at < blockBytes / 4; at += 2) {
      words[start + at] = stamp
      words[start + at + 1] = mixed(stamp, block, at)
    }
  }
  return new Uint8Array(words.buffer)
}

const mixed = (stamp: number, block: number, at: number): number =>
  (Math.imul(stamp, 0x9e3779b1) ^ Math.imul(block + 1, 0x85ebca6b) ^ Math.imul(at + 1, 0xc2b2ae35)) >>> 0

/** @returns one stamp per block (0: all zeros), undefined where the bytes are no whole write's */
export function stampsIn(blocks: readonly number[], bytes: Uint8Array): (number | undefined)[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  // Uint32Array writes in the machine's order; the machines that run Node are little-endian.
  const word = (at: number) => view.getUint32(at, true)
  return blocks.map((block, index) => {
    const start = index * blockBytes
    if (start + blockBytes > bytes.byteLength) return undefined
    const stamp = word(start)
    for (let at = 0; at < blockBytes / 4; at += 2) {
      if (word(start + at * 4) !== stamp) return undefined
      const expected = stamp === neverWritten ? 0 : mixed(stamp, block, at)
      if (word(start + at * 4 + 4) !== expected) return undefined
    }
    return stamp
  })
}
