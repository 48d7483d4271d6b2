/**
 * Aim: a slot header that no longer says the truth, since its slot waits to be zeroed, brings nothing back in a rebuilt
 * index: not when another slot's tombstone was overwritten meanwhile, nor when its volume was deleted and made again.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import { decodeSlotHeader, encodeSlotHeader, headerOffset, type SlotHeader } from '../../../agent/store/format.ts'
import { inspectStore } from '../../../agent/store/inspect.ts'
import type { ReplicaStore, Store } from '../../../agent/store/replica.ts'
import { groupSum } from '../../../agent/store/row-sums.ts'
import { dropIndex, KiB, MiB, open, rebuilt, world } from './rebuild-world.ts'
import { calls, close, create, only, volume } from './suite.ts'
import { temporaryFolder } from './world.ts'

const extentBytes = 256 * KiB

async function inFolder(body: (dir: string) => Promise<void>): Promise<void> {
  const folder = temporaryFolder()
  try {
    await body(folder.dir)
  } finally {
    folder.remove()
  }
}

function slotFile<T>(dir: string, body: (fd: number) => T): T {
  const fd = fs.openSync(path.join(dir, 'data/00000.slots'), 'r+')
  try {
    return body(fd)
  } finally {
    fs.closeSync(fd)
  }
}

const headerOf = (dir: string, slot: number): SlotHeader | null =>
  slotFile(dir, (fd) => {
    const bytes = Buffer.alloc(512)
    fs.readSync(fd, bytes, 0, 512, headerOffset(slot))
    return decodeSlotHeader(bytes)
  })

/** As a kill leaves it: these slots wait to be zeroed. */
function putInDoubt(dir: string, from: number, to: number): void {
  const bits = Buffer.alloc(512)
  for (let slot = from; slot < to; slot += 1) bits.writeUInt8(bits.readUInt8(slot >> 3) | (1 << (slot & 7)), slot >> 3)
  const database = new Database(path.join(dir, 'index.db'))
  database.prepare('INSERT OR REPLACE INTO slotGroups VALUES (0, ?, ?)').run(bits, groupSum(0, bits))
  database.close()
}

async function inStore(dir: string, body: (replica: ReplicaStore, store: Store) => Promise<void>): Promise<void> {
  const store = await open(dir)
  try {
    await body(only(store), store)
  } finally {
    await close(world, store)
  }
}

function extentsHeld(dir: string): number[] {
  const look = inspectStore(dir)
  try {
    return look.replicas.flatMap((replica) => [...replica.allocated()])
  } finally {
    look.close()
  }
}

test('an old header waits to be zeroed while the newer tombstone is overwritten: the extent does not come back', () =>
  inFolder(async (dir) => {
    const store = await open(dir)
    const { write, discard } = calls(world, await create(world, store, 40 * MiB))
    await write(0, Buffer.alloc(extentBytes, 0xaa))
    const old = headerOf(dir, 0)
    assert.deepEqual([old?.state, old?.extent], ['data', 0])
    await discard(0, extentBytes)
    await close(world, store)
    const tombstone = headerOf(dir, 0)
    assert.deepEqual([tombstone?.state, tombstone?.extent], ['free', 0])
    // A kill long ago left the same extent's older header in a slot that comes last of many that wait.
    const last = 1000
    slotFile(dir, (fd) =>
      fs.writeSync(fd, encodeSlotHeader({ ...(old as SlotHeader), slot: last }), 0, 512, headerOffset(last)),
    ) // seen above
    putInDoubt(dir, 0, last + 1)
    // Ends as soon as it can: only the first of them are zeroed.
    await inStore(dir, async () => undefined)
    await inStore(dir, async (replica) => {
      await calls(world, replica).write(20 * extentBytes, Buffer.alloc(4096, 0xbb))
    })
    assert.equal(headerOf(dir, 0)?.extent, 20, 'the slot was not handed out again: the test tests nothing')
    dropIndex(dir)
    await rebuilt(dir)
    assert.deepEqual(extentsHeld(dir), [20])
  }))

test('a volume that is deleted and made again with the same id: nothing of the first one comes back', () =>
  inFolder(async (dir) => {
    let store = await open(dir)
    await calls(world, await create(world, store, 80 * MiB)).write(0, Buffer.alloc(79 * MiB, 0xaa))
    assert.equal(await new Promise((done) => store.deleteReplica(volume, done)), null)
    await calls(world, await create(world, store, 80 * MiB)).write(7 * extentBytes, Buffer.alloc(4096, 0xbb))
    await close(world, store)
    const headers = Array.from({ length: 316 }, (_, slot) => headerOf(dir, slot)?.state)
    assert.ok(headers.includes('data'), 'every slot was zeroed already: the test tests nothing')
    dropIndex(dir)
    await rebuilt(dir)
    assert.deepEqual(extentsHeld(dir), [7])
    store = await open(dir)
    const bytes = await calls(world, only(store)).read(0, 80 * MiB)
    const expected = Buffer.alloc(80 * MiB)
    expected.fill(0xbb, 7 * extentBytes, 7 * extentBytes + 4096)
    assert.ok(bytes.equals(expected), 'bytes of the deleted volume are back')
    await close(world, store)
  }))
