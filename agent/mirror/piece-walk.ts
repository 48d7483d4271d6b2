/**
 * Walks the regions of one resync attempt, piece by piece, each under shared permission (C4): while a piece is read, sent
 * and applied no write to it is in flight anywhere, so old data never lands over new.
 */
import type { ServerId } from '../kit/ids.ts'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import { Use } from '../policing/use.ts'
import type { ReplicaStore } from '../store/replica.ts'
import type { Copier } from './copier.ts'
import { regionLength } from './places.ts'

export interface PieceWalkWorld {
  readonly clock: Clock
  readonly store: ReplicaStore
  /** Of the volume, as decided. */
  sizeBytes(): number
  readonly copier: Copier
  acquire(use: Use): void
  release(use: Use): void
}

export interface PieceWalkOrder {
  readonly target: ServerId
  readonly session: number
  readonly attempt: number
  readonly epoch: number
  /** Ascending. */
  readonly regions: readonly number[]
}

/** A piece's hold on its range; begins when nobody writes there. */
class PieceUse extends Use {
  readonly offsetBytes: number
  readonly lengthBytes: number
  readonly #begun: (use: PieceUse) => void

  constructor(offsetBytes: number, lengthBytes: number, begun: (use: PieceUse) => void) {
    super('shared', offsetBytes, lengthBytes)
    this.offsetBytes = offsetBytes
    this.lengthBytes = lengthBytes
    this.#begun = begun
  }

  override begin(): void {
    this.#begun(this)
  }
}

/** The last samples of (time, bytes done) for the rate: about three seconds of ticks. */
const samplesKept = 24

export class PieceWalk {
  readonly #world: PieceWalkWorld
  readonly #order: PieceWalkOrder
  #done: ((copied: boolean) => void) | null = null
  /** Index into the regions, and bytes of that region already begun. */
  #regionIndex = 0
  #regionBytes = 0
  #open = 0
  /** When the copying of each piece that has its permission began, oldest first. */
  readonly #copying = new Map<PieceUse, number>()
  #paused = false
  #failed = false
  #samples: { atMs: number; doneBytes: number }[] = []
  readonly totalBytes: number
  doneBytes = 0
  movedBytes = 0

  constructor(world: PieceWalkWorld, order: PieceWalkOrder) {
    this.#world = world
    this.#order = order
    this.totalBytes = order.regions.reduce((sum, region) => sum + this.#lengthOf(region), 0)
  }

  /** `done(false)`: a piece could not be copied. Not called any more after `end`. */
  start(done: (copied: boolean) => void): void {
    this.#done = done
    this.#pump()
  }

  pause(): void {
    this.#paused = true
    this.#samples = []
  }

  continue(): void {
    this.#paused = false
    this.#pump()
  }

  end(): void {
    this.#done = null
  }

  /** Milliseconds since the copying of the oldest open piece began; its range is held against writes as long. */
  oldestMs(): number {
    for (const startedMs of this.#copying.values()) return this.#world.clock.monotonicMs() - startedMs
    return 0
  }

  /** Takes a sample for the rate. */
  measure(): void {
    if (this.#paused || this.#done === null) return
    this.#samples.push({ atMs: this.#world.clock.monotonicMs(), doneBytes: this.doneBytes })
    if (this.#samples.length > samplesKept) this.#samples.shift()
  }

  /** Bytes of volume compared per second lately; null while there is too little to tell. */
  get bytesPerSecond(): number | null {
    const first = this.#samples[0]
    const last = this.#samples.at(-1)
    if (first === undefined || last === undefined || last.atMs - first.atMs < 500) return null
    return ((last.doneBytes - first.doneBytes) * 1000) / (last.atMs - first.atMs)
  }

  #lengthOf(region: number): number {
    return regionLength(region, this.#world.sizeBytes())
  }

  #pump(): void {
    while (this.#done !== null && !this.#paused && !this.#failed && this.#open < limits.copyPieces) {
      const region = this.#order.regions[this.#regionIndex]
      if (region === undefined) break
      const offsetBytes = region * limits.regionBytes + this.#regionBytes
      const lengthBytes = Math.min(limits.copyPieceBytes, this.#lengthOf(region) - this.#regionBytes)
      this.#regionBytes += lengthBytes
      if (this.#regionBytes >= this.#lengthOf(region)) {
        this.#regionIndex += 1
        this.#regionBytes = 0
      }
      this.#open += 1
      this.#world.acquire(new PieceUse(offsetBytes, lengthBytes, (use) => this.#copy(use)))
    }
    this.#checkEnd()
  }

  #copy(use: PieceUse): void {
    if (this.#done === null) {
      this.#world.release(use)
      return
    }
    const { offsetBytes, lengthBytes } = use
    const facts = this.#world.store.region(Math.floor(offsetBytes / limits.regionBytes))
    const { target, session, attempt, epoch } = this.#order
    // C3: a marked region counts as changed in the current epoch.
    const stamp = facts.marked ? epoch : facts.stamp
    this.#copying.set(use, this.#world.clock.monotonicMs())
    this.#world.copier.copy({ target, session, attempt, offsetBytes, lengthBytes, stamp }, (movedBytes) => {
      this.#copying.delete(use)
      this.#open -= 1
      if (movedBytes === null) this.#failed = true
      else {
        this.doneBytes += lengthBytes
        this.movedBytes += movedBytes
      }
      this.#world.release(use)
      this.#pump()
    })
  }

  #checkEnd(): void {
    const done = this.#done
    if (done === null || this.#open > 0) return
    const complete = this.#regionIndex >= this.#order.regions.length
    if (!this.#failed && !complete) return
    this.#done = null
    done(!this.#failed)
  }
}
