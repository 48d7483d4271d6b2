/** Aim: one bad sector costs one block: the others of its slot, and all data beside unreadable checksums, stay readable (C6). */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { openCore } from '../../../agent/store/core.ts'
import { type BlockFile, FileError, type Files } from '../../../agent/store/files.ts'
import { dataStartBytes, sumsStartBytes } from '../../../agent/store/format.ts'
import { MemoryFiles } from '../../../agent/store/memory-files.ts'
import { MemoryIndexDisk } from '../../../agent/store/memory-index.ts'
import type { Store } from '../../../agent/store/replica.ts'
import { calls, create, only } from './suite.ts'
import { quiet, seeded, VirtualClock } from './world.ts'

const MiB = 1024 * 1024

/** A disk on which reads that touch a place of a data file fail. */
class WornDisk {
  readonly clock = new VirtualClock()
  readonly #random = seeded(5)
  readonly #files = new MemoryFiles(this.clock, this.#random, { minMs: 0.05, maxMs: 1 })
  readonly #index = new MemoryIndexDisk(this.#files, this.#random)
  isBad: (offset: number, length: number) => boolean = () => false

  settle<T>(promise: Promise<T>): Promise<T> {
    return this.clock.settle(promise)
  }

  open(): Promise<Store> {
    const { clock } = this
    const options = {
      clock,
      random: this.#random,
      log: quiet,
      bootId: 'a',
      files: this.#port(),
      opener: this.#index.opener(),
    }
    return this.settle(
      new Promise((resolve, reject) => openCore(options, (error, store) => (store ? resolve(store) : reject(error)))),
    )
  }

  kill(): void {
    this.#files.kill()
    this.#index.kill()
  }

  #port(): Files {
    const worn = (file: BlockFile): BlockFile => ({
      read: (into, start, length, offset, done) =>
        file.read(into, start, length, offset, (error, got) =>
          this.isBad(offset, length) ? done(new FileError('EIO', 'bad sector'), 0) : done(error, got),
        ),
      write: (chunks, length, offset, fresh, done) => file.write(chunks, length, offset, fresh, done),
      sync: (done) => file.sync(done),
      close: (done) => file.close(done),
    })
    const files = this.#files
    return {
      open: (path, isNew, done) =>
        files.open(path, isNew, (error, file) =>
          file && path.startsWith('data/') ? done(null, worn(file)) : file ? done(null, file) : done(error),
        ),
      readAll: (path, done) => files.readAll(path, done),
      list: (folder, done) => files.list(folder, done),
      makeFolder: (path, done) => files.makeFolder(path, done),
      rename: (from, to, done) => files.rename(from, to, done),
      remove: (path, done) => files.remove(path, done),
      syncFolder: (folder, done) => files.syncFolder(folder, done),
      space: (done) => files.space(done),
    }
  }
}

async function filled(disk: WornDisk): Promise<Store> {
  const store = await disk.open()
  const replica = await create(disk, store, 20 * MiB)
  for (let block = 0; block < 64; block += 1) {
    await calls(disk, replica).write(block * 4096, Buffer.alloc(4096, block + 1))
  }
  return store
}

/** @returns the blocks of the first extent that cannot be read; the others hold what was written */
async function unreadable(disk: WornDisk, store: Store): Promise<number[]> {
  const found: number[] = []
  for (let block = 0; block < 64; block += 1) {
    const got = await disk.settle(
      new Promise((done) => only(store).read(block * 4096, 4096, (failure, data) => done(failure ?? data[0]))),
    )
    if (got === 'io') found.push(block)
    else assert.equal(got, block + 1)
  }
  return found
}

describe('a bad sector', () => {
  it('in the data of a region that a kill left marked: the block is lost, the mark stays on, the rest is there', async () => {
    const disk = new WornDisk()
    await filled(disk)
    disk.kill()
    const store = await disk.open()
    const badAt = dataStartBytes + 40 * 4096
    // Slots are handed out from the first one on, so the first extent has it.
    disk.isBad = (offset, length) => offset >= dataStartBytes && offset <= badAt && badAt < offset + length
    assert.deepEqual(await unreadable(disk, store), [40])
    await disk.settle(new Promise((done) => only(store).settled([0], done)))
    await disk.settle(new Promise((done) => only(store).unmark([0], 3, done)))
    assert.equal(only(store).region(0).marked, true, 'a checksum that is not known is not made durable')
    await calls(disk, only(store)).write(40 * 4096, Buffer.alloc(4096, 41))
    disk.isBad = () => false
    assert.deepEqual(await unreadable(disk, store), [])
    await calls(disk, only(store)).unmark([0], 3)
    assert.equal(only(store).region(0).marked, false, 'written anew, the sector is good')
  })

  it('in the checksums: everything is read, held against what it is', async () => {
    const disk = new WornDisk()
    const first = await filled(disk)
    assert.equal(await disk.settle(new Promise((done) => first.close(done))), null)
    const store = await disk.open()
    disk.isBad = (offset) => offset >= sumsStartBytes && offset < dataStartBytes
    assert.deepEqual(await unreadable(disk, store), [])
  })
})
