/** What the event loop and the thread of small writes share: a ring of entries, each with room for its bytes. */
import { limits } from '../limits.ts'

/** Places in `control`: how many entries were submitted, and are done, as 32-bit counters that wrap; thread is up. */
export const at = { submitted: 0, done: 1, ready: 2 } as const
/** Of one entry: file descriptor, bytes, offset in the file, the answer: bytes taken or -1; and of a sync after it (0: none). */
export const entryFields = 5
/** What stands in an entry's last field: whether a sync is asked for, and its end: done, or the system's (negative) number of an error. */
export const syncState = { none: 0, asked: 1, done: 2 } as const
/** Writes after which the asker is woken although more wait: it works on while the thread does. */
export const wakeAfter = 16

export interface SharedMemory {
  readonly control: Int32Array<SharedArrayBuffer>
  readonly entries: Float64Array<SharedArrayBuffer>
  readonly bytes: Uint8Array<SharedArrayBuffer>
  readonly entryBytes: number
}

/** A power of two, so that counters may wrap. */
const entryMask = limits.diskSmallWrites - 1

export const entryOf = (counter: number): number => counter & entryMask

export const sharedMemory = (): SharedMemory => ({
  control: new Int32Array(new SharedArrayBuffer(3 * 4)),
  entries: new Float64Array(new SharedArrayBuffer(limits.diskSmallWrites * entryFields * 8)),
  bytes: new Uint8Array(new SharedArrayBuffer(limits.diskSmallWrites * limits.smallWriteBytes)),
  entryBytes: limits.smallWriteBytes,
})
