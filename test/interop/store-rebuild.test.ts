/**
 * A server lost its index: it says what to do, `mirrorbay store rebuild` does it, and the server comes back by comparing
 * everything (C11). Clients at the other server see nothing of it.
 */
import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inspectStore } from '../../agent/store/inspect.ts'
import { stepMs, type TestLab, withLab } from '../kit/lab.ts'
import { labCommand } from '../kit/lab-command.ts'
import { Load } from '../kit/load.ts'
import { connectNbd } from '../kit/nbd-client.ts'
import { type Ran, runTool } from '../kit/tools.ts'
import { until } from '../kit/until.ts'
import { memberNamed } from '../lab/state.ts'

const MiB = 1024 * 1024
const command = fileURLToPath(new URL('../../agent/cli/main.ts', import.meta.url))
const mirrorbay = (...words: string[]): Promise<Ran> => runTool(process.execPath, [command, ...words], 60_000)

/** Each MiB with bytes of its own; some overwritten, some trimmed. */
async function fill(lab: TestLab): Promise<Buffer> {
  const expected = Buffer.alloc(lab.sizeBytes)
  const client = await connectNbd(lab.uri('b'))
  try {
    for (let at = 8 * MiB; at < 40 * MiB; at += MiB) {
      expected.fill(1 + (at / MiB) * 3, at, at + MiB)
      await client.write(at, expected.subarray(at, at + MiB))
    }
    await client.trim(20 * MiB, 3 * MiB)
    expected.fill(0, 20 * MiB, 23 * MiB)
    expected.fill(0xee, 10 * MiB + 512, 11 * MiB)
    await client.write(10 * MiB + 512, expected.subarray(10 * MiB + 512, 11 * MiB))
    await client.flush()
  } finally {
    client.destroy()
  }
  return expected
}

test('a server that lost its index comes back by rebuilding it', async (t) => {
  await withLab({ witness: true, sizeBytes: 64 * MiB }, async (lab) => {
    const { dir } = memberNamed(lab.state, 'a')
    const expected = await fill(lab)
    const running = await mirrorbay('store', 'rebuild', '--yes', '--dir', dir)
    assert.equal(running.code, 2)
    assert.match(running.said, /agent is using this storage folder/)

    await lab.stop('a')
    const servers = [{ name: 'b', uri: lab.uri('b') }]
    // In the first MiB: what is there is the load's own.
    const load = await Load.begin({ servers, blocks: 256, connectionsPerServer: 2, depth: 2, seed: 5 })
    // Where nobody writes: only comparing everything finds it, for the rebuilt store believes no checksum.
    assert.equal((await labCommand('fault', lab.dir, 'a', `bitflip=${30 * MiB + 5}`)).code, 0)
    for (const ending of ['', '-wal', '-shm']) await rm(path.join(dir, `index.db${ending}`), { force: true })
    const refused = await labCommand('start', lab.dir, 'a')
    assert.equal(refused.code, 2)
    assert.match(refused.said, /mirrorbay store rebuild/)

    const unasked = await mirrorbay('store', 'rebuild', '--dir', dir)
    assert.equal(unasked.code, 2)
    assert.match(unasked.said, /--yes/)
    const rebuilt = await mirrorbay('store', 'rebuild', '--yes', '--dir', dir)
    assert.equal(rebuilt.code, 0, rebuilt.said)
    assert.match(rebuilt.said, /^disk \(64 MiB\): .* found in the data files$/m)
    const look = inspectStore(dir)
    assert.deepEqual(
      [0, 1, 2, 3].map((region) => look.replicas[0]?.region(region).grade),
      ['lossy', 'lossy', 'lossy', 'lossy'],
    )
    look.close()
    const checked = await mirrorbay('store', 'check', '--json', '--dir', dir)
    assert.equal(checked.code, 0, checked.said)
    assert.equal(JSON.parse(checked.said).volumes[0].checkedBytes, 0)

    await lab.start('a')
    await lab.wait('Protected')
    const before = load.report('b').writes
    await until('more writes at b', stepMs, () => load.report('b').writes > before + 30)
    assert.deepEqual((await load.stop(servers)).slice(0, 5), [])
    const { refusals, lost, longestMs } = load.report('b')
    t.diagnostic(`the longest wait at b was ${Math.round(longestMs)} ms`)
    assert.deepEqual([refusals, lost], [[], 0], 'clients of the other server saw something')
    await lab.mustBeEqual()
    const joined = (await lab.events('b')).findLast((event) => event.kind === 'server-joined')
    t.diagnostic(`joined: ${JSON.stringify(joined?.details)}`)
    const client = await connectNbd(lab.uri('a'))
    try {
      const found = await client.read(MiB, lab.sizeBytes / 2)
      assert.ok(found.equals(expected.subarray(MiB, MiB + lab.sizeBytes / 2)))
    } finally {
      client.destroy()
    }
  })
})
