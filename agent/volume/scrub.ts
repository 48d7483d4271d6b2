/**
 * Reads everything that this server's replica holds, slowly and again and again, so that what the disk has changed or cannot
 * read is found, and repaired from another copy (R3), while there is another copy. Goes on after a restart.
 */
import { z } from 'zod'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import { endOf, hiddenRegion } from '../mirror/places.ts'
import type { ReplicaStore } from '../store/replica.ts'

export interface ScrubWorld {
  readonly clock: Clock
  readonly store: Pick<ReplicaStore, 'region' | 'regionCount' | 'sizeBytes'>
  /** Reads as a client would: under permission, against checksums, from another copy where this one fails. */
  read(offsetBytes: number, lengthBytes: number, done: (isReadable: boolean) => void): void
  /** Whether clients keep the volume busy: then it goes at its slowest. */
  isBusy(): boolean
  /** Bytes that were repaired since the agent's start. */
  repairedBytes(): number
  load(): unknown
  /** Durable some time after; a lost one is read again. */
  save(state: ScrubRecord): void
  ended(details: { readBytes: number; repairedBytes: number; unreadablePieces: number; durationMs: number }): void
}

const recordSchema = z.object({
  /** Milliseconds since 1970 when the run under way began; null: none is. */
  startedMs: z.number().nullable(),
  /** The first region that it has not finished. */
  region: z.number().int().min(0),
  readBytes: z.number().min(0),
  repairedBytes: z.number().min(0),
  /** Pieces that no copy could give. */
  unreadablePieces: z.number().int().min(0),
  /** When the last whole run ended, or when the first one was put off from. */
  endedMs: z.number(),
})
export type ScrubRecord = z.infer<typeof recordSchema>

export class Scrub {
  readonly #world: ScrubWorld
  #record: ScrubRecord
  #offsetBytes = 0
  #isReading = false
  #unsavedRegions = 0
  /** Bytes that may be read now. */
  #budgetBytes = 0
  #lastTickMs: number
  #lastPieceMs = 0
  #repairedBefore: number
  /** A new disk's first week counts from when it was first seen, also over restarts. */
  #isUnsaved: boolean

  constructor(world: ScrubWorld) {
    this.#world = world
    this.#lastTickMs = world.clock.monotonicMs()
    this.#repairedBefore = world.repairedBytes()
    const parsed = recordSchema.safeParse(world.load())
    this.#record = parsed.success ? parsed.data : this.#first()
    this.#isUnsaved = !parsed.success
    this.#offsetBytes = this.#record.region * limits.regionBytes
  }

  get record(): Readonly<ScrubRecord> {
    return this.#record
  }

  /** 0 to 1 of the run under way; null when none is. */
  get progress(): number | null {
    if (this.#record.startedMs === null) return null
    return Math.min(1, this.#offsetBytes / this.#world.store.sizeBytes)
  }

  /** Begins from the start, also when one is under way. */
  now(): void {
    const startedMs = this.#world.clock.wallMs()
    this.#record = { ...this.#first(), startedMs, endedMs: this.#record.endedMs }
    this.#offsetBytes = 0
    this.#repairedBefore = this.#world.repairedBytes()
    this.#world.save(this.#record)
  }

  /** Ends the run under way, of which nothing is said then; the next one comes when it is due. */
  stop(): void {
    if (this.#record.startedMs === null) return
    this.#record = this.#first()
    this.#world.save(this.#record)
  }

  /** Several times a second, while the volume is served here. */
  tick(): void {
    const { clock } = this.#world
    if (this.#isUnsaved) this.#world.save(this.#record)
    this.#isUnsaved = false
    const nowMs = clock.monotonicMs()
    const passedMs = nowMs - this.#lastTickMs
    this.#lastTickMs = nowMs
    if (this.#record.startedMs === null) {
      // Either way: a clock that was set back must not put the next one off for as long.
      if (Math.abs(clock.wallMs() - this.#record.endedMs) >= limits.scrubEveryMs) this.now()
      return
    }
    const mostBytes = limits.scrubBytesPerSecond
    this.#budgetBytes = Math.min(mostBytes, this.#budgetBytes + (mostBytes * passedMs) / 1000)
    // The floor, so that it always ends (C5's idea): a piece a second, however busy.
    if (!this.#world.isBusy() || nowMs - this.#lastPieceMs >= 1000) this.#piece()
  }

  #first(): ScrubRecord {
    const endedMs = this.#world.clock.wallMs()
    return { startedMs: null, region: 0, readBytes: 0, repairedBytes: 0, unreadablePieces: 0, endedMs }
  }

  #piece(): void {
    if (this.#isReading || this.#budgetBytes <= 0 || this.#record.startedMs === null) return
    const { startedMs } = this.#record
    const offsetBytes = this.#next()
    if (offsetBytes < 0) return this.#end(startedMs)
    const lengthBytes = Math.min(limits.copyPieceBytes, endOf(offsetBytes, this.#world.store.sizeBytes) - offsetBytes)
    this.#isReading = true
    this.#lastPieceMs = this.#world.clock.monotonicMs()
    this.#budgetBytes -= lengthBytes
    this.#world.read(offsetBytes, lengthBytes, (isReadable) => {
      this.#isReading = false
      // Begun anew, or stopped, meanwhile.
      if (this.#record.startedMs !== startedMs) return
      this.#count(lengthBytes, isReadable)
      this.#offsetBytes = offsetBytes + lengthBytes
      this.#saveNowAndThen()
      if (!this.#world.isBusy()) this.#piece()
    })
  }

  /** @returns where the next bytes lie that were ever written, the hidden range last; -1 behind the last */
  #next(): number {
    const { store } = this.#world
    while (this.#offsetBytes < store.sizeBytes) {
      const region = Math.floor(this.#offsetBytes / limits.regionBytes)
      const { marked, stamp } = store.region(region)
      if (marked || stamp > 0) return this.#offsetBytes
      this.#offsetBytes = (region + 1) * limits.regionBytes
    }
    this.#offsetBytes = Math.max(this.#offsetBytes, limits.hiddenStartBytes)
    const { marked, stamp } = store.region(hiddenRegion)
    const isLeft = this.#offsetBytes < endOf(this.#offsetBytes, store.sizeBytes)
    if ((marked || stamp > 0) && isLeft) return this.#offsetBytes
    return -1
  }

  #count(lengthBytes: number, isReadable: boolean): void {
    const { readBytes, unreadablePieces, repairedBytes } = this.#record
    const repairedNow = this.#world.repairedBytes()
    this.#record = {
      ...this.#record,
      readBytes: readBytes + lengthBytes,
      unreadablePieces: unreadablePieces + (isReadable ? 0 : 1),
      repairedBytes: repairedBytes + repairedNow - this.#repairedBefore,
    }
    this.#repairedBefore = repairedNow
  }

  #saveNowAndThen(): void {
    const region = Math.floor(this.#offsetBytes / limits.regionBytes)
    if (region === this.#record.region) return
    this.#record = { ...this.#record, region }
    this.#unsavedRegions += 1
    if (this.#unsavedRegions < limits.scrubSaveRegions) return
    this.#unsavedRegions = 0
    this.#world.save(this.#record)
  }

  #end(startedMs: number): void {
    const endedMs = this.#world.clock.wallMs()
    const { readBytes, repairedBytes, unreadablePieces } = this.#record
    this.#record = { ...this.#record, startedMs: null, region: 0, endedMs }
    this.#world.save(this.#record)
    this.#world.ended({ readBytes, repairedBytes, unreadablePieces, durationMs: endedMs - startedMs })
  }
}
