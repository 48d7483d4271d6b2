/**
 * A snapshot of a volume as a frontend sees it: read-only, named `volume@snapshot`. It answers from this server's own
 * copy of it, which is the same at every in-sync server, so it asks no other server and needs no session.
 */
import { invariant } from '../kit/failure.ts'
import { limits } from '../limits.ts'
import type { StoreReadDone } from '../store/replica.ts'
import type { BlockClient, BlockDevice, ClientDescription, Done, ReadDone } from './block-device.ts'

/** What this device needs of the store's image. */
export interface ImageSource {
  readonly name: string
  /** Multiple of 4096. */
  readonly sizeBytes: number
  read(offsetBytes: number, lengthBytes: number, done: StoreReadDone): void
}

export interface ImageDeviceWorld {
  /** Runs something at the next turn of the event loop. */
  nextTurn(fire: () => void): void
  /** Whether the image is still there: a deleted one must not be asked. */
  isThere(): boolean
  /** A client came or went. */
  changed(): void
}

export class ImageDevice implements BlockDevice {
  readonly name: string
  readonly sizeBytes: number
  readonly readOnly = true
  readonly image: ImageSource
  readonly world: ImageDeviceWorld
  readonly clients = new Set<ImageClient>()
  #isEnding = false

  constructor(name: string, image: ImageSource, world: ImageDeviceWorld) {
    this.name = name
    this.image = image
    this.sizeBytes = image.sizeBytes
    this.world = world
  }

  attach(description: ClientDescription, gone: () => void): BlockClient {
    const client = new ImageClient(this, description, gone)
    this.clients.add(client)
    this.world.changed()
    return client
  }

  detached(client: ImageClient): void {
    if (this.clients.delete(client)) this.world.changed()
  }

  /** The image is gone: its clients are told, not inside the call. */
  cease(): void {
    if (this.#isEnding) return
    this.#isEnding = true
    this.world.nextTurn(() => {
      this.#isEnding = false
      for (const client of [...this.clients]) client.gone()
    })
  }
}

export class ImageClient implements BlockClient {
  readonly description: ClientDescription
  readonly gone: () => void
  readonly #device: ImageDevice
  #closed = false

  constructor(device: ImageDevice, description: ClientDescription, gone: () => void) {
    this.#device = device
    this.description = description
    this.gone = gone
  }

  read(offsetBytes: number, lengthBytes: number, done: ReadDone): void {
    const isInside = offsetBytes >= 0 && lengthBytes >= 1 && offsetBytes + lengthBytes <= this.#device.sizeBytes
    invariant(
      isInside && lengthBytes <= limits.requestBytes,
      'V1',
      `a request inside the snapshot: ${offsetBytes}+${lengthBytes}`,
    )
    this.#readPart(offsetBytes, offsetBytes + lengthBytes, [], done)
  }

  /** A large read goes to the disk in parts, one after the other, so that many of them share it fairly. */
  #readPart(fromBytes: number, endBytes: number, before: readonly Uint8Array[], done: ReadDone): void {
    const { image, world } = this.#device
    if (this.#closed) return
    if (!world.isThere()) return this.#device.cease()
    const lengthBytes = Math.min(endBytes - fromBytes, limits.writePartBytes)
    image.read(fromBytes, lengthBytes, (failure, data) => {
      if (this.#closed) return
      if (failure !== null) return done('io', [])
      const chunks = [...before, data]
      const nextBytes = fromBytes + lengthBytes
      if (nextBytes === endBytes) done(null, chunks)
      else this.#readPart(nextBytes, endBytes, chunks, done)
    })
  }

  write(): void {
    this.#neverChanged()
  }

  compareAndWrite(): void {
    this.#neverChanged()
  }

  writeZeroes(): void {
    this.#neverChanged()
  }

  trim(): void {
    this.#neverChanged()
  }

  /** All of it has been durable since it was made. */
  flush(done: Done): void {
    this.#device.world.nextTurn(() => {
      if (!this.#closed) done(null)
    })
  }

  detach(): void {
    this.#closed = true
    this.#device.detached(this)
  }

  #neverChanged(): never {
    invariant(false, 'V2', `a frontend let something through that would change the snapshot ${this.#device.name}`)
  }
}
