/**
 * The parts of the world that thinking modules are handed in instead of reaching for (HOUSE: "think in one place,
 * act in another"). main.ts builds the real ones, the simulator builds its own.
 */

/** A cancelled timer never fires; cancelling twice is harmless. */
export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Monotonic milliseconds (fractional), stands still while the machine sleeps. For waiting on others (A1). */
  monotonicMs(): number
  /** Milliseconds since some fixed instant that also count while the machine sleeps: the larger of monotonic and
   * wall-clock progress between two looks (A1, lease-time.ts). For judging one's own lease. Never goes backwards. */
  leaseMs(): number
  /** Milliseconds since 1970, for people only; never used to decide anything about data. */
  wallMs(): number
  /** Calls `fire` once, not before `delayMs` have passed, never synchronously. */
  after(delayMs: number, fire: () => void): Timer
  /** Calls `fire` after the current turn of the event loop has polled its sockets once (W9). */
  nextTurn(fire: () => void): void
}

export interface RandomSource {
  /** 32 lower-case hex digits from 128 random bits. */
  id(): string
  /** A number in [0, 1). */
  unit(): number
}

export interface Log {
  debug(fields: Record<string, unknown>, message: string): void
  info(fields: Record<string, unknown>, message: string): void
  warn(fields: Record<string, unknown>, message: string): void
  error(fields: Record<string, unknown>, message: string): void
}
