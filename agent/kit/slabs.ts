/**
 * Memory that sockets are read into and that is used again. Left to the garbage collector, received payload costs more
 * than everything else that is done with it: each 64 MiB of it starts a whole collection.
 *
 * Every received byte has one keeper. Whoever is sure to be the last to look at a byte hands it back, once; a slab whose
 * bytes are all back is read into again. Who is not sure does nothing: a slab that misses a byte is never used again and
 * left to the garbage collector. So forgetting costs time, never data; handing back too early is the only mistake.
 */
import { limits } from '../limits.ts'
import { invariant } from './failure.ts'

/** Slabs that wait for their next use, shared by many sockets; those above limits.slabsKept are let go. */
export class SlabPool {
  readonly #free: Slab[] = []

  take(): Slab {
    return this.#free.pop() ?? new Slab(this)
  }

  put(slab: Slab): void {
    if (this.#free.length < limits.slabsKept) this.#free.push(slab)
  }
}

/** The memory itself: views of it find their slab as their `buffer`. */
class Slab extends ArrayBuffer {
  readonly #pool: SlabPool
  /** Bytes received into it and handed out, and those of them that came back. */
  #outBytes = 0
  #backBytes = 0
  /** Its reader has gone on to another one. */
  #isFull = false

  constructor(pool: SlabPool) {
    super(limits.slabBytes)
    this.#pool = pool
  }

  handOut(bytes: number): void {
    this.#outBytes += bytes
  }

  handBack(bytes: number): void {
    this.#backBytes += bytes
    invariant(this.#backBytes <= this.#outBytes, 'K2', 'received bytes are handed back once')
    if (this.#isFull) this.#reuse()
  }

  /** Its reader needs it no more. */
  leave(): void {
    this.#isFull = true
    this.#reuse()
  }

  /** @returns whether every byte is back: then its reader may begin at its start again */
  restart(): boolean {
    if (this.#backBytes < this.#outBytes) return false
    this.#outBytes = 0
    this.#backBytes = 0
    return true
  }

  #reuse(): void {
    if (!this.restart()) return
    this.#isFull = false
    this.#pool.put(this)
  }
}

/** One socket's place in its slab. */
export class SlabReader {
  readonly #pool: SlabPool
  #slab: Slab
  #at = 0

  constructor(pool: SlabPool) {
    this.#pool = pool
    this.#slab = pool.take()
  }

  /** Where the next read goes, at least limits.slabRoomBytes. */
  room(): Buffer {
    if (this.#slab.restart()) this.#at = 0
    else if (limits.slabBytes - this.#at < limits.slabRoomBytes) {
      this.#slab.leave()
      this.#slab = this.#pool.take()
      this.#at = 0
    }
    return Buffer.from(this.#slab, this.#at)
  }

  /** So many bytes were read into the last `room`. */
  took(bytes: number): Buffer {
    const view = Buffer.from(this.#slab, this.#at, bytes)
    this.#slab.handOut(bytes)
    this.#at += bytes
    return view
  }

  /** Nothing is read any more. */
  end(): void {
    this.#slab.leave()
  }
}

/** Memory for what is read from elsewhere, in pieces; handed back like received bytes. */
export class SlabPieces {
  readonly #pool = new SlabPool()
  #slab = this.#pool.take()
  #at = 0

  /** @returns memory with anything in it; the receiver keeps it as long as it likes */
  take(bytes: number): Buffer {
    if (bytes > limits.slabBytes) return Buffer.allocUnsafe(bytes)
    if (this.#slab.restart()) this.#at = 0
    else if (limits.slabBytes - this.#at < bytes) {
      this.#slab.leave()
      this.#slab = this.#pool.take()
      this.#at = 0
    }
    const piece = Buffer.from(this.#slab, this.#at, bytes)
    this.#slab.handOut(bytes)
    this.#at += bytes
    return piece
  }
}

/** Nobody looks at the first `bytes` bytes of this view any more. Memory of other kinds is left alone. */
export function handBackBytes(view: Uint8Array, bytes: number): void {
  const slab = view.buffer
  if (slab instanceof Slab) slab.handBack(bytes)
}

/** Nobody looks at these views any more. */
export function handBack(views: readonly Uint8Array[]): void {
  for (const view of views) handBackBytes(view, view.length)
}
