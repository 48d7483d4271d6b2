/**
 * When a region's mark may come off (C1): every write there is confirmed, and data that a sync began after them has made
 * durable; out of a session never. Marks stay on for a while, so that a busy region is marked once.
 */
import type { ServerId } from '../kit/ids.ts'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { ReplicaStore, StoreFailure } from '../store/replica.ts'

interface Touch {
  lastMs: number
  /** The highest number written there, per origin. */
  readonly numbers: Map<ServerId, number>
}

export interface MarkWorld {
  readonly clock: Clock
  readonly store: ReplicaStore
  /** C1: every write of this origin below this number is confirmed. */
  lowWaterOf(origin: ServerId): number
  /** A sync failed: what this replica holds is not known any more (C2). */
  ownReplicaFailed(failure: StoreFailure): void
}

export class MarkKeeper {
  readonly #world: MarkWorld
  readonly #touches = new Map<number, Touch>()
  #epoch = 0
  #syncing = false

  constructor(world: MarkWorld) {
    this.#world = world
  }

  /** A session is recorded: all marks that stand were settled, so time alone keeps them. Others may write from now on,
   * before it opens here; no mark comes off before that. */
  startSession(): void {
    this.#epoch = 0
    this.#touches.clear()
    const lastMs = this.#world.clock.monotonicMs()
    for (const [region, facts] of this.#world.store.regions()) {
      if (facts.marked) this.#touches.set(region, { lastMs, numbers: new Map() })
    }
  }

  openSession(epoch: number): void {
    this.#epoch = epoch
  }

  endSession(): void {
    this.#epoch = 0
  }

  touched(origin: ServerId, offsetBytes: number, lengthBytes: number, number: number): void {
    const last = Math.floor((offsetBytes + lengthBytes - 1) / limits.regionBytes)
    const now = this.#world.clock.monotonicMs()
    for (let region = Math.floor(offsetBytes / limits.regionBytes); region <= last; region += 1) {
      const touch = this.#touches.get(region)
      if (touch === undefined) this.#touches.set(region, { lastMs: now, numbers: new Map([[origin, number]]) })
      else {
        touch.lastMs = now
        touch.numbers.set(origin, number)
      }
    }
  }

  /** Looks for marks that may come off; at most one sync at a time, none when there is nothing to take off. */
  tick(): void {
    if (this.#epoch === 0 || this.#syncing) return
    const idle = this.#idle()
    if (idle.length === 0) return
    this.#syncing = true
    const epoch = this.#epoch
    this.#world.store.sync((failure) => {
      this.#syncing = false
      if (failure !== null) return this.#world.ownReplicaFailed(failure)
      if (this.#epoch !== epoch) return
      const quiet = idle.filter(({ region, lastMs }) => this.#touches.get(region)?.lastMs === lastMs)
      for (const { region } of quiet) this.#touches.delete(region)
      const regions = quiet.map(({ region }) => region)
      if (regions.length > 0) this.#world.store.unmark(regions, epoch, () => this.#lookAgain(regions))
    })
  }

  /** A mark that stayed on, since its region was written meanwhile or the disk was not ready, is looked at again later. */
  #lookAgain(regions: readonly number[]): void {
    if (this.#epoch === 0) return
    const lastMs = this.#world.clock.monotonicMs()
    for (const region of regions) {
      if (this.#touches.has(region) || !this.#world.store.region(region).marked) continue
      this.#touches.set(region, { lastMs, numbers: new Map() })
    }
  }

  #idle(): { region: number; lastMs: number }[] {
    const now = this.#world.clock.monotonicMs()
    const idle: { region: number; lastMs: number }[] = []
    for (const [region, touch] of this.#touches) {
      if (now - touch.lastMs < limits.markIdleMs || !this.#confirmed(touch)) continue
      const facts = this.#world.store.region(region)
      if (facts.marked && facts.grade === 'sound') idle.push({ region, lastMs: touch.lastMs })
      else this.#touches.delete(region)
    }
    return idle
  }

  #confirmed(touch: Touch): boolean {
    for (const [origin, number] of touch.numbers) if (number >= this.#world.lowWaterOf(origin)) return false
    return true
  }
}
