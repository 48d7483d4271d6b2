/**
 * Aim: no power cut takes a synced commit out of the index: its log torn behind the last sync, its log begun anew in place
 * after it was written back, and its database with any part of what was being written back. Images are made of copies of
 * the real files, taken around the index thread's own write-backs; hundreds of them, most looked at with SQLite alone.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import Database from 'better-sqlite3'
import type { Index, IndexContents } from '../../../agent/store/index.ts'
import { SqliteOpener } from '../../../agent/store/sqlite-index.ts'
import { rounds } from '../../kit/length.ts'
import { numberOf, regionRow, rowsAfter } from './index-rows.ts'
import { seeded, temporaryFolder } from './world.ts'

const thread = new URL('../../../agent/store/index-thread.ts', import.meta.url)
const sectorBytes = 512
const logHeaderBytes = 32
/** One in so many images is opened by the index itself. */
const byTheIndex = 25

const asked = <T>(call: (done: (error: Error | null, value?: T) => void) => void): Promise<T> =>
  new Promise((resolve, reject) => {
    call((error, value) => (error ? reject(error) : resolve(value as T))) // T of void calls is undefined
  })

/** Around one write-back of the log, and what came after it. */
interface Cycle {
  /** The commit that made the log long enough. */
  readonly last: number
  readonly database: { readonly before: Buffer; readonly after: Buffer }
  readonly log: {
    /** At an earlier commit, which was synced; appended to since. */
    readonly synced: Buffer
    readonly syncedCommit: number
    readonly whole: Buffer
    /** Begun anew: three commits that no sync covers, then a sync, then three more. */
    readonly again: Buffer
    readonly more: Buffer
  }
}

describe('images of the index', () => {
  const folder = temporaryFolder()
  const cycles: Cycle[] = []
  let images = 0

  before(async () => {
    const dir = path.join(folder.dir, 'live')
    fs.mkdirSync(dir)
    const copy = (ending = '') => fs.readFileSync(path.join(dir, `index.db${ending}`))
    const opener = new SqliteOpener(dir, thread)
    try {
      const index = await asked<Index>((done) => opener.open('0'.repeat(32), done))
      let number = 0
      const commit = async () => {
        number += 1
        await asked((done) => index.commit({ regions: [regionRow(number)], groups: [] }, done))
        // An empty one is answered after what the first one led to.
        await asked((done) => index.commit({ regions: [], groups: [] }, done))
      }
      while (cycles.length < 4) {
        const count = opener.checkpoints.count
        let synced = { log: copy('-wal'), commit: number }
        let database = copy()
        while (opener.checkpoints.count === count) {
          database = copy()
          if (number % 40 === 0) {
            await asked((done) => index.sync(done))
            synced = { log: copy('-wal'), commit: number }
          }
          await commit()
        }
        const [last, whole] = [number, copy('-wal')]
        for (let more = 0; more < 3; more += 1) await commit()
        const again = copy('-wal')
        await asked((done) => index.sync(done))
        for (let more = 0; more < 3; more += 1) await commit()
        const log = { synced: synced.log, syncedCommit: synced.commit, whole, again, more: copy('-wal') }
        cycles.push({ last, database: { before: database, after: copy() }, log })
      }
    } finally {
      await asked((done) => opener.close(done))
    }
  })
  after(() => folder.remove())

  /** @returns the last commit that is there; all before it must be, and nothing else */
  async function lastIn(words: string, database: Buffer, log: Buffer): Promise<number> {
    images += 1
    const dir = path.join(folder.dir, `image-${images}`)
    fs.mkdirSync(dir)
    try {
      fs.writeFileSync(path.join(dir, 'index.db'), database)
      fs.writeFileSync(path.join(dir, 'index.db-wal'), log)
      const rows = images % byTheIndex === 0 ? await loaded(dir) : selected(dir)
      const last = Math.max(0, ...rows.values())
      assert.deepEqual(rows, rowsAfter(last), `${words}: rows are missing, or from different commits`)
      return last
    } finally {
      fs.rmSync(dir, { recursive: true, force: true })
    }
  }

  const some = (words: string, from: Buffer, to: Buffer, unit: () => number, fromBytes = 0): Buffer => {
    const share = unit()
    const image = Buffer.alloc(unit() < 0.5 ? Math.max(from.length, to.length) : from.length)
    from.copy(image)
    for (let at = Math.floor(fromBytes / sectorBytes) * sectorBytes; at < to.length; at += sectorBytes) {
      if (unit() >= share) continue
      assert.ok(at < image.length || image.length === from.length, words)
      to.copy(image, at, at, Math.min(at + sectorBytes, to.length))
    }
    return image
  }

  const each = async (short: number, body: (cycle: Cycle, unit: () => number, words: string) => Promise<void>) => {
    const count = rounds({ short, full: 1500, long: 15_000 })
    for (let seed = 1; seed <= count; seed += 1) {
      const cycle = cycles[seed % cycles.length]
      assert.ok(cycle)
      await body(cycle, seeded(seed).unit, `seed ${seed}, commit ${cycle.last}`)
    }
  }

  it('the log is being written back: any sectors of the database are there', () =>
    each(120, async ({ last, database, log }, unit, words) => {
      assert.ok(!database.before.equals(database.after), 'nothing was written back')
      assert.equal(await lastIn(words, some(words, database.before, database.after, unit), log.whole), last, words)
    }))

  it('the log is cut, or any sectors of it are missing, behind the last sync', () =>
    each(120, async ({ last, database, log }, unit, words) => {
      const { synced, syncedCommit, whole } = log
      const isCut = unit() < 0.5
      const end = synced.length + Math.floor(unit() * (whole.length - synced.length))
      const image = isCut ? whole.subarray(0, end) : some(words, synced, whole, unit, 0)
      const got = await lastIn(words, database.before, image)
      assert.ok(got >= syncedCommit && got <= last, `${words}: ${got} is the last, synced was ${syncedCommit}`)
    }))

  it('the log begins anew in place: its header was synced first, any sectors of the rest are there', () =>
    each(120, async ({ last, database, log }, unit, words) => {
      const image = some(words, log.whole, log.again, unit, logHeaderBytes)
      // SQLite syncs the new header before it writes a frame over an old one.
      log.again.copy(image, 0, 0, logHeaderBytes)
      const got = await lastIn(words, database.after, image)
      assert.ok(got >= last && got <= last + 3, `${words}: ${got} is the last`)
    }))

  it('a sync covers commits of the log that was begun anew; of later ones any sectors are there', () =>
    each(120, async ({ last, database, log }, unit, words) => {
      const got = await lastIn(words, database.after, some(words, log.again, log.more, unit))
      assert.ok(got >= last + 3 && got <= last + 6, `${words}: ${got} is the last, synced was ${last + 3}`)
    }))
})

/** As SQLite itself finds it. */
function selected(dir: string): Map<number, number> {
  const database = new Database(path.join(dir, 'index.db'))
  try {
    const rows = database.prepare('SELECT region, slots FROM regions').raw().all() as [number, Buffer][] // FORMAT.md
    return sorted(rows.map(([region, slots]) => [region, slots.readDoubleLE(0)]))
  } finally {
    database.close()
  }
}

async function loaded(dir: string): Promise<Map<number, number>> {
  const opener = new SqliteOpener(dir, thread)
  try {
    const index = await asked<Index>((done) => opener.open(null, done))
    const { regions } = await asked<IndexContents>((done) => index.load(done))
    return sorted([...regions].map((row) => [row.region, numberOf(row)]))
  } finally {
    await asked((done) => opener.close(done))
  }
}

const sorted = (rows: [number, number][]): Map<number, number> => new Map(rows.sort(([a], [b]) => a - b))
