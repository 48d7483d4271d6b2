/** What the store's tests are handed in: clocks, seeded chance, a log, and calls as promises. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { performance } from 'node:perf_hooks'
import type { Clock, Log, RandomSource } from '../../../agent/kit/world.ts'

export const quiet: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
}

export const realClock: Clock = {
  monotonicMs: () => performance.now(),
  leaseMs: () => performance.now(),
  wallMs: () => Date.now(),
  after: (delayMs, fire) => {
    const timer = setTimeout(fire, delayMs)
    timer.unref()
    return { cancel: () => clearTimeout(timer) }
  },
  nextTurn: (fire) => {
    setImmediate(fire)
  },
}

/** mulberry32: the same numbers for the same seed. */
export function seeded(seed: number): RandomSource {
  let state = seed >>> 0
  const unit = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const digit = () => Math.floor(unit() * 16).toString(16)
  return { unit, id: () => Array.from({ length: 32 }, digit).join('') }
}

/** Time that passes only when somebody waits in `settle`. */
export class VirtualClock implements Clock {
  #nowMs = 0
  #number = 0
  #pump: Promise<never> | null = null
  #waiting = 0
  #queue: { atMs: number; number: number; fire: () => void }[] = []

  monotonicMs(): number {
    return this.#nowMs
  }
  leaseMs(): number {
    return this.#nowMs
  }
  wallMs(): number {
    return this.#nowMs
  }
  after(delayMs: number, fire: () => void) {
    this.#number += 1
    const entry = { atMs: this.#nowMs + delayMs, number: this.#number, fire }
    const at = this.#queue.findIndex((other) => other.atMs > entry.atMs)
    if (at < 0) this.#queue.push(entry)
    else this.#queue.splice(at, 0, entry)
    return {
      cancel: () => {
        this.#queue = this.#queue.filter((other) => other !== entry)
      },
    }
  }
  nextTurn(fire: () => void): void {
    this.after(0, fire)
  }

  /** Runs the next event. @returns false when there is none */
  step(): boolean {
    const next = this.#queue.shift()
    if (!next) return false
    this.#nowMs = next.atMs
    next.fire()
    return true
  }

  /** Lets time pass, whatever happens in it. */
  pass(ms: number): void {
    const untilMs = this.#nowMs + ms
    while ((this.#queue[0]?.atMs ?? Number.POSITIVE_INFINITY) <= untilMs) this.step()
    this.#nowMs = untilMs
  }

  /** Runs events until the promise is settled. Throws when nothing is left to wait for. Several may wait at once. */
  settle<T>(promise: Promise<T>): Promise<T> {
    this.#waiting += 1
    const over = () => {
      this.#waiting -= 1
    }
    promise.then(over, over)
    this.#pump ??= this.#run()
    return Promise.race([promise, this.#pump])
  }

  /** Apart from its waiters, since one may wait for another. Only ends by failing, or when nobody waits. */
  async #run(): Promise<never> {
    const limitMs = this.#nowMs + 600_000
    try {
      await null
      while (this.#waiting > 0) {
        if (!this.step() || this.#nowMs > limitMs) throw new Error('nothing left to happen, yet no answer came')
        await null
        await null
      }
    } finally {
      this.#pump = null
    }
    return new Promise<never>(() => undefined)
  }
}

/** @returns a promise of one callback call; it resolves to the failure, or null. */
export const failure = <F>(call: (done: (failure: F) => void) => void): Promise<F> => new Promise(call)

export function temporaryFolder(): { dir: string; remove: () => void } {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mirrorbay-store-'))
  return { dir, remove: () => fs.rmSync(dir, { recursive: true, force: true }) }
}
