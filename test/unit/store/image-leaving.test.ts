/**
 * Aim: an image whose deletion a kill cut short is either gone for good or all there. What the killed run committed may
 * stand in the page cache only: nothing that the image held may be written before its deletion is durable.
 */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import { rounds } from '../../kit/length.ts'
import { imageHolds, mustCreate } from './image-calls.ts'
import { calls, create, only, volume } from './suite.ts'
import { quiet, seeded, VirtualClock } from './world.ts'

const { blockBytes, extentBytes } = limits

/** @returns whether the image came back after it had been seen to be gone */
async function oneEnd(seed: number, events: number, more: number): Promise<boolean> {
  const clock = new VirtualClock()
  const disk = new MemoryDisk({ clock, random: seeded(seed), log: quiet })
  const world = { settle: <T>(promise: Promise<T>) => clock.settle(promise) }
  let store = await clock.settle(disk.openStore())
  const held = Buffer.alloc(4 * extentBytes, 1)
  const replica = await create(world, store, held.length)
  await calls(world, replica).write(0, held)
  await calls(world, replica).sync()
  await mustCreate(world, store, 'a')
  store.deleteImage(volume, 'a', () => undefined)
  for (let count = 0; count < events; count += 1) clock.step()
  disk.kill()
  store = await clock.settle(disk.openStore())
  const wasGone = store.images(volume).length === 0
  for (let extent = 0; extent < 4; extent += 1) {
    only(store).write(extent * extentBytes, [Buffer.alloc(blockBytes, 2)], blockBytes, () => undefined)
  }
  for (let count = 0; count < more; count += 1) clock.step()
  disk.powerCut()
  store = await clock.settle(disk.openStore())
  const [image] = store.images(volume)
  if (image !== undefined) await imageHolds(world, image, held)
  disk.kill()
  return wasGone && image !== undefined
}

it('a kill in the middle of a deletion, a write, and the power goes: the image is gone, or it holds what it held', async () => {
  const last = rounds({ short: 2, full: 8, long: 200 })
  for (let seed = 1; seed <= last; seed += 1) {
    for (let events = 0; events < 30; events += 1) {
      for (const more of [1, 3, 5, 8, 12]) {
        try {
          const isBack = await oneEnd(seed, events, more)
          assert.ok(!isBack, 'an image that was gone is back')
        } catch (error) {
          throw new Error(`seed ${seed}, ${events} events, then ${more}`, { cause: error })
        }
      }
    }
  }
})
