/**
 * Aim: a disk that is really full refuses first writes, and nothing else: the room that is kept free (C8) is enough for
 * what the index and the marks still need; after a restart everything is there. Needs a small disk of its own.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { volumeId } from '../../../agent/kit/ids.ts'
import { limits } from '../../../agent/limits.ts'
import type { ReplicaStore, Store, StoreFailure } from '../../../agent/store/replica.ts'
import { unmounted } from '../../kit/mounts.ts'
import { needs } from '../../kit/needs.ts'
import { mustRun } from '../../kit/tools.ts'
import { MiB, open, world } from './rebuild-world.ts'
import { calls, close, create, volume } from './suite.ts'
import { failure, temporaryFolder } from './world.ts'

const { extentBytes } = limits
const other = volumeId('b'.repeat(32))
const block = (extent: number): Buffer => Buffer.alloc(4096, (extent % 255) + 1)

interface Disk {
  readonly dir: string
  open(): Promise<Store>
  close(store: Store): Promise<void>
}

async function onDisk(sizeMiB: number, body: (disk: Disk) => Promise<void>): Promise<void> {
  const folder = temporaryFolder()
  const dir = path.join(folder.dir, 'disk')
  fs.mkdirSync(dir)
  await mustRun('mount', ['-t', 'tmpfs', '-o', `size=${sizeMiB}m`, 'tmpfs', dir])
  const stores = new Set<Store>()
  const opened = async () => {
    const store = await open(dir)
    stores.add(store)
    return store
  }
  const closed = (store: Store) => {
    stores.delete(store)
    return close(world, store)
  }
  try {
    await body({ dir, open: opened, close: closed })
  } finally {
    // A failed one has no clean end: it only lets go of the disk.
    for (const store of stores) await failure((done) => store.close(done))
    await unmounted(dir, 10_000)
    folder.remove()
  }
}

const writeFails = (replica: ReplicaStore, extent: number, bytes: Buffer): Promise<StoreFailure | null> =>
  failure((done) => replica.write(extent * extentBytes, [bytes], bytes.length, done))

const replicaOf = (store: Store): ReplicaStore => {
  const replica = store.replicas().find(({ volumeId }) => volumeId === volume)
  assert.ok(replica)
  return replica
}

/** First writes until there is no room. @returns how many extents have one */
async function fill(replica: ReplicaStore): Promise<number> {
  for (let extent = 0; ; extent += 1) {
    const failed = await writeFails(replica, extent, block(extent))
    if (failed === 'no-space') return extent
    assert.equal(failed, null)
    // The rest of it later: what is mapped has its room.
    assert.ok(extent < 4000, 'the disk is never full')
  }
}

/** All that needs no new room, many times over: each commits, syncs, marks. */
async function goesOn(store: Store, extents: number, gone: Set<number>): Promise<void> {
  const replica = replicaOf(store)
  const { sync, discard } = calls(world, replica)
  for (let round = 0; round < 60; round += 1) {
    const extent = (round * 7) % extents
    if (gone.has(extent)) continue
    assert.equal(await writeFails(replica, extent, Buffer.alloc(extentBytes, extent + 1)), null, `round ${round}`)
    await discard(extent * extentBytes, extentBytes)
    await sync()
    // Its slot is free again, but for what the index's log took of the room meanwhile.
    const again = await writeFails(replica, extent, block(extent))
    assert.ok(again === null || again === 'no-space', `round ${round}: ${again}`)
    if (again !== null) gone.add(extent)
    assert.equal(await failure((done) => store.records.put('config', round, done)), null)
    const regions = [...replica.regions()].filter(([, { marked }]) => marked).map(([region]) => region)
    await sync()
    assert.equal(await failure((done) => replica.unmark(regions, store.run * 100 + round, done)), null)
  }
  assert.equal(replica.failed, false)
}

async function mustHold(replica: ReplicaStore, extents: number, gone: ReadonlySet<number>): Promise<void> {
  for (let extent = 0; extent < extents; extent += 1) {
    const got = await calls(world, replica).read(extent * extentBytes, 4096)
    assert.ok(got.equals(gone.has(extent) ? Buffer.alloc(4096) : block(extent)), `extent ${extent}`)
  }
}

test(
  'a disk filled by the store itself: first writes are refused, everything else goes on, also after restarts',
  needs('linux', 'root'),
  () =>
    onDisk(96, async (disk) => {
      let store = await disk.open()
      await create(world, store, 1024 * MiB)
      const extents = await fill(replicaOf(store))
      const gone = new Set<number>()
      assert.ok(extents > 100, `only ${extents} extents`)
      for (let times = 0; times < 3; times += 1) {
        await goesOn(store, extents, gone)
        // What the discards gave back is taken, too, by somebody else.
        for (let extent = 3000 + times * 300; ; extent += 1) {
          const failed = await writeFails(replicaOf(store), extent, block(extent))
          assert.ok(failed === null || failed === 'no-space', `${failed}`)
          if (failed !== null) break
        }
        const { bavail, bsize } = fs.statfsSync(disk.dir)
        // Less than that only by what the index and its log have taken since.
        assert.ok(bavail * bsize > limits.diskReserveBytes / 2, `${bavail * bsize} bytes are left`)
        // What is added to the index at somebody’s wish is refused in time, and fails nothing.
        const made = await failure<StoreFailure | null>((done) =>
          store.createReplica(other, MiB, (failed) => done(failed)),
        )
        if (made === null) assert.equal(await failure((done) => store.deleteReplica(other, done)), null)
        else assert.equal(made, 'no-space')
        assert.equal(replicaOf(store).failed, false)
        await disk.close(store)
        store = await disk.open()
        await mustHold(replicaOf(store), extents, gone)
      }
      await disk.close(store)
    }),
)

test(
  'a disk filled by others to the last byte: overwrites and flushes go on; when there is room again, so do first writes',
  needs('linux', 'root'),
  () =>
    onDisk(96, async (disk) => {
      const store = await disk.open()
      const replica = await create(world, store, 1024 * MiB)
      const extents = 60
      for (let extent = 0; extent < extents; extent += 1) {
        assert.equal(await writeFails(replica, extent, Buffer.alloc(extentBytes, 7)), null)
        assert.equal(await writeFails(replica, extent, block(extent)), null)
      }
      await calls(world, replica).sync()
      const greedy = path.join(disk.dir, 'others')
      const fd = fs.openSync(greedy, 'w')
      assert.throws(
        () => {
          for (;;) fs.writeSync(fd, Buffer.alloc(4096, 1))
        },
        { code: 'ENOSPC' },
      )
      fs.closeSync(fd)
      store.measureSpace()
      await new Promise((done) => setTimeout(done, 100))
      assert.equal(await writeFails(replica, 3000, block(0)), 'no-space')
      const { sync } = calls(world, replica)
      for (let round = 0; round < 200; round += 1) {
        const extent = round % extents
        assert.equal(await writeFails(replica, extent, block(extent)), null, `round ${round}`)
        if (round % 10 === 0) await sync()
        assert.equal(replica.failed, false, `round ${round}`)
      }
      fs.rmSync(greedy)
      store.measureSpace()
      await new Promise((done) => setTimeout(done, 100))
      assert.equal(await writeFails(replica, 3000, block(0)), null)
      await disk.close(store)
      const again = await disk.open()
      await mustHold(replicaOf(again), extents, new Set())
      await disk.close(again)
    }),
)
