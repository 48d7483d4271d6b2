/**
 * Aim: a storage folder that lost its index gets it back from the data files alone: every byte of every volume, no slot
 * that was freed, everything in doubt (C11). What cannot be known is refused.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import type { VolumeId } from '../../../agent/kit/ids.ts'
import * as format from '../../../agent/store/format.ts'
import { inspectStore } from '../../../agent/store/inspect.ts'
import { rebuildStore } from '../../../agent/store/rebuild-folder.ts'
import { groupSum } from '../../../agent/store/row-sums.ts'
import { dropIndex, ids, KiB, mappings, mustHold, open, rebuilt, withFolder, work, world } from './rebuild-world.ts'
import { calls, close } from './suite.ts'
import { temporaryFolder } from './world.ts'

for (const seed of [1, 2, 3]) {
  test(`a lost index: open names the way out, rebuilding gives every byte back, nothing freed (seed ${seed})`, () =>
    withFolder(seed, async (dir, models) => {
      const before = mappings(dir)
      const known = models.reduce((bytes, { replica }) => bytes + replica.allocatedBytes(), 0)
      dropIndex(dir)
      await assert.rejects(open(dir), (error: { code?: string; next?: string }) => {
        assert.equal(error.code, 'store-damaged')
        assert.match(error.next ?? '', /mirrorbay store rebuild/)
        return true
      })
      const report = await rebuilt(dir)
      assert.deepEqual(mappings(dir), before, 'another slot holds an extent than before')
      assert.equal(
        report.volumes.reduce((bytes, { allocatedBytes }) => bytes + allocatedBytes, 0),
        known,
      )
      assert.deepEqual([report.damagedCount, report.hadIndex], [0, false])
      assert.ok(report.doubtfulSlots > 0, 'no slot was freed: the test tests nothing')
      await mustHold(dir, models, 'lossy')
      const store = await open(dir)
      assert.equal(store.replicas()[0]?.region(0).stamp, 7, 'a stamp was lost (C3)')
      await close(world, store)
      assert.deepEqual(
        fs.readdirSync(dir).filter((name) => /before-rebuild|rebuilt/.test(name)),
        [],
      )
    }))
}

test('after rebuilding, what was in doubt is zeroed before anybody gets it, and work goes on', () =>
  withFolder(4, async (dir, models) => {
    dropIndex(dir)
    await rebuilt(dir)
    const store = await open(dir)
    const again = models.map((model) => {
      const replica = store.replicas().find(({ volumeId }) => volumeId === model.id)
      assert.ok(replica)
      return { ...model, replica }
    })
    // Small writes into many new extents: their other blocks must be zeros.
    for (const { replica, bytes } of again) {
      for (let at = 0; at + 4096 <= bytes.length; at += 256 * KiB) {
        const written = Buffer.alloc(4096, 9)
        await calls(world, replica).write(at, written)
        written.copy(bytes, at)
      }
    }
    await work(again, 5, 60)
    await close(world, store)
    await mustHold(dir, models, 'any')
    dropIndex(dir)
    await rebuilt(dir)
    await mustHold(dir, models, 'lossy')
  }))

test('a header that a kill left behind claims nothing once its slot was zeroed', () =>
  withFolder(6, async (dir) => {
    const volume = ids[0]
    assert.ok(volume)
    const look = inspectStore(dir)
    const extent = look.replicas
      .find((replica) => replica.volumeId === volume)
      ?.allocated()
      .next().value
    look.close()
    assert.ok(extent !== undefined)
    const file = path.join(dir, 'data/00000.slots')
    const headers = fs.readFileSync(file).subarray(4096, 4096 + 512 * 4096)
    let store = await open(dir)
    const replica = store.replicas().find(({ volumeId }) => volumeId === volume)
    assert.ok(replica)
    await calls(world, replica).discard(extent * 256 * KiB, 256 * KiB)
    await close(world, store)
    // As a kill between the commit and the header leaves it: the slot is in doubt, its header is the old one.
    const fd = fs.openSync(file, 'r+')
    fs.writeSync(fd, headers, 0, headers.length, 4096)
    fs.closeSync(fd)
    const slot = headersOf(headers).findIndex((header) => header?.volumeId === volume && header.extent === extent)
    const database = new Database(path.join(dir, 'index.db'))
    const bits = Buffer.alloc(512)
    bits.writeUInt8(1 << (slot & 7), slot >> 3)
    database.prepare('INSERT OR REPLACE INTO slotGroups VALUES (0, ?, ?)').run(bits, groupSum(0, bits))
    database.close()
    store = await open(dir)
    await close(world, store)
    dropIndex(dir)
    await rebuilt(dir)
    const after = inspectStore(dir)
    const held = [...(after.replicas.find((each) => each.volumeId === volume)?.allocated() ?? [])]
    after.close()
    assert.ok(!held.includes(extent), 'a freed slot came back')
  }))

const headersOf = (bytes: Buffer) =>
  Array.from({ length: bytes.length / 512 }, (_none, slot) =>
    format.decodeSlotHeader(bytes.subarray(slot * 512, (slot + 1) * 512)),
  )

function change(dir: string, name: string, offset: number, to: Uint8Array): void {
  const fd = fs.openSync(path.join(dir, name), 'r+')
  fs.writeSync(fd, to, 0, to.length, offset)
  fs.closeSync(fd)
}

/** The first slot that holds something of the volume, and the extent. */
function firstHeld(dir: string, volume: VolumeId): { slot: number; extent: number } {
  const row = mappings(dir).find((each) => (each as { id: string }).id === volume) as { region: number; slots: string }
  const slots = Buffer.from(row.slots, 'hex')
  const at = Array.from({ length: 64 }, (_none, index) => slots.readUInt32LE(index * 4)).findIndex((slot) => slot > 0)
  return { slot: slots.readUInt32LE(at * 4) - 1, extent: row.region * 64 + at }
}

test('a damaged header of a slot is told, and costs only its own extent', () =>
  withFolder(7, async (dir, models) => {
    const [model] = models
    assert.ok(model)
    const { slot, extent } = firstHeld(dir, model.id)
    change(dir, 'data/00000.slots', format.headerOffset(slot) + 40, Buffer.from([0xff, 0xff]))
    dropIndex(dir)
    const report = await rebuilt(dir)
    assert.equal(report.damagedCount, 1)
    const [told] = report.damaged
    assert.deepEqual(
      { ...told, what: '' },
      { path: 'data/00000.slots', offsetBytes: 4096 + 512 * slot, slot, what: '' },
    )
    assert.match(
      told?.what ?? '',
      new RegExp(`damaged; perhaps .* from ${extent * 256 * KiB} on of volume ${model.id}`),
    )
    model.bytes.fill(0, extent * 256 * KiB, (extent + 1) * 256 * KiB)
    await mustHold(dir, models, 'lossy')
  }))

test('a header in the place of another one is not believed', () =>
  withFolder(8, async (dir, models) => {
    const [one, other] = models
    assert.ok(one && other)
    const [from, to] = [firstHeld(dir, one.id).slot, firstHeld(dir, other.id)]
    const file = fs.readFileSync(path.join(dir, 'data/00000.slots'))
    const offset = format.headerOffset(from)
    change(dir, 'data/00000.slots', format.headerOffset(to.slot), file.subarray(offset, offset + 512))
    dropIndex(dir)
    const report = await rebuilt(dir)
    assert.match(report.damaged[0]?.what ?? '', new RegExp(`that of slot ${from}$`))
    other.bytes.fill(0, to.extent * 256 * KiB, (to.extent + 1) * 256 * KiB)
    await mustHold(dir, models, 'lossy')
  }))

test('no checksum is believed: what the disk has changed before is compared like anything else (C2, C11)', () =>
  withFolder(12, async (dir, models) => {
    const [model] = models
    assert.ok(model)
    const { slot, extent } = firstHeld(dir, model.id)
    change(dir, 'data/00000.slots', format.slotOffset(slot) + 8192, Buffer.alloc(4096, 0xab))
    dropIndex(dir)
    await rebuilt(dir)
    model.bytes.fill(0xab, extent * 256 * KiB + 8192, extent * 256 * KiB + 12_288)
    await mustHold(dir, models, 'lossy')
  }))

test("a data file's own damaged header is written anew; another store's file is refused, untouched", () =>
  withFolder(9, async (dir, models) => {
    const name = 'data/00000.slots'
    const counted = () => format.decodeCounts(fs.readFileSync(path.join(dir, name))).commits
    const count = counted()
    assert.ok(count > 0, 'nothing was counted (C12)')
    change(dir, name, 20, Buffer.from([1, 2, 3]))
    dropIndex(dir)
    const report = await rebuilt(dir)
    assert.equal(counted(), count)
    assert.deepEqual(
      report.damaged.map(({ slot, path: of }) => ({ slot, of })),
      [{ slot: null, of: name }],
    )
    await mustHold(dir, models, 'lossy')
    change(dir, name, 0, format.encodeFileHeader('9'.repeat(32), 0))
    dropIndex(dir)
    await assert.rejects(rebuilt(dir), { code: 'store-damaged' })
    assert.ok(!fs.existsSync(path.join(dir, 'index.db')))
  }))

test('what cannot be known is refused, and nothing is changed: a size, a run', () =>
  withFolder(10, async (dir, models) => {
    const [model] = models
    assert.ok(model)
    const marks = `marks/${model.id}.marks`
    for (const name of [marks, 'run.json']) {
      const good = fs.readFileSync(path.join(dir, name))
      change(dir, name, 33, Buffer.from([0xee]))
      const left = fs.readFileSync(path.join(dir, name))
      await assert.rejects(rebuilt(dir), { code: 'store-damaged' }, name)
      assert.ok(fs.readFileSync(path.join(dir, name)).equals(left), `${name} was changed`)
      fs.writeFileSync(path.join(dir, name), good)
    }
    fs.renameSync(path.join(dir, 'run.json'), path.join(dir, 'kept'))
    await assert.rejects(rebuilt(dir), { code: 'store-damaged' })
    fs.renameSync(path.join(dir, 'kept'), path.join(dir, 'run.json'))
    assert.equal(await rebuildStore({ dir, told: () => undefined, confirm: async () => false }), null)
    const store = await open(dir)
    try {
      assert.equal(store.previousEnd, 'clean', 'a refused rebuilding left a trace')
      await assert.rejects(rebuilt(dir), { code: 'store-in-use' })
    } finally {
      await close(world, store)
    }
    await mustHold(dir, models, 'any')
  }))

test('a folder that is no store is refused and stays empty', async () => {
  const folder = temporaryFolder()
  try {
    await assert.rejects(rebuilt(folder.dir), { code: 'store-garbage' })
    assert.deepEqual(fs.readdirSync(folder.dir), [])
    await assert.rejects(rebuilt(path.join(folder.dir, 'none')), { code: 'store-missing' })
  } finally {
    folder.remove()
  }
})
