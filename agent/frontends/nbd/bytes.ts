/**
 * Received chunks in order, read as one stream. Nothing is copied but fixed headers that straddle two chunks: a payload
 * leaves as the list of subarrays in which it came.
 */

/** Waiting chunks above which they are joined: a client that dribbles single bytes costs bytes, not objects. */
const mostChunks = 64
const scratchBytes = 32

interface Chunk {
  readonly bytes: Uint8Array
  readonly view: DataView
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
const nothing: Chunk = { bytes: new Uint8Array(0), view: new DataView(new ArrayBuffer(0)) }

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
    const chunk = { bytes, view: viewOf(bytes) }
    if (this.lengthBytes === 0) {
      this.#first = chunk
      this.#firstAt = 0
    } else {
      this.#rest.push(chunk)
    }
    this.lengthBytes += bytes.length
    if (this.#rest.length >= mostChunks) this.#join()
  }

  /** Takes `wantedBytes` (at most 32) as a header: then `view` and `at` say where it is. @returns false: not all there */
  fixed(wantedBytes: number): boolean {
    if (this.lengthBytes < wantedBytes) return false
    if (this.#first.bytes.length - this.#firstAt >= wantedBytes) {
      this.view = this.#first.view
      this.at = this.#firstAt
      this.#skipInFirst(wantedBytes)
      return true
    }
    let filled = 0
    while (filled < wantedBytes) {
      const part = this.#piece(wantedBytes - filled)
      this.#scratch.set(part, filled)
      filled += part.length
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
    for (let left = dropped; left > 0; ) left -= this.#piece(left).length
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
    const { bytes } = this.#first
    const from = this.#firstAt
    const taken = Math.min(mostBytes, bytes.length - from)
    this.#skipInFirst(taken)
    return taken === bytes.length ? bytes : bytes.subarray(from, from + taken)
  }

  #skipInFirst(count: number): void {
    this.lengthBytes -= count
    this.#firstAt += count
    if (this.#firstAt < this.#first.bytes.length) return
    this.#first = this.#rest.shift() ?? nothing
    this.#firstAt = 0
  }

  #join(): void {
    const all = this.whole(this.lengthBytes)
    if (all !== null) this.push(all)
  }
}
