/** Aim: the index in memory keeps what SQLite keeps: every commit that was done before a sync began which has ended. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import type { Index, IndexContents } from '../../../agent/store/index.ts'
import { MemoryFiles } from '../../../agent/store/memory-files.ts'
import { MemoryIndexDisk } from '../../../agent/store/memory-index.ts'
import { numberOf, regionRow } from './index-rows.ts'
import { seeded, VirtualClock } from './world.ts'

it('of two syncs at once the later one covers its own commits, whichever ends first', async () => {
  for (let seed = 1; seed <= 40; seed += 1) {
    const clock = new VirtualClock()
    const random = seeded(seed)
    const disk = new MemoryIndexDisk(new MemoryFiles(clock, random, { minMs: 0.1, maxMs: 2 }), random)
    const asked = <T>(call: (done: (error: Error | null, value?: T) => void) => void): Promise<T> =>
      new Promise((resolve, reject) => {
        call((error, value) => (error ? reject(error) : resolve(value as T))) // T of void calls is undefined
      })
    const index = await clock.settle(asked<Index>((done) => disk.opener().open('0'.repeat(32), done)))
    const commit = (number: number) =>
      clock.settle(asked((done) => index.commit({ regions: [regionRow(number)], groups: [] }, done)))
    await commit(1)
    const first = asked((done) => index.sync(done))
    await commit(2)
    await clock.settle(asked((done) => index.sync(done)))
    disk.powerCut()
    void first
    const again = await clock.settle(asked<Index>((done) => disk.opener().open(null, done)))
    const { regions } = await clock.settle(asked<IndexContents>((done) => again.load(done)))
    assert.deepEqual([...regions].map(numberOf).sort(), [1, 2], `seed ${seed}`)
  }
})
