/**
 * Aim: taking marks off meets what goes on meanwhile: a discard of what it is computing, the deletion of its volume.
 * At every instant of it (C1, C2, S2).
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import type { StoreFailure } from '../../../agent/store/replica.ts'
import { calls, close, create, only, volume } from './suite.ts'
import { quiet, seeded, VirtualClock } from './world.ts'

const KiB = 1024
const MiB = 1024 * KiB
const extents = 5

/** A store whose agent was killed: the checksums of five extents have to be computed anew. */
async function killed() {
  const clock = new VirtualClock()
  const disk = new MemoryDisk({ clock, random: seeded(3), log: quiet })
  const world = { settle: <T>(promise: Promise<T>) => clock.settle(promise) }
  const replica = await create(world, await clock.settle(disk.openStore()), 20 * MiB)
  for (let at = 0; at < extents; at += 1)
    await calls(world, replica).write(at * 256 * KiB, Buffer.alloc(64 * KiB, at + 1))
  disk.kill()
  const store = await clock.settle(disk.openStore())
  await calls(world, only(store)).sync()
  return { clock, disk, world, store, replica: only(store) }
}

test('an extent that is discarded while marks come off is no failure of that', async () => {
  for (let events = 0; events < 60; events += 1) {
    const { clock, disk, world, replica } = await killed()
    const unmarked = new Promise<StoreFailure | null>((done) => replica.unmark([0], 4, done))
    for (let count = 0; count < events; count += 1) clock.step()
    for (let at = 0; at < extents; at += 1) await calls(world, replica).discard(at * 256 * KiB, 256 * KiB)
    assert.equal(await clock.settle(unmarked), null, `after ${events} events`)
    disk.kill()
  }
})

test('a volume that is deleted while its marks come off leaves no checksums behind for the next one', async () => {
  for (const events of [0, 3, 6, 9, 12, 15, 18, 25]) {
    const { clock, disk, world, store, replica } = await killed()
    let answers = 0
    replica.unmark([0], 4, () => {
      answers += 1
    })
    for (let count = 0; count < events; count += 1) clock.step()
    assert.equal(await clock.settle(new Promise((done) => store.deleteReplica(volume, done))), null)
    // More extents than the pool has ready: its slots come round again, to other extents.
    const next = await create(world, store, 800 * 256 * KiB)
    const { write, read } = calls(world, next)
    const places = Array.from({ length: 800 }, (_, at) => (799 - at) * 256 * KiB)
    for (const at of places) await write(at + 128 * KiB, Buffer.alloc(4 * KiB, 9))
    for (const at of places) {
      const bytes = await read(at, 64 * KiB)
      assert.ok(bytes.equals(Buffer.alloc(64 * KiB)), `after ${events} events, byte ${at}`)
    }
    assert.equal(answers, 1, `after ${events} events`)
    await close(world, store)
    disk.kill()
  }
})
