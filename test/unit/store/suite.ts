/** What every Store promises, whatever it stands on. The real store and the simulator's run the same suite. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { volumeId } from '../../../agent/kit/ids.ts'
import type { ReplicaStore, Store, StoreFailure } from '../../../agent/store/replica.ts'

export interface StoreWorld {
  /** Opens, or opens again after close or kill. */
  open(): Promise<Store>
  settle<T>(promise: Promise<T>): Promise<T>
  /** kill -9 for the simulator; null where only a child process could (test/crash). */
  readonly kill: (() => void) | null
  end(): Promise<void>
}

const KiB = 1024
const MiB = 1024 * KiB
export const volume = volumeId('0123456789abcdef0123456789abcdef')

/** The calls of a replica as promises that must succeed. */
export function calls(world: Pick<StoreWorld, 'settle'>, replica: ReplicaStore) {
  const ok = async (call: (done: (failure: StoreFailure | null) => void) => void) => {
    assert.equal(await world.settle(new Promise(call)), null)
  }
  return {
    write: (offset: number, bytes: Uint8Array) => ok((done) => replica.write(offset, [bytes], bytes.length, done)),
    writeChunks: (offset: number, chunks: Uint8Array[]) =>
      ok((done) => replica.write(offset, chunks, Buffer.concat(chunks).length, done)),
    zero: (offset: number, length: number, unmap: boolean) => ok((done) => replica.zero(offset, length, unmap, done)),
    discard: (offset: number, length: number) => ok((done) => replica.discard(offset, length, done)),
    sync: () => ok((done) => replica.sync(done)),
    unmark: (regions: number[], epoch: number) => ok((done) => replica.unmark(regions, epoch, done)),
    raiseStamp: (region: number, epoch: number) => ok((done) => replica.raiseStamp(region, epoch, done)),
    settled: (regions: number[]) => ok((done) => replica.settled(regions, done)),
    read: (offset: number, length: number): Promise<Buffer> =>
      world.settle(
        new Promise((resolve, reject) => {
          replica.read(offset, length, (failure, data) =>
            failure ? reject(new Error(failure)) : resolve(Buffer.from(data)),
          )
        }),
      ),
  }
}

export async function create(
  world: Pick<StoreWorld, 'settle'>,
  store: Store,
  sizeBytes: number,
): Promise<ReplicaStore> {
  return world.settle(
    new Promise((resolve, reject) => {
      store.createReplica(volume, sizeBytes, (failure, replica) =>
        replica ? resolve(replica) : reject(new Error(`${failure}`)),
      )
    }),
  )
}

export const close = async (world: Pick<StoreWorld, 'settle'>, store: Store): Promise<void> => {
  assert.equal(await world.settle(new Promise((done) => store.close(done))), null)
}

export const only = (store: Store): ReplicaStore => {
  const [replica, ...others] = store.replicas()
  assert.ok(replica)
  assert.equal(others.length, 0)
  return replica
}

export function storeSuite(name: string, makeWorld: () => StoreWorld): void {
  const inWorld = (body: (world: StoreWorld) => Promise<void>) => async () => {
    const world = makeWorld()
    try {
      await body(world)
    } finally {
      await world.end()
    }
  }
  describe(name, () => {
    test('unwritten bytes read as zeros and take no space', inWorld(readsZeros))
    test('what was written is read back, across extents, in odd places, from many chunks', inWorld(readsBack))
    test('zero and discard read as told and give slots back', inWorld(zeroAndDiscard))
    test('no callback comes inside the call', inWorld(neverSynchronous))
    test(
      'a write marks its region before it is done, unmark stamps it, a region written again keeps its mark',
      inWorld(marks),
    )
    test('stamps only rise and come back after reopening', inWorld(stamps))
    test('data, marks, records and runs come back after a clean end', inWorld(reopens))
    test('a replica that was deleted stays away and its bytes never show in another', inWorld(deletes))
    test('many writes at once all arrive', inWorld(manyAtOnce))
    test('records are replaced in order', inWorld(records))
  })
}

async function readsZeros(world: StoreWorld): Promise<void> {
  const store = await world.open()
  const replica = await create(world, store, 40 * MiB)
  assert.deepEqual(await calls(world, replica).read(3 * MiB - 5, 2 * MiB), Buffer.alloc(2 * MiB))
  assert.equal(replica.allocatedBytes(), 0)
  assert.equal(replica.regionCount, 3)
  assert.equal(store.previousEnd, 'first')
  assert.equal(store.run, 1)
  await close(world, store)
}

const pattern = (length: number, seed: number): Buffer =>
  Buffer.from(Uint8Array.from({ length }, (_, at) => (at * 7 + seed) % 251))

async function readsBack(world: StoreWorld): Promise<void> {
  const store = await world.open()
  const { write, writeChunks, read } = calls(world, await create(world, store, 40 * MiB))
  await write(0, pattern(512, 1))
  await write(256 * KiB - 100, pattern(300 * KiB, 2))
  await write(16 * MiB - 7, pattern(14, 3))
  await writeChunks(20 * MiB - 1000, [
    pattern(1, 4),
    pattern(999, 5),
    pattern(70_000, 6),
    new Uint8Array(0),
    pattern(3, 7),
  ])
  await write(40 * MiB - 4096, pattern(4096, 8))
  assert.deepEqual(await read(0, 512), pattern(512, 1))
  assert.deepEqual(await read(256 * KiB - 100, 300 * KiB), pattern(300 * KiB, 2))
  assert.deepEqual(await read(16 * MiB - 8, 16), Buffer.concat([Buffer.alloc(1), pattern(14, 3), Buffer.alloc(1)]))
  const chunks = Buffer.concat([pattern(1, 4), pattern(999, 5), pattern(70_000, 6), pattern(3, 7)])
  assert.deepEqual(await read(20 * MiB - 1000, chunks.length), chunks)
  assert.deepEqual(await read(40 * MiB - 4096, 4096), pattern(4096, 8))
  await close(world, store)
}

async function zeroAndDiscard(world: StoreWorld): Promise<void> {
  const store = await world.open()
  const replica = await create(world, store, 8 * MiB)
  const { write, zero, discard, read } = calls(world, replica)
  const filled = pattern(2 * MiB, 9)
  await write(0, filled)
  assert.equal(replica.allocatedBytes(), 2 * MiB)
  await zero(100, 1000, true)
  filled.fill(0, 100, 1100)
  await zero(256 * KiB, 256 * KiB, false)
  filled.fill(0, 256 * KiB, 512 * KiB)
  assert.equal(replica.allocatedBytes(), 2 * MiB, 'a part, and a range that keeps its space, free nothing')
  await zero(512 * KiB - 10, 256 * KiB + 20, true)
  filled.fill(0, 512 * KiB - 10, 768 * KiB + 10)
  assert.equal(replica.allocatedBytes(), 2 * MiB - 256 * KiB)
  await discard(MiB + 1, 512 * KiB)
  filled.fill(0, MiB + 256 * KiB, MiB + 512 * KiB)
  assert.equal(replica.allocatedBytes(), 2 * MiB - 512 * KiB, 'only whole extents inside are discarded')
  assert.deepEqual(await read(0, 2 * MiB), filled)
  await write(600 * KiB, pattern(10, 1))
  pattern(10, 1).copy(filled, 600 * KiB)
  assert.deepEqual(await read(0, 2 * MiB), filled)
  await discard(0, 8 * MiB)
  assert.equal(replica.allocatedBytes(), 0)
  assert.deepEqual(await read(0, 2 * MiB), Buffer.alloc(2 * MiB))
  await close(world, store)
}

async function neverSynchronous(world: StoreWorld): Promise<void> {
  const store = await world.open()
  const replica = await create(world, store, 8 * MiB)
  const bytes = pattern(4096, 1)
  const attempts: ((done: () => void) => void)[] = [
    (done) => replica.write(0, [bytes], 4096, done),
    (done) => replica.read(0, 4096, done),
    (done) => replica.read(4 * MiB, 4096, done),
    (done) => replica.zero(4 * MiB, 4096, true, done),
    (done) => replica.discard(0, 4096, done),
    (done) => replica.sync(done),
    (done) => replica.unmark([0], 1, done),
    (done) => replica.raiseStamp(0, 1, done),
    (done) => replica.settled([], done),
    (done) => store.records.put('a', 1, done),
  ]
  for (const attempt of attempts) {
    let inside = true
    await world.settle(
      new Promise<void>((resolve, reject) => {
        attempt(() => (inside ? reject(new Error('called inside the call')) : resolve()))
        inside = false
      }),
    )
  }
  await close(world, store)
}

async function marks(world: StoreWorld): Promise<void> {
  const store = await world.open()
  const replica = await create(world, store, 40 * MiB)
  const { write, unmark, discard } = calls(world, replica)
  assert.deepEqual([...replica.regions()], [])
  await discard(0, 40 * MiB)
  assert.deepEqual([...replica.regions()], [], 'where nothing is stored a discard changes nothing')
  await write(16 * MiB - 4096, pattern(8192, 1))
  const marked = { marked: true, grade: 'sound', stamp: 0 }
  assert.deepEqual([...replica.regions()], [[0, marked], [1, marked]]) // biome-ignore format: pairs
  await unmark([0], 5)
  assert.deepEqual(replica.region(0), { marked: false, grade: 'sound', stamp: 5 })
  assert.deepEqual(replica.region(1), marked, 'only what was asked for')
  const again = write(16 * MiB + 4096, pattern(10, 2))
  await unmark([1], 6)
  await again
  assert.equal(replica.region(1).marked, true, 'a write under way keeps the mark')
  assert.equal(replica.oldestPendingMs(), 0)
  await close(world, store)
}

async function stamps(world: StoreWorld): Promise<void> {
  const first = await world.open()
  const { raiseStamp, sync } = calls(world, await create(world, first, 40 * MiB))
  await raiseStamp(1, 7)
  await raiseStamp(1, 3)
  await sync()
  await close(world, first)
  const second = await world.open()
  assert.deepEqual([...only(second).regions()], [[1, { marked: false, grade: 'sound', stamp: 7 }]])
  await close(world, second)
}

async function reopens(world: StoreWorld): Promise<void> {
  const first = await world.open()
  const one = calls(world, await create(world, first, 40 * MiB))
  await one.write(17 * MiB, pattern(600 * KiB, 3))
  assert.equal(
    await world.settle(new Promise((done) => first.records.put('config', { name: 'a', list: [1] }, done))),
    null,
  )
  await close(world, first)
  const second = await world.open()
  assert.equal(second.run, 2)
  assert.equal(second.previousEnd, 'clean')
  assert.deepEqual(second.records.get('config'), { name: 'a', list: [1] })
  const replica = only(second)
  assert.equal(replica.volumeId, volume)
  assert.equal(replica.sizeBytes, 40 * MiB)
  assert.deepEqual(
    replica.region(1),
    { marked: true, grade: 'torn', stamp: 0 },
    'a clean end keeps marks, but the names of what was not confirmed died with it (C2, C7)',
  )
  assert.deepEqual(await calls(world, replica).read(17 * MiB, 600 * KiB), pattern(600 * KiB, 3))
  assert.equal(replica.allocatedBytes(), 768 * KiB)
  await close(world, second)
}

async function deletes(world: StoreWorld): Promise<void> {
  const store = await world.open()
  await calls(world, await create(world, store, 8 * MiB)).write(0, Buffer.alloc(8 * MiB, 0xaa))
  assert.equal(await world.settle(new Promise((done) => store.deleteReplica(volume, done))), null)
  assert.deepEqual(store.replicas(), [])
  const next = await create(world, store, 600 * MiB)
  const { write, read } = calls(world, next)
  // More extents than the pool has ready: freed slots come round again.
  for (let extent = 0; extent < 1100; extent += 100) {
    for (let at = extent; at < extent + 100; at++) await write(at * 256 * KiB, pattern(1, 1))
  }
  const expected = Buffer.alloc(256 * KiB)
  expected[0] = 1
  for (let extent = 0; extent < 1100; extent++) assert.ok((await read(extent * 256 * KiB, 256 * KiB)).equals(expected))
  await close(world, store)
  const again = await world.open()
  assert.equal(only(again).sizeBytes, 600 * MiB)
  await close(world, again)
}

async function manyAtOnce(world: StoreWorld): Promise<void> {
  const store = await world.open()
  const { write, read, sync } = calls(world, await create(world, store, 64 * MiB))
  const blocks = Array.from({ length: 1000 }, (_, at) => (at * 7919) % 16_384)
  await world.settle(Promise.all(blocks.map((block) => write(block * 4096, pattern(4096, block)))))
  await world.settle(Promise.all([sync(), sync(), sync()]))
  for (const block of blocks) assert.ok((await read(block * 4096, 4096)).equals(pattern(4096, block)))
  await close(world, store)
}

async function records(world: StoreWorld): Promise<void> {
  const store = await world.open()
  const puts = Array.from(
    { length: 20 },
    (_, at) => new Promise((done) => store.records.put(at % 2 ? 'odd' : 'even', at, done)),
  )
  assert.deepEqual(
    await world.settle(Promise.all(puts)),
    puts.map(() => null),
  )
  assert.equal(store.records.get('odd'), 19)
  await close(world, store)
  const again = await world.open()
  assert.equal(again.records.get('even'), 18)
  assert.equal(again.records.get('odd'), 19)
  assert.deepEqual(again.records.keys(), ['even', 'odd'])
  await close(world, again)
}
