/** Waiting in tests and in the lab: a condition is polled with a limit, never slept for. */
import { setTimeout as sleep } from 'node:timers/promises'

/** Milliseconds between two looks: short against every interval of the product (heartbeat 250 ms, lease 2 s). */
const lookEveryMs = 50

export class TookTooLong extends Error {
  constructor(what: string, limitMs: number, last: string) {
    super(`${what}: not within ${limitMs / 1000} s${last === '' ? '' : ` (last: ${last})`}`)
    this.name = 'TookTooLong'
  }
}

/**
 * Polls until `look` gives something other than `undefined` or `false`.
 * @param look may throw: that counts as "not yet", its message is told when the limit passes
 * @param giveUp ends the waiting early
 * @throws TookTooLong, or the signal's reason
 */
export async function until<T>(
  what: string,
  limitMs: number,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  giveUp?: AbortSignal,
): Promise<T> {
  const endMs = performance.now() + limitMs
  let last = ''
  for (;;) {
    giveUp?.throwIfAborted()
    try {
      const found = await look()
      if (found !== undefined && found !== false) return found
      last = ''
    } catch (failure) {
      last = failure instanceof Error ? failure.message : String(failure)
    }
    if (performance.now() >= endMs) throw new TookTooLong(what, limitMs, last)
    await sleep(lookEveryMs)
  }
}

/** @throws TookTooLong when the promise is not settled in time; the promise itself goes on. */
export async function within<T>(what: string, limitMs: number, promise: Promise<T>): Promise<T> {
  const timeout = new AbortController()
  const late = sleep(limitMs, undefined, { signal: timeout.signal }).then(() => {
    throw new TookTooLong(what, limitMs, '')
  })
  // Aborting the timer rejects `late` after the race is decided: nobody is left to hear it.
  late.catch(() => undefined)
  try {
    return await Promise.race([promise, late])
  } finally {
    timeout.abort()
  }
}
