/** Aim: kill -9 while the index's log is written back again and again loses no commit that was done. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { IndexContents } from '../../agent/store/index.ts'
import { SqliteOpener } from '../../agent/store/sqlite-index.ts'
import { rounds } from '../kit/length.ts'
import { numberOf, rowsAfter } from '../unit/store/index-rows.ts'
import { seeded, temporaryFolder } from '../unit/store/world.ts'

const child = fileURLToPath(new URL('./index-child.ts', import.meta.url))
const kills = rounds({ short: 4, full: 30, long: 100 })

/** @returns the last commit that the child said was done, and how often its log had been written back */
async function killedRun(dir: string, first: number, commits: number): Promise<{ last: number; checkpoints: number }> {
  const victim = spawn(process.execPath, [child, dir, String(first)], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  let lines = 0
  try {
    const closed = once(victim, 'close')
    victim.stdout.on('data', (bytes: Buffer) => {
      said += bytes.toString('latin1')
      lines += bytes.filter((byte) => byte === 10).length
      if (lines >= commits) victim.kill('SIGKILL')
    })
    await closed
    assert.equal(victim.signalCode, 'SIGKILL', 'the child lived until it was killed')
  } finally {
    victim.kill('SIGKILL')
  }
  const whole = said.slice(0, said.lastIndexOf('\n')).split('\n')
  const [last = 0, checkpoints = 0] = (whole[whole.length - 1] ?? '').split(' ').map(Number)
  return { last, checkpoints }
}

function load(dir: string): Promise<IndexContents> {
  const opener = new SqliteOpener(dir, new URL('../../agent/store/index-thread.ts', import.meta.url))
  return new Promise((resolve, reject) => {
    opener.open(null, (error, index) => {
      if (!index) return reject(error)
      index.load((failed, contents) => opener.close(() => (contents ? resolve(contents) : reject(failed))))
    })
  })
}

test(`${kills} kills while the log is written back: every commit that was done is there`, async () => {
  const folder = temporaryFolder()
  try {
    const random = seeded(77)
    let first = 0
    let checkpoints = 0
    for (let round = 0; round < kills; round += 1) {
      const told = await killedRun(folder.dir, first, 300 + Math.floor(random.unit() * 900))
      checkpoints += told.checkpoints
      const contents = await load(folder.dir)
      const rows = new Map([...contents.regions].map((row) => [row.region, numberOf(row)]))
      const last = Math.max(...rows.values())
      // One more may have been done than the child could say.
      assert.ok(last === told.last || last === told.last + 1, `commit ${told.last} was done, ${last} is the last there`)
      assert.deepEqual(
        new Map([...rows].sort(([a], [b]) => a - b)),
        new Map([...rowsAfter(last)].sort(([a], [b]) => a - b)),
      )
      first = last
    }
    assert.ok(checkpoints > kills, `the log was written back only ${checkpoints} times`)
  } finally {
    folder.remove()
  }
})
