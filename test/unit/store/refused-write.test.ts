/** Aim: a write that a full disk refused leaves blocks that can be read (C8, R3). */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import { calls, create } from './suite.ts'
import { quiet, seeded, VirtualClock } from './world.ts'

it('a write that was refused for want of space leaves its block readable (C8)', async () => {
  const clock = new VirtualClock()
  const disk = new MemoryDisk({ clock, random: seeded(9), log: quiet })
  const world = { settle: <T>(promise: Promise<T>) => clock.settle(promise) }
  const replica = await create(world, await clock.settle(disk.openStore()), 17 * 1024 * 1024)
  await calls(world, replica).write(0, Buffer.alloc(4096, 1))
  disk.fault = 'full'
  assert.equal(
    await clock.settle(new Promise((done) => replica.write(1 << 20, [Buffer.alloc(4096, 9)], 4096, done))),
    'no-space',
  )
  disk.fault = 'none'
  clock.pass(1_000)
  assert.deepEqual(await calls(world, replica).read(1 << 20, 4096), Buffer.alloc(4096))
})
