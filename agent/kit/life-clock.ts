import type { Clock } from './world.ts'

/** A clock whose timers and turns come only as long as `alive` says so: for what may end before the process does. */
export function lifeClock(clock: Clock, alive: () => boolean): Clock {
  const guarded = (fire: () => void) => () => {
    if (alive()) fire()
  }
  return {
    monotonicMs: () => clock.monotonicMs(),
    leaseMs: () => clock.leaseMs(),
    wallMs: () => clock.wallMs(),
    after: (delayMs, fire) => clock.after(delayMs, guarded(fire)),
    nextTurn: (fire) => clock.nextTurn(guarded(fire)),
  }
}
