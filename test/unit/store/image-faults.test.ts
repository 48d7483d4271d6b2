/** Aim: images on a disk that rots, that is full, that loses power; and seen from outside. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { it } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import { checkStore } from '../../../agent/store/check.ts'
import { inspectStore } from '../../../agent/store/inspect.ts'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import { openStore } from '../../../agent/store/open-store.ts'
import type { ReplicaStore, Store, StoreFailure } from '../../../agent/store/replica.ts'
import { createImage, deleteImage, imageHolds, mustCreate, readImage } from './image-calls.ts'
import { calls, close, create, only, type StoreWorld, volume } from './suite.ts'
import { quiet, realClock, seeded, temporaryFolder, VirtualClock } from './world.ts'

const KiB = 1024
const MiB = 1024 * KiB
const extentBytes = limits.extentBytes

const disks = () => {
  const clock = new VirtualClock()
  const disk = new MemoryDisk({ clock, random: seeded(3), log: quiet })
  return {
    clock,
    disk,
    world: { settle: <T>(promise: Promise<T>) => clock.settle(promise) },
    open: () => clock.settle(disk.openStore()),
  }
}

const readFails = (world: Pick<StoreWorld, 'settle'>, replica: ReplicaStore, at: number): Promise<string | null> =>
  world.settle(new Promise((done) => replica.read(at, 4 * KiB, (failure) => done(failure))))

const unmarkAll = async (world: Pick<StoreWorld, 'settle'>, replica: ReplicaStore) => {
  await calls(world, replica).sync()
  await calls(world, replica).unmark([0], 3)
}

it('a rotten block is as rotten in a copy as it was, and is repaired by being written', async () => {
  const { disk, world, open } = disks()
  let store = await open()
  let replica = await create(world, store, 8 * MiB)
  const bytes = Buffer.alloc(MiB, 1)
  bytes.write('this block rots', 8 * KiB)
  await calls(world, replica).write(0, bytes)
  const image = await mustCreate(world, store, 'a')
  await unmarkAll(world, replica)
  assert.equal(disk.rot(Buffer.from('this block rots')), 1)
  await calls(world, replica).write(100 * KiB, Buffer.alloc(4 * KiB, 2))
  assert.equal(image.allocatedBytes(), extentBytes)
  assert.equal(await readFails(world, replica, 8 * KiB), 'corrupt')
  assert.equal(await readFails(world, replica, 12 * KiB), null)
  assert.equal(await readImage(world, image, 8 * KiB, 4 * KiB), 'corrupt')
  await unmarkAll(world, replica)
  await close(world, store)
  store = await open()
  replica = only(store)
  assert.equal(await readFails(world, replica, 8 * KiB), 'corrupt', 'nothing washed it clean')
  await calls(world, replica).write(8 * KiB, Buffer.alloc(4 * KiB, 9))
  assert.deepEqual(await calls(world, replica).read(8 * KiB, 4 * KiB), Buffer.alloc(4 * KiB, 9))
  assert.equal(await readImage(world, store.images(volume)[0] ?? assert.fail(), 8 * KiB, 4 * KiB), 'corrupt')
  await close(world, store)
})

it('what an image holds is never taken for right after an unclean end, although its region is marked', async () => {
  const { disk, world, open } = disks()
  let store = await open()
  const replica = await create(world, store, 8 * MiB)
  const bytes = Buffer.alloc(MiB, 1)
  bytes.write('this block rots', 8 * KiB)
  await calls(world, replica).write(0, bytes)
  await mustCreate(world, store, 'a')
  // The region is marked, and its other extent is written.
  await calls(world, replica).write(512 * KiB, Buffer.alloc(4 * KiB, 2))
  disk.powerCut()
  assert.equal(disk.rot(Buffer.from('this block rots')), 1)
  store = await open()
  assert.equal(only(store).region(0).marked, true)
  assert.equal(await readFails(world, only(store), 8 * KiB), 'corrupt')
  await unmarkAll(world, only(store))
  assert.equal(await readFails(world, only(store), 8 * KiB), 'corrupt')
  assert.equal(await readImage(world, store.images(volume)[0] ?? assert.fail(), 8 * KiB, 4 * KiB), 'corrupt')
  await close(world, store)
})

it('without room for a copy a write is refused, and volume and image are as they were', async () => {
  const { disk, world, open } = disks()
  const store = await open()
  const replica = await create(world, store, 64 * MiB)
  await calls(world, replica).write(0, Buffer.alloc(8 * MiB, 1))
  const image = await mustCreate(world, store, 'a')
  disk.fault = 'full'
  store.measureSpace()
  const refused = (call: (done: (failure: StoreFailure | null) => void) => void) => world.settle(new Promise(call))
  let failed: StoreFailure | null = null
  // What the pool has ready is there; the disk itself refuses to fill it.
  for (let extent = 0; extent < 32 && failed === null; extent += 1) {
    failed = await refused((done) => replica.write(extent * extentBytes, [Buffer.alloc(4 * KiB, 2)], 4 * KiB, done))
    if (failed === null) await calls(world, replica).write(extent * extentBytes, Buffer.alloc(4 * KiB, 1))
  }
  assert.equal(failed, 'no-space')
  assert.equal(await refused((done) => replica.zero(31 * extentBytes, 4 * KiB, true, done)), 'no-space')
  assert.equal(store.failed, false)
  assert.ok((await calls(world, replica).read(0, 8 * MiB)).equals(Buffer.alloc(8 * MiB, 1)))
  await imageHolds(world, image, Buffer.concat([Buffer.alloc(8 * MiB, 1), Buffer.alloc(56 * MiB)]))
  assert.equal(await createImage(world, store, 'b'), 'no-space')
  disk.fault = 'none'
  await calls(world, replica).write(0, Buffer.alloc(8 * MiB, 3))
  await imageHolds(world, image, Buffer.concat([Buffer.alloc(8 * MiB, 1), Buffer.alloc(56 * MiB)]))
  await close(world, store)
})

it('space that was set aside is there for a copy, too (C8)', async () => {
  const { clock, disk, world, open } = disks()
  const store: Store = await open()
  const replica = await create(world, store, 64 * MiB)
  await calls(world, replica).write(0, Buffer.alloc(2 * MiB, 1))
  await mustCreate(world, store, 'a')
  for (let bytes = limits.diskReserveBytes; replica.availableSlots() !== 3; bytes += 64 * KiB) {
    disk.leave(bytes)
    store.measureSpace()
    clock.pass(100)
    assert.ok(bytes < 2 * limits.diskReserveBytes, `${replica.availableSlots()} slots`)
  }
  const reserved = replica.reserveFor('data', 0, 8 * KiB)
  assert.equal(reserved?.slots, 1)
  assert.equal(replica.reserveFor('zero', 0, extentBytes)?.slots, 0, 'a whole extent is given back, nothing is copied')
  const keep = replica.reserveFor('zero-keep', extentBytes, extentBytes + 512)
  assert.equal(keep?.slots, 2)
  assert.equal(replica.reserveFor('data', MiB, 512), null)
  const ask = (call: (done: (failure: StoreFailure | null) => void) => void) => world.settle(new Promise(call))
  assert.equal(await ask((done) => replica.write(MiB, [Buffer.alloc(512, 2)], 512, done)), 'no-space')
  assert.equal(await ask((done) => replica.zero(extentBytes, extentBytes + 512, false, done, keep ?? undefined)), null)
  assert.equal(
    await ask((done) => replica.write(0, [Buffer.alloc(8 * KiB)], 8 * KiB, done, reserved ?? undefined)),
    null,
  )
  assert.equal(replica.availableSlots(), 0)
  assert.equal(await deleteImage(world, store, 'a'), null)
  assert.equal(replica.availableSlots(), 3)
  await close(world, store)
})

it('an image is not made while its volume is written (S7)', async () => {
  const { world, open } = disks()
  const store = await open()
  const replica = await create(world, store, MiB)
  const written = calls(world, replica).write(0, Buffer.alloc(4 * KiB, 1))
  assert.throws(() => store.createImage(volume, 'a', 1, () => undefined), /S7/)
  await written
  await mustCreate(world, store, 'a')
  await close(world, store)
})

it('a check from outside reads images, and holds against checksums also what only they hold', async () => {
  const folder = temporaryFolder()
  const { dir } = folder
  const world = { settle: <T>(promise: Promise<T>) => promise }
  try {
    const store = await openStore({ dir, clock: realClock, log: quiet })
    const replica = await create(world, store, 8 * MiB)
    const bytes = Buffer.alloc(MiB, 1)
    bytes.write('only the image has this', 8 * KiB)
    bytes.write('both have this', 512 * KiB)
    await calls(world, replica).write(0, bytes)
    await mustCreate(world, store, 'a')
    await calls(world, replica).write(0, Buffer.alloc(MiB / 4, 2))
    const inspected = inspectStore(dir)
    const [image] = inspected.replicas[0]?.images ?? []
    assert.ok(image)
    assert.deepEqual([image.name, image.sizeBytes, [...image.own()]], ['a', 8 * MiB, [0]])
    assert.ok(image.readBlocks(0, MiB).equals(bytes))
    inspected.close()
    await close(world, store)
    assert.equal((await checkStore({ dir, told: () => undefined })).badCount, 0)
    const file = path.join(dir, 'data/00000.slots')
    const data = fs.readFileSync(file)
    for (const text of ['only the image has this', 'both have this']) {
      const at = data.indexOf(text)
      assert.ok(at > 0)
      data[at] = 0
    }
    fs.writeFileSync(file, data)
    const { bad, volumes } = await checkStore({ dir, told: () => undefined })
    const told = bad.map(({ image: of, offsetBytes, why }) => ({ of, offsetBytes, why }))
    assert.deepEqual(told, [
      { of: null, offsetBytes: 512 * KiB, why: 'checksum' },
      { of: 'a', offsetBytes: 8 * KiB, why: 'checksum' },
    ])
    assert.equal(volumes[0]?.checkedBytes, MiB + extentBytes)
  } finally {
    folder.remove()
  }
})

it('a disk that hangs while an image is made, or read, shows in oldestPendingMs (E8)', async () => {
  for (let events = 0; events < 40; events += 1) {
    const { clock, disk, world, open } = disks()
    const store = await open()
    const replica = await create(world, store, 8 * MiB)
    await calls(world, replica).write(0, Buffer.alloc(MiB, 1))
    let isMade = false
    store.createImage(volume, 'a', 5, () => {
      isMade = true
    })
    for (let count = 0; count < events && !isMade; count += 1) clock.step()
    disk.fault = 'hang'
    clock.pass(4_000)
    assert.equal(isMade || replica.oldestPendingMs() >= 3_900, true, `after ${events} events nothing shows`)
    disk.fault = 'none'
    clock.pass(1_000)
    assert.equal(isMade, true)
    assert.equal(replica.oldestPendingMs(), 0)
    const [image] = store.images(volume)
    disk.fault = 'hang'
    let isRead = false
    image?.read(0, 4 * KiB, () => {
      isRead = true
    })
    clock.pass(4_000)
    assert.equal(isRead, false)
    assert.ok(replica.oldestPendingMs() >= 3_900, 'a read of an image does not show')
    disk.fault = 'none'
    clock.pass(1_000)
    assert.equal(isRead, true)
    assert.equal(replica.oldestPendingMs(), 0)
  }
})
