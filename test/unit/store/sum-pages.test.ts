/** Aim: checksum pages stay within their memory, and their writing leaves the disk to clients (E8), whatever is written where. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import type { DataFiles } from '../../../agent/store/data-files.ts'
import { DiskQueue } from '../../../agent/store/disk-queue.ts'
import type { BlockFile } from '../../../agent/store/files.ts'
import type { SumOwner } from '../../../agent/store/sum-page.ts'
import { Sums } from '../../../agent/store/sums.ts'
import { quiet, VirtualClock } from './world.ts'

const mostPages = 256

it('many more slots than pages: a few are written at once, few more than the limit are in memory, and every write gets in', () => {
  const clock = new VirtualClock()
  const queue = new DiskQueue(clock)
  const file: BlockFile = {
    read: (into, start, length, _offset, done) => {
      into.fill(0, start, start + length)
      clock.after(2, () => done(null, length))
    },
    write: (_chunks, _length, _offset, _fresh, done) => void clock.after(2, () => done(null)),
    sync: (done) => void clock.after(2, () => done(null)),
    close: (done) => void clock.after(2, () => done(null)),
  }
  // All that Sums asks of the data files is the one that a slot lies in.
  const data = { get: () => file } as unknown as DataFiles
  const fail = () => assert.fail('no write fails here')
  const sums = new Sums({ queue, data, wrote: () => undefined, fail, log: quiet, mostPages })
  const nothing = () => undefined
  const owner: SumOwner = { isDoubtful: () => false, resolved: nothing, sumsBegin: nothing, sumsEnd: nothing }
  let entered = 0
  let mostInMemory = 0
  let mostPending = 0
  const writes = 6_000
  for (let slot = 0; slot < writes; slot += 1) {
    sums.admit(() => {
      entered += 1
      sums.page(slot, owner, slot).set(3, 5n)
    })
    mostInMemory = Math.max(mostInMemory, sums.pages)
    mostPending = Math.max(mostPending, queue.pending)
    // As many writes wait at once as a volume lets begin.
    while (slot - entered > 32) assert.ok(clock.step(), 'somebody waits for nothing')
  }
  clock.pass(60_000)
  assert.equal(entered, writes)
  assert.ok(mostInMemory <= mostPages * 1.5, `${mostInMemory} pages`)
  assert.ok(mostPending <= 32, `${mostPending} calls`)
})
