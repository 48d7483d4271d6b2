/** The index's write-ahead log stays short, whatever is allocated, and being written back it loses nothing. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import type { Index, IndexContents } from '../../../agent/store/index.ts'
import { SqliteOpener } from '../../../agent/store/sqlite-index.ts'
import { numberOf, regionRow, rowsAfter } from './index-rows.ts'
import { temporaryFolder } from './world.ts'

const thread = new URL('../../../agent/store/index-thread.ts', import.meta.url)
const asked = <T>(call: (done: (error: Error | null, value?: T) => void) => void): Promise<T> =>
  new Promise((resolve, reject) => {
    call((error, value) => (error ? reject(error) : resolve(value as T))) // T of void calls is undefined
  })

test('4000 commits leave a log of at most 1100 pages, and every row; nothing is committed late', async () => {
  const folder = temporaryFolder()
  const opener = new SqliteOpener(folder.dir, thread)
  try {
    const index = await asked<Index>((done) => opener.open('0'.repeat(32), done))
    let longest = 0
    for (let number = 1; number <= 4000; number += 1) {
      await asked((done) => index.commit({ regions: [regionRow(number)], groups: [] }, done))
      if (number % 50 === 0) await asked((done) => index.sync(done))
      longest = Math.max(longest, fs.statSync(path.join(folder.dir, 'index.db-wal')).size)
    }
    const pages = Math.ceil(longest / 4120)
    assert.ok(pages <= 1100, `the log had ${pages} pages`)
    assert.ok(opener.checkpoints.count >= 5, `it was written back ${opener.checkpoints.count} times`)
    assert.ok(opener.checkpoints.longestMs > 0)
    const { regions } = await asked<IndexContents>((done) => index.load(done))
    assert.deepEqual(new Map([...regions].map((row) => [row.region, numberOf(row)])), rowsAfter(4000))
  } finally {
    await asked((done) => opener.close(done))
    folder.remove()
  }
})
