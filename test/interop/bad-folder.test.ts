/** An agent that cannot begin says so in a sentence and ends; one whose disk is full goes on with all that needs no room. */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { stepMs, withLab } from '../kit/lab.ts'
import { unmounted } from '../kit/mounts.ts'
import { connectNbd, NbdError } from '../kit/nbd-client.ts'
import { needs } from '../kit/needs.ts'
import { mustRun, type Ran, runTool } from '../kit/tools.ts'
import { memberNamed } from '../lab/state.ts'

const MiB = 1024 * 1024
const agent = fileURLToPath(new URL('../../agent/cli/main.ts', import.meta.url))
const endMs = 20_000

const runAgent = (dir: string): Promise<Ran> => runTool(process.execPath, [agent, 'agent', '--dir', dir], endMs)

/** One sentence for a person: no inside of the program, and it names what is wrong. */
function assertSentence(ran: Ran, about: RegExp): void {
  assert.ok(ran.code !== null && ran.code > 0, `it ended with ${ran.code}: ${ran.said}`)
  assert.match(ran.said, about)
  assert.doesNotMatch(ran.said, /\n {4}at |Error: .*\n.*Error: /, 'it shows the inside of the program')
}

async function withFolder(use: (dir: string) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'mirrorbay-folder-'))
  try {
    await use(dir)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

const config = (changes: Record<string, unknown> = {}) =>
  JSON.stringify({
    version: 1,
    name: 'lonely',
    link: { port: 20_001, secret: 'sixteen characters' },
    peers: [],
    ...changes,
  })

test('a configuration that is none ends the agent with a sentence', async (t) => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['not JSON', '{"version": 1,', /config\.json/],
    ['wrong types', config({ link: { port: 'high', secret: 5 } }), /config\.json.*link/s],
    ['an unknown member', config({ colour: 'red' }), /config\.json.*colour/s],
    ['a name that no network knows', config({ name: 'Two Words' }), /config\.json.*name/s],
    ['a version from the future', config({ version: 99 }), /config\.json.*version/s],
    ['an empty file', '', /config\.json/],
  ]
  for (const [what, text, about] of cases) {
    await t.test(what, () =>
      withFolder(async (dir) => {
        await writeFile(path.join(dir, 'config.json'), text)
        assertSentence(await runAgent(dir), about)
      }),
    )
  }
})

test('a folder that is a file, or cannot be written, ends the agent with a sentence', needs('root'), async (t) => {
  await t.test('a file', () =>
    withFolder(async (dir) => {
      const file = path.join(dir, 'file')
      await writeFile(file, 'not a folder')
      assertSentence(await runAgent(file), /file/)
      assert.equal(await readFile(file, 'utf8'), 'not a folder')
    }),
  )

  await t.test('read-only', () =>
    withFolder(async (dir) => {
      const disk = path.join(dir, 'disk')
      await mkdir(disk)
      await mustRun('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', disk])
      try {
        await writeFile(path.join(disk, 'config.json'), config())
        await mustRun('mount', ['-o', 'remount,ro', disk])
        assertSentence(await runAgent(disk), /read-only|EROFS|written/i)
      } finally {
        await mustRun('umount', [disk])
      }
    }),
  )
})

test('a folder that is in use is refused, and its agent goes on', async () => {
  await withLab({ witness: false }, async (lab) => {
    const { dir } = memberNamed(lab.state, 'a')
    const client = await connectNbd(lab.uri('a'))
    try {
      await client.write(0, new Uint8Array(4096).fill(7))
      assertSentence(await runAgent(dir), /using this storage folder/)
      assert.equal((await client.read(0, 1))[0], 7)
      await client.write(4096, new Uint8Array(4096).fill(8))
      assert.equal((await lab.status('a')).server.pid, lab.pid('a'))
      assert.equal(await lab.headline('b'), 'Protected')
      await lab.mustBeEqual()
    } finally {
      client.destroy()
    }
  })
})

test('a disk that fills up: an error for what needs room, nothing acknowledged is lost', needs('root'), async (t) => {
  const prepare = async (dir: string) => {
    await mkdir(path.join(dir, 'a'))
    await mustRun('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', path.join(dir, 'a')])
  }
  const undo = async (dir: string) => {
    await unmounted(path.join(dir, 'a'), stepMs)
  }
  await withLab({ witness: true, sizeBytes: 96 * MiB, prepare, undo }, async (lab) => {
    const client = await connectNbd(lab.uri('b'))
    const held: number[] = []
    const refusals: string[] = []
    try {
      for (let index = 0; index < 96; index++) {
        try {
          await client.write(index * MiB, new Uint8Array(MiB).fill(index + 1))
          held.push(index)
        } catch (failure) {
          if (!(failure instanceof NbdError)) throw failure
          refusals.push(failure.code)
        }
      }
      t.diagnostic(`${held.length} MiB taken, ${refusals.length} refused (${[...new Set(refusals)].join(', ')})`)
      assert.ok(held.length >= 16, `only ${held.length} MiB were taken by a disk of 64, of which 32 are kept free`)
      assert.deepEqual(
        refusals.filter((code) => code !== 'ENOSPC'),
        [],
      )
      // C8: either both refuse alike, or the full one has left and says why. Silence would be neither.
      const replica = (await lab.volume('b')).replicas.find((each) => each.serverName === 'a')
      if (refusals.length === 0) assert.equal(replica?.reason, 'disk-full')
      await client.flush()
      for (const index of held) {
        const found = await client.read(index * MiB, MiB)
        assert.ok(
          found.every((byte) => byte === index + 1),
          `MiB ${index} was acknowledged and is gone`,
        )
      }
      // What needs no new room still works.
      await client.write(0, new Uint8Array(4096).fill(1))
      assert.equal((await lab.status('a')).server.pid, lab.pid('a'), 'the agent with the full disk has ended')
    } finally {
      client.destroy()
    }
  })
})
