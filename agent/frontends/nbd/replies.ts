/**
 * What one connection gets to hear in one turn of the event loop, collected for a single write: headers packed into
 * pooled blocks, small read payloads copied behind their header, large ones passed on as they are.
 */
import { invariant } from '../../kit/failure.ts'
import { handBackBytes } from '../../kit/slabs.ts'
import { limits } from '../../limits.ts'
import { chunkType, type ErrorValue, encodeOnlyChunk, encodeSimpleReply, putUint64, wireBytes } from './codec.ts'

/** Bytes of a pooled block. */
export const replyBlockBytes = 64 * 1024
/** Bytes of read payload up to which a copy is cheaper than one more buffer in the write. */
const copyBytes = 16 * 1024

export interface ReplyBlock {
  readonly bytes: Uint8Array
  readonly view: DataView
}

/** Blocks of all connections of one server; those above the limit are left to the garbage collector. */
export class ReplyBlocks {
  readonly #free: ReplyBlock[] = []

  take(): ReplyBlock {
    const free = this.#free.pop()
    if (free !== undefined) return free
    const bytes = new Uint8Array(replyBlockBytes)
    return { bytes, view: new DataView(bytes.buffer) }
  }

  giveBack(blocks: readonly ReplyBlock[]): void {
    for (const block of blocks) if (this.#free.length < limits.replyBlocks) this.#free.push(block)
  }
}

/** One write: `parts` in order. Its blocks go back to the pool when the write is done. */
export interface ReplyBatch {
  readonly parts: readonly Uint8Array[]
  readonly blocks: readonly ReplyBlock[]
  readonly lengthBytes: number
}

/** Which request is answered, and how its client wants reads answered. */
export interface Answered {
  readonly cookieHigh: number
  readonly cookieLow: number
  readonly offsetBytes: number
  readonly lengthBytes: number
}

export class Replies {
  /** Bytes collected and not yet taken. */
  lengthBytes = 0
  readonly #pool: ReplyBlocks
  #parts: Uint8Array[] = []
  #blocks: ReplyBlock[] = []
  #block: ReplyBlock | null = null
  /** The block's bytes from..to are filled and not yet a part. */
  #from = 0
  #to = 0

  constructor(pool: ReplyBlocks) {
    this.#pool = pool
  }

  /** Negotiation's messages. */
  raw(bytes: Uint8Array): void {
    this.#append(bytes)
  }

  simple(request: Answered, error: ErrorValue): void {
    const view = this.#room(wireBytes.simpleReply)
    encodeSimpleReply(view, this.#to - wireBytes.simpleReply, request.cookieHigh, request.cookieLow, error)
  }

  simpleRead(request: Answered, chunks: readonly Uint8Array[]): void {
    this.simple(request, 0)
    this.#payload(request, chunks)
  }

  /** One content chunk that is the whole reply: the data is complete, no error can follow ("Structured replies"). */
  structuredRead(request: Answered, chunks: readonly Uint8Array[]): void {
    // A content chunk describes at least one byte, so an empty read is answered by an empty chunk.
    if (request.lengthBytes === 0) {
      this.#chunk(request, chunkType.none, 0)
      return
    }
    this.#chunk(request, chunkType.offsetData, 8 + request.lengthBytes)
    const view = this.#room(8)
    putUint64(view, this.#to - 8, request.offsetBytes)
    this.#payload(request, chunks)
  }

  structuredError(request: Answered, error: ErrorValue): void {
    this.#chunk(request, chunkType.error, 6)
    const view = this.#room(6)
    view.setUint32(this.#to - 6, error)
    view.setUint16(this.#to - 2, 0)
  }

  /** Everything collected since the last call, or null when there is nothing. */
  take(): ReplyBatch | null {
    if (this.lengthBytes === 0) return null
    this.#cut()
    const batch = { parts: this.#parts, blocks: this.#blocks, lengthBytes: this.lengthBytes }
    this.#parts = []
    this.#blocks = []
    this.#block = null
    this.lengthBytes = 0
    return batch
  }

  #chunk(request: Answered, type: number, payloadBytes: number): void {
    const view = this.#room(wireBytes.structuredHeader)
    const { cookieHigh, cookieLow } = request
    encodeOnlyChunk(view, this.#to - wireBytes.structuredHeader, { type, cookieHigh, cookieLow, payloadBytes })
  }

  #payload(request: Answered, chunks: readonly Uint8Array[]): void {
    let total = 0
    for (const chunk of chunks) {
      total += chunk.length
      this.#append(chunk)
    }
    // A reply that is shorter or longer than its header says would shift every later reply of this client.
    invariant(total === request.lengthBytes, 'N1', `a read of ${request.lengthBytes} bytes was answered with ${total}`)
  }

  #append(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    if (bytes.length <= copyBytes) {
      this.#room(bytes.length)
      this.#block?.bytes.set(bytes, this.#to - bytes.length)
      handBackBytes(bytes, bytes.length)
      return
    }
    this.#cut()
    this.#parts.push(bytes)
    this.lengthBytes += bytes.length
  }

  /** Makes room for `count` bytes (at most a block): they end at `#to`. */
  #room(count: number): DataView {
    let block = this.#block
    if (block === null || this.#to + count > replyBlockBytes) {
      this.#cut()
      block = this.#pool.take()
      this.#block = block
      this.#blocks.push(block)
      this.#from = 0
      this.#to = 0
    }
    this.#to += count
    this.lengthBytes += count
    return block.view
  }

  /** What the block holds so far becomes a part. */
  #cut(): void {
    if (this.#block === null || this.#to === this.#from) return
    this.#parts.push(this.#block.bytes.subarray(this.#from, this.#to))
    this.#from = this.#to
  }
}
