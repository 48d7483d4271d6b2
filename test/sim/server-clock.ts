/** One machine's clock and event loop: its rate differs a little from the true one (A1), and it can be stopped for a while
 * (SIGSTOP): what became due meanwhile happens afterwards. */
import type { Clock, Timer } from '../../agent/kit/world.ts'
import type { World } from './world.ts'

/** Milliseconds that one turn of an event loop takes at least. */
const turnMs = 0.01

export class ServerClock implements Clock {
  readonly #world: World
  readonly #rate: number
  readonly #startMs: number
  #stopped = false
  #held: { readonly isTimer: boolean; readonly fire: () => void }[] = []

  /** @param rate seconds that this clock counts in one true second: 0.99 .. 1.01 */
  constructor(world: World, rate: number, startMs: number) {
    this.#world = world
    this.#rate = rate
    this.#startMs = startMs
  }

  get stopped(): boolean {
    return this.#stopped
  }

  monotonicMs(): number {
    return this.#startMs + this.#world.nowMs * this.#rate
  }
  leaseMs(): number {
    return this.monotonicMs()
  }
  /** Somebody sets the calendar. */
  wallAheadMs = 0

  wallMs(): number {
    return 1_800_000_000_000 + this.#world.nowMs + this.wallAheadMs
  }
  after(delayMs: number, fire: () => void): Timer {
    return this.#world.after(delayMs / this.#rate, () => this.#run(true, fire))
  }
  nextTurn(fire: () => void): void {
    this.#world.after(turnMs, () => this.#run(true, fire))
  }

  /** Something from outside (a message, a client) reaches the event loop. */
  arrive(fire: () => void): void {
    this.#run(false, fire)
  }

  #run(isTimer: boolean, fire: () => void): void {
    if (this.#stopped) this.#held.push({ isTimer, fire })
    else fire()
  }

  stop(): void {
    this.#stopped = true
  }

  /** @param timersFirst an event loop looks at its timers, then at its sockets; or in the order of their instants */
  goOn(timersFirst: boolean): void {
    this.#stopped = false
    const held = this.#held
    this.#held = []
    const inOrder = timersFirst
      ? [...held.filter((entry) => entry.isTimer), ...held.filter((entry) => !entry.isTimer)]
      : held
    // All at this instant, before anything that comes later; each may be stopped again.
    for (const { isTimer, fire } of inOrder) this.#world.after(0, () => this.#run(isTimer, fire))
  }

  /** The process is gone, and what it had not seen with it. */
  forget(): void {
    this.#stopped = false
    this.#held = []
  }
}
