/** A client that writes one block after the other without a pause, and so feels every stall of the shared disk. */
import { blockBytes } from '../kit/history.ts'
import { connectNbd, type NbdClient } from '../kit/nbd-client.ts'
import { within } from '../kit/until.ts'

/** How long the last write may take when the pulse ends, milliseconds: longer than a failover. */
const lastWriteMs = 15_000

export class Pulse {
  /** Writes acknowledged so far. */
  writes = 0
  /** The longest that one write has waited for its answer, milliseconds. */
  longestMs = 0
  readonly #client: NbdClient
  readonly #at: { readonly firstByte: number; readonly blocks: number }
  readonly #ended: Promise<void>
  #running = true
  #failure: Error | null = null

  private constructor(client: NbdClient, at: { firstByte: number; blocks: number }) {
    this.#client = client
    this.#at = at
    this.#ended = this.#beat()
  }

  static async begin(uri: string, at: { firstByte: number; blocks: number }): Promise<Pulse> {
    return new Pulse(await connectNbd(uri), at)
  }

  async #beat(): Promise<void> {
    try {
      while (this.#running) {
        const beganMs = performance.now()
        await this.#client.write(this.#offsetOf(this.writes), this.#blockOf(this.writes))
        this.longestMs = Math.max(this.longestMs, performance.now() - beganMs)
        this.writes++
      }
    } catch (failure) {
      this.#failure = failure instanceof Error ? failure : new Error(String(failure))
    }
  }

  #offsetOf(write: number): number {
    return this.#at.firstByte + (write % this.#at.blocks) * blockBytes
  }

  /** The write's number, again and again, so that reading it back tells which write it was. */
  #blockOf(write: number): Uint8Array {
    return new Uint8Array(new Uint32Array(blockBytes / 4).fill(write + 1).buffer)
  }

  /** @throws what the client felt: an error reply, a lost connection, a write that does not end */
  async end(): Promise<void> {
    this.#running = false
    await within('the last write of the pulse', lastWriteMs, this.#ended)
    await this.#client.disconnect()
    if (this.#failure !== null) throw this.#failure
  }

  /** Reads all that was acknowledged. @throws at the first block that does not hold its last write */
  async verify(uri: string): Promise<void> {
    const client = await connectNbd(uri)
    try {
      const first = Math.max(0, this.writes - this.#at.blocks)
      for (let write = first; write < this.writes; write++) {
        const found = await client.read(this.#offsetOf(write), blockBytes)
        if (Buffer.compare(found, this.#blockOf(write)) !== 0) {
          throw new Error(`write ${write} was acknowledged, but is not at byte ${this.#offsetOf(write)}`)
        }
      }
    } finally {
      await client.disconnect()
    }
  }
}
