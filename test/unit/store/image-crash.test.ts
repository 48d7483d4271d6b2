/**
 * Aim: whatever a crash leaves of any instant around the making of an image, the first writes after it and its deletion:
 * what was flushed is there in the volume, and an image is there, to the byte, or it is not. A rebuilt index has no images,
 * and what they held neither comes back in the volume nor takes anything from it.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, it } from 'node:test'
import Database from 'better-sqlite3'
import { limits } from '../../../agent/limits.ts'
import { dataFilePath, encodeSlotHeader, headerOffset, slotOffset } from '../../../agent/store/format.ts'
import { groupSum } from '../../../agent/store/row-sums.ts'
import { rounds } from '../../kit/length.ts'
import { resumable } from '../../kit/resumable.ts'
import { mustCreate } from './image-calls.ts'
import { checkImage } from './image-check.ts'
import { powerCuts } from './image-choices.ts'
import { dropIndex, open, rebuilt, world } from './rebuild-world.ts'
import { History } from './recorded-history.ts'
import { deleteImage, makeImage } from './recorded-wholes.ts'
import { calls, close, create, only, volume } from './suite.ts'
import { seeded, temporaryFolder } from './world.ts'

const { extentBytes } = limits
const kinds = ['kill', ...Object.keys(powerCuts)]

/** Flushed bytes, an image, writes of all kinds into shared extents, a flush, another image, the first one's deletion. */
async function story(seed: number): Promise<{ history: History; from: number }> {
  const history = new History(seed, { steps: 12, sumPages: 1 + (seed % 3), volumes: 1, lifecycle: false })
  await history.run()
  await history.idle()
  const [id, journal] = [...history.volumes][0] ?? assert.fail('there is no volume')
  const replica = history.store?.replicas()[0] ?? assert.fail('there is no replica')
  const change = (kind: 'write' | 'zero' | 'keep' | 'discard', fromBytes: number, length: number) =>
    history.change(replica, journal, { kind, fromBytes, toBytes: fromBytes + length })
  for (const extent of [0, 1, 2, 64]) change('write', extent * extentBytes, 12_288)
  await history.idle()
  history.sync(replica, journal)
  await history.idle()
  const from = history.disk.now
  await makeImage(history, id, journal)
  // Two blocks of one extent, a whole one, one that is given back, one that becomes zeros, a part of a block.
  change('write', 4096, 4096)
  change('write', 40_960, 4096)
  change('write', extentBytes, extentBytes)
  change('discard', 2 * extentBytes, extentBytes)
  change('keep', 64 * extentBytes, 8192)
  change('write', 64 * extentBytes + 16_384 + 512, 512)
  for (let events = history.pick(60); events > 0; events -= 1) history.clock.step()
  history.sync(replica, journal)
  await history.idle()
  await makeImage(history, id, journal)
  // Sometimes the one that alone holds what the next writes change.
  deleteImage(history, id, journal, journal.images[seed % 2])
  change('write', 4096, 8192)
  change('write', 2 * extentBytes + 4096, 4096)
  await history.idle()
  assert.deepEqual(history.wrong, [], `story ${seed}`)
  return { history, from }
}

describe('crash images of volumes with images', () => {
  it('at the instants of a story, every kind', async () => {
    const stride = rounds({ short: 7, full: 1, long: 1 })
    for (let seed = 1; seed <= rounds({ short: 2, full: 12, long: 60 }); seed += 1) {
      const { history, from } = await story(seed)
      for (let at = from; at <= history.disk.now; at += 1) {
        const wanted = stride === 1 ? kinds : kinds.filter((_, kind) => (at + kind) % stride === 0)
        for (const ending of wanted) {
          const spec = { at, ending, seed: at, again: [], goesOn: at % 11 === 0 }
          await checkImage(history, spec).catch((error: unknown) => {
            throw new Error(
              `story ${seed}, ${JSON.stringify(spec)}: ${error instanceof Error ? error.message : error}`,
              { cause: error },
            )
          })
        }
      }
    }
  })

  const twice = resumable({
    name: 'twice',
    count: rounds({ short: 40, full: 2_000, long: 40_000 }),
    tally: { images: 0 },
  })
  it('that end twice, the second time while the store opens and gives back what a deleted image held', async () => {
    let made: Awaited<ReturnType<typeof story>> | null = null
    for (const number of twice) {
      if (made === null || number % 20 === 0) made = await story(100 + Math.floor(number / 20))
      const { unit } = seeded(number)
      const ending = () => kinds[Math.floor(unit() * kinds.length)] ?? 'kill'
      const { history, from } = made
      const at = from + Math.floor(unit() * (history.disk.now - from + 1))
      const again = [{ events: Math.floor(unit() * 200), ending: ending() }]
      const spec = { at, ending: ending(), seed: number, again, goesOn: unit() < 0.3 }
      await checkImage(history, spec).catch((error: unknown) => {
        throw new Error(
          `number ${number}, ${JSON.stringify(spec)}: ${error instanceof Error ? error.message : error}`,
          { cause: error },
        )
      })
      twice.tally.images += 1
    }
  })
})

it('a rebuilt index has no images; what they held neither comes back nor takes anything away', async () => {
  const folder = temporaryFolder()
  const dir = path.join(folder.dir)
  try {
    let store = await open(dir)
    const size = 64 * extentBytes
    const live = Buffer.alloc(size)
    await create(world, store, size)
    const write = async (extent: number, value: number, length = extentBytes) => {
      await calls(world, only(store)).write(extent * extentBytes, Buffer.alloc(length, value))
      live.fill(value, extent * extentBytes, extent * extentBytes + length)
    }
    const discard = async (extent: number) => {
      await calls(world, only(store)).discard(extent * extentBytes, extentBytes)
      live.fill(0, extent * extentBytes, (extent + 1) * extentBytes)
    }
    for (let extent = 0; extent < 8; extent += 1) await write(extent, 1)
    await mustCreate(world, store, 'a')
    await write(0, 2, 4096)
    await write(1, 2, 4096)
    await write(2, 2)
    await discard(2)
    await discard(3)
    await discard(4)
    await write(4, 3, 4096)
    await mustCreate(world, store, 'b')
    await write(0, 4, 512)
    await write(5, 4, 512)
    await discard(5)
    await close(world, store)
    store = await open(dir)
    assert.equal(await new Promise((done) => store.deleteImage(volume, 'a', done)), null)
    // The slots that were given back come round: what their headers said is gone with that.
    for (let extent = 30; extent < 60; extent += 1) await write(extent, 9, 4096)
    await calls(world, only(store)).sync()
    await close(world, store)
    for (let round = 0; round < 2; round += 1) {
      dropIndex(dir)
      const report = await rebuilt(dir)
      store = await open(dir)
      assert.deepEqual(store.images(volume), [])
      assert.equal(report.volumes[0]?.allocatedBytes, only(store).allocatedBytes())
      for (let at = 0; at < size; at += extentBytes) {
        const got = await calls(world, only(store)).read(at, extentBytes)
        assert.ok(got.equals(live.subarray(at, at + extentBytes)), `extent ${at / extentBytes}, round ${round}`)
      }
      await close(world, store)
    }
  } finally {
    folder.remove()
  }
})

it('a copy that was written when its commit did not come speaks against nothing in a rebuilt index', async () => {
  const folder = temporaryFolder()
  const { dir } = folder
  try {
    let store = await open(dir)
    await calls(world, await create(world, store, 8 * extentBytes)).write(0, Buffer.alloc(extentBytes, 1))
    const { run } = store
    await close(world, store)
    // What a kill leaves: a slot in doubt, with the younger header for an extent that has its old slot.
    const slot = 900
    const header = { state: 'data', slot, volumeId: volume, extent: 0, run, counter: 1_000_000 } as const
    const data = fs.openSync(path.join(dir, dataFilePath(0)), 'r+')
    fs.writeSync(data, encodeSlotHeader(header), 0, 512, headerOffset(slot))
    fs.writeSync(data, Buffer.alloc(extentBytes, 1), 0, extentBytes, slotOffset(slot))
    fs.closeSync(data)
    const bits = Buffer.alloc(512)
    bits[slot >> 3] = 1 << (slot & 7)
    const database = new Database(path.join(dir, 'index.db'))
    database.prepare('INSERT OR REPLACE INTO slotGroups VALUES (0, ?, ?)').run(bits, groupSum(0, bits))
    database.close()
    store = await open(dir)
    await calls(world, only(store)).write(4096, Buffer.alloc(4096, 2))
    await close(world, store)
    dropIndex(dir)
    await rebuilt(dir)
    store = await open(dir)
    const expected = Buffer.alloc(extentBytes, 1).fill(2, 4096, 8192)
    assert.ok((await calls(world, only(store)).read(0, extentBytes)).equals(expected), 'the extent is lost')
    await close(world, store)
  } finally {
    folder.remove()
  }
})
