/** `npm start` as a person types it: a new folder, again in the same one, wrong words. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { connectAgent } from '../../agent/cli/connection.ts'
import { agentConfig } from '../../agent/contract/config.ts'
import { electronBinary } from '../../build/open-window.ts'
import { projectDir } from '../../build/renderer.ts'
import { serverName } from '../../build/start.ts'
import { until } from '../kit/until.ts'

interface Ended {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** Through the launcher, as npm does it. */
function npmStart(...words: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const command = [join(projectDir, 'build', 'run.mjs'), 'build/start.ts', ...words]
    execFile(process.execPath, command, { cwd: projectDir, timeout: 120_000 }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), out, err })
    })
  })
}

describe('npm start', () => {
  test('makes a single server of an empty folder, finds it again, and its console answers', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'mirrorbay-start-'))
    try {
      const first = await npmStart('--dir', dir, '--no-open')
      assert.equal(first.code, 0, first.err)
      assert.match(first.out, /This is a new server/)
      assert.match(first.out, /was started on/)
      assert.match(first.out, /No shared disk yet/)
      const url = /http:\/\/127\.0\.0\.1:\d+\/\?token=\S+/.exec(first.out)?.[0]
      assert.ok(url, first.out)
      const config = agentConfig.parse(JSON.parse(await readFile(join(dir, 'config.json'), 'utf8')))
      assert.deepEqual([config.link.host, config.nbd.host, config.peers], ['127.0.0.1', '127.0.0.1', []])
      const signedIn = await fetch(url, { redirect: 'manual' })
      const cookie = signedIn.headers.get('set-cookie')?.split(';')[0] ?? ''
      const page = await (await fetch(new URL('/', url), { headers: { cookie } })).text()
      assert.match(page, /<title>Mirrorbay<\/title>/)
      const second = await npmStart('--dir', dir, '--no-open')
      assert.equal(second.code, 0, second.err)
      assert.match(second.out, /Mirrorbay runs on/)
      assert.ok(second.out.includes(url), 'the same agent')
    } finally {
      await stopAgent(dir)
      await rm(dir, { recursive: true, force: true })
    }
  })

  test('says in words what is wrong with the words, the folder or its configuration', async () => {
    const wrong = await npmStart('--browse')
    assert.deepEqual([wrong.code, wrong.out], [2, ''])
    assert.match(wrong.err, /--browse[\s\S]*npm start -- --help/)
    const dir = await mkdtemp(join(tmpdir(), 'mirrorbay-start-'))
    try {
      await writeFile(join(dir, 'config.json'), '{"version":1,"name":7}')
      const broken = await npmStart('--dir', dir, '--no-open')
      assert.equal(broken.code, 2)
      assert.match(broken.err, /config\.json is wrong: name: /)
      assert.doesNotMatch(broken.err, /at .*\.ts:\d+/, 'no stack')
    } finally {
      await rm(dir, { recursive: true, force: true })
    }
  })

  test('names the server after the machine, in the letters that a name may have', () => {
    const names = ['NAS-1.office.local', 'Büro PC', '--', 'localhost', 'x'.repeat(80)].map(serverName)
    assert.deepEqual(names, ['nas-1', 'b-ro-pc', 'server', 'localhost', 'x'.repeat(63)])
  })

  test('never asks Electron whether it is there: a folder without its files has no binary', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'mirrorbay-no-electron-'))
    assert.equal(electronBinary({ ELECTRON_OVERRIDE_DIST_PATH: dir }), null)
    await rm(dir, { recursive: true, force: true })
  })
})

async function stopAgent(dir: string): Promise<void> {
  const client = connectAgent(join(dir, 'api.sock'))
  const pid = await client.call('status', {}).then(
    (status) => status.server.pid,
    () => null,
  )
  if (pid === null) return
  process.kill(pid, 'SIGTERM')
  await until('the agent to end', 20_000, () => {
    try {
      process.kill(pid, 0)
      return false
    } catch {
      // No such process: it has ended.
      return true
    }
  })
}
