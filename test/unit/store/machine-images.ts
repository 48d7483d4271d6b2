/**
 * What the state machine knows of the images of one volume (machine.test.ts): what each holds, for ever, and which slots it
 * shares, as far as that can be told from outside.
 *
 * The law of space: what an image takes are the slots that neither its volume nor a newer image has. So those of a volume
 * and of all its images together are the slots in use, each counted once; a deletion gives back what the image took, but
 * for what an older one takes from then on.
 */
import assert from 'node:assert/strict'
import { limits } from '../../../agent/limits.ts'
import type { Ending } from './machine-model.ts'

const { extentBytes } = limits

/** What one image shows from outside. */
export interface ImageFacts {
  readonly name: string
  readonly sizeBytes: number
  readonly allocatedBytes: number
}

/** A slot, whichever it is. */
interface Slot {
  /** It is none of the others, and it is there. Else perhaps: an end came, or a refusal, while it changed. */
  readonly isSure: boolean
}

export interface ImageModel {
  readonly name: string
  /** Of the volume when its making was asked for. */
  readonly sizeBefore: number
  /** Of the volume when it was made: which of two, where that grew just then, is told. */
  sizeBytes: number
  /** Extents that anything was ever done to; all others are zeros. */
  readonly bytes: ReadonlyMap<number, Buffer>
  readonly slots: ReadonlyMap<number, Slot>
  state: 'making' | 'there' | 'going'
}

export class ImageModels {
  /** From the oldest to the newest. */
  all: ImageModel[] = []
  /** Of the volume, by extent. */
  readonly #slots = new Map<number, Slot>()
  /** When an extent got another slot last, where a power cut may take that back. */
  readonly #changes = new Map<number, number>()

  // --- what the volume does ---------------------------------------------------------------------------------------

  /** It was written, or zeros took its place: no image has its slot any more. */
  written(extent: number, now: number): void {
    const slot = this.#slots.get(extent)
    if (slot?.isSure === true && !this.all.some((image) => image.slots.get(extent) === slot)) return
    this.#slots.set(extent, { isSure: true })
    this.#changes.set(extent, now)
  }

  unmapped(extent: number, now: number): void {
    if (this.#slots.delete(extent)) this.#changes.set(extent, now)
  }

  /** Nobody knows whether it has a slot, and which. */
  unsure(extent: number): void {
    this.#slots.set(extent, { isSure: false })
  }

  /** The volume ends before it now. */
  cutOff(sizeBytes: number): void {
    for (const extent of this.#slots.keys()) if (extent * extentBytes >= sizeBytes) this.#slots.delete(extent)
  }

  synced(begun: number): void {
    for (const [extent, ended] of this.#changes) if (ended < begun) this.#changes.delete(extent)
  }

  // --- images come and go -----------------------------------------------------------------------------------------

  /** Its making was asked for. @param touched extents that anything was ever done to */
  begin(
    name: string,
    volume: { readonly bytes: Buffer; readonly sizeBytes: number; touched: Iterable<number> },
  ): ImageModel {
    const bytes = new Map<number, Buffer>()
    for (const extent of volume.touched) {
      bytes.set(extent, Buffer.from(volume.bytes.subarray(extent * extentBytes, (extent + 1) * extentBytes)))
    }
    const { sizeBytes } = volume
    const slots = new Map(this.#slots)
    const image: ImageModel = { name, sizeBefore: sizeBytes, sizeBytes, bytes, slots, state: 'making' }
    this.all.push(image)
    return image
  }

  remove(image: ImageModel): void {
    this.all = this.all.filter((other) => other !== image)
  }

  get areChanging(): boolean {
    return this.all.some(({ state }) => state === 'making')
  }

  get there(): ImageModel[] {
    return this.all.filter(({ state }) => state === 'there')
  }

  // --- held against what is shown ---------------------------------------------------------------------------------

  /** With nothing under way. */
  agree(shown: readonly ImageFacts[]): void {
    assert.deepEqual(
      shown.map(({ name, sizeBytes }) => [name, sizeBytes]),
      this.all.map(({ name, sizeBytes }) => [name, sizeBytes]),
      'the images of a volume',
    )
    for (const [at, image] of this.all.entries()) {
      const newer = [this.#slots, ...this.all.slice(at + 1).map(({ slots }) => slots)]
      let [least, most] = [0, 0]
      for (const [extent, slot] of image.slots) {
        const others = newer.map((slots) => slots.get(extent))
        if (others.includes(slot)) continue
        most += 1
        if (slot.isSure && others.every((other) => other === undefined || other.isSure)) least += 1
      }
      const count = (shown[at]?.allocatedBytes ?? 0) / extentBytes
      assert.ok(count >= least && count <= most, `${image.name} takes ${count} slots, known: ${least} to ${most}`)
    }
  }

  /**
   * After an end: one that was being made is there or not, and so is one that was being deleted; from then on for good.
   * @param isWiped the volume was being wiped: all of them are there, or none
   */
  ended(ending: Ending, shown: readonly ImageFacts[], isWiped: boolean): void {
    if (ending === 'cut') {
      for (const extent of this.#changes.keys()) this.unsure(extent)
      this.#changes.clear()
    }
    const there = new Map(shown.map((facts) => [facts.name, facts]))
    const mayBeGone = isWiped && shown.length === 0
    this.all = this.all.filter((image) => {
      const facts = there.get(image.name)
      assert.ok(
        facts !== undefined || image.state !== 'there' || mayBeGone,
        `after ${ending} image ${image.name} is gone`,
      )
      if (image.state === 'making') image.sizeBytes = facts?.sizeBytes ?? image.sizeBytes
      image.state = 'there'
      return facts !== undefined
    })
    const names = this.all.map(({ name }) => name)
    assert.deepEqual([...there.keys()], names, `images after ${ending}`)
  }
}

/** What an image holds in a range. */
export function bytesOf(image: Pick<ImageModel, 'bytes'>, from: number, to: number): Buffer {
  const bytes = Buffer.alloc(to - from)
  for (let extent = Math.floor(from / extentBytes); extent * extentBytes < to; extent += 1) {
    const start = extent * extentBytes
    image.bytes.get(extent)?.copy(bytes, Math.max(0, start - from), Math.max(0, from - start), to - start)
  }
  return bytes
}
