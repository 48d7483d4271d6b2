/** Long runs: killed and started again, they go on, and nothing is counted twice. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { until } from '../kit/until.ts'
import { newProgress, readProgress } from './progress.ts'

const main = fileURLToPath(new URL('main.ts', import.meta.url))
const count = 16
const read = (file: string) => readProgress(file, newProgress(1, count))

function start(file: string): { child: ChildProcess; words: () => string } {
  const parts = ['--from', '1', '--count', `${count}`, '--short', '--operations', '60', '--mishap', 'none']
  const child = spawn(process.execPath, [main, ...parts, '--resume', file], { stdio: ['ignore', 'pipe', 'inherit'] })
  let words = ''
  child.stdout?.on('data', (chunk: Buffer) => {
    words += chunk.toString()
  })
  return { child, words: () => words }
}

it('a run that was killed goes on where it was, and keeps the bad seeds', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'mirrorbay-resume-'))
  const file = join(folder, 'progress.json')
  const children: ChildProcess[] = []
  context.after(() => {
    for (const child of children) child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  })
  const first = start(file)
  children.push(first.child)
  await until('something is done', 60_000, () => existsSync(file) && read(file).next > 1)
  first.child.kill('SIGKILL')
  await once(first.child, 'exit')
  const before = read(file)
  assert.ok(before.next > 1)
  // As if one of them had been bad.
  writeFileSync(file, JSON.stringify({ ...before, bad: [{ seed: 1, problems: ['something'] }] }))
  const second = start(file)
  children.push(second.child)
  const [code] = await once(second.child, 'exit')
  const after = read(file)
  assert.equal(after.next, count + 1)
  assert.equal(after.mishaps.none, count, 'each was counted once')
  assert.equal(code, 1, 'one of them was bad')
  if (before.next <= count) assert.match(second.words(), new RegExp(`goes on at seed ${before.next}\\n`))
  assert.match(second.words(), /seed 1 was BAD: something/)
})
