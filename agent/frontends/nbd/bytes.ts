/**
 * Received chunks in order, read as one stream. Nothing is copied but fixed headers that straddle two chunks: a payload
 * leaves as the list of subarrays in which it came. What ends here (headers, skipped bytes, copied ones) is handed back
 * here (kit/slabs.ts); their memory is not read into before this turn of the event loop has ended.
 */
import { handBackBytes } from '../../kit/slabs.ts'

/** Waiting chunks from which on small ones are joined: a client that dribbles single bytes costs bytes, not objects. */
const joinFromChunks = 16
/** Bytes of a chunk that counts as small, and bytes into which small ones are joined. */
const smallBytes = 1024
const joinedBytes = 4096
const scratchBytes = 32

interface Chunk {
  readonly bytes: Uint8Array
  readonly view: DataView
  /** Where its bytes end: the length, but for a chunk of joined ones, which is still being filled. */
  end: number
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
const nothing: Chunk = { bytes: new Uint8Array(0), view: new DataView(new ArrayBuffer(0)), end: 0 }

export class ByteQueue {
  /** Bytes received and not yet taken. */
  lengthBytes = 0
  /** Where the header found by the last `fixed` stands; valid until the next call. */
  view: DataView = nothing.view
  at = 0

  #first: Chunk = nothing
  #firstAt = 0
  #rest: Chunk[] = []
  readonly #scratch = new Uint8Array(scratchBytes)
  readonly #scratchView = viewOf(this.#scratch)

  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    if (this.lengthBytes === 0) {
      this.#first = { bytes, view: viewOf(bytes), end: bytes.length }
      this.#firstAt = 0
    } else if (bytes.length < smallBytes && this.#rest.length >= joinFromChunks) {
      this.#join(bytes)
    } else {
      this.#rest.push({ bytes, view: viewOf(bytes), end: bytes.length })
    }
    this.lengthBytes += bytes.length
  }

  /** Takes `wantedBytes` (at most 32) as a header: then `view` and `at` say where it is. @returns false: not all there */
  fixed(wantedBytes: number): boolean {
    if (this.lengthBytes < wantedBytes) return false
    if (this.#first.end - this.#firstAt >= wantedBytes) {
      this.view = this.#first.view
      this.at = this.#firstAt
      handBackBytes(this.#first.bytes, wantedBytes)
      this.#skipInFirst(wantedBytes)
      return true
    }
    let filled = 0
    while (filled < wantedBytes) {
      const part = this.#piece(wantedBytes - filled)
      this.#scratch.set(part, filled)
      filled += part.length
      handBackBytes(part, part.length)
    }
    this.view = this.#scratchView
    this.at = 0
    return true
  }

  /** The next bytes, at least 1 and at most `mostBytes`, without copying; the queue must not be empty. */
  piece(mostBytes: number): Uint8Array {
    return this.#piece(mostBytes)
  }

  /** Drops up to `mostBytes`. @returns how many */
  skip(mostBytes: number): number {
    const dropped = Math.min(mostBytes, this.lengthBytes)
    for (let left = dropped; left > 0; ) {
      const piece = this.#piece(left)
      left -= piece.length
      handBackBytes(piece, piece.length)
    }
    return dropped
  }

  /** Takes `wantedBytes` in one piece, copied if they came in several. @returns null: not all there */
  whole(wantedBytes: number): Uint8Array | null {
    if (this.lengthBytes < wantedBytes) return null
    if (wantedBytes === 0) return nothing.bytes
    const first = this.#piece(wantedBytes)
    if (first.length === wantedBytes) return first
    const all = new Uint8Array(wantedBytes)
    all.set(first)
    for (let filled = first.length; filled < wantedBytes; ) {
      const part = this.#piece(wantedBytes - filled)
      all.set(part, filled)
      filled += part.length
    }
    return all
  }

  /** Forgets everything. */
  clear(): void {
    this.lengthBytes = 0
    this.#first = nothing
    this.#firstAt = 0
    this.#rest = []
    this.view = nothing.view
  }

  #piece(mostBytes: number): Uint8Array {
    const { bytes, end } = this.#first
    const from = this.#firstAt
    const taken = Math.min(mostBytes, end - from)
    this.#skipInFirst(taken)
    return taken === bytes.length ? bytes : bytes.subarray(from, from + taken)
  }

  #skipInFirst(count: number): void {
    this.lengthBytes -= count
    this.#firstAt += count
    if (this.#firstAt < this.#first.end) return
    this.#first = this.#rest.shift() ?? nothing
    this.#firstAt = 0
  }

  /** Appends behind what was joined before. Bytes that were handed out are never written to again. */
  #join(bytes: Uint8Array): void {
    let last = this.#rest.at(-1)
    if (last === undefined || last.end + bytes.length > last.bytes.length) {
      const room = new Uint8Array(joinedBytes)
      last = { bytes: room, view: viewOf(room), end: 0 }
      this.#rest.push(last)
    }
    last.bytes.set(bytes, last.end)
    last.end += bytes.length
    handBackBytes(bytes, bytes.length)
  }
}
