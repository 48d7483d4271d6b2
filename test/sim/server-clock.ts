/** One machine's clock and event loop: its rate differs a little from the true one (A1), it can be stopped for a while
 * (SIGSTOP): what became due meanwhile happens afterwards; and the machine can sleep: then monotonic time, and all timers
 * with it, stand still, and the wall clock goes on. */
import { LeaseTime } from '../../agent/kit/lease-time.ts'
import type { Clock, Timer } from '../../agent/kit/world.ts'
import type { World } from './world.ts'

/** Milliseconds that one turn of an event loop takes at least. */
const turnMs = 0.01

interface Held {
  readonly isTimer: boolean
  readonly fire: () => void
}

export class ServerClock implements Clock {
  readonly #world: World
  readonly #rate: number
  readonly #startMs: number
  readonly #leaseTime = new LeaseTime()
  #stopped = false
  #held: Held[] = []
  /** True milliseconds slept so far, and since when it sleeps; null: it is awake. */
  #sleptMs = 0
  #asleepSinceMs: number | null = null
  /** Somebody sets the calendar. */
  wallAheadMs = 0

  /** @param rate seconds that this clock counts in one true second: 0.99 .. 1.01 */
  constructor(world: World, rate: number, startMs: number) {
    this.#world = world
    this.#rate = rate
    this.#startMs = startMs
  }

  /** Its agent does not run: it was stopped, or the machine sleeps. */
  get stopped(): boolean {
    return this.#stopped
  }
  get sleeps(): boolean {
    return this.#asleepSinceMs !== null
  }

  monotonicMs(): number {
    return this.#startMs + ((this.#asleepSinceMs ?? this.#world.nowMs) - this.#sleptMs) * this.#rate
  }
  leaseMs(): number {
    return this.#leaseTime.at(this.monotonicMs(), this.wallMs())
  }
  wallMs(): number {
    return Math.floor(1_800_000_000_000 + this.#world.nowMs + this.wallAheadMs)
  }
  after(delayMs: number, fire: () => void): Timer {
    const dueMs = this.monotonicMs() + delayMs
    let timer: Timer = { cancel: () => undefined }
    const wait = (ms: number) => {
      timer = this.#world.after(ms / this.#rate, () => this.#run(true, look))
    }
    // What it slept meanwhile does not count.
    const look = () => {
      const restMs = dueMs - this.monotonicMs()
      if (this.#sleptMs > 0 && restMs > 1e-6) wait(restMs)
      else fire()
    }
    wait(delayMs)
    return { cancel: () => timer.cancel() }
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

  /** The machine is suspended; only while its agent runs. */
  sleep(): void {
    this.#stopped = true
    this.#asleepSinceMs ??= this.#world.nowMs
  }

  #wake(): void {
    if (this.#asleepSinceMs !== null) this.#sleptMs += this.#world.nowMs - this.#asleepSinceMs
    this.#asleepSinceMs = null
  }

  /** Also from sleep. @param timersFirst an event loop looks at its timers, then at its sockets; or in the order of their
   * instants */
  goOn(timersFirst: boolean): void {
    this.#wake()
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
    this.#wake()
    this.#stopped = false
    this.#held = []
  }
}
