/**
 * Aim: a storage folder that lost its index gets it back from the data files alone: every byte of every volume, no slot
 * that was freed, everything in doubt (C11); and wherever the rebuilding is killed, it can be run again.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import { type VolumeId, volumeId } from '../../../agent/kit/ids.ts'
import { type BlockFile, type FileDone, FileError, type Files } from '../../../agent/store/files.ts'
import * as format from '../../../agent/store/format.ts'
import { inspectStore } from '../../../agent/store/inspect.ts'
import { NodeFiles } from '../../../agent/store/node-files.ts'
import { openStore } from '../../../agent/store/open-store.ts'
import { type RebuildOptions, type RebuildReport, rebuild } from '../../../agent/store/rebuild.ts'
import { rebuildStore } from '../../../agent/store/rebuild-folder.ts'
import type { ReplicaStore, Store } from '../../../agent/store/replica.ts'
import { SqliteOpener } from '../../../agent/store/sqlite-index.ts'
import { runSteps } from '../../../agent/store/steps.ts'
import { calls, close } from './suite.ts'
import { quiet, realClock, seeded, temporaryFolder } from './world.ts'

const world = { settle: <T>(promise: Promise<T>) => promise }
const MiB = 1024 * 1024
const KiB = 1024
const ids = ['a', 'b', 'c'].map((digit) => volumeId(digit.repeat(32)))
const large = [20 * MiB + 4096, 33 * MiB, MiB]
const small = [5 * MiB + 4096, 4 * MiB, MiB]
const open = (dir: string) => openStore({ dir, clock: realClock, log: quiet })

interface Model {
  readonly id: VolumeId
  readonly replica: ReplicaStore
  readonly bytes: Buffer
}

const rebuilt = async (dir: string, over: Partial<RebuildOptions> = {}): Promise<RebuildReport> => {
  const report = await rebuildStore({ dir, told: () => undefined, confirm: async () => true, ...over })
  assert.ok(report)
  return report
}

function dropIndex(dir: string): void {
  for (const ending of ['', '-wal', '-shm']) fs.rmSync(path.join(dir, `index.db${ending}`), { force: true })
}

/** The whole table of regions, by the volumes' ids: which slot holds what. */
function mappings(dir: string): unknown[] {
  const database = new Database(path.join(dir, 'index.db'))
  try {
    const sql =
      'SELECT id, region, hex(slots) AS slots FROM regions JOIN volumes ON volume = number ORDER BY id, region'
    return database.prepare(sql).all()
  } finally {
    database.close()
  }
}

async function makeVolume(store: Store, index: number, sizes: readonly number[]): Promise<Model> {
  const [id, size] = [ids[index], sizes[index]]
  assert.ok(id && size)
  const replica = await new Promise<ReplicaStore>((resolve, reject) =>
    store.createReplica(id, size, (failure, made) => (made ? resolve(made) : reject(new Error(`${failure}`)))),
  )
  return { id, replica, bytes: Buffer.alloc(size) }
}

/** Writes, overwrites, zeroes and discards at random places; the model gets the same. */
async function work(models: readonly Model[], seed: number, steps: number): Promise<void> {
  const random = seeded(seed)
  const below = (limit: number) => Math.floor(random.unit() * limit)
  for (let step = 0; step < steps; step++) {
    const { replica, bytes } = models[below(models.length)] as Model // below its length
    const call = calls(world, replica)
    const offset = below(bytes.length / 4096) * 4096
    const length = Math.min((1 + below(160)) * 4096, bytes.length - offset)
    const kind = random.unit()
    if (kind < 0.6) {
      const written = Buffer.alloc(length, 1 + below(255))
      await call.write(offset, written)
      written.copy(bytes, offset)
    } else if (kind < 0.75) {
      await call.zero(offset, length, random.unit() < 0.5)
      bytes.fill(0, offset, offset + length)
    } else {
      // Whole extents only, so that what is read back is told.
      const from = Math.ceil(offset / (256 * KiB)) * 256 * KiB
      const end = Math.floor((offset + 4 * length) / (256 * KiB)) * 256 * KiB
      if (end <= from || end > bytes.length) continue
      await call.discard(from, end - from)
      bytes.fill(0, from, end)
    }
  }
}

async function mustHold(dir: string, models: readonly Model[], marks: 'lossy' | 'any'): Promise<void> {
  const store = await open(dir)
  try {
    assert.deepEqual(
      store
        .replicas()
        .map(({ volumeId }) => volumeId)
        .sort(),
      models.map(({ id }) => id).sort(),
    )
    for (const { id, bytes } of models) {
      const replica = store.replicas().find((each) => each.volumeId === id)
      assert.ok(replica)
      assert.equal(replica.sizeBytes, bytes.length)
      for (let region = 0; marks === 'lossy' && region < replica.regionCount; region++) {
        const { marked, grade } = replica.region(region)
        assert.deepEqual({ marked, grade }, { marked: true, grade: 'lossy' }, `region ${region}`)
      }
      for (let at = 0; at < bytes.length; at += MiB) {
        const length = Math.min(MiB, bytes.length - at)
        const found = await calls(world, replica).read(at, length)
        assert.ok(found.equals(bytes.subarray(at, at + length)), `volume ${id} differs in the MiB from ${at}`)
      }
    }
  } finally {
    await close(world, store)
  }
}

/** A folder with three volumes that were worked on in two runs, and one that was deleted. */
async function withFolder(
  seed: number,
  use: (dir: string, models: readonly Model[]) => Promise<void>,
  sizes = large,
): Promise<void> {
  const folder = temporaryFolder()
  const { dir } = folder
  try {
    let store = await open(dir)
    const first: Model[] = []
    for (const index of ids.keys()) first.push(await makeVolume(store, index, sizes))
    await work(first, seed, 120)
    await close(world, store)
    store = await open(dir)
    const models = first.slice(0, 2).map((model) => {
      const replica = store.replicas().find(({ volumeId }) => volumeId === model.id)
      assert.ok(replica)
      return { ...model, replica }
    })
    const gone = ids[2]
    assert.ok(gone)
    assert.equal(await new Promise((done) => store.deleteReplica(gone, done)), null)
    await work(models, seed + 1, 120)
    for (const { replica } of models) await calls(world, replica).raiseStamp(0, 7)
    await close(world, store)
    await use(dir, models)
  } finally {
    folder.remove()
  }
}

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
    database.prepare('INSERT OR REPLACE INTO slotGroups VALUES (0, ?)').run(bits)
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

test("a data file's own damaged header is written anew; another store's file is refused, untouched", () =>
  withFolder(9, async (dir, models) => {
    const name = 'data/00000.slots'
    change(dir, name, 20, Buffer.from([1, 2, 3]))
    dropIndex(dir)
    const report = await rebuilt(dir)
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
    assert.equal(store.previousEnd, 'clean', 'a refused rebuilding left a trace')
    await assert.rejects(rebuilt(dir), { code: 'store-in-use' })
    await close(world, store)
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

/** Counts what changes the folder, and dies before call number `last`: what came before is done, nothing comes after. */
class Death {
  readonly #last: number
  count = 0

  constructor(last: number) {
    this.#last = last
  }

  get isDead(): boolean {
    return this.count > this.#last
  }

  passes(done: (error: FileError) => void): boolean {
    this.count += 1
    if (!this.isDead) return true
    setImmediate(done, new FileError('EKILLED', 'killed'))
    return false
  }
}

function mortalFiles(files: Files, death: Death): Files {
  const mortal = (file: BlockFile): BlockFile => ({
    read: (...call) => file.read(...call),
    write: (chunks, length, offset, fresh, done) => {
      if (death.passes(done)) file.write(chunks, length, offset, fresh, done)
    },
    sync: (done) => {
      if (death.passes(done)) file.sync(done)
    },
    close: (done) => file.close(done),
  })
  return {
    open: (name, create, done) =>
      files.open(name, create, (error, file) => (file ? done(null, mortal(file)) : done(error))),
    readAll: (name, done) => files.readAll(name, done),
    list: (folder, done) => files.list(folder, done),
    makeFolder: (name, done) => files.makeFolder(name, done),
    rename: (from, to, done) => {
      if (death.passes(done)) files.rename(from, to, done)
    },
    remove: (name, done) => {
      if (death.passes(done)) files.remove(name, done)
    },
    syncFolder: (folder, done) => {
      if (death.passes(done)) files.syncFolder(folder, done)
    },
    freeBytes: (done) => files.freeBytes(done),
  }
}

/** @returns whether it came to its end */
async function rebuildUntil(dir: string, last: number): Promise<boolean> {
  const death = new Death(last)
  const thread = (name: string) => new URL(`../../../agent/store/${name}`, import.meta.url)
  const opener = new SqliteOpener(dir, thread('index-thread.ts'))
  const index = {
    lock: (done: FileDone) => opener.lock(done),
    unlock: (done: FileDone) => opener.unlock(done),
    makeAside: (...[name, contents, done]: Parameters<SqliteOpener['makeAside']>) => {
      if (death.passes(done)) opener.makeAside(name, contents, done)
      // Killed in the middle of it.
      else fs.writeFileSync(path.join(dir, name), 'SQLite format 3\0 and then the plug was pulled')
    },
  }
  const files = mortalFiles(new NodeFiles(dir, thread('small-writes-thread.ts')), death)
  const error = await new Promise((resolve) =>
    runSteps(rebuild({ files, index, told: () => undefined, confirm: async () => true }), resolve),
  )
  assert.ok(error === null || death.isDead, String(error))
  return error === null
}

/** An agent that starts now is refused with the way out, or finds the old index, or the new one and all in doubt. */
async function mustBeHonest(dir: string, models: readonly Model[], old: number | null): Promise<void> {
  if (!fs.existsSync(path.join(dir, 'index.db'))) {
    await assert.rejects(open(dir), (error: { next?: string }) => /store rebuild/.test(error.next ?? ''))
    return
  }
  const isNew = fs.statSync(path.join(dir, 'index.db')).ino !== old
  await mustHold(dir, models, isNew ? 'lossy' : 'any')
}

for (const hasIndex of [true, false]) {
  test(`killed before each of its steps, ${hasIndex ? 'with' : 'without'} an old index: honest, and run again`, (t) =>
    withFolder(
      11,
      async (made, models) => {
        const folder = temporaryFolder()
        const dir = path.join(folder.dir, 'copy')
        try {
          if (!hasIndex) dropIndex(made)
          else {
            // With a log beside it, as a killed agent leaves it.
            fs.writeFileSync(path.join(made, 'index.db-wal'), '')
          }
          let step = 0
          for (let isDone = false; !isDone; step++) {
            fs.rmSync(dir, { recursive: true, force: true })
            execFileSync('cp', ['-r', '--sparse=always', made, dir])
            const old = hasIndex ? fs.statSync(path.join(dir, 'index.db')).ino : null
            isDone = await rebuildUntil(dir, step)
            const later = path.join(folder.dir, 'later')
            execFileSync('cp', ['-r', '--sparse=always', dir, later])
            const sameName = old !== null && fs.existsSync(path.join(dir, 'index.db'))
            const isOld = sameName && fs.statSync(path.join(dir, 'index.db')).ino === old
            const oldInLater = isOld ? fs.statSync(path.join(later, 'index.db')).ino : null
            await mustBeHonest(later, models, oldInLater)
            fs.rmSync(later, { recursive: true })
            assert.ok(await rebuildUntil(dir, 1000), `killed at step ${step}, it cannot be run again`)
            await mustHold(dir, models, 'lossy')
            assert.deepEqual(
              fs.readdirSync(dir).filter((name) => /before-rebuild|rebuilt/.test(name)),
              [],
            )
          }
          t.diagnostic(`${step} steps`)
          assert.ok(step > 15, `only ${step} steps`)
        } finally {
          folder.remove()
        }
      },
      small,
    ))
}
