/** The judge's search for an order of what was seen of one block that explains it (checker.ts). */

/** Instants count up in the one process that drives all clients. */
export type Instant = number

export interface BlockWrite {
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

export type BlockOperation = BlockWrite | BlockRead

/** Search steps for one block; beyond it the block counts as not judged. */
const mostSteps = 300_000
export const tooHard = 'too hard to judge'

/** A sector whose value a loss has left open, until a read shows it. */
export const open = -1

/** An operation in an era; without `end` it may be left out, but comes after nothing that began later than `latest`. */
export type Judged = BlockOperation & { readonly latest: Instant }

interface Step {
  /** Every operation before this index is in the order already. */
  readonly low: number
  /** What to go back to, and which operations to take out again. */
  readonly before: number[]
  readonly taken: readonly number[]
  /** What may come next and has not been tried. */
  readonly branches: number[]
}

export class Search {
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

export function wordsFor(operation: BlockOperation): string {
  const span = `at ${operation.begin}..${operation.end}, from sector ${operation.first}`
  if (operation.kind === 'read') return `read ${span}: ${operation.stamps.join(' ')}`
  return `write ${span} to ${operation.last}: ${operation.stamp}${operation.durable ? ', durable' : ''}`
}
