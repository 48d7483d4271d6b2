/**
 * Aim: an index that lacks a commit that was durable is never served: its log removed after a kill, or an older copy of it
 * put back. Without that, what was flushed reads as zeros and nobody knows. What a crash may legally leave opens.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, it } from 'node:test'
import { decodeCounts } from '../../../agent/store/format.ts'
import { inspectStore } from '../../../agent/store/inspect.ts'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import type { Store } from '../../../agent/store/replica.ts'
import { MiB, open, rebuilt, world } from './rebuild-world.ts'
import { calls, close, create, only } from './suite.ts'
import { quiet, seeded, temporaryFolder, VirtualClock } from './world.ts'

const extentBytes = 256 * 1024
const block = (extent: number): Buffer => Buffer.alloc(4096, extent + 1)
const refusal = { code: 'store-damaged', message: /older than the data/, next: /store rebuild/ }

interface Folders {
  readonly live: string
  /** @returns a folder with what stands in `live` now: as a kill of the agent leaves it */
  copy(): string
}

async function inFolders(body: (folders: Folders, store: Store) => Promise<void>): Promise<void> {
  const folder = temporaryFolder()
  const live = path.join(folder.dir, 'live')
  fs.mkdirSync(live)
  let copies = 0
  const copy = () => {
    copies += 1
    const dir = path.join(folder.dir, `copy-${copies}`)
    fs.cpSync(live, dir, { recursive: true })
    fs.rmSync(path.join(dir, 'index.db-shm'), { force: true })
    return dir
  }
  try {
    // The tables themselves are in index.db: the first run's log may hold all that there is.
    await close(world, await open(live))
    const store = await open(live)
    try {
      await body({ live, copy }, store)
    } finally {
      await close(world, store)
    }
  } finally {
    folder.remove()
  }
}

const dropLog = (dir: string) => fs.rmSync(path.join(dir, 'index.db-wal'))

async function mustHold(dir: string, extents: number): Promise<void> {
  const store = await open(dir)
  try {
    for (let extent = 0; extent < extents; extent += 1) {
      const got = await calls(world, only(store)).read(extent * extentBytes, 4096)
      assert.ok(got.equals(block(extent)), `extent ${extent}`)
    }
  } finally {
    await close(world, store)
  }
}

/** The number that the folder says was durable, of the index. */
const told = (dir: string): number =>
  decodeCounts(fs.readFileSync(path.join(dir, 'data/00000.slots')).subarray(0, 4096)).index

/** What a sync says of the index is written behind it. */
async function toldMore(dir: string, than: number): Promise<void> {
  for (let tries = 0; told(dir) <= than; tries += 1) {
    assert.ok(tries < 500, 'the number of the index is not written down')
    await new Promise((done) => setTimeout(done, 10))
  }
}

describe('an index that lacks something', () => {
  it('its log is gone after a kill: refused, for looking too; after a rebuild all that was flushed is there', () =>
    inFolders(async ({ live, copy }, store) => {
      const { write, sync } = calls(world, await create(world, store, 64 * MiB))
      for (let extent = 0; extent < 3; extent += 1) await write(extent * extentBytes, block(extent))
      const before = told(live)
      await sync()
      await toldMore(live, before)
      const dir = copy()
      await mustHold(copy(), 3)
      dropLog(dir)
      await assert.rejects(open(dir), refusal)
      await assert.rejects(open(dir), refusal, 'and again')
      assert.throws(() => inspectStore(dir), refusal)
      await rebuilt(dir)
      await mustHold(dir, 3)
    }))

  it('one more flush is enough, with no first write after it: an overwrite brings the number to the disk', () =>
    inFolders(async ({ copy }, store) => {
      const { write, sync } = calls(world, await create(world, store, 64 * MiB))
      for (const extent of [0, 1, 2]) {
        await write(extent * extentBytes, block(extent))
        await sync()
        await write(0, block(0))
        await sync()
        const dir = copy()
        dropLog(dir)
        await assert.rejects(open(dir), refusal)
      }
    }))

  it('an older copy of the whole index, with its log and without, after a kill and after a clean end', () =>
    inFolders(async ({ live, copy }, store) => {
      const { write, sync } = calls(world, await create(world, store, 64 * MiB))
      await write(0, block(0))
      await sync()
      const old = copy()
      const before = told(live)
      await write(extentBytes, block(1))
      await sync()
      await toldMore(live, before)
      const killed = copy()
      const again = path.join(path.dirname(live), 'again')
      fs.cpSync(killed, again, { recursive: true })
      await mustHold(again, 2)
      for (const dir of [killed, again]) {
        for (const ending of ['', '-wal'])
          fs.copyFileSync(path.join(old, `index.db${ending}`), path.join(dir, `index.db${ending}`))
        await assert.rejects(open(dir), refusal)
        await assert.rejects(open(dir), refusal, 'and again')
      }
      await rebuilt(killed)
      await mustHold(killed, 2)
      // The index that was lost comes back behind the rebuilt one.
      fs.rmSync(path.join(killed, 'index.db-wal'), { force: true })
      fs.copyFileSync(path.join(again, 'index.db'), path.join(killed, 'index.db'))
      await assert.rejects(open(killed), refusal)
    }))

  it('after a clean end there is no log, and none is missed', () =>
    inFolders(async ({ live }, store) => {
      await calls(world, await create(world, store, 64 * MiB)).write(0, block(0))
      const copy = path.join(path.dirname(live), 'ended')
      fs.mkdirSync(copy)
      const own = await open(copy)
      await calls(world, await create(world, own, 64 * MiB)).write(0, block(0))
      await close(world, own)
      assert.deepEqual(
        fs.readdirSync(copy).filter((name) => name.startsWith('index.db')),
        ['index.db'],
      )
      for (let times = 0; times < 3; times += 1) await mustHold(copy, 1)
    }))

  it('the simulator’s index means the same: an older one is refused, after a kill and after a power cut', async () => {
    let refusals = 0
    for (let seed = 1; seed <= 40; seed += 1) {
      const clock = new VirtualClock()
      const disk = new MemoryDisk({ clock, random: seeded(seed), log: quiet })
      const store = await clock.settle(disk.openStore())
      const { write, sync } = calls(clock, await create(clock, store, 64 * MiB))
      await write(0, block(0))
      await sync()
      const older = disk.backupIndex()
      await write(extentBytes, block(1))
      await sync()
      if (seed % 2 === 0) {
        clock.pass(100)
        disk.kill()
      } else {
        // A second one brings the number to the disk.
        await write(extentBytes, block(1))
        await sync()
        disk.powerCut()
      }
      older()
      await assert.rejects(clock.settle(disk.openStore()), refusal, `seed ${seed}`)
      refusals += 1
    }
    assert.equal(refusals, 40)
  })
})
