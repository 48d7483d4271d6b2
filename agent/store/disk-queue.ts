/**
 * All calls to the data files of one disk: at most limits.diskCalls in flight, and limits.diskSmallWrites small writes in
 * a lane of their own; the rest waits in order. Writes that meet in a lane and touch end to end become one call. Syncs go
 * first: they cover only what is done already, so nothing that waits is theirs.
 *
 * The queue's length is bounded by its callers: the engine executes at most limits.volumeRequests per volume.
 */
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import { type BlockFile, type FileError, type FilePiece, isSmallWrite, writeAndSync } from './files.ts'

/** Gets the answer to one call. One waiter may wait for several calls; it counts them itself. */
export interface DiskWaiter {
  diskDone(error: FileError | null, gotBytes: number): void
}

interface Call {
  kind: 'read' | 'write' | 'sync'
  file: BlockFile
  /** Of a write; a read has exactly its buffer here. */
  chunks: Uint8Array[]
  start: number
  lengthBytes: number
  offsetBytes: number
  fresh: boolean
  /** Usually one; several when writes were joined. */
  waiters: DiskWaiter[]
  /** Of a sync: written first, in the same call. */
  before: readonly FilePiece[]
}

const none: readonly FilePiece[] = []

/** Calls of one kind: so many at once, the others wait in order. */
class Lane {
  readonly #mostRunning: number
  readonly #joinBytes: number
  running = 0
  #waiting: Call[] = []
  #head = 0

  constructor(mostRunning: number, joinBytes: number) {
    this.#mostRunning = mostRunning
    this.#joinBytes = joinBytes
  }

  get waiting(): number {
    return this.#waiting.length - this.#head
  }

  get isFull(): boolean {
    return this.running >= this.#mostRunning
  }

  push(call: Call): void {
    this.#waiting.push(call)
  }

  /** @returns whether the write became part of the one that came last */
  join(
    file: BlockFile,
    chunks: readonly Uint8Array[],
    lengthBytes: number,
    offsetBytes: number,
    fresh: boolean,
    waiter: DiskWaiter,
  ): boolean {
    const last = this.waiting > 0 ? this.#waiting[this.#waiting.length - 1] : undefined
    const joins =
      last !== undefined &&
      last.kind === 'write' &&
      last.file === file &&
      last.offsetBytes + last.lengthBytes === offsetBytes &&
      last.lengthBytes + lengthBytes <= this.#joinBytes &&
      last.chunks.length + chunks.length <= limits.diskJoinChunks
    if (!joins) return false
    for (const chunk of chunks) last.chunks.push(chunk)
    last.lengthBytes += lengthBytes
    last.fresh ||= fresh
    last.waiters.push(waiter)
    return true
  }

  next(): Call | undefined {
    const call = this.#waiting[this.#head]
    if (call === undefined) return undefined
    this.#head += 1
    if (this.#head === this.#waiting.length) {
      this.#waiting = []
      this.#head = 0
    } else if (this.#head === 1024) {
      this.#waiting = this.#waiting.slice(this.#head)
      this.#head = 0
    }
    return call
  }
}

export class DiskQueue {
  readonly #clock: Clock
  readonly #calls = new Lane(limits.diskCalls, limits.diskJoinBytes)
  readonly #small = new Lane(limits.diskSmallWrites, limits.smallWriteBytes)
  #urgent: Call[] = []
  /** Files of which a sync is under way. */
  readonly #syncing = new Set<BlockFile>()
  #scheduled = false
  #stopped = false
  readonly #turn = () => {
    this.#scheduled = false
    this.#start()
  }

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Calls started and not yet answered, and calls waiting. */
  get pending(): number {
    const { running, waiting } = this.#calls
    return running + waiting + this.#small.running + this.#small.waiting + this.#urgent.length
  }

  /** Nothing that waits is started any more, and no waiter hears anything more: the agent died. */
  stop(): void {
    this.#stopped = true
  }

  /** The chunks (together `lengthBytes`) must not change until the waiter was called. */
  write(
    file: BlockFile,
    chunks: readonly Uint8Array[],
    lengthBytes: number,
    offsetBytes: number,
    fresh: boolean,
    waiter: DiskWaiter,
  ): void {
    const lane = isSmallWrite(lengthBytes, offsetBytes) ? this.#small : this.#calls
    if (lane.join(file, chunks, lengthBytes, offsetBytes, fresh, waiter)) return
    this.#push(lane, {
      kind: 'write',
      file,
      chunks: chunks.slice(),
      start: 0,
      lengthBytes,
      offsetBytes,
      fresh,
      waiters: [waiter],
      before: none,
    })
  }

  read(
    file: BlockFile,
    into: Uint8Array,
    start: number,
    lengthBytes: number,
    offsetBytes: number,
    waiter: DiskWaiter,
  ): void {
    this.#push(this.#calls, {
      kind: 'read',
      file,
      chunks: [into],
      start,
      lengthBytes,
      offsetBytes,
      fresh: false,
      waiters: [waiter],
      before: none,
    })
  }

  /** @param before written first, and covered */
  sync(file: BlockFile, waiter: DiskWaiter, before: readonly FilePiece[] = none): void {
    this.#urgent.push({
      kind: 'sync',
      file,
      chunks: [],
      start: 0,
      lengthBytes: 0,
      offsetBytes: 0,
      fresh: false,
      waiters: [waiter],
      before,
    })
    this.#schedule()
  }

  /** Calls back after this turn, unless the queue was stopped meanwhile. */
  turn(fire: () => void): void {
    this.#clock.nextTurn(() => {
      if (!this.#stopped) fire()
    })
  }

  #push(lane: Lane, call: Call): void {
    lane.push(call)
    this.#schedule()
  }

  /** Starting waits for the end of the turn, so that all that one turn brings can be joined. */
  #schedule(): void {
    if (this.#scheduled || (this.#calls.isFull && this.#small.isFull)) return
    this.#scheduled = true
    this.#clock.nextTurn(this.#turn)
  }

  #start(): void {
    while (!this.#stopped && !this.#calls.isFull) {
      const call = this.#nextSync() ?? this.#calls.next()
      if (call === undefined) break
      this.#call(this.#calls, call)
    }
    while (!this.#stopped && !this.#small.isFull) {
      const call = this.#small.next()
      if (call === undefined) break
      this.#call(this.#small, call)
    }
  }

  /** One at a time for a file: of two, the system tells only one that what both were to cover is lost. */
  #nextSync(): Call | undefined {
    const at = this.#urgent.findIndex(({ file }) => !this.#syncing.has(file))
    if (at < 0) return undefined
    const [call] = this.#urgent.splice(at, 1)
    if (call !== undefined) this.#syncing.add(call.file)
    return call
  }

  /** @returns those that wait for the same answer: what a failed sync should have covered, no later one does */
  #synced(call: Call, error: FileError | null): Call[] {
    this.#syncing.delete(call.file)
    if (error === null) return []
    const others = this.#urgent.filter(({ file }) => file === call.file)
    this.#urgent = this.#urgent.filter(({ file }) => file !== call.file)
    return others
  }

  #call(lane: Lane, call: Call): void {
    const { file, chunks } = call
    lane.running += 1
    if (call.kind === 'write') {
      file.write(chunks, call.lengthBytes, call.offsetBytes, call.fresh, (error) => this.#answer(lane, call, error, 0))
    } else if (call.kind === 'sync') {
      writeAndSync(file, call.before, (error) => this.#answer(lane, call, error, 0))
    } else {
      const into = chunks[0] ?? new Uint8Array(0)
      file.read(into, call.start, call.lengthBytes, call.offsetBytes, (error, got) =>
        this.#answer(lane, call, error, got),
      )
    }
  }

  #answer(lane: Lane, call: Call, error: FileError | null, gotBytes: number): void {
    lane.running -= 1
    if (this.#stopped) return
    const others = call.kind === 'sync' ? this.#synced(call, error) : []
    // First keep the disk busy, then tell the callers.
    if (lane === this.#calls) this.#start()
    else if (lane.waiting > 0) this.#schedule()
    for (const { waiters } of [call, ...others]) for (const waiter of waiters) waiter.diskDone(error, gotBytes)
  }
}
