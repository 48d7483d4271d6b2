/** This machine's clock, chance and digest, as the modules that think are handed them. */
import { createHash, randomBytes } from 'node:crypto'
import { LeaseTime } from '../kit/lease-time.ts'
import type { Clock, RandomSource } from '../kit/world.ts'

/** A1: monotonic time, and one that counts sleep too for judging the own lease. */
export function realClock(): Clock {
  const leaseTime = new LeaseTime()
  return {
    monotonicMs: () => performance.now(),
    leaseMs: () => leaseTime.at(performance.now(), Date.now()),
    wallMs: () => Date.now(),
    after: (delayMs, fire) => {
      // Sockets keep the agent alive; a timer that nobody waits for any more must not.
      const timer = setTimeout(fire, delayMs).unref()
      return { cancel: () => clearTimeout(timer) }
    },
    nextTurn: (fire) => {
      setImmediate(fire)
    },
  }
}

export const realRandom: RandomSource = { id: () => randomBytes(16).toString('hex'), unit: Math.random }

/** 128 bits of SHA-256: collisions are out of reach, so equal digests mean equal bytes (C4). */
export const digest = (data: Uint8Array): string => createHash('sha256').update(data).digest().toString('base64', 0, 16)
