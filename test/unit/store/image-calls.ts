/** The calls of images as promises, and a model of a volume with images. */
import assert from 'node:assert/strict'
import type { ReplicaImage, Store } from '../../../agent/store/replica.ts'
import { type StoreWorld, volume } from './suite.ts'

type World = Pick<StoreWorld, 'settle'>

export function createImage(world: World, store: Store, name: string, madeMs = 5): Promise<ReplicaImage | string> {
  return world.settle(
    new Promise((resolve) => {
      store.createImage(volume, name, madeMs, (failure, image) => resolve(image ?? `${failure}`))
    }),
  )
}

export async function mustCreate(world: World, store: Store, name: string): Promise<ReplicaImage> {
  const image = await createImage(world, store, name)
  assert.ok(typeof image !== 'string', `image ${name}: ${String(image)}`)
  return image
}

export const deleteImage = (world: World, store: Store, name: string): Promise<string | null> =>
  world.settle(new Promise((done) => store.deleteImage(volume, name, done)))

/** @returns the failure, or the bytes */
export const readImage = (
  world: World,
  image: ReplicaImage,
  offset: number,
  length: number,
): Promise<Buffer | string> =>
  world.settle(
    new Promise((resolve) => {
      image.read(offset, length, (failure, data) => resolve(failure ?? Buffer.from(data)))
    }),
  )

export async function imageHolds(world: World, image: ReplicaImage, expected: Buffer): Promise<void> {
  assert.equal(image.sizeBytes, expected.length)
  const piece = 1024 * 1024
  for (let at = 0; at < expected.length; at += piece) {
    const length = Math.min(piece, expected.length - at)
    const got = await readImage(world, image, at, length)
    assert.ok(typeof got !== 'string', `image ${image.name} at ${at}: ${String(got)}`)
    assert.ok(got.equals(expected.subarray(at, at + length)), `image ${image.name} differs in the MiB from ${at}`)
  }
}

export const imageBytes = (store: Store): number =>
  store.images(volume).reduce((sum, image) => sum + image.allocatedBytes(), 0)
