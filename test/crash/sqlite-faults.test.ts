/**
 * Aim: whatever goes wrong under SQLite (another program's lock, damage, a disk that fails or is full), a person reads a
 * sentence or the replica has failed: nothing flushed is lost, nothing wrong is read, and rebuilding heals what can be
 * healed. Faults of calls come from sqlite-shim.c in the store's process, so that Linux and a compiler are needed.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { UserError } from '../../agent/kit/failure.ts'
import { rounds } from '../kit/length.ts'
import { findTool } from '../kit/needs.ts'
import { idOf } from '../unit/store/machine-plan.ts'
import { type Call, ProcessWorld } from '../unit/store/machine-worlds.ts'
import { open, rebuilt } from '../unit/store/rebuild-world.ts'
import { calls, close, only } from '../unit/store/suite.ts'
import { seeded } from '../unit/store/world.ts'

const extentBytes = 256 * 1024
const extentCount = 100
const id = idOf(0)
const settle = { settle: <T>(promise: Promise<T>) => promise }
const block = (extent: number) => Buffer.alloc(4096, extent + 1)
const index = (dir: string, ending = '') => path.join(dir, `index.db${ending}`)
const codes = { EIO: os.constants.errno.EIO, ENOSPC: os.constants.errno.ENOSPC, EROFS: os.constants.errno.EROFS }

let shim = ''
before(() => {
  const gcc = findTool('gcc')
  assert.ok(gcc && process.platform === 'linux', 'this part needs Linux and gcc (Debian package gcc)')
  shim = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'mirrorbay-shim-')), 'shim.so')
  const source = fileURLToPath(new URL('./sqlite-shim.c', import.meta.url))
  execFileSync(gcc, ['-shared', '-fPIC', '-O1', '-o', shim, source, '-ldl'])
})
after(() => fs.rmSync(path.dirname(shim), { recursive: true, force: true }))

/** A store with extents flushed, in a process of its own; what `body` leaves is ended by a kill, if not before. */
async function withStore(
  body: (world: ProcessWorld, ask: (call: Call) => Promise<string | null>, plan: string) => Promise<void>,
) {
  const plan = `${shim}.plan-${Math.random()}`
  const world = new ProcessWorld({ LD_PRELOAD: shim, FAULT_PLAN: plan })
  const ask = async (call: Call) => (await world.ask(call)).failure
  try {
    await world.open()
    assert.equal(await ask({ kind: 'create', id, sizeBytes: 64 * 1024 * 1024 }), null)
    for (let extent = 0; extent < extentCount; extent += 1) {
      assert.equal(await ask({ kind: 'write', id, from: extent * extentBytes, bytes: block(extent) }), null)
    }
    assert.equal(await ask({ kind: 'sync', id }), null)
    await body(world, ask, plan)
  } finally {
    fs.rmSync(plan, { force: true })
    await world.end()
  }
}

/** Everything that was flushed, and zeros around it. */
async function mustHoldAll(dir: string, words: string): Promise<void> {
  const store = await open(dir)
  try {
    for (let extent = 0; extent < extentCount; extent += 1) {
      const got = await calls(settle, only(store)).read(extent * extentBytes, 8192)
      assert.ok(got.equals(Buffer.concat([block(extent), Buffer.alloc(4096)])), `${words}: extent ${extent}`)
    }
  } finally {
    await close(settle, store)
  }
}

/** Opening is refused in words, or all is there; then rebuilding gives all of it back. @returns whether it was refused */
async function refusedOrWhole(dir: string, words: string): Promise<boolean> {
  let isRefused = false
  try {
    await mustHoldAll(dir, words)
  } catch (error) {
    assert.ok(error instanceof UserError, `${words}: ${error instanceof Error ? error.stack : error}`)
    assert.equal(error.code, 'store-damaged', words)
    assert.match(error.next, /store rebuild|empty storage folder/, words)
    isRefused = true
  }
  await rebuilt(dir)
  await mustHoldAll(dir, `${words}, rebuilt`)
  return isRefused
}

describe('the index is damaged', () => {
  const damage: Readonly<
    Record<string, { isRefused: boolean | null; harm: (dir: string, unit: () => number) => void }>
  > = {
    'a header of garbage': {
      isRefused: true,
      harm: (dir) => put(index(dir), 0, Buffer.alloc(100, 0x5a)),
    },
    'an empty file': { isRefused: true, harm: (dir) => fs.truncateSync(index(dir), 0) },
    'cut in the middle': {
      isRefused: true,
      harm: (dir) => fs.truncateSync(index(dir), Math.floor(fs.statSync(index(dir)).size / 2)),
    },
    'pages overwritten by chance': {
      isRefused: null,
      harm: (dir, unit) => {
        const pages = fs.statSync(index(dir)).size / 4096
        for (let count = 1 + Math.floor(unit() * 3); count > 0; count -= 1) {
          const bytes = Buffer.from(Uint8Array.from({ length: 4096 }, () => Math.floor(unit() * 256)))
          put(index(dir), Math.floor(unit() * pages) * 4096, bytes)
        }
      },
    },
    'its log removed after a clean end': {
      isRefused: false,
      harm: (dir) => fs.rmSync(index(dir, '-wal'), { force: true }),
    },
  }
  for (const [name, { isRefused, harm }] of Object.entries(damage)) {
    it(name, async () => {
      const count = isRefused === null ? rounds({ short: 2, full: 12, long: 60 }) : 1
      for (let seed = 1; seed <= count; seed += 1) {
        await withStore(async (world, ask) => {
          assert.equal(await ask({ kind: 'close' }), null)
          await world.kill()
          harm(world.dir, seeded(seed).unit)
          const was = await refusedOrWhole(world.dir, `${name}, seed ${seed}`)
          if (isRefused !== null) assert.equal(was, isRefused, name)
        })
      }
    })
  }

  it('its log is removed after a kill: never served with zeros in the place of what was flushed', () =>
    withStore(async (world, ask) => {
      // The tables stand in index.db from the first end on; the log has what came later.
      assert.equal(await ask({ kind: 'close' }), null)
      await world.kill()
      await world.open()
      for (let extent = extentCount; extent < extentCount + 5; extent += 1) {
        assert.equal(await ask({ kind: 'write', id, from: extent * extentBytes, bytes: block(extent) }), null)
        assert.equal(await ask({ kind: 'sync', id }), null)
      }
      await world.kill()
      fs.rmSync(index(world.dir, '-wal'))
      await assert.rejects(open(world.dir), { code: 'store-damaged', message: /older than the data/ })
      assert.equal(await refusedOrWhole(world.dir, 'the log is removed'), true)
      const store = await open(world.dir)
      for (let extent = extentCount; extent < extentCount + 5; extent += 1) {
        assert.ok((await calls(settle, only(store)).read(extent * extentBytes, 4096)).equals(block(extent)))
      }
      await close(settle, store)
    }))

  it('the log of another folder stands beside it', () =>
    withStore(async (world) => {
      await world.kill()
      await withStore(async (other) => {
        await other.kill()
        fs.copyFileSync(index(other.dir, '-wal'), index(world.dir, '-wal'))
        fs.rmSync(index(world.dir, '-shm'), { force: true })
        assert.equal(await refusedOrWhole(world.dir, 'the log of another folder'), true)
      })
    }))
})

function put(file: string, offset: number, bytes: Uint8Array): void {
  const fd = fs.openSync(file, 'r+')
  fs.writeSync(fd, bytes, 0, bytes.length, offset)
  fs.closeSync(fd)
}

/** First writes until one is refused. */
async function untilRefused(ask: (call: Call) => Promise<string | null>, most: number): Promise<string | null> {
  for (let count = 0; count < most; count += 1) {
    const extent = 120 + (count % 130)
    // Given back again: every round commits.
    const write = await ask({ kind: 'write', id, from: extent * extentBytes, bytes: Buffer.alloc(4096, 7) })
    const discard = await ask({ kind: 'discard', id, from: extent * extentBytes, length: extentBytes })
    if (write !== null || discard !== null) return write ?? discard
  }
  return null
}

describe('a call of SQLite fails', () => {
  const faults = {
    'the log takes nothing: EIO': 'w EIO index.db-wal',
    'the log takes nothing: the disk is full': 'w ENOSPC index.db-wal',
    'the log takes nothing: the disk became read-only': 'w EROFS index.db-wal',
    'the database takes nothing of the log: EIO': 'w EIO index.db',
    'the database takes nothing of the log: the disk is full': 'w ENOSPC index.db',
    'the database cannot be synced': 's EIO index.db',
  }
  for (const [name, fault] of Object.entries(faults)) {
    it(name, () =>
      withStore(async (world, ask, plan) => {
        const [kinds = '', code = '', file = ''] = fault.split(' ')
        fs.writeFileSync(plan, `${kinds} ${codes[code as keyof typeof codes]} ${file}`) // a key of `codes`, just above
        assert.equal(await untilRefused(ask, 4000), 'io', 'the store goes on as if nothing were')
        for (const call of [
          { kind: 'sync', id },
          { kind: 'write', id, from: 0, bytes: block(50) },
        ] as const) {
          assert.equal(await ask(call), 'io', 'a failed store takes something')
        }
        fs.rmSync(plan)
        await world.kill()
        await mustHoldAll(world.dir, name)
      }),
    )
  }

  it('the log cannot be synced: the flush fails, and the store with it', () =>
    withStore(async (world, ask, plan) => {
      assert.equal(await ask({ kind: 'write', id, from: 120 * extentBytes, bytes: block(1) }), null)
      fs.writeFileSync(plan, `s ${codes.EIO} index.db-wal`)
      assert.equal(await ask({ kind: 'sync', id }), 'io')
      fs.rmSync(plan)
      assert.equal(await ask({ kind: 'sync', id }), 'io', 'never retried as if nothing had happened')
      await world.kill()
      await mustHoldAll(world.dir, 'after a failed sync')
    }))

  it('the index cannot be read, or not be written, at the start: a sentence, and all is there afterwards', () =>
    withStore(async (world, _ask, plan) => {
      for (const [fault, code] of [
        [`r ${codes.EIO} index.db`, 'store-disk-error'],
        [`w ${codes.EIO} index.db-wal`, 'store-disk-error'],
        [`w ${codes.ENOSPC} index.db-wal`, 'store-full'],
      ] as const) {
        await world.kill()
        fs.writeFileSync(plan, fault)
        await assert.rejects(world.open(), { code }, fault)
        fs.rmSync(plan)
      }
      await world.kill()
      await mustHoldAll(world.dir, 'after refused starts')
    }))
})

describe('another program uses the index', () => {
  const holding = (dir: string) => {
    const database = new Database(index(dir))
    database.exec('BEGIN IMMEDIATE')
    return database
  }

  it('at the start: a sentence; when it is gone the store opens', () =>
    withStore(async (world, ask) => {
      assert.equal(await ask({ kind: 'close' }), null)
      await world.kill()
      const other = holding(world.dir)
      try {
        await assert.rejects(open(world.dir), { code: 'store-index-in-use' })
      } finally {
        other.close()
      }
      await mustHoldAll(world.dir, 'after another program')
    }))

  it('for a moment: writes wait; for long: the replica fails, and nothing flushed is lost', () =>
    withStore(async (world, ask) => {
      let other = holding(world.dir)
      const write: Call = { kind: 'write', id, from: 120 * extentBytes, bytes: block(1) }
      const waiting = ask(write)
      // The commit is under way: a reader would say so by waiting, too.
      await ask({ kind: 'look' })
      other.close()
      assert.equal(await waiting, null)
      other = holding(world.dir)
      try {
        assert.equal(await ask({ ...write, from: 125 * extentBytes }), 'io')
        assert.equal(await ask({ kind: 'sync', id }), 'io')
      } finally {
        other.close()
      }
      await world.kill()
      await mustHoldAll(world.dir, 'after a long lock')
    }))
})
