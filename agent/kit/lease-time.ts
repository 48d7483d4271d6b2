/**
 * A1: time for judging one's own lease, which counts sleep too. Monotonic time stands still while the machine sleeps, the
 * wall clock does not, but people and time servers set it. So what counts beside monotonic time is each leap of the wall
 * clock ahead of it, when it is seen; a wall clock that is set back takes nothing away, and hides no later sleep.
 */

/** Milliseconds by which the wall clock may get ahead between two looks without having leapt: it is read in whole
 * milliseconds, and time servers correct it a little at a time. */
const leapMs = 20

export class LeaseTime {
  #sleptMs = 0
  /** How far the wall clock was ahead of the monotonic one at the last look. */
  #aheadMs: number | null = null

  /**
   * To be asked several times within a lease, so that a wall clock that is set back meanwhile does not hide a sleep.
   * @param monotonicMs since any fixed instant @param wallMs since 1970
   * @returns milliseconds since some fixed instant, never less than before
   */
  at(monotonicMs: number, wallMs: number): number {
    const aheadMs = wallMs - monotonicMs
    const leaptMs = aheadMs - (this.#aheadMs ?? aheadMs)
    if (leaptMs > leapMs) this.#sleptMs += leaptMs
    this.#aheadMs = aheadMs
    return monotonicMs + this.#sleptMs
  }
}
