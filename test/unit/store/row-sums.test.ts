/**
 * Aim: a row of the index that the disk has changed is damage that is named, never a wrong slot: SQLite takes a page with
 * a flipped bit for sound. Every kind of row, its content and its numbers; also one that was copied for an image.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, it, test } from 'node:test'
import Database from 'better-sqlite3'
import type { Index, IndexContents } from '../../../agent/store/index.ts'
import { inspectStore } from '../../../agent/store/inspect.ts'
import { groupSum, imageSum, movedSum, regionSum, volumeSum } from '../../../agent/store/row-sums.ts'
import { SqliteOpener } from '../../../agent/store/sqlite-index.ts'
import { MiB, open, rebuilt, world } from './rebuild-world.ts'
import { calls, close, create, only, volume } from './suite.ts'
import { failure, seeded, temporaryFolder } from './world.ts'

const thread = new URL('../../../agent/store/index-thread.ts', import.meta.url)
const asked = <T>(call: (done: (error: Error | null, value?: T) => void) => void): Promise<T> =>
  new Promise((resolve, reject) => {
    call((error, value) => (error ? reject(error) : resolve(value as T))) // T of void calls is undefined
  })

const pattern = Buffer.alloc(4096, 0xa5)

/** A volume with two regions, an image of it, and slots in doubt, after a kill (a copy of the folder). */
async function madeFolder(dir: string): Promise<void> {
  const live = `${dir}-live`
  fs.mkdirSync(live)
  const store = await open(live)
  const replica = await create(world, store, 40 * MiB)
  const { write, sync } = calls(world, replica)
  for (const at of [0, 256 * 1024, 20 * MiB]) await write(at, pattern)
  await sync()
  assert.equal(await new Promise((done) => store.createImage(volume, 'first', 5, (failed) => done(failed))), null)
  // The pool waits for its first write: its slots are in doubt.
  fs.cpSync(live, dir, { recursive: true })
  fs.rmSync(path.join(dir, 'index.db-shm'), { force: true })
  await close(world, store)
  const database = new Database(path.join(dir, 'index.db'))
  database.pragma('wal_checkpoint(TRUNCATE)')
  database.close()
}

const changes: Readonly<Record<string, { readonly sql: string; readonly named: RegExp }>> = {
  'the slot of a region': { sql: 'slots = X', named: /region 0 of volume or image [12] / },
  'the number of a region': {
    sql: 'UPDATE regions SET region = 7 WHERE region = 1 AND volume = 1',
    named: /region 7 /,
  },
  'the volume of a region': { sql: 'UPDATE regions SET volume = 3 WHERE volume = 1', named: /volume or image 3 / },
  'the slots are no blob any more': {
    sql: 'UPDATE regions SET slots = hex(substr(slots, 1, 128)) WHERE region = 1 AND volume = 1',
    named: /region 1 of volume or image 1 /,
  },
  'the checksum itself': { sql: 'UPDATE regions SET sum = sum + 1 WHERE volume = 2', named: /volume or image 2 / },
  'the bits of a group': { sql: 'UPDATE slotGroups SET doubtful = zeroblob(512)', named: /slot group 0 / },
  'the number of a group': { sql: 'UPDATE slotGroups SET number = 4', named: /slot group 4 / },
  'the size of a volume': { sql: 'UPDATE volumes SET sizeBytes = sizeBytes + 4096', named: /row of volume 1 / },
  'the id of a volume': { sql: `UPDATE volumes SET id = '${'e'.repeat(32)}'`, named: /row of volume 1 / },
  'the name of an image': { sql: "UPDATE images SET name = 'firsu'", named: /row of image 2 / },
  'whether an image leaves': { sql: 'UPDATE images SET leaving = 1', named: /row of image 2 / },
}

describe('a row of the index that the disk has changed', () => {
  const flipped = (dir: string): void => {
    // In the page itself, as a disk does it.
    const file = path.join(dir, 'index.db')
    const database = new Database(file)
    const row = database.prepare('SELECT slots FROM regions WHERE volume = 1 AND region = 0').pluck().get() as Buffer // FORMAT.md
    database.close()
    const bytes = fs.readFileSync(file)
    const at = bytes.indexOf(row)
    assert.ok(at > 0)
    bytes.writeUInt8(bytes.readUInt8(at) ^ 4, at)
    fs.writeFileSync(file, bytes)
  }

  for (const [name, { sql, named }] of Object.entries(changes)) {
    it(`${name}: opening and looking are refused with its name, and a rebuild heals it`, async () => {
      const folder = temporaryFolder()
      const dir = path.join(folder.dir, 'made')
      try {
        await madeFolder(dir)
        if (sql === 'slots = X') flipped(dir)
        else {
          const database = new Database(path.join(dir, 'index.db'))
          assert.ok(database.prepare(sql).run().changes > 0)
          assert.equal(database.pragma('integrity_check', { simple: true }), 'ok')
          database.close()
        }
        const refusal = { code: 'store-damaged', message: named, next: /store rebuild/ }
        await assert.rejects(open(dir), refusal)
        if (!name.includes('group')) assert.throws(() => inspectStore(dir), { code: 'store-damaged' })
        await rebuilt(dir)
        const store = await open(dir)
        for (const at of [0, 256 * 1024, 20 * MiB]) {
          assert.ok((await calls(world, only(store)).read(at, 4096)).equals(pattern))
        }
        await close(world, store)
      } finally {
        folder.remove()
      }
    })
  }

  it('while an agent runs: a copy of the row for an image is not a sound one', async () => {
    const folder = temporaryFolder()
    const opener = new SqliteOpener(folder.dir, thread)
    const add = { kind: 'add', volume: { number: 1, id: volume, sizeBytes: 64 * MiB } } as const
    const image = { number: 2, volume: 1, name: 'a', madeMs: 1, sizeBytes: 64 * MiB, leaving: false }
    try {
      const index = await asked<Index>((done) => opener.open('0'.repeat(32), done))
      const slots = Buffer.alloc(256, 1)
      await asked((done) => index.commit({ regions: [{ volume: 1, region: 3, slots }], groups: [], change: add }, done))
      const other = new Database(path.join(folder.dir, 'index.db'))
      other.prepare('UPDATE regions SET slots = ?').run(Buffer.alloc(256, 2))
      other.close()
      await asked((done) => index.commit({ regions: [], groups: [], change: { kind: 'add-image', image } }, done))
      // The row itself is written anew, from memory; its copy is what it was.
      await asked((done) => index.commit({ regions: [{ volume: 1, region: 3, slots }], groups: [] }, done))
      const loaded = asked<IndexContents>((done) => index.load(done))
      await assert.rejects(loaded, { code: 'ECORRUPT', message: /region 3 of volume or image 2 / })
    } finally {
      await failure((done) => opener.close(done))
      folder.remove()
    }
  })

  it('a volume that grows, and an image that leaves, are not made sound by it', async () => {
    const folder = temporaryFolder()
    const opener = new SqliteOpener(folder.dir, thread)
    const add = { kind: 'add', volume: { number: 1, id: volume, sizeBytes: 64 * MiB } } as const
    const image = { number: 2, volume: 1, name: 'a', madeMs: 1, sizeBytes: 64 * MiB, leaving: false }
    try {
      const index = await asked<Index>((done) => opener.open('0'.repeat(32), done))
      for (const change of [add, { kind: 'add-image', image } as const]) {
        await asked((done) => index.commit({ regions: [], groups: [], change }, done))
      }
      const other = new Database(path.join(folder.dir, 'index.db'))
      other.exec("UPDATE volumes SET id = 'x'; UPDATE images SET name = 'b'")
      other.close()
      for (const change of [
        { kind: 'grow', number: 1, sizeBytes: 80 * MiB },
        { kind: 'leave-images', numbers: [2] },
      ] as const) {
        const commit = asked((done) => index.commit({ regions: [], groups: [], change }, done))
        await assert.rejects(commit, { code: 'ECORRUPT', message: /does not fit its checksum/ })
      }
    } finally {
      await failure((done) => opener.close(done))
      folder.remove()
    }
  })
})

test('golden checksums of rows, and none fits a row with one bit or one number changed', () => {
  const slots = Buffer.from(Uint8Array.from({ length: 256 }, (_, at) => at))
  const bits = Buffer.alloc(512, 7)
  const image = { number: 2, volume: 1, name: 'first', madeMs: 5, sizeBytes: 4096, leaving: 0 }
  assert.deepEqual(
    [
      regionSum(1, 2, slots),
      groupSum(3, bits),
      volumeSum({ number: 1, id: 'ab'.repeat(16), sizeBytes: 2 ** 40 }),
      imageSum(image),
    ],
    [2_198_504_180, 4_276_224_766, 66_810_331, 1_259_965_423],
  )
  assert.equal(movedSum(regionSum(1, 2, slots), 1, 9, 2), regionSum(9, 2, slots))
  const { unit } = seeded(3)
  for (let round = 0; round < 2000; round += 1) {
    const other = Buffer.from(slots)
    const at = Math.floor(unit() * 256)
    other.writeUInt8(other.readUInt8(at) ^ (1 << Math.floor(unit() * 8)), at)
    assert.notEqual(regionSum(1, 2, other), regionSum(1, 2, slots))
    assert.notEqual(regionSum(1, round + 3, slots), regionSum(1, 2, slots))
    assert.notEqual(regionSum(round + 2, 2, slots), regionSum(1, 2, slots))
  }
})
