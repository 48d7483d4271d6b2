/** However slow the disk, a flush never finds more to do than it can in a third of E8's time. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import { CommitCount } from '../../../agent/store/commit-count.ts'
import { DataFiles } from '../../../agent/store/data-files.ts'
import { flushMostMs } from '../../../agent/store/dirty.ts'
import { DiskQueue } from '../../../agent/store/disk-queue.ts'
import { StoreFigures } from '../../../agent/store/figures.ts'
import type { BlockFile, Files } from '../../../agent/store/files.ts'
import type { Index } from '../../../agent/store/index.ts'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import { runSteps } from '../../../agent/store/steps.ts'
import { Syncs } from '../../../agent/store/syncs.ts'
import { calls, create } from './suite.ts'
import { quiet, seeded, VirtualClock } from './world.ts'

const MiB = 1024 * 1024
const slotBlocks = limits.extentBytes / limits.blockBytes

/** A disk that takes writes at once, as a page cache does, and needs its time at a sync: for bytes and for seeks. */
class SlowDisk {
  readonly #clock: VirtualClock
  bytesPerMs: number
  seekMs: number
  #unsynced = new Set<number>()
  syncs = 0

  constructor(clock: VirtualClock, bytesPerMs: number, seekMs: number) {
    this.#clock = clock
    this.bytesPerMs = bytesPerMs
    this.seekMs = seekMs
  }

  /** @param block of the whole disk */
  wrote(block: number): void {
    this.#unsynced.add(block)
  }

  get #syncMs(): number {
    const seeks = [...this.#unsynced].filter((block) => !this.#unsynced.has(block - 1)).length
    return 1 + (this.#unsynced.size * limits.blockBytes) / this.bytesPerMs + seeks * this.seekMs
  }

  get file(): BlockFile {
    return {
      read: (_into, _start, _length, _offset, done) => this.#clock.after(0.1, () => done(null, 0)),
      write: (_chunks, _length, _offset, _fresh, done) => this.#clock.after(0.1, () => done(null)),
      sync: (done) => {
        this.syncs += 1
        const ms = this.#syncMs
        this.#unsynced = new Set()
        this.#clock.after(ms, () => done(null))
      },
      close: (done) => this.#clock.after(0, () => done(null)),
    }
  }
}

function worldOf(bytesPerMs: number, seekMs: number) {
  const clock = new VirtualClock()
  const disk = new SlowDisk(clock, bytesPerMs, seekMs)
  // Of the folder only this one file is touched: Syncs asks for no other call.
  const files = {
    open: (_path: string, _create: boolean, done: (error: null, file: BlockFile) => void) =>
      clock.after(0, () => done(null, disk.file)),
    syncFolder: (_folder: string, done: (error: null) => void) => clock.after(0, () => done(null)),
  } as unknown as Files
  const data = new DataFiles(files, '0'.repeat(32))
  let isMade = false
  runSteps(data.make(0), () => {
    isMade = true
  })
  while (!isMade) clock.step()
  const queue = new DiskQueue(clock)
  const figures = new StoreFigures()
  const index = { sync: (done: (error: null) => void) => clock.after(0, () => done(null)) } as unknown as Index
  const fail = (error: Error) => assert.fail(error)
  const syncs = new Syncs({
    clock,
    queue,
    data,
    index,
    count: new CommitCount({ commits: 0, index: 0 }),
    figures,
    fail,
  })
  return { clock, disk, syncs, figures }
}

describe('what is written and not yet synced', () => {
  const disks = [
    { name: 'a fast one', bytesPerMs: 500_000, seekMs: 0.02 },
    { name: 'an office disk', bytesPerMs: 120_000, seekMs: 8 },
    { name: 'an old one', bytesPerMs: 30_000, seekMs: 15 },
  ]
  const loads = [
    { name: 'scattered', next: (random: () => number) => Math.floor(random() * 4_000_000) },
    { name: 'in a row', next: (_random: () => number, at: number) => at },
    {
      name: 'a hot block, then scattered',
      next: (random: () => number, at: number) => (at < 40_000 ? 7 : Math.floor(random() * 4_000_000)),
    },
  ]
  for (const { name, bytesPerMs, seekMs } of disks) {
    for (const load of loads) {
      test(`${name}, ${load.name}: no flush takes longer than a third of E8's time`, () => {
        const { clock, disk, syncs, figures } = worldOf(bytesPerMs, seekMs)
        const random = seeded(5)
        let at = 0
        let written = 0
        let flushes = 0
        let longestMs = 0
        const write = () => {
          const block = load.next(() => random.unit(), at++)
          syncs.admit(() => {
            syncs.writing(Math.floor(block / slotBlocks), (block % slotBlocks) * limits.blockBytes, limits.blockBytes)
            disk.wrote(block)
            written += 1
            syncs.wrote(0)
            clock.after(0.2, write)
          })
        }
        for (let depth = 0; depth < 4; depth += 1) write()
        const flush = () => {
          const fromMs = clock.monotonicMs()
          syncs.request(() => {
            flushes += 1
            longestMs = Math.max(longestMs, clock.monotonicMs() - fromMs)
            clock.after(7000, flush)
          })
        }
        clock.after(7000, flush)
        clock.pass(60_000)
        assert.ok(flushes >= 5, `${flushes} flushes`)
        assert.ok(written > 1000, `only ${written} writes went on`)
        assert.ok(figures.backgroundSyncs > 0)
        assert.ok(longestMs <= flushMostMs, `a flush took ${Math.round(longestMs)} ms of ${Math.round(flushMostMs)}`)
      })
    }
  }

  test('one block written again and again is one block', () => {
    const { syncs } = worldOf(100_000, 1)
    for (let at = 0; at < 1000; at += 1) syncs.writing(3, 4096, 4096)
    assert.equal(syncs.dirtyBytes, 4096)
    syncs.writing(3, 0, 256 * 1024)
    assert.equal(syncs.dirtyBytes, 256 * 1024)
  })

  test('is synced after a while though nobody asks', async () => {
    const clock = new VirtualClock()
    const disk = new MemoryDisk({ clock, random: seeded(3), log: quiet })
    const store = await clock.settle(disk.openStore())
    const replica = await create(clock, store, 64 * MiB)
    await calls(clock, replica).write(0, Buffer.alloc(4096, 7))
    clock.pass(limits.dirtyMs + 1000)
    assert.equal(store.figures.backgroundSyncs, 1)
    disk.powerCut()
    const again = await clock.settle(disk.openStore())
    const [kept] = again.replicas()
    assert.ok(kept)
    assert.deepEqual(await calls(clock, kept).read(0, 4096), Buffer.alloc(4096, 7))
  })

  test('a background sync that fails, fails the store', async () => {
    const clock = new VirtualClock()
    const disk = new MemoryDisk({ clock, random: seeded(4), log: quiet })
    const store = await clock.settle(disk.openStore())
    const replica = await create(clock, store, 64 * MiB)
    await calls(clock, replica).write(0, Buffer.alloc(4096, 7))
    disk.fault = 'fail'
    clock.pass(limits.dirtyMs + 1000)
    assert.equal(replica.failed, true)
  })
})
