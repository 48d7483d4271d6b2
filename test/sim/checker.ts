/**
 * Judges what the clients saw (R1, W4, W5): is there one order of all writes and reads, each at an instant between its
 * begin and its end, in which every read shows what was written last? Decided per 4 KiB block, exactly, by a search over
 * orders (Wing and Gong 1993, with Lowe's memory of states seen). A block is eight sectors with a stamp each; a write
 * puts its stamp into some of them at once, zeros are the stamp 0.
 *
 * A request without an answer may have happened at any later instant, or never. When every replica that counted lost
 * power, each sector shows afterwards some value that no durable one had replaced (W4), the same for everybody.
 */
import {
  type BlockOperation,
  type BlockWrite,
  type Instant,
  type Judged,
  open,
  Search,
  tooHard,
  wordsFor,
} from './order-search.ts'

export const blockBytes = 4096
export const sectorBytes = 512
export const sectorsPerBlock = blockBytes / sectorBytes

export interface Violation {
  readonly block: number
  readonly words: string
}

/** A sector range of the volume, both ends included. */
export interface Sectors {
  readonly first: number
  readonly last: number
}

interface Loss {
  readonly at: Instant
  /** Writes acknowledged after this instant are still held by somebody who kept power since. */
  readonly upTo: Instant
}

export class History {
  #now: Instant = 1
  /** For people: when each instant was. */
  readonly #timeMs: number[] = [0, 0]
  readonly #nowMs: () => number
  readonly #blocks = new Map<number, BlockOperation[]>()
  readonly #flushes: { readonly begin: Instant; readonly end: Instant }[] = []
  readonly #losses: Loss[] = []
  readonly violations: Violation[] = []
  operations = 0
  /** Blocks whose histories took too long to judge. */
  unjudged = 0

  constructor(nowMs: () => number = () => 0) {
    this.#nowMs = nowMs
  }

  /** The present instant; every call gives a later one. */
  instant(): Instant {
    this.#now += 1
    this.#timeMs.push(this.#nowMs())
    return this.#now
  }

  /** @returns to be called with whether the write was durable when it was acknowledged, or `never` when it was refused and
   * done nowhere (C8); without a call: unknown */
  write(
    sectors: Sectors,
    stamp: number,
    tracked: (block: number) => boolean,
  ): (outcome: 'durable' | 'applied' | 'never') => void {
    const begin = this.instant()
    this.operations += 1
    const parts: BlockWrite[] = []
    eachBlock(sectors, (block, first, last) => {
      if (!tracked(block)) return
      const part: BlockWrite = {
        kind: 'write',
        begin,
        end: Number.POSITIVE_INFINITY,
        first,
        last,
        stamp,
        durable: false,
      }
      parts.push(part)
      this.#block(block).push(part)
    })
    return (outcome) => {
      const end = this.instant()
      if (outcome === 'never') {
        for (const [block, operations] of this.#blocks) {
          const others = operations.filter((operation) => operation.kind === 'read' || !parts.includes(operation))
          this.#blocks.set(block, others)
        }
        return
      }
      for (const part of parts) {
        part.end = end
        part.durable = outcome === 'durable'
      }
    }
  }

  /** @param stamps one per sector; null: bytes that no write could have left there */
  read(
    begin: Instant,
    sectors: Sectors,
    stamps: readonly (number | null)[],
    tracked: (block: number) => boolean,
  ): void {
    const end = this.instant()
    this.operations += 1
    eachBlock(sectors, (block, first, last) => {
      const from = block * sectorsPerBlock + first - sectors.first
      const shown = stamps.slice(from, from + last - first + 1)
      const whole = shown.filter((stamp) => stamp !== null)
      if (whole.length < shown.length) this.violations.push({ block, words: 'holds bytes that nobody wrote there' })
      else if (tracked(block)) this.#block(block).push({ kind: 'read', begin, end, first, stamps: whole })
    })
  }

  flush(begin: Instant): void {
    this.operations += 1
    this.#flushes.push({ begin, end: this.instant() })
  }

  /** Everybody who held the writes acknowledged before `upTo` has lost power by now. */
  lost(upTo: Instant): void {
    this.#losses.push({ at: this.instant(), upTo })
  }

  check(): Violation[] {
    const found = [...this.violations]
    for (const [block, operations] of this.#blocks) {
      const words = this.#judge(operations)
      if (words === tooHard) this.unjudged += 1
      else if (words !== null) found.push({ block, words })
    }
    return found
  }

  /** What was seen of one block, for people. */
  tell(block: number): string[] {
    const losses = this.#losses.map(({ at, upTo }) => ({
      at,
      words: `loss at ${at} of what was not flushed and is older than ${upTo}`,
    }))
    const operations = (this.#blocks.get(block) ?? []).map((one) => ({ at: one.begin, words: wordsFor(one) }))
    const flushes = this.#flushes.map(({ begin, end }) => ({ at: begin, words: `flush at ${begin}..${end}` }))
    const all = [...losses, ...operations, ...flushes].sort((one, other) => one.at - other.at)
    return all.map(({ at, words }) => `${(this.#timeMs[at] ?? 0).toFixed(2)} ${words}`)
  }

  #block(block: number): BlockOperation[] {
    let operations = this.#blocks.get(block)
    if (operations === undefined) {
      operations = []
      this.#blocks.set(block, operations)
    }
    return operations
  }

  /** From one loss to the next: what stood before a loss is a choice of candidates after it. */
  #judge(operations: readonly BlockOperation[]): string | null {
    let from = 0
    let candidates: ReadonlySet<number>[] | null = null
    for (const loss of [...this.#losses, null]) {
      const until = loss?.at ?? Number.POSITIVE_INFINITY
      const words = judgeEra(operations, from, until, candidates)
      if (words !== null) return words
      if (loss === null) return null
      candidates = this.#candidates(operations, from, loss, candidates)
      from = loss.at
    }
    return null
  }

  /**
   * Which stamps each sector may show after a loss. What stood at the end of an earlier one was made equal and durable
   * before anybody opened again (C2, E9), so only what was written since can be lost now, and what that earlier loss took
   * does not come back.
   */
  #candidates(
    operations: readonly BlockOperation[],
    from: Instant,
    loss: Loss,
    before: ReadonlySet<number>[] | null,
  ): Set<number>[] {
    const earlier: BlockWrite[] = []
    // Begun before the last loss and answered after it, or never: it may have come in between.
    for (const operation of operations)
      if (operation.kind === 'write' && operation.begin < loss.at && operation.end > from) earlier.push(operation)
    const safe = earlier.filter((write) => this.#isSafe(write, loss))
    return Array.from({ length: sectorsPerBlock }, (_, sector) => {
      const covers = (write: BlockWrite) => write.first <= sector && sector <= write.last
      const latestSafeBegin = Math.max(0, ...safe.filter(covers).map((write) => write.begin))
      const stamps = earlier
        .filter((write) => covers(write) && write.end >= latestSafeBegin)
        .map((write) => write.stamp)
      // What stood there at first counts until a safe write has replaced it; where somebody read it then, only that.
      if (latestSafeBegin === 0)
        stamps.push(...standing(operations, earlier, { from, until: loss.at }, sector, before?.[sector] ?? [0]))
      return new Set(stamps)
    })
  }

  /** Whether the write, or what replaced it, stood through this loss and all before it. */
  #isSafe(write: BlockWrite, until: Loss): boolean {
    if (write.end >= until.at) return false
    if (write.durable) return true
    return this.#losses.every(({ at, upTo }) => {
      // Who had begun it before the power went may have confirmed it by then, though its client heard of it only later.
      if (at > until.at || at <= write.end || write.begin > upTo) return true
      return this.#flushes.some((flush) => flush.begin > write.end && flush.end < at)
    })
  }
}

/** @returns what a sector may have held at the beginning of an era, before any of the writes since: what was read of it
 * then, if anybody did */
function standing(
  operations: readonly BlockOperation[],
  writes: readonly BlockWrite[],
  era: { readonly from: Instant; readonly until: Instant },
  sector: number,
  candidates: Iterable<number>,
): Iterable<number> {
  const covering = writes.filter(({ first, last }) => first <= sector && sector <= last)
  // A read that ended after the era may show what a later one has written.
  const firstWrite = Math.min(era.until, ...covering.map(({ begin }) => begin))
  for (const operation of operations) {
    if (operation.kind !== 'read' || operation.begin <= era.from || operation.end >= firstWrite) continue
    const stamp = operation.stamps[sector - operation.first]
    if (stamp !== undefined) return [stamp]
  }
  return candidates
}

function eachBlock(sectors: Sectors, visit: (block: number, first: number, last: number) => void): void {
  const lastBlock = Math.floor(sectors.last / sectorsPerBlock)
  for (let block = Math.floor(sectors.first / sectorsPerBlock); block <= lastBlock; block += 1) {
    const start = block * sectorsPerBlock
    visit(block, Math.max(0, sectors.first - start), Math.min(sectorsPerBlock - 1, sectors.last - start))
  }
}

/** @param candidates null: the block began with zeros */
function judgeEra(
  operations: readonly BlockOperation[],
  from: Instant,
  until: Instant,
  candidates: ReadonlySet<number>[] | null,
): string | null {
  const inside: Judged[] = operations
    .filter((operation) => operation.begin < until && operation.end > from)
    .map((operation) => ({
      ...operation,
      begin: Math.max(from, operation.begin),
      // Cut off by the loss at the end of this era: it may have happened before it, or not. Begun before the one at its
      // start: it may have happened before that one, whatever its answer says and however late it came.
      end: operation.end > until || operation.begin < from ? Number.POSITIVE_INFINITY : operation.end,
      latest: operation.end,
    }))
    .filter((operation) => operation.kind === 'write' || operation.end !== Number.POSITIVE_INFINITY)
  const shown = new Set<number>()
  for (const operation of inside) if (operation.kind === 'read') for (const stamp of operation.stamps) shown.add(stamp)
  const counted = inside
    .filter(
      (operation) =>
        operation.end !== Number.POSITIVE_INFINITY || (operation.kind === 'write' && shown.has(operation.stamp)),
    )
    .sort((one, other) => one.begin - other.begin)
  const start = Array.from({ length: sectorsPerBlock }, () => (candidates === null ? 0 : open))
  return new Search(counted, start, candidates).run()
}
