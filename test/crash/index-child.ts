/** The victim of index.test.ts: commits one row after the other until it is killed; says the number of each that is done. */
import fs from 'node:fs'
import { SqliteOpener } from '../../agent/store/sqlite-index.ts'
import { regionRow } from '../unit/store/index-rows.ts'

const [dir = '', first = '0'] = process.argv.slice(2)
const thread = new URL('../../agent/store/index-thread.ts', import.meta.url)
const opener = new SqliteOpener(dir, thread)
let number = Number(first)
opener.open(number === 0 ? '0'.repeat(32) : null, (error, index) => {
  if (!index) throw error
  const next = () => {
    number += 1
    index.commit({ regions: [regionRow(number)], groups: [] }, (failed) => {
      if (failed) throw failed
      // Before the next one, and not through a queue that a kill would take along.
      fs.writeSync(1, `${number} ${opener.checkpoints.count}\n`)
      next()
    })
  }
  next()
})
