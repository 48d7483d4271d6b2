/** The snapshots that this server offers to clients now, beside the volumes. */
import type { BlockDevice } from './block-device.ts'
import { ImageDevice, type ImageSource } from './image-device.ts'

/** Between a volume's name and its snapshot's in the name of an export; neither of them can contain it. */
export const imageSeparator = '@'

export interface ImageDevicesWorld {
  /** The images of a volume that is offered here, from the oldest on; none of any other volume. Each is the same object
   * as long as it is there. */
  images(volumeName: string): readonly ImageSource[]
  nextTurn(fire: () => void): void
  changed(): void
}

export class ImageDevices {
  readonly #world: ImageDevicesWorld
  /** By image, so that all who read one are found together. */
  readonly #devices = new Map<ImageSource, ImageDevice>()

  constructor(world: ImageDevicesWorld) {
    this.#world = world
  }

  of(volumeName: string): readonly BlockDevice[] {
    return this.#world.images(volumeName).map((image) => this.#device(volumeName, image))
  }

  find(exportName: string): BlockDevice | undefined {
    const at = exportName.indexOf(imageSeparator)
    if (at < 0) return undefined
    const volumeName = exportName.slice(0, at)
    const image = this.#world.images(volumeName).find(({ name }) => name === exportName.slice(at + 1))
    return image === undefined ? undefined : this.#device(volumeName, image)
  }

  /** Who reads a snapshot now, for people. */
  clients(image: ImageSource): readonly { protocol: string; address: string }[] {
    return [...(this.#devices.get(image)?.clients ?? [])].map(({ description }) => ({ ...description }))
  }

  /** About eight times a second: whose snapshot is gone is told. */
  tick(): void {
    for (const [image, device] of this.#devices) {
      if (device.world.isThere()) continue
      if (device.clients.size === 0) this.#devices.delete(image)
      else device.cease()
    }
  }

  #device(volumeName: string, image: ImageSource): ImageDevice {
    const { nextTurn, changed } = this.#world
    const known = this.#devices.get(image)
    if (known !== undefined) return known
    const isThere = () => this.#world.images(volumeName).includes(image)
    const name = `${volumeName}${imageSeparator}${image.name}`
    const device = new ImageDevice(name, image, { isThere, nextTurn, changed })
    this.#devices.set(image, device)
    return device
  }
}
