/**
 * A snapshot of a whole volume: its origin holds all of it `exclusive`, so no write, copy or repair is in flight anywhere
 * in the session (W2, W3) and every in-sync replica holds the same; then each member makes its image. Only then does the
 * origin let go. Two snapshots at once are made one after the other.
 */
import { limits } from '../limits.ts'
import { Use } from '../policing/use.ts'
import type { ImageDone, Store } from '../store/replica.ts'
import type { ChangeProblem } from './change.ts'
import type { Volume } from './volume.ts'

/** Holds the whole volume from its begin until it is ended. */
export class WholeVolume extends Use {
  readonly #volume: Volume
  readonly #begun: (session: number) => void
  #isWanted = true

  /** @param begun with the session in which it holds */
  constructor(volume: Volume, begun: (session: number) => void) {
    super('exclusive', 0, volume.sizeBytes)
    this.#volume = volume
    this.#begun = begun
  }

  override begin(): void {
    if (this.#isWanted) this.#begun(this.#volume.serving?.number ?? 0)
    else this.#volume.policing.release(this)
  }

  /** Lets go, at once or, where it has not begun yet, then. */
  end(): void {
    if (!this.#isWanted) return
    this.#isWanted = false
    if (this.phase === 'active') this.#volume.policing.release(this)
  }
}

/** One member's part. */
export class Imaging {
  readonly #volume: Volume
  #isMaking = false
  #drained: (() => void) | null = null

  constructor(volume: Volume) {
    this.#volume = volume
  }

  /** What may take long, while writes go on; and whether there may be such an image. */
  prepare(store: Store, image: string, done: (problem: ChangeProblem | null) => void): void {
    if (this.#isMaking || this.#volume.store.failed) return done('busy')
    const images = store.images(this.#volume.world.volumeId)
    if (images.some(({ name }) => name === image)) return done('taken')
    if (images.length >= limits.images) return done('too-many')
    store.prepareImage(this.#volume.world.volumeId, done)
  }

  /** Makes the image, if this server is in that session still; whoever asks holds the volume in it. */
  make(
    store: Store,
    image: string,
    madeMs: number,
    session: number,
    done: (problem: ChangeProblem | null) => void,
  ): void {
    const { member, world } = this.#volume
    const isIn = () => (member.phase === 'open' || member.phase === 'recorded') && member.session?.number === session
    if (this.#isMaking || !isIn()) return done('busy')
    this.#isMaking = true
    const end = (problem: ChangeProblem | null) => {
      this.#isMaking = false
      // What was made while the session ended may not be what the others made.
      done(problem === null && !isIn() ? 'busy' : problem)
      this.#tellDrained()
    }
    const made = (failure: Parameters<ImageDone>[0]) => end(failure === 'name-taken' ? 'taken' : failure)
    // The replica here may be larger: a growth was begun that the arbiter never decided.
    store.createImage(world.volumeId, image, madeMs, made, this.#volume.sizeBytes)
  }

  /** E9: calls back when no image is being made: what comes after the session may write. */
  endSession(drained: () => void): void {
    this.#drained = drained
    this.#tellDrained()
  }

  #tellDrained(): void {
    const drained = this.#drained
    if (drained === null || this.#isMaking) return
    this.#drained = null
    drained()
  }
}
