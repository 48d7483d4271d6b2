/**
 * E8: for how long this server's own disk owes what somebody waits for. Only that counts: a hung disk that nobody asks
 * anything of is no reason to leave the set.
 */
import { limits } from '../limits.ts'
import type { ReadRequest, WriteRequest } from './requests.ts'
import type { Volume } from './volume.ts'

export class Overdue {
  readonly #volume: Volume
  /** Reads that the disk has not answered, also those of writes that look first, oldest first, and when they began in turned
   * time. */
  readonly #reading = new Map<ReadRequest | WriteRequest, number>()
  #settlingTicks = 0

  constructor(volume: Volume) {
    this.#volume = volume
  }

  readBegan(request: ReadRequest | WriteRequest): void {
    this.#reading.set(request, this.#volume.world.silence.turnedMs)
  }

  readEnded(request: ReadRequest | WriteRequest): void {
    this.#reading.delete(request)
  }

  /** Milliseconds; called at every tick. */
  ownMs(): number {
    const { outgoing, incoming, flusher, member } = this.#volume
    const clients = Math.max(
      this.#oldestReadMs(),
      outgoing.ownOverdueMs(),
      incoming.overdueMs(),
      flusher.owedByMs(null),
    )
    return Math.max(clients, member.recordingMs(), this.#settlingMs())
  }

  #oldestReadMs(): number {
    for (const startedMs of this.#reading.values()) return this.#volume.world.silence.turnedMs - startedMs
    return 0
  }

  /** While a session is formed everybody waits for every disk: copies and syncs of settling count as well. */
  #settlingMs(): number {
    const { member, store } = this.#volume
    const pendingMs = member.phase === 'settling' || member.phase === 'stopping' ? store.oldestPendingMs() : 0
    if (pendingMs <= limits.diskOverdueMs) this.#settlingTicks = 0
    else this.#settlingTicks += 1
    // Seen for a second, so that a pause of our own, after which timers run before the disk's answers, is not taken for it.
    return this.#settlingTicks * limits.heartbeatMs > 2_000 ? pendingMs : 0
  }
}
