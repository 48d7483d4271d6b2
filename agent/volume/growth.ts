/** A replica grows to the size that was decided, before its server takes part again. */
import { limits } from '../limits.ts'
import type { StoreFailure } from '../store/replica.ts'
import type { VolumeWorld } from './world.ts'

export class Growth {
  readonly #world: VolumeWorld
  #isGrowing = false
  #waiting: (() => void)[] = []
  #givenUp = false

  constructor(world: VolumeWorld) {
    this.#world = world
  }

  /** Calls back when the replica here has the decided size, which it nearly always has; tries until then. */
  complete(done: () => void): void {
    if (this.#isComplete()) return done()
    this.#waiting.push(done)
    this.#try()
  }

  /** The replica is about to be removed: whoever waits for its growth need not. */
  giveUp(): void {
    this.#givenUp = true
    this.#tellWaiting()
  }

  #tellWaiting(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const done of waiting) done()
  }

  #isComplete(): boolean {
    return this.#givenUp || this.#world.store.sizeBytes >= this.#world.record.value.known.sizeBytes
  }

  #try(): void {
    if (this.#isGrowing) return
    this.#isGrowing = true
    this.#world.growStore(this.#world.record.value.known.sizeBytes, (failure: StoreFailure | null) => {
      this.#isGrowing = false
      if (this.#givenUp) return
      if (failure !== null) {
        this.#world.log.error({ volume: this.#world.volumeId, failure }, 'the replica here cannot grow to its new size')
        return void this.#world.clock.after(limits.growAgainMs, () => this.#givenUp || this.#try())
      }
      if (!this.#isComplete()) return this.#try()
      this.#tellWaiting()
    })
  }
}
