/**
 * All calls to the data files of one disk: at most limits.diskCalls in flight, the rest waits in order; writes that
 * meet in the queue and touch end to end become one call. Syncs go first: they cover only what is done already, so
 * nothing that waits is theirs.
 *
 * The queue's length is bounded by its callers: the engine executes at most limits.volumeRequests per volume.
 */
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { BlockFile, FileError } from './files.ts'

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
}

export class DiskQueue {
  readonly #clock: Clock
  #running = 0
  #waiting: Call[] = []
  #head = 0
  #urgent: Call[] = []
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
    return this.#running + this.#urgent.length + this.#waiting.length - this.#head
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
    const last = this.#waiting.length > this.#head ? this.#waiting[this.#waiting.length - 1] : undefined
    if (
      last !== undefined &&
      last.kind === 'write' &&
      last.file === file &&
      last.offsetBytes + last.lengthBytes === offsetBytes &&
      last.lengthBytes + lengthBytes <= limits.diskJoinBytes &&
      last.chunks.length + chunks.length <= limits.diskJoinChunks
    ) {
      for (const chunk of chunks) last.chunks.push(chunk)
      last.lengthBytes += lengthBytes
      last.fresh ||= fresh
      last.waiters.push(waiter)
      return
    }
    this.#push({
      kind: 'write',
      file,
      chunks: chunks.slice(),
      start: 0,
      lengthBytes,
      offsetBytes,
      fresh,
      waiters: [waiter],
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
    this.#push({ kind: 'read', file, chunks: [into], start, lengthBytes, offsetBytes, fresh: false, waiters: [waiter] })
  }

  sync(file: BlockFile, waiter: DiskWaiter): void {
    this.#urgent.push({
      kind: 'sync',
      file,
      chunks: [],
      start: 0,
      lengthBytes: 0,
      offsetBytes: 0,
      fresh: false,
      waiters: [waiter],
    })
    this.#schedule()
  }

  /** Calls back after this turn, unless the queue was stopped meanwhile. */
  turn(fire: () => void): void {
    this.#clock.nextTurn(() => {
      if (!this.#stopped) fire()
    })
  }

  #push(call: Call): void {
    this.#waiting.push(call)
    this.#schedule()
  }

  /** Starting waits for the end of the turn, so that all that one turn brings can be joined. */
  #schedule(): void {
    if (this.#scheduled || this.#running >= limits.diskCalls) return
    this.#scheduled = true
    this.#clock.nextTurn(this.#turn)
  }

  #start(): void {
    while (!this.#stopped && this.#running < limits.diskCalls) {
      const call = this.#urgent.shift() ?? this.#next()
      if (call === undefined) return
      this.#running += 1
      this.#call(call)
    }
  }

  #next(): Call | undefined {
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

  #call(call: Call): void {
    const { file, chunks } = call
    if (call.kind === 'write') {
      file.write(chunks, call.lengthBytes, call.offsetBytes, call.fresh, (error) => this.#answer(call, error, 0))
    } else if (call.kind === 'sync') {
      file.sync((error) => this.#answer(call, error, 0))
    } else {
      const into = chunks[0] ?? new Uint8Array(0)
      file.read(into, call.start, call.lengthBytes, call.offsetBytes, (error, got) => this.#answer(call, error, got))
    }
  }

  #answer(call: Call, error: FileError | null, gotBytes: number): void {
    this.#running -= 1
    if (this.#stopped) return
    // First keep the disk busy, then tell the callers.
    this.#start()
    for (const waiter of call.waiters) waiter.diskDone(error, gotBytes)
  }
}
