/** `mirrorbay priority`, and its line in `mirrorbay status`, as typed by a person or a script. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runCli } from '../../../agent/cli/program.ts'
import { statusOf, volume } from '../control/recording-port.ts'
import { type Served, serving } from '../control/serving.ts'

const GiB = 1024 ** 3

const busy = volume({
  sizeBytes: 64 * GiB,
  policing: {
    stretchBytes: GiB,
    exclusiveBytes: Array.from({ length: 64 }, (_, index) => (index < 31 ? GiB : index === 31 ? 4096 : 0)),
    sharedBytes: Array.from({ length: 64 }, (_, index) => (index === 40 ? GiB : 0)),
    queued: 1,
    oldestMs: 1_500,
    waiting: [{ mode: 'exclusive', offsetBytes: 50e9, lengthBytes: 4096, forMs: 1_500, waitsFor: 'servers' }],
  },
})
const quiet = volume({ name: 'archive' })

async function cli(served: Served, ...words: string[]) {
  let out = ''
  let err = ''
  const code = await runCli(['--dir', served.dir, ...words], {
    out: (written) => {
      out += written
    },
    err: (written) => {
      err += written
    },
    isTerminal: false,
    environment: {},
    platform: 'linux',
    homeDir: '/nonexistent',
    wallMs: () => 0,
    interrupted: new AbortController().signal,
  })
  return { code, out, err }
}

test('priority shows a strip of the disk, what its signs mean, and what waits', () =>
  serving(async (served) => {
    served.port.change(statusOf([busy, quiet]))
    const { code, out, err } = await cli(served, 'priority')
    assert.equal(code, 0, err)
    assert.match(out, /^office \(64 GiB\)\n {2}\[#{31}\+\.{8}r\.{23}\] {2}1 GiB each$/m)
    assert.match(out, /^ {2}nas-1 may write 48 % of it without asking, and read 1 % more\.$/m)
    assert.match(out, /^ {2}1 request waits here, the oldest for 1\.5 s\.$/m)
    assert.match(out, /^ {4}write of 4 KiB at 50 GB: for another server, 1\.5 s$/m)
    assert.match(out, /^archive .*\n.*\n {2}Nothing waits for its turn\.$/m)
    assert.match(out, /^Signs: # may write without asking, \+ .*, \. asks another server first$/m)
    const one = await cli(served, 'priority', 'archive')
    assert.doesNotMatch(one.out, /office/)
  }))

test('priority --json gives the whole of it, for one disk or all', () =>
  serving(async (served) => {
    served.port.change(statusOf([busy, quiet]))
    const all = JSON.parse((await cli(served, 'priority', '--json')).out)
    assert.deepEqual(
      all.map(({ name }: { name: string }) => name),
      ['office', 'archive'],
    )
    const [one] = JSON.parse((await cli(served, 'priority', 'office', '--json')).out)
    assert.equal(one.server, 'nas-1')
    assert.deepEqual(
      { stretchBytes: one.stretchBytes, exclusiveBytes: one.exclusiveBytes, waiting: one.waiting },
      {
        stretchBytes: GiB,
        exclusiveBytes: busy.policing.exclusiveBytes,
        waiting: busy.policing.waiting,
      },
    )
    assert.equal(one.counters.permissionsAsked, 0)
  }))

test('a disk that is not there, no disk at all, and help', () =>
  serving(async (served) => {
    const missing = await cli(served, 'priority', 'nothing')
    assert.equal(missing.code, 1)
    assert.match(missing.err, /no shared disk named nothing/)
    served.port.change(statusOf([]))
    assert.equal((await cli(served, 'priority')).out, 'No shared disk yet.\n')
    const help = await cli(served, 'priority', '--help')
    assert.equal(help.code, 0)
    assert.match(help.out, /Examples:\n {2}mirrorbay priority\n/)
  }))

test('status has a line for it when a request has waited for another server for over a second', () =>
  serving(async (served) => {
    served.port.change(statusOf([busy, quiet]))
    const { out } = await cli(served, 'status')
    assert.match(out, /^ {2}1 request here has waited up to 1\.5 s for another server to finish there; it goes/m)
    assert.equal(out.match(/to finish there/g)?.length, 1, 'said of a disk where nothing waits')
  }))
