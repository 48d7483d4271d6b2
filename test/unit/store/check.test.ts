/** Aim: a block that the disk changed is found with no agent running, named by volume and offset; and nothing else is. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import type { VolumeId } from '../../../agent/kit/ids.ts'
import { type CheckReport, checkStore } from '../../../agent/store/check.ts'
import { decodeRecord, encodeRecord } from '../../../agent/store/format.ts'
import { inspectStore } from '../../../agent/store/inspect.ts'
import { dropIndex, KiB, MiB, type Model, open, rebuilt, small, withFolder, world } from './rebuild-world.ts'
import { calls, close } from './suite.ts'
import { temporaryFolder } from './world.ts'

const check = (dir: string): Promise<CheckReport> => checkStore({ dir, told: () => undefined })

const inDoubt = (report: CheckReport) => report.volumes.map(({ doubtfulBytes }) => doubtfulBytes > 0)

/** As the disk does it. @returns where in the volume */
function flip(dir: string, volume: VolumeId, extentIndex: number, inExtent: number): number {
  const look = inspectStore(dir)
  try {
    const replica = look.replicas.find(({ volumeId }) => volumeId === volume)
    const extent = [...(replica?.allocated() ?? [])][extentIndex]
    assert.ok(replica && extent !== undefined)
    const offsetBytes = extent * 256 * KiB + inExtent
    const place = replica.placeOf(offsetBytes)
    assert.ok(place)
    const fd = fs.openSync(path.join(dir, place.path), 'r+')
    const byte = Buffer.alloc(1)
    fs.readSync(fd, byte, 0, 1, place.offsetBytes)
    fs.writeSync(fd, Buffer.of(byte.readUInt8(0) ^ 4), 0, 1, place.offsetBytes)
    fs.closeSync(fd)
    return offsetBytes
  } finally {
    look.close()
  }
}

/** As a kill leaves it: what is marked has no checksums that count. */
function endUncleanly(dir: string): void {
  const file = path.join(dir, 'run.json')
  const record = decodeRecord(fs.readFileSync(file))
  assert.ok(record.ok && typeof record.value === 'object')
  fs.writeFileSync(file, encodeRecord({ ...record.value, end: 'running', sums: false }))
}

/** Takes all marks off, as the mirror does where copies are equal. */
async function unmarkAll(dir: string, models: readonly Model[]): Promise<void> {
  const store = await open(dir)
  for (const { id } of models) {
    const replica = store.replicas().find(({ volumeId }) => volumeId === id)
    assert.ok(replica)
    await calls(world, replica).sync()
    await calls(world, replica).unmark([...Array(replica.regionCount).keys()], 2)
    assert.equal(replica.region(0).marked, false)
  }
  await close(world, store)
}

test('a sound folder is sound; a flipped bit is named, in the first block and in the last; nothing is changed', () =>
  withFolder(
    21,
    async (dir, models) => {
      const [one, other] = models
      assert.ok(one && other)
      const sound = await check(dir)
      assert.equal(sound.badCount, 0)
      assert.deepEqual(inDoubt(sound), [false, false], 'after a clean end all checksums count')
      const first = flip(dir, one.id, 0, 0)
      const second = flip(dir, other.id, 1, 256 * KiB - 1)
      const files = () => ['run.json', `marks/${one.id}.marks`].map((name) => fs.readFileSync(path.join(dir, name)))
      const before = files()
      const found = await check(dir)
      assert.deepEqual(
        found.bad.map(({ volumeId, offsetBytes, why }) => ({ volumeId, offsetBytes, why })),
        [
          { volumeId: one.id, offsetBytes: first, why: 'checksum' },
          { volumeId: other.id, offsetBytes: second - 4095, why: 'checksum' },
        ],
      )
      assert.equal(found.badCount, 2)
      assert.deepEqual(files(), before)
    },
    small,
  ))

test('what an unclean end left marked is not held against old checksums, the rest is', () =>
  withFolder(
    22,
    async (dir, models) => {
      const [model] = models
      assert.ok(model)
      endUncleanly(dir)
      flip(dir, model.id, 0, 77)
      const marked = await check(dir)
      assert.equal(marked.badCount, 0)
      assert.deepEqual(inDoubt(marked), [true, true])
      await unmarkAll(dir, models)
      endUncleanly(dir)
      const again = flip(dir, model.id, 0, 5000)
      const found = await check(dir)
      assert.deepEqual(
        found.bad.map(({ offsetBytes }) => offsetBytes),
        [again - (again % 4096)],
      )
      assert.deepEqual(inDoubt(found), [false, false])
    },
    small,
  ))

test('a rebuilt folder is in doubt all over; a data file that is gone cannot be read', () =>
  withFolder(
    23,
    async (dir) => {
      dropIndex(dir)
      await assert.rejects(check(dir), { code: 'store-damaged' })
      await rebuilt(dir)
      const report = await check(dir)
      assert.deepEqual([report.badCount, inDoubt(report)], [0, [true, true]])
      assert.ok(report.volumes.every(({ checkedBytes }) => checkedBytes === 0))
    },
    small,
  ))

test('a data file that is gone: every block of it cannot be read', () =>
  withFolder(
    24,
    async (dir) => {
      const whole = await check(dir)
      const checked = whole.volumes.reduce((bytes, { checkedBytes }) => bytes + checkedBytes, 0)
      fs.rmSync(path.join(dir, 'data/00000.slots'))
      const report = await check(dir)
      assert.ok(report.badCount > (checked - MiB) / 4096, `${report.badCount} blocks of ${checked} bytes`)
      assert.ok(report.bad.length <= 1000 && report.bad.every(({ why }) => why === 'unreadable'))
    },
    small,
  ))

test('a folder with an agent, and one that is no store, are refused', () =>
  withFolder(
    25,
    async (dir) => {
      const store = await open(dir)
      try {
        await assert.rejects(check(dir), { code: 'store-in-use' })
      } finally {
        await close(world, store)
      }
      const folder = temporaryFolder()
      try {
        await assert.rejects(check(folder.dir), { code: 'store-garbage' })
        assert.deepEqual(fs.readdirSync(folder.dir), [])
      } finally {
        folder.remove()
      }
    },
    small,
  ))
