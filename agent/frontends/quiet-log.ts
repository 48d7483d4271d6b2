/**
 * Log lines about clients, at most one of each kind in a while: a client in a loop (or an attacker) fills no disk with
 * them. What was left out is counted and told with the next line of that kind. Pure.
 */
import type { Clock, Log } from '../kit/world.ts'
import { limits } from '../limits.ts'

interface Kind {
  lastMs: number
  leftOut: number
}

export class QuietLog {
  readonly #clock: Clock
  readonly #log: Log
  readonly #kinds = new Map<string, Kind>()

  constructor(clock: Clock, log: Log) {
    this.#clock = clock
    this.#log = log
  }

  /** @param kind one of a fixed set of words (each is remembered for good) */
  warn(kind: string, fields: Record<string, unknown>, message: string): void {
    const leftOut = this.#turn(kind)
    if (leftOut !== null) this.#log.warn(leftOut === 0 ? fields : { ...fields, leftOut }, message)
  }

  debug(kind: string, fields: Record<string, unknown>, message: string): void {
    const leftOut = this.#turn(kind)
    if (leftOut !== null) this.#log.debug(leftOut === 0 ? fields : { ...fields, leftOut }, message)
  }

  /** @returns how many were left out before, or null when this one is left out too */
  #turn(kind: string): number | null {
    const now = this.#clock.monotonicMs()
    const known = this.#kinds.get(kind)
    if (known === undefined) {
      this.#kinds.set(kind, { lastMs: now, leftOut: 0 })
      return 0
    }
    if (now - known.lastMs < limits.clientLogMs) {
      known.leftOut += 1
      return null
    }
    const { leftOut } = known
    known.lastMs = now
    known.leftOut = 0
    return leftOut
  }
}
