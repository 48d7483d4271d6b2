/**
 * Aim: a replica grows while it is used. The new part reads as zeros and carries no mark, nothing of the old part
 * changes, also in its last extent that was cut short; a full disk refuses and changes nothing; after a crash at any
 * instant it has the old size or the new one.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, it } from 'node:test'
import { decodeMarksHeader, marksFilePath } from '../../../agent/store/format.ts'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import { openStore } from '../../../agent/store/open-store.ts'
import type { Store, StoreFailure } from '../../../agent/store/replica.ts'
import { rounds } from '../../kit/length.ts'
import { checkImage } from './image-check.ts'
import { powerCuts } from './image-choices.ts'
import { rebuilt } from './rebuild-world.ts'
import { RecordedDisk } from './recorded-disk.ts'
import { History, openRecorded } from './recorded-history.ts'
import { growOne } from './recorded-wholes.ts'
import { calls, close, create, only, type StoreWorld, volume } from './suite.ts'
import { quiet, realClock, seeded, temporaryFolder, VirtualClock } from './world.ts'
import { bothWorlds } from './worlds.ts'

const KiB = 1024
const MiB = 1024 * KiB
const clean = { marked: false, grade: 'sound', stamp: 0 } as const

const grow = (world: Pick<StoreWorld, 'settle'>, store: Store, sizeBytes: number): Promise<StoreFailure | null> =>
  world.settle(new Promise((done) => store.growReplica(volume, sizeBytes, done)))

for (const { name, make } of bothWorlds) {
  describe(`a replica grows ${name}`, () => {
    const inWorld = (body: (world: StoreWorld) => Promise<void>) => async () => {
      const world = make()
      try {
        await body(world)
      } finally {
        await world.end()
      }
    }
    it('in the middle of an extent, over a region, over a sector of marks, and comes back', inWorld(growsAndComesBack))
    it('the same size is done at once, a smaller one is a bug (S4)', inWorld(sameAndSmaller))
  })
}

async function growsAndComesBack(world: StoreWorld): Promise<void> {
  let store = await world.open()
  const replica = await create(world, store, 17 * MiB + 12 * KiB)
  const { write, read, unmark, sync } = calls(world, replica)
  await write(17 * MiB, Buffer.alloc(12 * KiB, 1))
  await write(0, Buffer.alloc(100, 2))
  await sync()
  await unmark([1], 5)
  let isDone = false
  const grown = grow(world, store, 17 * MiB + 100 * KiB).then((failure) => {
    isDone = true
    return failure
  })
  assert.equal(
    isDone || replica.sizeBytes !== 17 * MiB + 12 * KiB,
    false,
    'the size changes when it is done, not before',
  )
  assert.equal(await grown, null)
  assert.equal(replica.sizeBytes, 17 * MiB + 100 * KiB)
  assert.deepEqual(replica.region(1), { marked: false, grade: 'sound', stamp: 5 })
  const end = await read(17 * MiB, 100 * KiB)
  assert.ok(
    end.subarray(0, 12 * KiB).equals(Buffer.alloc(12 * KiB, 1)) &&
      end.subarray(12 * KiB).equals(Buffer.alloc(88 * KiB)),
  )
  await write(17 * MiB + 90 * KiB, Buffer.alloc(10 * KiB, 3))
  // 70 regions: their marks need a second sector and a third.
  assert.equal(await grow(world, store, 70 * 16 * MiB), null)
  assert.equal(replica.regionCount, 70)
  for (let region = 2; region < 70; region += 1) assert.deepEqual(replica.region(region), clean)
  await write(39 * 16 * MiB + 5, Buffer.alloc(7, 4))
  await calls(world, replica).raiseStamp(35, 9)
  await sync()
  await close(world, store)
  store = await world.open()
  const again = only(store)
  assert.equal(again.sizeBytes, 70 * 16 * MiB)
  assert.deepEqual(
    [...again.regions()].map(([region, { marked, stamp }]) => [region, marked, stamp]),
    [[0, true, 0], [1, true, 5], [35, false, 9], [39, true, 0]], // biome-ignore format: a row each
  )
  const back = calls(world, again)
  assert.deepEqual(
    await back.read(39 * 16 * MiB, 20),
    Buffer.concat([Buffer.alloc(5), Buffer.alloc(7, 4), Buffer.alloc(8)]),
  )
  assert.deepEqual(await back.read(17 * MiB + 90 * KiB, 10 * KiB), Buffer.alloc(10 * KiB, 3))
  assert.equal(await grow(world, store, 71 * 16 * MiB), null)
  await close(world, store)
}

async function sameAndSmaller(world: StoreWorld): Promise<void> {
  const store = await world.open()
  const replica = await create(world, store, 8 * MiB)
  assert.equal(await grow(world, store, 8 * MiB), null)
  assert.throws(() => store.growReplica(volume, 4 * MiB, () => undefined), /S4/)
  assert.throws(() => store.growReplica(volume, 8 * MiB + 512, () => undefined), /S4/)
  assert.equal(replica.sizeBytes, 8 * MiB)
  await close(world, store)
}

it('a discard of the old end that waits for its mark meanwhile takes nothing of what is written behind it', async () => {
  const clock = new VirtualClock()
  const disk = new RecordedDisk(clock, seeded(1))
  const world = { settle: <T>(promise: Promise<T>) => clock.settle(promise) }
  const store = await clock.settle(openRecorded(disk, clock, 4))
  const end = 17 * MiB + 8 * KiB
  const replica = await create(world, store, end)
  const { write, read, discard, sync, unmark } = calls(world, replica)
  await write(0, Buffer.alloc(8 * KiB, 1))
  await write(17 * MiB, Buffer.alloc(8 * KiB, 1))
  await sync()
  await unmark([0], 1)
  let isDiscarded = false
  let discarded: Promise<void> | null = null
  let syncs = 0
  disk.faults = (_, what, path) => {
    if (!path.startsWith('marks/')) return null
    if (what === 'sync') syncs += 1
    // Its mark comes behind the last sync of the growing, one sync of a file at a time, and takes long.
    if (what === 'write' && discarded !== null && !isDiscarded) return { kind: 'slow', ms: 500 }
    if (syncs === 2 && discarded === null) {
      discarded = discard(0, end).then(() => {
        isDiscarded = true
      })
    }
    return null
  }
  assert.equal(await grow(world, store, end + 4 * KiB), null)
  assert.ok(discarded !== null, 'the discard began before the volume had grown')
  await write(end, Buffer.alloc(4 * KiB, 2))
  assert.equal(isDiscarded, false, 'the discard began before and ends after the growing')
  await discarded
  assert.deepEqual(await read(end, 4 * KiB), Buffer.alloc(4 * KiB, 2), 'what was written behind the old end')
  assert.deepEqual(await read(17 * MiB, 8 * KiB), Buffer.alloc(8 * KiB), 'what was discarded')
  await close(world, store)
})

it('a full disk refuses to let a replica grow; nothing has changed and everything goes on', async () => {
  const clock = new VirtualClock()
  const disk = new MemoryDisk({ clock, random: seeded(1), log: quiet })
  const world = { settle: <T>(promise: Promise<T>) => clock.settle(promise) }
  let store = await clock.settle(disk.openStore())
  const replica = await create(world, store, 8 * MiB)
  await calls(world, replica).write(0, Buffer.alloc(4 * KiB, 1))
  disk.fault = 'full'
  assert.equal(await grow(world, store, 64 * 16 * MiB), 'no-space')
  assert.equal(await grow(world, store, 8 * MiB + 4 * KiB), 'no-space')
  assert.equal(replica.sizeBytes, 8 * MiB)
  await calls(world, replica).write(4 * KiB, Buffer.alloc(4 * KiB, 2))
  disk.fault = 'none'
  assert.equal(store.replicas()[0]?.failed, false)
  await close(world, store)
  store = await clock.settle(disk.openStore())
  assert.equal(only(store).sizeBytes, 8 * MiB)
  assert.equal(await grow(world, store, 64 * 16 * MiB), null)
  await close(world, store)
})

it('at every instant of growing, every kind of crash leaves the old size or the new one, and all that was flushed', async () => {
  const kinds = ['kill', ...Object.keys(powerCuts)]
  for (let seed = 1; seed <= rounds({ short: 3, full: 60, long: 1000 }); seed += 1) {
    const history = new History(seed, { steps: 15, sumPages: 2, volumes: 1, lifecycle: false })
    await history.run()
    await history.idle()
    const [_id, journal] = [...history.volumes][0] ?? assert.fail('there is no volume')
    const replica = history.store?.replicas()[0] ?? assert.fail('there is no replica')
    history.sync(replica, journal)
    await history.idle()
    const from = history.disk.now
    growOne(history)
    history.change(replica, journal, { kind: 'write', fromBytes: 4096, toBytes: 40_960 })
    await history.idle()
    assert.deepEqual(history.wrong, [])
    const [least, most] = journal.sizesAt(from)
    assert.equal(least, most)
    for (let at = from; at <= history.disk.now; at += 1) {
      for (const ending of kinds) await checkImage(history, { at, ending, seed: at, again: [], goesOn: at % 7 === 0 })
    }
  }
})

it('a store that was killed between marks file and index has the old size in both, and may grow again', async () => {
  const history = new History(4, { steps: 0, sumPages: 2, volumes: 1, lifecycle: false })
  await history.run()
  await history.idle()
  const [id] = [...history.volumes][0] ?? assert.fail('there is no volume')
  const before = history.store?.replicas()[0]?.sizeBytes ?? 0
  let seen = 0
  // The index takes nothing any more: whatever the marks file says, nobody was told.
  history.disk.faults = (_, what) => (what === 'commit' ? { kind: 'hang' } : null)
  history.store?.growReplica(id, before + 4096, () => assert.fail('it cannot be done'))
  for (let events = 0; events < 200 && history.clock.step(); events += 1) await null
  for (const ending of ['kill', ...Object.keys(powerCuts)]) {
    const kind = powerCuts[ending]
    const random = seeded(7)
    const clock = new VirtualClock()
    const disk = history.disk.fork(history.disk.now, kind === undefined ? null : kind(random.unit), clock, random)
    disk.index = history.disk.index.fork(disk, history.disk.now, { writes: () => [], name: () => 0, commits: () => 0 })
    const store = await clock.settle(openRecorded(disk, clock, 2))
    assert.equal(store.replicas()[0]?.sizeBytes, before)
    const marks = await clock.settle(
      new Promise<Buffer>((resolve) =>
        disk.readAll(marksFilePath(id), (_, bytes) => resolve(bytes ?? Buffer.alloc(0))),
      ),
    )
    assert.equal(decodeMarksHeader(marks.subarray(0, 4096))?.sizeBytes, before, 'what a rebuild would believe')
    assert.equal(await clock.settle(new Promise((done) => store.growReplica(id, before + 8192, done))), null)
    assert.equal(store.replicas()[0]?.sizeBytes, before + 8192)
    seen += 1
  }
  assert.equal(seen, 1 + Object.keys(powerCuts).length)
})

it('a rebuilt index knows the new size, and all that was written there', async () => {
  const folder = temporaryFolder()
  const world = { settle: <T>(promise: Promise<T>) => promise }
  const open = () => openStore({ dir: folder.dir, clock: realClock, log: quiet })
  try {
    let store = await open()
    await create(world, store, 16 * MiB + 4 * KiB)
    assert.equal(await grow(world, store, 40 * 16 * MiB), null)
    await calls(world, only(store)).write(39 * 16 * MiB, Buffer.alloc(8 * KiB, 7))
    await close(world, store)
    for (const ending of ['', '-wal', '-shm']) fs.rmSync(path.join(folder.dir, `index.db${ending}`), { force: true })
    await rebuilt(folder.dir)
    store = await open()
    assert.equal(only(store).sizeBytes, 40 * 16 * MiB)
    for (let region = 0; region < 40; region += 1) assert.equal(only(store).region(region).grade, 'lossy')
    assert.deepEqual(await calls(world, only(store)).read(39 * 16 * MiB, 8 * KiB), Buffer.alloc(8 * KiB, 7))
    await close(world, store)
  } finally {
    folder.remove()
  }
})
