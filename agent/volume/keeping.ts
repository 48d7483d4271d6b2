/**
 * How long a deleted volume has been kept: time that this server's agent ran since it knew of the deletion, added up
 * durably. No calendar is asked, since one that is wrong would end what a person may want back.
 */
import { z } from 'zod'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { Records } from '../store/replica.ts'

/** `deletedMs` names the deletion: what was kept once, restored and deleted again begins anew. */
const recordSchema = z.object({ deletedMs: z.number(), keptMs: z.number().min(0) })

export const keepingKey = (id: string): string => `kept-${id}`

export class Keeping {
  readonly #clock: Clock
  readonly #records: Records
  readonly #key: string
  readonly #deletedMs: number
  readonly #before: number
  readonly #startMs: number
  #savedMs: number

  /** @param deletedMs as its configuration says it */
  constructor(clock: Clock, records: Records, id: string, deletedMs: number) {
    this.#clock = clock
    this.#records = records
    this.#key = keepingKey(id)
    this.#deletedMs = deletedMs
    const parsed = recordSchema.safeParse(records.get(this.#key))
    this.#before = parsed.success && parsed.data.deletedMs === deletedMs ? parsed.data.keptMs : 0
    this.#startMs = clock.monotonicMs()
    this.#savedMs = this.#startMs
  }

  /** To be called now and then. @returns whether its time is over */
  isOver(): boolean {
    const nowMs = this.#clock.monotonicMs()
    const keptMs = this.#before + nowMs - this.#startMs
    if (nowMs - this.#savedMs > limits.keptSaveMs) {
      this.#savedMs = nowMs
      this.#records.put(this.#key, { deletedMs: this.#deletedMs, keptMs }, () => undefined)
    }
    return keptMs > limits.deletedKeepMs
  }

  /** It is in use again, or gone. */
  end(): void {
    this.#records.put(this.#key, null, () => undefined)
  }
}
