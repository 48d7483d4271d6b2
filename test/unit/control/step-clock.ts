import type { Clock } from '../../../agent/kit/world.ts'

/** A clock that the test moves. */
export class StepClock implements Clock {
  nowMs = 0
  readonly #due: { atMs: number; fire: () => void }[] = []
  monotonicMs = () => this.nowMs
  leaseMs = () => this.nowMs
  wallMs = () => this.nowMs
  nextTurn = (fire: () => void) => void setImmediate(fire)
  after = (delayMs: number, fire: () => void) => {
    const entry = { atMs: this.nowMs + delayMs, fire }
    this.#due.push(entry)
    return { cancel: () => void (this.#due.includes(entry) && this.#due.splice(this.#due.indexOf(entry), 1)) }
  }
  get timers() {
    return this.#due.length
  }
  step(ms: number) {
    this.nowMs += ms
    for (const entry of this.#due.filter((one) => one.atMs <= this.nowMs)) {
      this.#due.splice(this.#due.indexOf(entry), 1)
      entry.fire()
    }
  }
}
