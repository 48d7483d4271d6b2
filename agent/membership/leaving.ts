import type { ServerId } from '../kit/ids.ts'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'

export interface LeavingWorld {
  readonly clock: Clock
  runOf(server: ServerId): number | undefined
  /** "I have stopped, and go on only in another configuration." */
  send(to: ServerId, reason: string): void
}

/** A server's own word that it has stopped (E7, E8): why it was given, and to which runs. */
export class Leaving {
  readonly #world: LeavingWorld
  /** Empty when it did not leave by its own word. */
  reason = ''
  /** The others' runs at that time, also where no session was open. */
  #runs: ReadonlyMap<ServerId, number | undefined> = new Map()
  #sentMs = 0

  constructor(world: LeavingWorld) {
    this.#world = world
  }

  begin(reason: string, others: readonly ServerId[]): void {
    this.reason = reason
    this.#runs = new Map(others.map((other) => [other, this.#world.runOf(other)]))
    for (const other of others) this.say(other)
  }

  say(to: ServerId): void {
    this.#world.send(to, this.reason)
  }

  /** Whether the word was given to that very run: another one was never told. */
  toldRun(server: ServerId, run: number): boolean {
    return this.#runs.get(server) === run
  }

  /** The word is said again now and then: its first message may have gone to a run that has ended. */
  repeat(others: readonly ServerId[]): void {
    const now = this.#world.clock.monotonicMs()
    if (now - this.#sentMs < limits.leaseMs / 2) return
    this.#sentMs = now
    for (const other of others) this.say(other)
  }
}
