/** Aim: that a sync failed is known after a kill, also when the disk took nothing for a while after it (C2). */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import { calls, create, only } from './suite.ts'
import { quiet, seeded, VirtualClock } from './world.ts'

it('a sync that failed while the disk went on failing for a second: lossy after a kill', async () => {
  const clock = new VirtualClock()
  const disk = new MemoryDisk({ clock, random: seeded(8), log: quiet })
  const world = { settle: <T>(promise: Promise<T>) => clock.settle(promise) }
  const replica = await create(world, await clock.settle(disk.openStore()), 48 * 1024 * 1024)
  await calls(world, replica).write(0, Buffer.alloc(4096, 1))
  disk.fault = 'fail'
  assert.equal(await clock.settle(new Promise((done) => replica.sync(done))), 'io')
  clock.pass(1_000)
  assert.equal(replica.region(0).grade, 'lossy')
  disk.fault = 'none'
  clock.pass(10_000)
  disk.kill()
  const again = await clock.settle(disk.openStore())
  assert.equal(only(again).region(0).grade, 'lossy', `previous end: ${again.previousEnd}`)
})
