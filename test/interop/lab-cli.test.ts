/** The lab as outside programs use it: only its commands, its JSON and its exit codes. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { labCommand, mustExit } from '../kit/lab-command.ts'
import { connectNbd } from '../kit/nbd-client.ts'
import { until } from '../kit/until.ts'
import { identify } from '../lab/processes.ts'
import { loadState } from '../lab/state.ts'

const labEntry = fileURLToPath(new URL('../lab/main.ts', import.meta.url))
const limitMs = 90_000

/** The members that outside programs read; more may come, none may go. */
interface Described {
  readonly dir: string
  readonly volume: { readonly name: string; readonly sizeBytes: number }
  readonly servers: readonly {
    readonly name: string
    readonly pid: number
    readonly pids: readonly number[]
    readonly dir: string
    readonly api: string
    readonly console: string
    readonly nbd: string
    readonly nbdUnix: string
    readonly nbdReadonly: null
    readonly iscsi: null
    readonly iscsiChap: null
  }[]
  readonly witness: {
    readonly pid: number
    readonly pids: readonly number[]
    readonly dir: string
    readonly api: string
  }
}

/** Not a signal 0: an ended process that nobody has asked for yet (a zombie) would still take it. */
const isAlive = (pid: number): boolean => identify(pid) !== undefined

async function withFolder(use: (dir: string) => Promise<void>): Promise<void> {
  const outer = await mkdtemp(path.join(os.tmpdir(), 'mirrorbay-labs-'))
  // Deeper than any Unix socket's path may be long.
  const dir = path.join(outer, 'a-folder-with-a-very-long-name-as-build-servers-have-them'.repeat(2), 'lab')
  try {
    await use(dir)
  } finally {
    await labCommand('down', dir)
    await rm(outer, { recursive: true, force: true })
  }
}

test('questions that cannot be asked: exit 2 with a sentence', async (t) => {
  const wrong: readonly (readonly [string, readonly string[], RegExp])[] = [
    ['no command', [], /COMMAND/],
    ['an unknown command', ['fly', '/tmp'], /there is no "fly"/],
    ['an unknown option', ['up', '/tmp/x', '--fast'], /--fast/],
    ['too few words', ['kill', '/tmp/x'], /kill takes 2 words/],
    ['a folder without a lab', ['status', '/nonexistent/lab'], /no lab in/],
    ['four servers', ['up', '/tmp/mirrorbay-never', '--servers', '4'], /2 or 3/],
    ['a size that is none', ['up', '/tmp/mirrorbay-never', '--size', 'huge'], /huge/],
    ['a name that is none', ['up', '/tmp/mirrorbay-never', '--volume', 'Zwei Worte'], /--volume/],
  ]
  for (const [what, words, about] of wrong) {
    await t.test(what, async () => assert.match(await mustExit(2, ...words), about))
  }
  await t.test('help is an answer', async () => assert.match(await mustExit(0, '--help'), /lab -- COMMAND/))
})

test('up, kill, wait, start, stop, equal, status, down by commands only', async () => {
  await withFolder(async (dir) => {
    await mkdir(path.join(dir, 'a', 'lost+found'), { recursive: true })
    await writeFile(path.join(dir, 'mine.txt'), 'not of the lab')
    const said = await mustExit(0, 'up', dir, '--witness', '--size', '64M', '--volume', 'office', '--client', 'unix')
    assert.equal(said.trim().split('\n').length, 1)
    const described: Described = JSON.parse(said)
    const [a, b] = described.servers
    assert.ok(a !== undefined && b !== undefined && described.servers.length === 2)
    assert.deepEqual(described.volume, { name: 'office', sizeBytes: 64 * 1024 * 1024 })
    assert.deepEqual([a.name, b.name], ['a', 'b'])
    assert.deepEqual(a.pids, [a.pid])
    assert.match(a.nbd, /^nbd\+unix:/)
    assert.match(a.console, /^http:\/\/127\.0\.0\.1:\d+\/.*token=/)
    assert.deepEqual([a.nbdReadonly, a.iscsi, a.iscsiChap], [null, null, null])
    assert.match(await mustExit(2, 'up', dir), /already/)

    await mustExit(0, 'wait', dir, '--headline', 'Protected', '--timeout', '0')
    await mustExit(1, 'wait', dir, '--headline', 'Two versions', '--timeout', '0.2')
    await mustExit(2, 'wait', dir, '--headline', 'Splendid')
    await mustExit(0, 'kill', dir, 'b')
    assert.equal(isAlive(b.pid), false)
    await mustExit(1, 'kill', dir, 'b')
    await mustExit(2, 'kill', dir, 'z')
    await mustExit(2, 'kill', dir, 'a', '--signal', 'BOO')
    await mustExit(0, 'wait', dir, '--headline', 'One copy', '--timeout', '20')
    const client = await connectNbd(a.nbd)
    await client.write(0, new Uint8Array(8192).fill(5))
    await client.disconnect()
    assert.match(await mustExit(1, 'equal', dir), /only one/)
    await mustExit(0, 'start', dir, 'b')
    await mustExit(0, 'wait', dir)
    await mustExit(0, 'equal', dir)
    await mustExit(0, 'stop', dir, 'b')
    await mustExit(0, 'start', dir, 'b')
    await mustExit(0, 'wait', dir)

    const status = JSON.parse(await mustExit(0, 'status', dir, '--json'))
    assert.equal(status.headlines.a, 'Protected')
    assert.equal(status.servers[0].pid, a.pid)
    assert.equal(status.servers[0].nbd, a.nbd)
    assert.notEqual(status.servers[1].pid, b.pid)

    // Two commands at once do not undo each other's notes.
    await Promise.all(['a', 'b'].map((name) => mustExit(0, 'kill', dir, name)))
    await Promise.all(['a', 'b'].map((name) => mustExit(0, 'start', dir, name)))
    await mustExit(0, 'wait', dir)
    await mustExit(0, 'kill', dir, 'a')
    await mustExit(0, 'kill', dir, 'witness', '--signal', 'TERM')
    await mustExit(0, 'kill', dir, 'b')
    await mustExit(0, 'down', dir)
    for (const pid of [a.pid, ...described.witness.pids]) assert.equal(isAlive(pid), false)
    // What stood there before is still there, and nothing else.
    assert.deepEqual((await readdir(dir)).sort(), ['a', 'mine.txt'])
    assert.deepEqual(await readdir(path.join(dir, 'a')), ['lost+found'])
  })
})

test('Ctrl-C while it comes up leaves nothing behind', async () => {
  await withFolder(async (dir) => {
    const up = spawn(process.execPath, [labEntry, 'up', dir, '--size', '64M'], { stdio: 'ignore' })
    const ended = once(up, 'exit')
    // The first note about a process means that the first agent has been started.
    const pid = await until('the first agent', limitMs, async () => {
      const state = await loadState(dir)
      return state.servers.flatMap((server) => (server.process === null ? [] : [server.process.pid]))[0]
    })
    up.kill('SIGINT')
    assert.deepEqual(await ended, [2, null])
    assert.equal(isAlive(pid), false)
    await assert.rejects(readdir(dir), { code: 'ENOENT' })
  })
})

test('equal works without agents, and finds the first difference', async () => {
  await withFolder(async (dir) => {
    const described: Described = JSON.parse(await mustExit(0, 'up', dir, '--size', '64M'))
    const [a] = described.servers
    assert.ok(a !== undefined)
    const client = await connectNbd(a.nbd)
    for (let at = 0; at < 16; at++) await client.write(at * 1024 * 1024, new Uint8Array(1024 * 1024).fill(at + 1))
    await client.flush()
    await client.disconnect()
    await mustExit(0, 'equal', dir)
    await Promise.all([mustExit(0, 'kill', dir, 'a'), mustExit(0, 'kill', dir, 'b')])
    await mustExit(0, 'equal', dir)
    // Behind the stores' backs: one byte of one copy, wherever its data files hold it.
    await turnOneByte(path.join(dir, 'b', 'data'))
    // On a slow machine the mark came off before the kill: then the checksum tells it first.
    assert.match(await mustExit(1, 'equal', dir), /(differ, first at byte|block at byte) \d+/)
  })
})

/** Finds the client's bytes (a megabyte of nines) in a store's data files and changes one of them. */
async function turnOneByte(folder: string): Promise<void> {
  const wanted = Buffer.alloc(4096, 9)
  for (const name of await readdir(folder)) {
    const file = await open(path.join(folder, name), 'r+')
    try {
      const { size } = await file.stat()
      const chunk = Buffer.alloc(1024 * 1024)
      // The files are sparse and large: what nobody has written is read as zeros, a megabyte at a time.
      for (let at = 0; at < size; at += chunk.length) {
        const { bytesRead } = await file.read(chunk, 0, chunk.length, at)
        const found = chunk.subarray(0, bytesRead).indexOf(wanted)
        if (found < 0) continue
        await file.write(Buffer.from([0xff]), 0, 1, at + found + 100)
        return
      }
    } finally {
      await file.close()
    }
  }
  throw new Error(`the client's bytes are in no file of ${folder}`)
}
