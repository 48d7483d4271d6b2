/**
 * Makes slots that may hold bytes read as zeros, header and checksums included, durably (S2). A header that still claims
 * an extent becomes a tombstone, so that a rebuilt index does not believe it.
 */
import type { DataFiles } from './data-files.ts'
import type { DiskQueue } from './disk-queue.ts'
import type { FileError } from './files.ts'
import {
  decodeSlotHeader,
  encodeSlotHeader,
  fileOfSlot,
  headerOffset,
  type SlotHeader,
  sectorBytes,
  slotBytes,
  slotOffset,
  sumsOffset,
} from './format.ts'
import { type Steps, wait } from './steps.ts'
import type { Sums } from './sums.ts'

export interface ZeroParts {
  readonly data: DataFiles
  readonly queue: DiskQueue
  readonly sums: Pick<Sums, 'quiet'>
  /** Whether the extent that a header claims has another slot now. */
  readonly isElsewhere: (header: SlotHeader) => boolean
}

const zeros = Buffer.alloc(slotBytes)
/** Headers read in one call. */
const pieceSlots = 2048

/** Slots in data files that are open; those of other files were never handed out. Durable when the steps end. */
export function* zeroSlots(parts: ZeroParts, slots: readonly number[]): Steps<void> {
  const there = slots.filter((slot) => parts.data.has(fileOfSlot(slot)))
  // One for all of them: they are zeroed one after the other.
  const held = Buffer.allocUnsafe(slotBytes)
  for (const slot of there) {
    yield* wait((done) => parts.sums.quiet(slot, done))
    yield* zeroBytes(parts, slot, slotOffset(slot), held)
    yield* zeroBytes(parts, slot, sumsOffset(slot), held.subarray(0, sectorBytes))
    yield* wait((done) => readHeaders(parts, slot, held.subarray(0, sectorBytes), done))
    yield* wait((done) => buryAll(parts, slot, [slot], held, done))
  }
  yield* syncAll(parts, there)
}

/**
 * For slots that a run before left in doubt. A kill may have come between the commit that freed one and its tombstone.
 * While that is missing, the tombstones of others are needed: of an extent that moved on since, one of them is all that
 * says so. So no slot is zeroed, and handed out again, before every one of these has its own. Durable when the steps end.
 */
export function* buryStale(parts: ZeroParts, slots: readonly number[]): Steps<void> {
  const there = slots.filter((slot) => parts.data.has(fileOfSlot(slot))).sort((a, b) => a - b)
  const bytes = Buffer.allocUnsafe(pieceSlots * sectorBytes)
  for (let at = 0; at < there.length; ) {
    const first = there[at] ?? 0
    const isTogether = (slot: number) => slot < first + pieceSlots && fileOfSlot(slot) === fileOfSlot(first)
    const from = at
    while (at < there.length && isTogether(there[at] ?? 0)) at += 1
    const together = there.slice(from, at)
    const count = (together[together.length - 1] ?? first) - first + 1
    yield* wait((done) => readHeaders(parts, first, bytes.subarray(0, count * sectorBytes), done))
    yield* wait((done) => buryAll(parts, first, together, bytes, done))
  }
  yield* syncAll(parts, there)
}

type Done = (error: FileError | null) => void

/** What lies beyond the end of the file is zeros: no header. */
function readHeaders({ data, queue }: ZeroParts, first: number, into: Buffer, done: Done): void {
  queue.read(data.get(fileOfSlot(first)), into, 0, into.length, headerOffset(first), {
    diskDone: (error, got) => {
      into.fill(0, got)
      done(error)
    },
  })
}

/** @param headers of slots from `first` on; those of `slots` that claim an extent are written as free */
function buryAll(
  { data, isElsewhere, queue }: ZeroParts,
  first: number,
  slots: readonly number[],
  headers: Buffer,
  done: Done,
) {
  let left = 1
  let failed: FileError | null = null
  const part = (error: FileError | null) => {
    failed ??= error
    left -= 1
    if (left === 0) done(failed)
  }
  for (const slot of slots) {
    const header = decodeSlotHeader(headers.subarray((slot - first) * sectorBytes, (slot - first + 1) * sectorBytes))
    if (header?.state !== 'data') continue
    left += 1
    // A copy for which there was an end before its commit is younger than what its extent has: as a tombstone it would
    // speak against that, too.
    const generation = isElsewhere(header) ? { run: 0, counter: 0 } : {}
    const free = encodeSlotHeader({ ...header, ...generation, state: 'free' })
    queue.write(data.get(fileOfSlot(slot)), [free], sectorBytes, headerOffset(slot), false, { diskDone: part })
  }
  queue.turn(() => part(null))
}

function* syncAll({ data, queue }: ZeroParts, slots: readonly number[]): Steps<void> {
  for (const number of new Set(slots.map(fileOfSlot))) {
    yield* wait((done) => queue.sync(data.get(number), { diskDone: (error) => done(error) }))
  }
}

/** Reads first: a slot that was only promised, never written, is a hole and shall stay one. */
function* zeroBytes({ data, queue }: ZeroParts, slot: number, offset: number, into: Buffer): Steps<void> {
  const file = data.get(fileOfSlot(slot))
  const got = yield* wait<number>((done) => queue.read(file, into, 0, into.length, offset, { diskDone: done }))
  const held = into.subarray(0, got)
  if (held.equals(zeros.subarray(0, got))) return
  yield* wait((done) =>
    queue.write(file, [zeros.subarray(0, into.length)], into.length, offset, false, {
      diskDone: (error) => done(error),
    }),
  )
}
