/** Bytes cut into whole blocks, and back. */
import { invariant } from '../kit/failure.ts'
import { handBackBytes } from '../kit/slabs.ts'
import { limits } from '../limits.ts'

const { blockBytes } = limits

/** One for all readers: nobody reads two blocks at once, and few writes have a block in two chunks. */
const copy = new Uint8Array(blockBytes)

/** The blocks of a write, one after the other: views of its chunks where a block lies in one, else a copy. */
export class BlockReader {
  readonly #chunks: readonly Uint8Array[]
  #chunk = 0
  #at = 0

  /** @param chunks together a whole number of blocks */
  constructor(chunks: readonly Uint8Array[]) {
    this.#chunks = chunks
  }

  /** @returns the next block; good until the next call of any reader */
  next(): Uint8Array {
    for (;;) {
      const chunk = this.#chunks[this.#chunk]
      if (chunk === undefined) return copy
      if (this.#at < chunk.length) {
        if (chunk.length - this.#at < blockBytes) return this.#joined()
        this.#at += blockBytes
        return chunk.subarray(this.#at - blockBytes, this.#at)
      }
      this.#chunk += 1
      this.#at = 0
    }
  }

  #joined(): Uint8Array {
    for (let have = 0; have < blockBytes; ) {
      const chunk = this.#chunks[this.#chunk]
      if (chunk === undefined) break
      const part = chunk.subarray(this.#at, this.#at + blockBytes - have)
      copy.set(part, have)
      have += part.length
      this.#at += part.length
      if (this.#at < chunk.length) continue
      this.#chunk += 1
      this.#at = 0
    }
    return copy
  }
}

/** The bytes of a write in pieces of any lengths, one after the other: views of its chunks. */
export class ChunkCutter {
  readonly #chunks: readonly Uint8Array[]
  #chunk = 0
  #at = 0

  constructor(chunks: readonly Uint8Array[]) {
    this.#chunks = chunks
  }

  next(lengthBytes: number): Uint8Array[] {
    const cut: Uint8Array[] = []
    for (let need = lengthBytes; need > 0; ) {
      const chunk = this.#chunks[this.#chunk]
      invariant(chunk !== undefined, 'S4', 'the chunks of a write are shorter than its length')
      const take = Math.min(need, chunk.length - this.#at)
      if (take > 0) cut.push(chunk.subarray(this.#at, this.#at + take))
      need -= take
      this.#at += take
      if (this.#at < chunk.length) continue
      this.#chunk += 1
      this.#at = 0
    }
    return cut
  }
}

/** @returns what a reader asked for of the whole blocks that were read; the rest of them is handed back */
export function cutOut(blocks: Uint8Array, fromBytes: number, lengthBytes: number): Uint8Array {
  if (lengthBytes === blocks.length) return blocks
  const endBytes = fromBytes + lengthBytes
  handBackBytes(blocks, fromBytes)
  handBackBytes(blocks.subarray(endBytes), blocks.length - endBytes)
  return blocks.subarray(fromBytes, endBytes)
}
