/**
 * Read-only images of one replica (decision 0010). An image has an extent map of its own and shares slots with its
 * volume: whether a slot is shared is seen by comparing the maps of these few images at one extent. A slot that an image
 * holds never changes, nor do its checksums: both were durable, and in no doubt, before the image was there.
 */

import { invariant } from '../kit/failure.ts'
import type { VolumeId } from '../kit/ids.ts'
import { SlabPieces } from '../kit/slabs.ts'
import { limits } from '../limits.ts'
import { cutOut } from './blocks.ts'
import type { ExtentMap } from './extent-map.ts'
import { Fetch, type FetchParts } from './fetch.ts'
import { slotBytes } from './format.ts'
import type { IndexImage } from './index.ts'
import type { ReplicaImage, StoreReadDone } from './replica.ts'
import { heldByImage } from './sum-page.ts'

export interface ImageReadParts extends Omit<FetchParts, 'map'> {
  /** Calls back after this turn. */
  readonly turn: (fire: () => void) => void
  /** The volume's disk is waited for (E8). @returns to be called when that has ended */
  readonly watch: () => () => void
}

export class DiskImage implements ReplicaImage {
  readonly volumeId: VolumeId
  readonly number: number
  readonly name: string
  readonly madeMs: number
  readonly sizeBytes: number
  readonly map: ExtentMap
  /** Deleted: nobody reads it, its slots are being given back. */
  leaving: boolean
  /** Slots that its volume has not, nor a newer image. */
  only = 0
  readonly #parts: ImageReadParts
  readonly #memory = new SlabPieces()
  #reads = 0
  #unread: (() => void)[] = []

  constructor(parts: ImageReadParts, volumeId: VolumeId, row: IndexImage, map: ExtentMap) {
    this.#parts = parts
    this.volumeId = volumeId
    this.number = row.number
    this.name = row.name
    this.madeMs = row.madeMs
    this.sizeBytes = row.sizeBytes
    this.leaving = row.leaving
    this.map = map
  }

  read(offsetBytes: number, lengthBytes: number, done: StoreReadDone): void {
    const isInside = offsetBytes >= 0 && lengthBytes > 0 && offsetBytes + lengthBytes <= this.sizeBytes
    invariant(isInside, 'S4', `${offsetBytes}+${lengthBytes} is outside of ${this.sizeBytes} bytes`)
    invariant(!this.leaving, 'S5', 'a deleted image is used')
    const { blockBytes } = limits
    const fromBytes = Math.floor(offsetBytes / blockBytes) * blockBytes
    const endBytes = Math.ceil((offsetBytes + lengthBytes) / blockBytes) * blockBytes
    if (this.map.firstMapped(Math.floor(fromBytes / slotBytes), Math.ceil(endBytes / slotBytes)) < 0) {
      return this.#parts.turn(() => done(null, Buffer.alloc(lengthBytes)))
    }
    const into = this.#memory.take(endBytes - fromBytes)
    const parts = { ...this.#parts, map: this.map }
    this.#reads += 1
    const end = this.#parts.watch()
    const fetch = new Fetch(parts, heldByImage, { fromBytes, endBytes }, into, (failure) => {
      this.#reads -= 1
      end()
      const data = cutOut(into, offsetBytes - fromBytes, lengthBytes)
      done(failure, failure === null ? data : new Uint8Array(0))
      if (this.#reads > 0) return
      for (const unread of this.#unread.splice(0)) unread()
    })
    fetch.run()
  }

  allocatedBytes(): number {
    return this.only * slotBytes
  }

  /** Calls back when no read of it is under way. */
  whenUnread(done: () => void): void {
    if (this.#reads === 0) done()
    else this.#unread.push(done)
  }
}

export class Images {
  /** From the oldest to the newest, also those that are leaving. */
  #all: DiskImage[] = []

  /** Deletions under way, and who waits for their end. */
  #releasing = 0
  #released: (() => void)[] = []

  beginRelease(): void {
    this.#releasing += 1
  }

  endRelease(): void {
    this.#releasing -= 1
    if (this.#releasing > 0) return
    for (const done of this.#released.splice(0)) done()
  }

  /** Calls back when no slots are being given back. */
  whenReleased(done: () => void): void {
    if (this.#releasing === 0) done()
    else this.#released.push(done)
  }

  /** There is none, not even one that is leaving. */
  get isEmpty(): boolean {
    return this.#all.length === 0
  }

  get all(): readonly DiskImage[] {
    return this.#all
  }

  /** Those that are there for readers. */
  get named(): DiskImage[] {
    return this.#all.filter(({ leaving }) => !leaving)
  }

  add(image: DiskImage): void {
    this.#all.push(image)
    this.#all.sort((a, b) => a.number - b.number)
  }

  remove(image: DiskImage): void {
    this.#all = this.#all.filter((other) => other !== image)
  }

  /** Whether an image's bytes stand in that slot: then it must not be written. */
  isShared(extent: number, slot: number): boolean {
    for (const image of this.#all) if (!image.leaving && image.map.get(extent) === slot) return true
    return false
  }

  /** Whether the slot is not to be given back yet. @param but an image that does not count */
  isHeld(extent: number, slot: number, but: DiskImage | null = null): boolean {
    for (const image of this.#all) if (image !== but && image.map.get(extent) === slot) return true
    return false
  }

  /** The volume has left that slot to its images. */
  left(extent: number, slot: number): void {
    const newest = this.#all.findLast(({ map }) => map.get(extent) === slot)
    if (newest !== undefined) newest.only += 1
  }

  /** Slots other than that one that images hold for the extent, each once. */
  slotsOf(extent: number, but: number): number[] {
    const slots = new Set(this.#all.map(({ map }) => map.get(extent)))
    slots.delete(-1)
    slots.delete(but)
    return [...slots]
  }

  /** At opening: who counts what, and which parts of the maps are alike. */
  settle(live: ExtentMap): void {
    for (const [at, image] of this.#all.entries()) {
      const newer = [live, ...this.#all.slice(at + 1).map(({ map }) => map)]
      for (const other of newer) image.map.shareWith(other)
      image.only = image.map.countOnly(newer)
    }
  }
}
