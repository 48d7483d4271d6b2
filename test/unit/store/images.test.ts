/**
 * Aim: an image holds for ever what its volume held when it was made, whatever happens to the volume; the two share what
 * did not change; and what only images hold is given back with them.
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import type { ReplicaStore, StoreFailure } from '../../../agent/store/replica.ts'
import { rounds } from '../../kit/length.ts'
import { createImage, deleteImage, imageBytes, imageHolds, mustCreate, readImage } from './image-calls.ts'
import { calls, close, create, only, type StoreWorld, volume } from './suite.ts'
import { seeded } from './world.ts'
import { bothWorlds } from './worlds.ts'

const KiB = 1024
const MiB = 1024 * KiB
const extentBytes = limits.extentBytes

for (const { name, make } of bothWorlds) {
  describe(`images of a store ${name}`, () => {
    const inWorld = (body: (world: StoreWorld) => Promise<void>) => async () => {
      const world = make()
      try {
        await body(world)
      } finally {
        await world.end()
      }
    }
    it(
      'hold what there was, whatever is written, zeroed and discarded afterwards; also after reopening',
      inWorld(holds),
    )
    it('take only what changed, and give all of it back', inWorld(space))
    it('have names of their own, and are at most eight', inWorld(names))
    it('writes to one shared extent meet in one copy', inWorld(meets))
    it('a volume is deleted with its images, and its slots come round again', inWorld(deleted))
    it('whatever happens, volume and images are what they should be', inWorld(property))
  })
}

async function holds(world: StoreWorld): Promise<void> {
  let store = await world.open()
  const size = 18 * MiB + 8 * KiB
  let replica = await create(world, store, size)
  const live = Buffer.alloc(size)
  const write = async (offset: number, bytes: Buffer) => {
    await calls(world, replica).write(offset, bytes)
    bytes.copy(live, offset)
  }
  await write(0, Buffer.alloc(3 * MiB, 1))
  await write(17 * MiB, Buffer.alloc(MiB + 8 * KiB, 2))
  const first = await mustCreate(world, store, 'first')
  const asFirst = Buffer.from(live)
  assert.equal(first.madeMs, 5)
  await write(4 * KiB, Buffer.alloc(4 * KiB, 3))
  await write(extentBytes - 100, Buffer.alloc(200, 4))
  await write(2 * extentBytes, Buffer.alloc(extentBytes, 5))
  await write(5 * MiB, Buffer.alloc(10, 6))
  await calls(world, replica).discard(4 * extentBytes, extentBytes)
  live.fill(0, 4 * extentBytes, 5 * extentBytes)
  await calls(world, replica).zero(5 * extentBytes, extentBytes, false)
  live.fill(0, 5 * extentBytes, 6 * extentBytes)
  await calls(world, replica).zero(6 * extentBytes + 100, extentBytes, true)
  live.fill(0, 6 * extentBytes + 100, 7 * extentBytes + 100)
  await imageHolds(world, first, asFirst)
  await mustCreate(world, store, 'second')
  const asSecond = Buffer.from(live)
  await write(0, Buffer.alloc(20 * KiB, 7))
  await calls(world, replica).discard(0, size)
  live.fill(0)
  await write(17 * MiB, Buffer.alloc(4 * KiB, 8))
  for (let round = 0; round < 2; round += 1) {
    const images = store.images(volume)
    assert.deepEqual(
      images.map((image) => image.name),
      ['first', 'second'],
    )
    await imageHolds(world, images[0] ?? assert.fail(), asFirst)
    await imageHolds(world, images[1] ?? assert.fail(), asSecond)
    assert.ok((await calls(world, replica).read(0, size)).equals(live))
    await close(world, store)
    store = await world.open()
    replica = only(store)
  }
  await close(world, store)
}

async function space(world: StoreWorld): Promise<void> {
  let store = await world.open()
  let replica = await create(world, store, 64 * MiB)
  await calls(world, replica).write(0, Buffer.alloc(8 * MiB, 1))
  await mustCreate(world, store, 'a')
  assert.equal(imageBytes(store), 0, 'an image takes nothing')
  await calls(world, replica).write(0, Buffer.alloc(extentBytes + 1, 2))
  assert.equal(imageBytes(store), 2 * extentBytes)
  assert.equal(replica.allocatedBytes(), 8 * MiB)
  await calls(world, replica).discard(4 * MiB, 4 * MiB)
  assert.equal(imageBytes(store), 2 * extentBytes + 4 * MiB)
  assert.equal(replica.allocatedBytes(), 4 * MiB)
  await mustCreate(world, store, 'b')
  await calls(world, replica).write(2 * MiB, Buffer.alloc(4 * KiB, 2))
  const told = () => store.images(volume).map((image) => [image.name, image.allocatedBytes() / extentBytes])
  assert.deepEqual(told(), [['a', 18], ['b', 1]], 'the newest counts what both hold') // biome-ignore format: pairs
  await close(world, store)
  store = await world.open()
  replica = only(store)
  assert.deepEqual(told(), [['a', 18], ['b', 1]]) // biome-ignore format: pairs
  const before = replica.availableSlots()
  assert.equal(await deleteImage(world, store, 'b'), null)
  assert.deepEqual(told(), [['a', 19]])
  if (world.kill !== null) assert.equal(replica.availableSlots(), before)
  assert.equal(await deleteImage(world, store, 'a'), null)
  assert.equal(imageBytes(store), 0)
  if (world.kill !== null)
    assert.equal(replica.availableSlots(), before + 19, 'what only images held can be used again')
  assert.equal(replica.allocatedBytes(), 4 * MiB)
  await calls(world, replica).write(0, Buffer.alloc(8 * MiB, 3))
  assert.ok((await calls(world, replica).read(0, 8 * MiB)).equals(Buffer.alloc(8 * MiB, 3)))
  await close(world, store)
}

async function names(world: StoreWorld): Promise<void> {
  const store = await world.open()
  await create(world, store, MiB)
  assert.throws(() => store.createImage(volume, 'Not so', 1, () => undefined), /S3/)
  assert.throws(() => store.createImage(volume, 'a'.repeat(65), 1, () => undefined), /S3/)
  for (let number = 1; number <= limits.images; number += 1) await mustCreate(world, store, `image-${number}`)
  assert.equal(await createImage(world, store, 'image-3'), 'name-taken')
  assert.equal(await createImage(world, store, 'another'), 'too-many')
  assert.equal(await deleteImage(world, store, 'another'), 'no-image')
  assert.equal(await deleteImage(world, store, 'image-3'), null)
  await mustCreate(world, store, 'image-3')
  await close(world, store)
}

async function meets(world: StoreWorld): Promise<void> {
  const store = await world.open()
  const replica = await create(world, store, 8 * MiB)
  await calls(world, replica).write(0, Buffer.alloc(MiB, 1))
  const image = await mustCreate(world, store, 'a')
  const expected = Buffer.alloc(MiB, 1)
  const writes = Array.from({ length: 64 }, (_, block) => {
    const bytes = Buffer.alloc(4 * KiB, 2 + (block % 200))
    // Two extents, the blocks of each in an odd order, half of them over the border of blocks or as zeros.
    const at = ((block * 37) % 64) * 8 * KiB
    const inBlock = block % 2 === 0 ? 0 : 512
    bytes.copy(expected, at + inBlock, 0, 4 * KiB - inBlock)
    return calls(world, replica).write(at + inBlock, bytes.subarray(0, 4 * KiB - inBlock))
  })
  const zeroed = calls(world, replica).zero(4 * KiB, 4 * KiB, true)
  expected.fill(0, 4 * KiB, 8 * KiB)
  const read = calls(world, replica).read(12 * KiB, 4 * KiB)
  await world.settle(Promise.all([...writes, zeroed]))
  assert.deepEqual(await read, Buffer.alloc(4 * KiB, 1))
  assert.ok((await calls(world, replica).read(0, MiB)).equals(expected))
  assert.ok(Buffer.alloc(MiB, 1).equals((await readImage(world, image, 0, MiB)) as Buffer))
  assert.equal(image.allocatedBytes(), 2 * extentBytes, 'one copy of each')
  await close(world, store)
}

async function deleted(world: StoreWorld): Promise<void> {
  const store = await world.open()
  const replica = await create(world, store, 32 * MiB)
  await calls(world, replica).write(0, Buffer.alloc(16 * MiB, 1))
  const before = replica.availableSlots() + 64
  await mustCreate(world, store, 'a')
  await calls(world, replica).write(0, Buffer.alloc(8 * MiB, 2))
  await mustCreate(world, store, 'b')
  await calls(world, replica).discard(0, 32 * MiB)
  assert.equal(await world.settle(new Promise((done) => store.deleteReplica(volume, done))), null)
  const again = await create(world, store, 32 * MiB)
  // Other programs write to the real disk.
  if (world.kill !== null) assert.ok(again.availableSlots() >= before, 'slots got lost')
  assert.deepEqual(store.images(volume), [])
  for (let extent = 0; extent < 128; extent += 1) {
    await calls(world, again).write(extent * extentBytes, Buffer.alloc(10, 3))
    const expected = Buffer.alloc(extentBytes)
    expected.fill(3, 0, 10)
    assert.ok((await calls(world, again).read(extent * extentBytes, extentBytes)).equals(expected))
  }
  await close(world, store)
}

async function property(world: StoreWorld): Promise<void> {
  const kinds = world.kill === null ? 1 : rounds({ short: 4, full: 60, long: 1000 })
  for (let seed = 1; seed <= kinds; seed += 1) {
    await oneLife(world, seed)
  }
}

/** A volume and images against plain memory, with ends of all kinds in between. */
async function oneLife(world: StoreWorld, seed: number): Promise<void> {
  const { unit } = seeded(seed * 977)
  const below = (limit: number) => Math.floor(unit() * limit)
  let store = await world.open()
  let replica = await create(world, store, 17 * MiB + 4 * KiB)
  let live = Buffer.alloc(replica.sizeBytes)
  const images = new Map<string, Buffer>()
  const slots = () => (replica.allocatedBytes() + imageBytes(store)) / extentBytes
  let most = replica.availableSlots()
  for (let step = 0; step < (world.kill === null ? 50 : 150); step += 1) {
    const kind = below(100)
    if (kind < 70) {
      const under = Array.from({ length: 1 + below(5) }, (_, at) => change(world, replica, live, below, at))
      await world.settle(Promise.all(under))
    } else if (kind < 78 && images.size < 3) {
      await mustCreate(world, store, `image-${step}`)
      images.set(`image-${step}`, Buffer.from(live))
    } else if (kind < 84 && images.size > 0) {
      const name = [...images.keys()][below(images.size)] ?? ''
      assert.equal(await deleteImage(world, store, name), null)
      images.delete(name)
    } else if (kind < 88) {
      const sizeBytes = replica.sizeBytes + below(20) * 4 * KiB
      assert.equal(
        await world.settle(new Promise<StoreFailure | null>((done) => store.growReplica(volume, sizeBytes, done))),
        null,
      )
      live = Buffer.concat([live, Buffer.alloc(sizeBytes - live.length)])
    } else if (kind < 92) {
      if (world.kill === null || unit() < 0.5) await close(world, store)
      else world.kill()
      store = await world.open()
      replica = only(store)
      most = 0
    } else {
      const [name, expected] = [...images][below(images.size)] ?? []
      const image = store.images(volume).find((one) => one.name === name)
      if (image !== undefined && expected !== undefined) await imageHolds(world, image, expected)
      assert.ok((await calls(world, replica).read(0, live.length)).equals(live), `seed ${seed}, step ${step}`)
    }
    // The more slots were ever used, the better is known what one takes.
    const now = replica.availableSlots() + slots()
    if (world.kill !== null) assert.ok(now >= most, `seed ${seed}, step ${step}: ${most - now} slots got lost`)
    most = now
  }
  for (const [name, expected] of images) {
    const image = store.images(volume).find((one) => one.name === name)
    assert.ok(image, `seed ${seed}: image ${name}`)
    await imageHolds(world, image, expected)
    assert.equal(await deleteImage(world, store, name), null)
  }
  assert.ok((await calls(world, replica).read(0, live.length)).equals(live), `seed ${seed}`)
  assert.equal(imageBytes(store), 0)
  assert.equal(await world.settle(new Promise((done) => store.deleteReplica(volume, done))), null)
  await close(world, store)
}

/** One of several that go on together: each in blocks of its own. */
function change(
  world: StoreWorld,
  replica: ReplicaStore,
  live: Buffer,
  below: (limit: number) => number,
  lane: number,
) {
  const { write, zero, discard } = calls(world, replica)
  const extent = below(3) * 30 + lane
  const at = extent * extentBytes + below(50) * 4 * KiB + (below(2) === 0 ? 0 : 512)
  const length = Math.min(1 + below(3) * 512 + below(10) * 4 * KiB, (extent + 1) * extentBytes - at, live.length - at)
  if (length <= 0) return
  const kind = below(10)
  if (kind < 7) {
    const bytes = Buffer.alloc(length, 1 + below(255))
    bytes.copy(live, at)
    return write(at, bytes)
  }
  if (kind < 8) {
    live.fill(0, at, at + length)
    return zero(at, length, kind % 2 === 0)
  }
  const start = extent * extentBytes
  const end = Math.min(start + extentBytes, live.length)
  live.fill(0, start, end)
  return kind < 9 ? zero(start, end - start, below(2) === 0) : discard(start, end - start)
}
