/** The simulated world: virtual time, seeded chance, and a list of what is to happen. One event at a time, in order. */
import type { Timer } from '../../agent/kit/world.ts'
import { seeded } from '../kit/random.ts'

interface Entry {
  readonly atMs: number
  /** Events of one instant happen in the order in which they were asked for. */
  readonly order: number
  fire: (() => void) | null
}

const isBefore = (one: Entry, other: Entry): boolean =>
  one.atMs !== other.atMs ? one.atMs < other.atMs : one.order < other.order

export class World {
  readonly seed: number
  /** Milliseconds of true time since the beginning; servers see it through their own clocks. */
  nowMs = 0
  events = 0
  readonly #heap: Entry[] = []
  #order = 0

  constructor(seed: number) {
    this.seed = seed
  }

  /** A source of chance of its own for every part of the world, so that one part's questions do not change another's. */
  chance(part: string): Chance {
    let hash = 0x811c9dc5 ^ this.seed
    for (const letter of part) hash = Math.imul(hash ^ letter.charCodeAt(0), 0x01000193)
    return new Chance(seeded(Math.imul(hash, 0x9e3779b1) ^ this.seed))
  }

  after(delayMs: number, fire: () => void): Timer {
    this.#order += 1
    const entry: Entry = { atMs: this.nowMs + Math.max(0, delayMs), order: this.#order, fire }
    this.#push(entry)
    return {
      cancel: () => {
        entry.fire = null
      },
    }
  }

  /** Runs the next event. @returns false when there is none */
  step(): boolean {
    const entry = this.#pop()
    if (entry === undefined) return false
    this.nowMs = entry.atMs
    if (entry.fire !== null) {
      this.events += 1
      entry.fire()
    }
    return true
  }

  #push(entry: Entry): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(entry)
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = heap[parent]
      if (above === undefined || isBefore(above, entry)) break
      heap[at] = above
      at = parent
    }
    heap[at] = entry
  }

  #pop(): Entry | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      const left = heap[child]
      if (left === undefined) break
      const right = heap[child + 1]
      let smaller = left
      if (right !== undefined && isBefore(right, left)) {
        child += 1
        smaller = right
      }
      if (isBefore(last, smaller)) break
      heap[at] = smaller
      at = child
    }
    heap[at] = last
    return first
  }
}

export class Chance {
  readonly #next: () => number

  constructor(next: () => number) {
    this.#next = next
  }

  /** RandomSource: a number in [0, 1). */
  unit(): number {
    return this.#next()
  }
  /** RandomSource: 32 hex digits. */
  id(): string {
    let digits = ''
    while (digits.length < 32)
      digits += Math.floor(this.#next() * 0x10000)
        .toString(16)
        .padStart(4, '0')
    return digits
  }
  between(low: number, high: number): number {
    return low + this.#next() * (high - low)
  }
  /** A whole number in [low, high]. */
  whole(low: number, high: number): number {
    return low + Math.floor(this.#next() * (high - low + 1))
  }
  is(probability: number): boolean {
    return this.#next() < probability
  }
  pick<T>(list: readonly T[]): T {
    const picked = list[Math.floor(this.#next() * list.length)]
    if (picked === undefined) throw new Error('nothing to pick from')
    return picked
  }
  /** Picks a name by its weight. */
  weighed<Name extends string>(weights: Readonly<Record<Name, number>>): Name {
    // Object.entries forgets that the keys are the record's.
    const entries = Object.entries(weights) as [Name, number][]
    let rest = this.#next() * entries.reduce((sum, [, weight]) => sum + weight, 0)
    for (const [name, weight] of entries) {
      rest -= weight
      if (rest < 0) return name
    }
    const [first] = entries
    if (first === undefined) throw new Error('nothing to pick from')
    return first[0]
  }
}
