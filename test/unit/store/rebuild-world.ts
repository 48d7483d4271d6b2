/** Storage folders with something in them, for the tests of rebuilding. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import Database from 'better-sqlite3'
import { type VolumeId, volumeId } from '../../../agent/kit/ids.ts'
import { openStore } from '../../../agent/store/open-store.ts'
import type { RebuildOptions, RebuildReport } from '../../../agent/store/rebuild.ts'
import { rebuildStore } from '../../../agent/store/rebuild-folder.ts'
import type { ReplicaStore, Store } from '../../../agent/store/replica.ts'
import { calls, close } from './suite.ts'
import { quiet, realClock, seeded, temporaryFolder } from './world.ts'

export const world = { settle: <T>(promise: Promise<T>) => promise }
export const MiB = 1024 * 1024
export const KiB = 1024
export const ids = ['a', 'b', 'c'].map((digit) => volumeId(digit.repeat(32)))
const large = [20 * MiB + 4096, 33 * MiB, MiB]
export const small = [5 * MiB + 4096, 4 * MiB, MiB]
export const open = (dir: string) => openStore({ dir, clock: realClock, log: quiet })

export interface Model {
  readonly id: VolumeId
  readonly replica: ReplicaStore
  readonly bytes: Buffer
}

export const rebuilt = async (dir: string, over: Partial<RebuildOptions> = {}): Promise<RebuildReport> => {
  const report = await rebuildStore({ dir, told: () => undefined, confirm: async () => true, ...over })
  assert.ok(report)
  return report
}

export function dropIndex(dir: string): void {
  for (const ending of ['', '-wal', '-shm']) fs.rmSync(path.join(dir, `index.db${ending}`), { force: true })
}

/** The whole table of regions, by the volumes' ids: which slot holds what. */
export function mappings(dir: string): unknown[] {
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
export async function work(models: readonly Model[], seed: number, steps: number): Promise<void> {
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

export async function mustHold(dir: string, models: readonly Model[], marks: 'lossy' | 'any'): Promise<void> {
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
export async function withFolder(
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
