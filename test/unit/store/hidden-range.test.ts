/** Decision 0012: the hidden range of a replica is mirrored like all of it, stays where it is, and costs nothing until it is used. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import { checkStore } from '../../../agent/store/check.ts'
import { hiddenIdOf, hiddenRegion, withoutHidden } from '../../../agent/store/hidden-range.ts'
import { inspectStore } from '../../../agent/store/inspect.ts'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import { openStore } from '../../../agent/store/open-store.ts'
import { peekStore } from '../../../agent/store/peek.ts'
import type { Store, StoreFailure } from '../../../agent/store/replica.ts'
import { mustCreate } from './image-calls.ts'
import { calls, close, create, only, type StoreWorld, volume } from './suite.ts'
import { quiet, realClock, seeded, temporaryFolder, VirtualClock } from './world.ts'
import { bothWorlds } from './worlds.ts'

const MiB = 1024 * 1024
const { hiddenStartBytes, hiddenBytes } = limits
const last = hiddenStartBytes + hiddenBytes - 4096

const ok = async (world: Pick<StoreWorld, 'settle'>, call: (done: (failure: StoreFailure | null) => void) => void) =>
  assert.equal(await world.settle(new Promise(call)), null)

for (const { name, make } of bothWorlds) {
  describe(`the hidden range, ${name}`, () => {
    const inWorld = (body: (world: StoreWorld, store: Store) => Promise<void>) => async () => {
      const world = make()
      try {
        await body(world, await world.open())
      } finally {
        await world.end()
      }
    }

    test(
      'reads as zeros and costs nothing; a write marks its own region, and comes back after a clean end',
      inWorld(async (world, store) => {
        const replica = await create(world, store, 40 * MiB)
        const { read, write, zero, discard, sync, unmark } = calls(world, replica)
        assert.deepEqual(await read(last - 5000, 8000), Buffer.alloc(8000))
        await zero(hiddenStartBytes, hiddenBytes, true)
        await discard(hiddenStartBytes, hiddenBytes)
        assert.equal(replica.allocatedBytes(), 0)
        assert.deepEqual([...replica.regions()], [])
        await write(last, Buffer.alloc(4096, 7))
        await write(8192, Buffer.alloc(4096, 1))
        assert.equal(replica.allocatedBytes(), 2 * limits.extentBytes)
        assert.deepEqual(
          [...replica.regions()].map(([region, { marked }]) => [region, marked]),
          [
            [0, true],
            [hiddenRegion, true],
          ],
        )
        assert.equal(replica.regionCount, 3, 'clients have no more of it')
        await sync()
        await unmark([0, hiddenRegion], 6)
        assert.deepEqual(replica.region(hiddenRegion), { marked: false, grade: 'sound', stamp: 6 })
        await close(world, store)
        const next = await world.open()
        const again = only(next)
        const back = calls(world, again)
        assert.deepEqual(await back.read(last, 4096), Buffer.alloc(4096, 7))
        assert.deepEqual(await back.read(last - 4096, 4096), Buffer.alloc(4096))
        assert.equal(again.region(hiddenRegion).stamp, 6)
        await back.unmark([hiddenRegion], 7)
        await back.raiseStamp(hiddenRegion, 9)
        await back.settled([hiddenRegion, 1])
        assert.equal(again.region(hiddenRegion).stamp, 9)
        await close(world, next)
      }),
    )

    test(
      'stays where it is when the volume grows, is in no image, and its slots are given back with the replica',
      inWorld(async (world, store) => {
        const replica = await create(world, store, MiB)
        const { read, write } = calls(world, replica)
        await write(hiddenStartBytes, Buffer.alloc(4096, 7))
        await mustCreate(world, store, 'before')
        await write(hiddenStartBytes, Buffer.alloc(4096, 8))
        assert.equal(store.images(volume)[0]?.allocatedBytes(), 0, 'no copy of it was kept')
        await ok(world, (done) => store.growReplica(volume, 40 * MiB, done))
        assert.deepEqual(await read(hiddenStartBytes, 4096), Buffer.alloc(4096, 8))
        assert.equal(replica.sizeBytes, 40 * MiB)
        const before = replica.availableSlots()
        await ok(world, (done) => store.deleteReplica(volume, done))
        assert.deepEqual(store.replicas(), [])
        const anew = await create(world, store, MiB)
        assert.deepEqual(
          await calls(world, anew).read(hiddenStartBytes, 4096),
          Buffer.alloc(4096),
          'it was another volume',
        )
        assert.equal(anew.availableSlots(), before + 1)
        await close(world, store)
      }),
    )

    test(
      'many first writes at once make it once; space may be set aside before it is there (C8)',
      inWorld(async (world, store) => {
        const replica = await create(world, store, MiB)
        const { read, write, raiseStamp } = calls(world, replica)
        const pages = Array.from({ length: 20 }, (_, page) => page)
        const reservation = replica.reserveFor('data', hiddenStartBytes, 4096)
        assert.equal(reservation?.slots, 1)
        assert.equal(replica.reserveFor('discard', hiddenStartBytes, 4096)?.slots, 0)
        const bytes = Buffer.alloc(4096, 99)
        const reserved = ok(world, (done) =>
          replica.write(hiddenStartBytes, [bytes], 4096, done, reservation ?? undefined),
        )
        const others = pages.slice(1).map((page) => write(hiddenStartBytes + page * 4096, Buffer.alloc(4096, page)))
        await Promise.all([reserved, raiseStamp(hiddenRegion, 3), ...others])
        assert.equal(reservation?.slots, 0)
        for (const page of pages.slice(1)) {
          assert.deepEqual(await read(hiddenStartBytes + page * 4096, 4096), Buffer.alloc(4096, page))
        }
        assert.equal(replica.allocatedBytes(), limits.extentBytes)
        assert.equal(replica.reserveFor('data', hiddenStartBytes, 4096)?.slots, 0)
        await close(world, store)
      }),
    )

    test(
      'an older copy of a folder is in doubt there, too, also where nothing of it is left (C12)',
      inWorld(async (world, store) => {
        const replica = await create(world, store, MiB)
        await ok(world, (done) => store.doubtAll(1_000, done))
        assert.deepEqual(replica.region(hiddenRegion), { marked: true, grade: 'lossy', stamp: 0 })
        await close(world, store)
        const again = await world.open()
        assert.equal(only(again).region(hiddenRegion).grade, 'lossy')
        await close(world, again)
      }),
    )
  })
}

test('a power cut at any time leaves whole pages, old or new, and durable ones stay', async () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const clock = new VirtualClock()
    const disk = new MemoryDisk({ clock, random: seeded(seed), log: quiet })
    const store = await clock.settle(disk.openStore())
    const replica = await create(clock, store, MiB)
    const durable = { value: 0 }
    const next = (value: number): void => {
      replica.write(hiddenStartBytes, [Buffer.alloc(4096, value)], 4096, (failure) => {
        assert.equal(failure, null)
        replica.sync(() => {
          durable.value = value
          next(value + 1)
        })
      })
    }
    next(1)
    clock.pass(seed / 4)
    disk.powerCut()
    const again = only(await clock.settle(disk.openStore()))
    const found = await calls(clock, again).read(hiddenStartBytes, 4096)
    const value = found[0] ?? -1
    assert.ok(value === durable.value || value === durable.value + 1, `seed ${seed}: ${value} after ${durable.value}`)
    assert.ok(
      found.every((byte) => byte === value) || again.region(hiddenRegion).marked,
      `seed ${seed}: torn and unmarked`,
    )
    disk.kill()
  }
})

test('who looks from outside sees one volume and its hidden range, and checks both', async () => {
  const folder = temporaryFolder()
  const world = { settle: <T>(promise: Promise<T>) => promise }
  try {
    const store = await openStore({ dir: folder.dir, clock: realClock, log: quiet })
    const replica = await create(world, store, MiB)
    await calls(world, replica).write(hiddenStartBytes + 8192, Buffer.alloc(4096, 7))
    await close(world, store)
    const seen = inspectStore(folder.dir)
    const [only, ...others] = seen.replicas
    assert.deepEqual([only?.volumeId, others], [volume, []])
    assert.deepEqual(only?.hidden?.readBlocks(8192, 4096), Buffer.alloc(4096, 7))
    seen.close()
    const peeked = await peekStore(folder.dir)
    assert.deepEqual(peeked.kind === 'store' ? peeked.store.replicaIds : [], [volume])
    const report = await checkStore({ dir: folder.dir, told: () => undefined })
    assert.deepEqual(
      report.volumes.map(({ id, checkedBytes }) => [id, checkedBytes]),
      [[volume, limits.extentBytes]],
    )
    assert.equal(report.badCount, 0)
  } finally {
    folder.remove()
  }
})

test('ids of hidden ranges are told from volumes by the volumes beside them', () => {
  const id = hiddenIdOf(volume)
  assert.match(id, /^[0-9a-f]{32}$/)
  assert.deepEqual(
    withoutHidden([id, volume], (each) => each),
    [volume],
  )
  assert.deepEqual(
    withoutHidden([id], (each) => each),
    [id],
  )
})
