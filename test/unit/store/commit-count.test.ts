/** C12: a folder counts its durable commits, so that an older copy of it is known for one. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, test } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import { openStore } from '../../../agent/store/open-store.ts'
import type { Store } from '../../../agent/store/replica.ts'
import { calls, close, create, only, volume } from './suite.ts'
import { failure, quiet, realClock, seeded, temporaryFolder, VirtualClock } from './world.ts'

const MiB = 1024 * 1024
const settle = { settle: <T>(promise: Promise<T>) => promise }

/** What raises the count, one after the other; each must raise it. */
async function everyCommit(
  world: { settle<T>(promise: Promise<T>): Promise<T> },
  store: Store,
  after: (what: string) => Promise<void> | void,
): Promise<void> {
  const { write, sync, settled } = calls(world, only(store))
  let last = store.commitCount
  const rose = async (what: string) => {
    assert.ok(store.commitCount > last, `${what}: ${store.commitCount} after ${last}`)
    last = store.commitCount
    await after(what)
  }
  await write(0, Buffer.alloc(4096, 1))
  await rose('a new mark')
  await sync()
  await rose('a sync of a first write')
  await write(4096, Buffer.alloc(4096, 2))
  await sync()
  await rose('a sync of an overwrite')
  await settled([0])
  await rose('settled marks')
  assert.equal(await world.settle(failure((done) => store.records.put('epoch', { is: 7 }, done))), null)
  await rose('a record')
}

describe('the count of durable commits', () => {
  test('rises with every one, and is told again after a clean end', async () => {
    const folder = temporaryFolder()
    const options = { dir: folder.dir, clock: realClock, log: quiet }
    try {
      const store = await openStore(options)
      assert.ok(store.commitCount > 0, 'the first run is a commit')
      await create(settle, store, 64 * MiB)
      await everyCommit(settle, store, () => undefined)
      const told = store.commitCount
      await close(settle, store)
      const again = await openStore(options)
      assert.ok(again.foundCommitCount > told, 'a clean end is a commit')
      assert.ok(again.commitCount > again.foundCommitCount, 'a run is a commit')
      assert.equal(again.storeId, store.storeId)
      await close(settle, again)
    } finally {
      folder.remove()
    }
  })

  test('an older copy of the folder, taken after any commit, shows a smaller one', async () => {
    const folder = temporaryFolder()
    const dir = path.join(folder.dir, 'store')
    fs.mkdirSync(dir)
    const copies: { what: string; dir: string; count: number }[] = []
    try {
      const store = await openStore({ dir, clock: realClock, log: quiet })
      await create(settle, store, 64 * MiB)
      await everyCommit(settle, store, (what) => {
        const copy = path.join(folder.dir, `copy-${copies.length}`)
        // As a snapshot of the disk would: all of it at one moment, in the middle of the run.
        fs.cpSync(dir, copy, { recursive: true })
        copies.push({ what, dir: copy, count: store.commitCount })
      })
      await close(settle, store)
      for (const [at, copy] of copies.entries()) {
        const old = await openStore({ dir: copy.dir, clock: realClock, log: quiet })
        const { foundCommitCount } = old
        await close(settle, old)
        assert.equal(foundCommitCount, copy.count, copy.what)
        // What a peer was told one commit later is greater than what the copy shows.
        const later = copies[at + 1]
        if (later) assert.ok(foundCommitCount < later.count, `${copy.what}: it is known for an older one`)
      }
    } finally {
      folder.remove()
    }
  })

  for (const end of ['kill', 'powerCut'] as const) {
    test(`what was told is never taken back by a ${end} (30 seeds)`, async () => {
      for (let seed = 1; seed <= 30; seed++) {
        const clock = new VirtualClock()
        const disk = new MemoryDisk({ clock, random: seeded(seed), log: quiet })
        const random = seeded(seed + 1000)
        let told = 0
        for (let run = 0; run < 5; run++) {
          const store = await clock.settle(disk.openStore())
          assert.ok(store.foundCommitCount >= told, `seed ${seed}: ${store.foundCommitCount} after ${told} was told`)
          const replica = store.replicas()[0] ?? (await create(clock, store, 64 * MiB))
          for (let at = 0; at < 20; at++) {
            const block = Math.floor(random.unit() * 16384)
            replica.write(block * 4096, [Buffer.alloc(4096, at + 1)], 4096, () => undefined)
            if (random.unit() < 0.3) replica.sync(() => undefined)
            if (random.unit() < 0.2) store.records.put('a', at, () => undefined)
            clock.pass(random.unit() * 3)
            assert.ok(store.commitCount >= told, 'it never falls')
            told = store.commitCount
          }
          disk[end]()
        }
      }
    })
  }

  for (const end of ['kill', 'powerCut'] as const) {
    test(`a volume that is deleted does not take the count along, whenever a ${end} comes`, async () => {
      for (let events = 0; events < 60; events += 1) {
        const clock = new VirtualClock()
        const disk = new MemoryDisk({ clock, random: seeded(events), log: quiet })
        const store = await clock.settle(disk.openStore())
        const { write, settled } = calls(clock, await create(clock, store, 64 * MiB))
        await write(0, Buffer.alloc(4096, 1))
        for (let times = 0; times < 5; times += 1) await settled([0])
        const told = store.commitCount
        store.deleteReplica(volume, () => undefined)
        for (let count = 0; count < events; count += 1) {
          clock.step()
          await null
        }
        disk[end]()
        // A second end in the middle of the opening that removes what the first one left.
        disk.open(() => undefined)
        for (let count = 0; count < events; count += 1) clock.step()
        disk[end]()
        const again = await clock.settle(disk.openStore())
        assert.ok(again.foundCommitCount >= told, `after ${events} events: ${again.foundCommitCount}, told was ${told}`)
      }
    })
  }

  test('a count that stands only in a data file of which every slot was given back is found', async () => {
    let seen = 0
    for (let seed = 1; seed <= 30; seed += 1) {
      const clock = new VirtualClock()
      const disk = new MemoryDisk({ clock, random: seeded(seed), log: quiet })
      // Room for few slots: none is left in doubt for long.
      disk.sizeBytes = limits.diskReserveBytes + 5 * limits.extentBytes
      await create(clock, await clock.settle(disk.openStore()), 64 * MiB)
      clock.pass(1_000)
      disk.kill()
      const store = await clock.settle(disk.openStore())
      clock.pass(3_000)
      const before = store.commitCount
      await calls(clock, only(store)).sync()
      if (store.commitCount > before) seen += 1
      const told = store.commitCount
      disk.powerCut()
      const again = await clock.settle(disk.openStore())
      assert.ok(again.foundCommitCount >= told, `seed ${seed}: ${again.foundCommitCount}, told was ${told}`)
    }
    assert.ok(seen > 0, 'no sync counted: the test tests nothing')
  })
})
