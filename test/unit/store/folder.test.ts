/** Aim: whatever is in the folder, a person gets a clear sentence and nothing is touched. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import { UserError } from '../../../agent/kit/failure.ts'
import { StoreFaults } from '../../../agent/store/faults.ts'
import { decodeCounts, decodeRecord, encodeCounts, encodeRecord } from '../../../agent/store/format.ts'
import { openStore } from '../../../agent/store/open-store.ts'
import { calls, close, create, only } from './suite.ts'
import { quiet, realClock, temporaryFolder } from './world.ts'

const world = { settle: <T>(promise: Promise<T>) => promise }

async function refused(dir: string, code: string): Promise<void> {
  const before = fs.statSync(dir).isDirectory() ? fs.readdirSync(dir).sort() : null
  await assert.rejects(openStore({ dir, clock: realClock, log: quiet }), (error: unknown) => {
    assert.ok(error instanceof UserError, String(error))
    assert.equal(error.code, code)
    assert.ok(error.message && error.dataIsSafe && error.next)
    return true
  })
  if (before) assert.deepEqual(fs.readdirSync(dir).sort(), before)
}

async function inFolder(body: (dir: string) => Promise<void>): Promise<void> {
  const folder = temporaryFolder()
  try {
    await body(folder.dir)
  } finally {
    folder.remove()
  }
}

test('a folder that is missing, a file, garbage, or of another version is refused and not touched', () =>
  inFolder(async (dir) => {
    await assert.rejects(openStore({ dir: path.join(dir, 'none'), clock: realClock, log: quiet }), {
      code: 'store-missing',
    })
    fs.writeFileSync(path.join(dir, 'file'), 'x')
    await refused(path.join(dir, 'file'), 'store-not-a-folder')
    fs.writeFileSync(path.join(dir, 'store.json'), 'not a store at all')
    await refused(dir, 'store-garbage')
    fs.writeFileSync(path.join(dir, 'store.json'), encodeRecord({ kind: 'something else' }))
    await refused(dir, 'store-garbage')
    const next = { kind: 'mirrorbay-store', version: 3, storeId: 'a'.repeat(32) }
    fs.writeFileSync(path.join(dir, 'store.json'), encodeRecord(next))
    await refused(dir, 'store-version')
    fs.writeFileSync(path.join(dir, 'store.json'), encodeRecord(next).toString().replace('record 2', 'record 9'))
    await refused(dir, 'store-version')
  }))

/** As an agent before the count of the index's commits has left them. */
function forgetIndexCount(dir: string): void {
  const run = decodeRecord(fs.readFileSync(path.join(dir, 'run.json')))
  assert.ok(run.ok)
  const { index, ...older } = run.value as { index: number } // run.ts
  assert.ok(index > 0)
  fs.writeFileSync(path.join(dir, 'run.json'), encodeRecord(older, run.count))
  for (const folder of ['data', 'marks']) {
    for (const name of fs.readdirSync(path.join(dir, folder))) {
      const fd = fs.openSync(path.join(dir, folder, name), 'r+')
      const header = Buffer.alloc(4096)
      fs.readSync(fd, header, 0, 4096, 0)
      fs.writeSync(fd, encodeCounts({ ...decodeCounts(header), index: 0 }), 0, 512, 512)
      fs.closeSync(fd)
    }
  }
}

const withoutSums = `${['volumes', 'regions', 'slotGroups', 'images'].map((table) => `ALTER TABLE ${table} DROP COLUMN sum`).join(';')};
  ALTER TABLE store DROP COLUMN commits; UPDATE store SET version = 2;`

for (const [from, older] of [
  [1, `${withoutSums} DROP TABLE images; UPDATE store SET version = 1`],
  [2, withoutSums],
] as const) {
  test(`an index with tables of version ${from} is opened and gets what it lacks; one of a later version is refused`, () =>
    inFolder(async (dir) => {
      const store = await openStore({ dir, clock: realClock, log: quiet })
      await calls(world, await create(world, store, 1 << 20)).write(0, Buffer.alloc(4096, 1))
      await close(world, store)
      const version = (sql: string) => {
        const database = new Database(path.join(dir, 'index.db'))
        try {
          database.exec(sql)
          return database.prepare('SELECT version FROM store').pluck().get()
        } finally {
          database.close()
        }
      }
      assert.equal(version(older), from)
      // Where the count was known an index without it is an older copy.
      await refused(dir, 'store-damaged')
      assert.equal(version('SELECT 1'), 3)
      forgetIndexCount(dir)
      assert.equal(version(older), from)
      const again = await openStore({ dir, clock: realClock, log: quiet })
      assert.deepEqual(await calls(world, only(again)).read(0, 4096), Buffer.alloc(4096, 1))
      await close(world, again)
      assert.equal(version('SELECT sum FROM images'), 3)
      await close(world, await openStore({ dir, clock: realClock, log: quiet }))
      version('UPDATE store SET version = 4')
      await refused(dir, 'store-version')
    }))
}

test('a mount point with lost+found and a configuration beside it just works', () =>
  inFolder(async (dir) => {
    fs.mkdirSync(path.join(dir, 'lost+found'))
    fs.writeFileSync(path.join(dir, 'config.json'), '{}')
    await close(world, await openStore({ dir, clock: realClock, log: quiet }))
  }))

test('damage is named: a record, the index, a marks file, a data file', () =>
  inFolder(async (dir) => {
    const store = await openStore({ dir, clock: realClock, log: quiet })
    await calls(world, await create(world, store, 1 << 20)).write(0, Buffer.alloc(4096, 1))
    assert.equal(await new Promise((done) => store.records.put('a', 1, done)), null)
    await close(world, store)
    for (const name of [
      'meta/a.json',
      'run.json',
      `marks/${only(store).volumeId}.marks`,
      'index.db',
      'data/00000.slots',
    ]) {
      const file = path.join(dir, name)
      const good = fs.readFileSync(file)
      const bad = Buffer.from(good)
      bad.fill(0x5a, 10, Math.min(60, bad.length))
      fs.writeFileSync(file, bad)
      await assert.rejects(openStore({ dir, clock: realClock, log: quiet }), { code: 'store-damaged' }, name)
      fs.writeFileSync(file, good)
    }
    fs.renameSync(path.join(dir, 'index.db'), path.join(dir, 'aside'))
    await assert.rejects(openStore({ dir, clock: realClock, log: quiet }), { code: 'store-damaged' })
    fs.renameSync(path.join(dir, 'aside'), path.join(dir, 'index.db'))
    await close(world, await openStore({ dir, clock: realClock, log: quiet }))
  }))

test('a file of the store that is gone is named, not met later', () =>
  inFolder(async (dir) => {
    const store = await openStore({ dir, clock: realClock, log: quiet })
    await calls(world, await create(world, store, 1 << 20)).write(0, Buffer.alloc(4096, 1))
    await close(world, store)
    for (const name of ['data/00000.slots', `marks/${only(store).volumeId}.marks`]) {
      fs.renameSync(path.join(dir, name), path.join(dir, 'aside'))
      await assert.rejects(openStore({ dir, clock: realClock, log: quiet }), (error: unknown) => {
        assert.ok(error instanceof UserError && error.code === 'store-damaged', String(error))
        assert.ok(error.message.includes(`${name}: it is missing`), error.message)
        return true
      })
      fs.renameSync(path.join(dir, 'aside'), path.join(dir, name))
    }
    await close(world, await openStore({ dir, clock: realClock, log: quiet }))
  }))

test('the faults of the switchboard: full, slow, fail', () =>
  inFolder(async (dir) => {
    const faults = new StoreFaults()
    const store = await openStore({ dir, clock: realClock, log: quiet, faults })
    const replica = await create(world, store, 1 << 20)
    const { write, sync } = calls(world, replica)
    await write(0, Buffer.alloc(4096, 1))
    assert.equal(faults.set('nonsense'), false)
    assert.equal(faults.set('disk-full'), true)
    const fresh = await new Promise((done) => replica.write(1 << 19, [Buffer.alloc(512)], 512, done))
    assert.equal(fresh, 'no-space')
    await write(0, Buffer.alloc(4096, 2))
    faults.set('off')
    faults.set('slow=30')
    const beforeMs = performance.now()
    await sync()
    assert.ok(performance.now() - beforeMs >= 25)
    faults.set('disk-fail')
    assert.equal(await new Promise((done) => replica.write(0, [Buffer.alloc(512)], 512, done)), 'io')
    assert.equal(await new Promise((done) => store.close(done)), 'io')
  }))
