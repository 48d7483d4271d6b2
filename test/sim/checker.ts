/**
 * Judges what the clients saw (R1, W4, W5): is there one order of all writes and reads, each at an instant between its
 * begin and its end, in which every read shows what was written last? Decided per 4 KiB block, exactly, by a search over
 * orders (Wing and Gong 1993, with Lowe's memory of states seen). A block is eight sectors with a stamp each; a write
 * puts its stamp into some of them at once, zeros are the stamp 0.
 *
 * A request without an answer may have happened at any later instant, or never. When every replica that counted lost
 * power, each sector shows afterwards some value that no durable one had replaced (W4), the same for everybody.
 */
export const blockBytes = 4096
export const sectorBytes = 512
export const sectorsPerBlock = blockBytes / sectorBytes

/** Instants count up in the one process that drives all clients. */
export type Instant = number

interface BlockWrite {
  readonly kind: 'write'
  readonly begin: Instant
  /** Infinity: no answer came. */
  end: Instant
  readonly first: number
  readonly last: number
  readonly stamp: number
  durable: boolean
}

interface BlockRead {
  readonly kind: 'read'
  readonly begin: Instant
  readonly end: Instant
  readonly first: number
  /** One stamp per sector, from `first` on. */
  readonly stamps: readonly number[]
}

type BlockOperation = BlockWrite | BlockRead

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

/** Search steps for one block; beyond it the block counts as not judged. */
const mostSteps = 300_000
const tooHard = 'too hard to judge'

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
      candidates = this.#candidates(operations, loss, candidates)
      from = loss.at
    }
    return null
  }

  /** Which stamps each sector may show after a loss. */
  #candidates(operations: readonly BlockOperation[], loss: Loss, before: ReadonlySet<number>[] | null) {
    const earlier: BlockWrite[] = []
    for (const operation of operations)
      if (operation.kind === 'write' && operation.begin < loss.at) earlier.push(operation)
    const safe = earlier.filter((write) => this.#isSafe(write, loss))
    return Array.from({ length: sectorsPerBlock }, (_, sector) => {
      const covers = (write: BlockWrite) => write.first <= sector && sector <= write.last
      const latestSafeBegin = Math.max(0, ...safe.filter(covers).map((write) => write.begin))
      const stamps = earlier
        .filter((write) => covers(write) && write.end >= latestSafeBegin)
        .map((write) => write.stamp)
      // What stood there before the first write counts until a safe write has replaced it.
      // Also what stood before an earlier loss: a write that one server's cache carried over that one may fall to this one.
      if (latestSafeBegin === 0) stamps.push(0, ...(before?.[sector] ?? []))
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

function eachBlock(sectors: Sectors, visit: (block: number, first: number, last: number) => void): void {
  const lastBlock = Math.floor(sectors.last / sectorsPerBlock)
  for (let block = Math.floor(sectors.first / sectorsPerBlock); block <= lastBlock; block += 1) {
    const start = block * sectorsPerBlock
    visit(block, Math.max(0, sectors.first - start), Math.min(sectorsPerBlock - 1, sectors.last - start))
  }
}

/** A sector whose value a loss has left open, until a read shows it. */
const open = -1

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

/** An operation in an era; without `end` it may be left out, but comes after nothing that began later than `latest`. */
type Judged = BlockOperation & { readonly latest: Instant }

interface Step {
  /** Every operation before this index is in the order already. */
  readonly low: number
  /** What to go back to, and which operations to take out again. */
  readonly before: number[]
  readonly taken: readonly number[]
  /** What may come next and has not been tried. */
  readonly branches: number[]
}

class Search {
  readonly #operations: readonly Judged[]
  readonly #candidates: ReadonlySet<number>[] | null
  readonly #seen = new Set<string>()
  readonly #done: boolean[]
  #left: number
  #steps = 0
  #state: number[]
  /** The furthest that any order got, for the words. */
  #furthest = -1
  #stuckAt: BlockOperation | null = null

  constructor(operations: readonly Judged[], start: number[], candidates: ReadonlySet<number>[] | null) {
    this.#operations = operations
    this.#state = start
    this.#candidates = candidates
    this.#done = operations.map(() => false)
    this.#left = operations.filter((operation) => operation.end !== Number.POSITIVE_INFINITY).length
  }

  /** @returns null when an order exists */
  run(): string | null {
    if (this.#walk()) return null
    if (this.#steps > mostSteps) return tooHard
    const stuck = this.#stuckAt
    return stuck === null ? 'no order explains what was seen' : `no order explains what was seen: ${wordsFor(stuck)}`
  }

  /** Depth first with a stack of its own: histories are longer than the machine's. @returns whether an order was found */
  #walk(): boolean {
    const stack: Step[] = [this.#enter(0)]
    for (;;) {
      if (this.#left === 0) return true
      const step = stack.at(-1)
      if (step === undefined) return false
      const index = step.branches.pop()
      if (index !== undefined) {
        const next = this.#take(index, step.low)
        stack.push(next)
        continue
      }
      stack.pop()
      this.#undo(step)
    }
  }

  /** Puts an operation into the order, then whatever may follow without a choice. */
  #take(index: number, low: number): Step {
    const operation = this.#operations[index]
    const before = this.#state
    this.#state = (operation === undefined ? null : this.#after(operation)) ?? before
    this.#put(index)
    const step = this.#enter(low)
    return { ...step, before, taken: [index, ...step.taken] }
  }

  #enter(from: number): Step {
    const before = this.#state
    const taken: number[] = []
    let branches: number[] = []
    // A read that fits now may as well come now: it changes nothing. One that closes what a loss left open is a choice.
    for (;;) {
      branches = []
      const read = this.#firstFitting(from, branches)
      if (read < 0) break
      taken.push(read)
      this.#put(read)
    }
    let low = from
    while (this.#done[low] === true) low += 1
    this.#steps += 1
    if (this.#steps > mostSteps || this.#wasSeen(low)) branches = []
    // Popped from the end: those that began first are tried first.
    return { low, before, taken, branches: branches.reverse() }
  }

  #put(index: number): void {
    this.#done[index] = true
    if (this.#operations[index]?.end !== Number.POSITIVE_INFINITY) this.#left -= 1
  }

  #undo(step: Step): void {
    this.#state = step.before
    for (const index of step.taken) {
      this.#done[index] = false
      if (this.#operations[index]?.end !== Number.POSITIVE_INFINITY) this.#left += 1
    }
  }

  /** Collects what may come next and changes something; @returns a read that may come next and fits, or -1 */
  #firstFitting(low: number, branches: number[]): number {
    const operations = this.#operations
    let earliestEnd = Number.POSITIVE_INFINITY
    for (let index = low; index < operations.length; index += 1) {
      const operation = operations[index]
      if (operation === undefined || operation.begin > earliestEnd) break
      if (this.#done[index] !== true) earliestEnd = Math.min(earliestEnd, operation.end)
    }
    for (let index = low; index < operations.length; index += 1) {
      const operation = operations[index]
      if (operation === undefined || operation.begin > earliestEnd) break
      if (this.#done[index] === true) continue
      if (operation.kind === 'write') {
        if (this.#isInTime(operation)) branches.push(index)
      } else {
        const after = this.#after(operation)
        if (after === this.#state) return index
        if (after !== null) branches.push(index)
        else this.#noteStuck(operation)
      }
    }
    return -1
  }

  /** Whether nothing stands in the order yet that began after the operation had been answered. */
  #isInTime(operation: Judged): boolean {
    if (operation.end !== Number.POSITIVE_INFINITY || operation.latest === Number.POSITIVE_INFINITY) return true
    for (let index = this.#operations.length - 1; index >= 0; index -= 1) {
      if ((this.#operations[index]?.begin ?? 0) <= operation.latest) return true
      if (this.#done[index] === true) return false
    }
    return true
  }

  /** @returns the state after it, the present one when it changes nothing, null when it does not fit */
  #after(operation: BlockOperation): number[] | null {
    const before = this.#state
    if (operation.kind === 'write')
      return before.map((stamp, sector) =>
        sector >= operation.first && sector <= operation.last ? operation.stamp : stamp,
      )
    let next = before
    for (const [index, stamp] of operation.stamps.entries()) {
      const sector = operation.first + index
      if (before[sector] === stamp) continue
      if (before[sector] !== open || this.#candidates?.[sector]?.has(stamp) !== true) return null
      if (next === before) next = [...before]
      next[sector] = stamp
    }
    return next
  }

  #noteStuck(read: BlockRead): void {
    if (read.end <= this.#furthest) return
    this.#furthest = read.end
    this.#stuckAt = read
  }

  #wasSeen(low: number): boolean {
    const beyond: number[] = []
    for (let index = low; index < this.#done.length; index += 1) if (this.#done[index] === true) beyond.push(index)
    const key = `${low}:${beyond.join(',')}:${this.#state.join(',')}`
    if (this.#seen.has(key)) return true
    this.#seen.add(key)
    return false
  }
}

function wordsFor(operation: BlockOperation): string {
  const span = `at ${operation.begin}..${operation.end}, from sector ${operation.first}`
  if (operation.kind === 'read') return `read ${span}: ${operation.stamps.join(' ')}`
  return `write ${span} to ${operation.last}: ${operation.stamp}${operation.durable ? ', durable' : ''}`
}
