/**
 * Aim: the real index after a power cut: its write-ahead log cut or torn anywhere behind what was synced, and its
 * database with any part of a checkpoint. The store opens, what was flushed is there, the rest lies in marked regions.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import Database from 'better-sqlite3'
import { openStore } from '../../../agent/store/open-store.ts'
import { rounds } from '../../kit/length.ts'
import { calls, close, create, only } from './suite.ts'
import { quiet, realClock, seeded, temporaryFolder } from './world.ts'

const extentBytes = 256 * 1024
const world = { settle: <T>(promise: Promise<T>) => promise }
const frameHeaderBytes = 24
const logHeaderBytes = 32
const flushed = 40
const written = 80

const block = (extent: number): Buffer => Buffer.alloc(4096, extent + 1)

describe('images of SQLite', () => {
  const folder = temporaryFolder()
  const source = path.join(folder.dir, 'source')
  let log = Buffer.alloc(0)
  let syncedBytes = 0

  /** Forty extents are flushed, forty more acknowledged; the copy is what stands in the files then. */
  before(async () => {
    const dir = path.join(folder.dir, 'live')
    fs.mkdirSync(dir)
    const store = await openStore({ dir, clock: realClock, log: quiet })
    const { write, sync } = calls(world, await create(world, store, 64 * 1024 * 1024))
    for (let extent = 0; extent < flushed; extent += 1) await write(extent * extentBytes, block(extent))
    // What was committed before the sync began is synced; more may be.
    syncedBytes = fs.statSync(path.join(dir, 'index.db-wal')).size
    await sync()
    for (let extent = flushed; extent < written; extent += 1) await write(extent * extentBytes, block(extent))
    fs.cpSync(dir, source, { recursive: true })
    log = fs.readFileSync(path.join(source, 'index.db-wal'))
    await close(world, store)
  })
  after(() => folder.remove())

  async function check(words: string, log: Buffer, database: Buffer | null, isWhole: boolean): Promise<number> {
    const dir = path.join(folder.dir, 'image')
    fs.rmSync(dir, { recursive: true, force: true })
    fs.cpSync(source, dir, { recursive: true })
    fs.rmSync(path.join(dir, 'index.db-shm'), { force: true })
    fs.writeFileSync(path.join(dir, 'index.db-wal'), log)
    if (database !== null) fs.writeFileSync(path.join(dir, 'index.db'), database)
    const store = await openStore({ dir, clock: realClock, log: quiet })
    let there = 0
    try {
      const replica = only(store)
      for (let extent = 0; extent < written; extent += 1) {
        const got = await calls(world, replica).read(extent * extentBytes, 8192)
        const isThere = got.equals(Buffer.concat([block(extent), Buffer.alloc(4096)]))
        if (isThere) there += 1
        else assert.ok(extent >= flushed && !isWhole && got.equals(Buffer.alloc(8192)), `${words}: extent ${extent}`)
        const { marked } = replica.region(Math.floor(extent / 64))
        assert.ok(marked, `${words}: the region of extent ${extent} is not marked (C1)`)
      }
    } finally {
      await close(world, store)
    }
    return there
  }

  it('the log cut at every frame behind the last sync, and inside of frames', async () => {
    const pageBytes = log.readUInt32BE(8)
    const frameBytes = frameHeaderBytes + pageBytes
    const first = logHeaderBytes + Math.floor((syncedBytes - logHeaderBytes) / frameBytes) * frameBytes
    const frames = (log.length - first) / frameBytes
    assert.ok(frames >= 20, `only ${frames} frames behind the sync`)
    const step = rounds({ short: Math.ceil(frames / 3), full: 1, long: 1 })
    const seen = new Set<number>()
    for (let frame = 0; frame <= frames; frame += step) {
      for (const more of [0, 17, frameHeaderBytes + 512]) {
        const cut = log.subarray(0, Math.min(log.length, first + frame * frameBytes + more))
        seen.add(await check(`cut at ${cut.length} of ${log.length}`, cut, null, false))
      }
    }
    assert.ok(seen.size > 2 && Math.min(...seen) >= flushed, `extents seen: ${[...seen]}`)
  })

  it('the log torn: sectors behind the last sync are there or not', async () => {
    for (let seed = 1; seed <= rounds({ short: 3, full: 100, long: 1000 }); seed += 1) {
      const { unit } = seeded(seed)
      const torn = Buffer.from(log)
      const share = unit() * 0.2
      for (let at = Math.ceil(syncedBytes / 512) * 512; at < torn.length; at += 512) {
        if (unit() < share) torn.fill(0, at, Math.min(torn.length, at + 512))
      }
      await check(`torn, seed ${seed}`, torn, null, false)
    }
  })

  it('a checkpoint in the middle: any pages of the database are there, the whole log is', async () => {
    const old = fs.readFileSync(path.join(source, 'index.db'))
    const dir = path.join(folder.dir, 'checkpoint')
    fs.cpSync(source, dir, { recursive: true })
    const database = new Database(path.join(dir, 'index.db'))
    database.pragma('wal_checkpoint(FULL)')
    const next = fs.readFileSync(path.join(dir, 'index.db'))
    database.close()
    assert.ok(!old.equals(next), 'the checkpoint wrote something')
    for (let seed = 1; seed <= rounds({ short: 3, full: 60, long: 600 }); seed += 1) {
      const { unit } = seeded(seed)
      const image = Buffer.alloc(unit() < 0.5 ? next.length : old.length)
      old.copy(image)
      for (let at = 0; at < image.length; at += 512) if (unit() < 0.5) next.copy(image, at, at, at + 512)
      assert.equal(await check(`checkpoint, seed ${seed}`, log, image, true), written)
    }
  })
})
