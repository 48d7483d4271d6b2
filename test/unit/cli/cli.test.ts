/** The `mirrorbay` command as a person runs it: a real process against a real control API on a Unix socket. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { runCli } from '../../../agent/cli/program.ts'
import type { Terminal } from '../../../agent/cli/terminal.ts'
import { agentConfig } from '../../../agent/contract/config.ts'
import { errorBody } from '../../../agent/contract/errors.ts'
import { event } from '../../../agent/contract/events.ts'
import { status } from '../../../agent/contract/status.ts'
import { UserError } from '../../../agent/kit/failure.ts'
import { until } from '../../kit/until.ts'
import { replica, statusOf, volume } from '../control/recording-port.ts'
import { type Served, serving } from '../control/serving.ts'

const program = fileURLToPath(new URL('../../../agent/cli/main.ts', import.meta.url))

/** Compiled code kept between the processes of this file: each then starts in a third of the time. */
const compileCache = await mkdtemp(join(tmpdir(), 'mirrorbay-cli-cache-'))
after(() => rm(compileCache, { recursive: true, force: true }))

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

function start(words: readonly string[], environment: Record<string, string> = {}) {
  const child = spawn(process.execPath, [program, ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env.PATH,
      HOME: '/nonexistent',
      NO_COLOR: '1',
      NODE_COMPILE_CACHE: compileCache,
      ...environment,
    },
    timeout: 20_000,
  })
  const ended: Promise<Ended> = Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]).then(
    ([out, err, [code]]) => ({ out, err, code }),
  )
  return { child, ended }
}

/** In a process of its own, as a person does. */
const run = (...words: string[]): Promise<Ended> => start(words).ended

/** The same program in this process: for long tables of cases, since a process costs a third of a second. */
async function runHere(words: readonly string[], over: Partial<Terminal> = {}): Promise<Ended> {
  let out = ''
  let err = ''
  const code = await runCli(words, {
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
    wallMs: () => Date.now(),
    interrupted: new AbortController().signal,
    ...over,
  })
  return { code, out, err }
}
const here = (served: Served, ...words: string[]) => runHere(['--dir', served.dir, ...words])
const at = (served: Served, ...words: string[]) => run('--dir', served.dir, ...words)

const away = () =>
  statusOf([
    volume({
      replicas: [replica('nas-1'), replica('nas-2', { state: 'out', connected: false, reason: 'silent', sinceMs: 0 })],
      survives: [],
    }),
  ])
const copying = (doneBytes: number) =>
  statusOf([
    volume({
      replicas: [replica('nas-1'), replica('nas-2', { state: 'joining' })],
      survives: [],
      resync: {
        serverId: replica('nas-2').serverId,
        serverName: 'nas-2',
        phase: 'comparing',
        totalBytes: 100e9,
        doneBytes,
        movedBytes: 0,
        bytesPerSecond: 380e6,
        remainingSeconds: 1080,
        startedMs: 0,
      },
    }),
  ])

test('status answers the three questions; --json gives the facts; --check tells monitoring', () =>
  serving(async (served) => {
    const well = await at(served, 'status')
    assert.equal(well.code, 0, well.err)
    assert.match(well.out, /^nas-1 .*: Protected$/m)
    assert.match(well.out, /^office \(1 GiB\): Protected$/m)
    assert.match(well.out, /If nas-2 stops, work goes on\. If nas-1 stops, work waits for it/)
    assert.equal((await here(served, 'status', '--check')).code, 0)
    assert.deepEqual(status.parse(JSON.parse((await here(served, 'status', '--json')).out)), served.port.current)

    served.port.change(away())
    const ill = await at(served, 'status', '--check')
    assert.equal(ill.code, 1)
    assert.match(ill.out, /One copy/)
    assert.match(ill.out, /nas-2 stopped answering on 1 Jan at/)
    assert.match(ill.out, /To do: Check that nas-2 has power/)
  }))

test('the socket is found by --socket, by --dir, by MIRRORBAY_DIR and by the configuration', () =>
  serving(async (served) => {
    assert.equal((await runHere(['status', '--socket', served.socketPath])).code, 0)
    assert.equal((await runHere(['status'], { environment: { MIRRORBAY_DIR: served.dir } })).code, 0)
    const other = await mkdtemp(join(tmpdir(), 'mirrorbay-cli-'))
    try {
      await writeFile(join(other, 'config.json'), JSON.stringify({ control: { socket: served.socketPath } }))
      assert.equal((await runHere(['status', '--dir', other])).code, 0)
      await writeFile(join(other, 'config.json'), 'not JSON')
      const lost = await runHere(['status', '--dir', other])
      assert.equal(lost.code, 2)
      assert.match(lost.err, new RegExp(`${other}/api.sock`))
    } finally {
      await rm(other, { recursive: true, force: true })
    }
  }))

test('without an agent every command says so in three lines and exits with 2', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'mirrorbay-cli-'))
  try {
    for (const words of [
      ['status'],
      ['status', '--watch'],
      ['volume', 'list'],
      ['events', '--follow'],
      ['stop'],
      ['console'],
    ]) {
      const { code, out, err } = await runHere(['--dir', dir, ...words])
      assert.equal(code, 2, words.join(' '))
      assert.equal(out, '')
      assert.equal(err.trim().split('\n').length, 3, err)
      assert.match(err, /does not run here/)
    }
    const json = await run('--dir', dir, 'status', '--json')
    assert.equal(json.code, 2)
    assert.equal(errorBody.parse(JSON.parse(json.err)).code, 'agent-not-running')
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
})

test('a port that is not an agent is not understood, and one that never answers is not waited for after Ctrl-C', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'mirrorbay-cli-'))
  const silent = createServer()
  try {
    await serving(async (served) => {
      served.port.status = () => JSON.parse('{"product":"other"}')
      const { code, err } = await at(served, 'status')
      assert.equal(code, 2)
      assert.match(err, /not understood/)
    })
    const connected = once(silent.listen(join(dir, 'api.sock')), 'connection')
    const { child, ended } = start(['--dir', dir, 'events', '--follow'])
    const [socket] = await connected
    child.kill('SIGINT')
    assert.notEqual((await ended).code, null)
    socket.destroy()
  } finally {
    silent.close()
    await rm(dir, { recursive: true, force: true })
  }
})

test('volume create understands sizes, and refuses nonsense with an example', () =>
  serving(async (served) => {
    const made = await here(served, 'volume', 'create', 'office', '--size', '1.5T')
    assert.equal(made.code, 0, made.err)
    assert.match(made.out, /^office, 1\.5 TiB, was created\.$/m)
    await here(served, 'volume', 'create', 'v2', '--size', '500m', '--arbiter', 'witness')
    await here(served, 'volume', 'create', 'v3', '--size', '1073741824', '--preferred', 'nas-2')
    assert.deepEqual(served.port.asked, [
      [
        'createVolume',
        {
          name: 'office',
          sizeBytes: 1.5 * 1024 ** 4,
          writeThrough: false,
          arbiter: 'preferred',
          preferredServer: undefined,
        },
      ],
      [
        'createVolume',
        { name: 'v2', sizeBytes: 500 * 1024 ** 2, writeThrough: false, arbiter: 'witness', preferredServer: undefined },
      ],
      [
        'createVolume',
        { name: 'v3', sizeBytes: 1024 ** 3, writeThrough: false, arbiter: 'preferred', preferredServer: 'nas-2' },
      ],
    ])
    for (const words of [
      ['v', '--size', 'huge'],
      ['v', '--size', '-1G'],
      ['v', '--size', '1Q'],
      ['v', '--size', '10'],
      ['v', '--size', '999T'],
      ['v', '--size', '1000000001'],
      ['v'],
      ['V!', '--size', '1G'],
      ['v', '--size', '1G', '--arbiter', 'coin'],
      ['v', '--size', '1G', '--arbiter', 'witness', '--preferred', 'nas-1'],
      ['v', '--size', '1G', 'extra'],
    ]) {
      const { code, err } = await here(served, 'volume', 'create', ...words)
      assert.equal(code, 2, `${words.join(' ')}: ${err}`)
      assert.equal(err.trim().split('\n').length, 3, err)
    }
    assert.equal(served.port.asked.length, 3)
  }))

test("the agent's refusal is a no, in its words", () =>
  serving(async (served) => {
    served.port.refusal = new UserError({ code: 'peer-away', happened: 'A.', dataIsSafe: 'B.', next: 'C.' })
    assert.deepEqual(await here(served, 'volume', 'create', 'v', '--size', '1G'), {
      code: 1,
      out: '',
      err: 'A.\nB.\nC.\n',
    })
    assert.equal((await at(served, 'resync', 'nothing')).code, 1)
  }))

test('volume list, events, console and stop', () =>
  serving(async (served) => {
    served.port.happen('server-left', { volume: 'office', server: 'nas-2', details: { reason: 'silent' } })
    assert.match((await here(served, 'volume', 'list')).out, /^office {2}1 GiB {2}Protected {2}nbd:\/\/127\.0\.0\.1/)
    assert.match((await here(served, 'events')).out, /nas-2 no longer mirrors office because it stopped answering\.\n$/)
    const lines = (await here(served, 'events', '--json')).out.trim().split('\n')
    assert.equal(event.parse(JSON.parse(lines[0] ?? '')).kind, 'server-left')
    assert.equal((await here(served, 'console')).out, `${served.control.consoleUrl}\n`)
    assert.equal((await here(served, 'stop')).code, 0)
    assert.deepEqual(served.port.asked, [['stop']])
    served.port.change(statusOf([]))
    assert.match((await here(served, 'volume', 'list')).out, /No shared disk yet/)
  }))

test('scrub asks for a reading of everything, and ends it', () =>
  serving(async (served) => {
    const begun = await here(served, 'scrub', 'office')
    assert.equal(begun.code, 0)
    assert.match(begun.out, /office is being read/)
    await here(served, 'scrub', 'office', '--stop')
    assert.deepEqual(served.port.asked, [
      ['scrub', 'office', 'now'],
      ['scrub', 'office', 'stop'],
    ])
    assert.equal((await here(served, 'scrub')).code, 2)
  }))

test('resync asks, pauses and continues; --wait shows progress and ends when every copy is complete', () =>
  serving(async (served) => {
    await here(served, 'resync', 'office')
    await here(served, 'resync', 'office', '--pause')
    await here(served, 'resync', 'office', '--continue')
    assert.deepEqual(served.port.asked, [
      ['resync', 'office', 'now'],
      ['resync', 'office', 'pause'],
      ['resync', 'office', 'continue'],
    ])
    assert.equal((await here(served, 'resync', 'office', '--pause', '--continue')).code, 2)

    served.port.change(copying(43e9))
    const late = await here(served, 'resync', 'office', '--wait', '--timeout', '1')
    assert.equal(late.code, 1)
    assert.match(late.err, /not Protected within 1 s/)

    const { child, ended } = start(['--dir', served.dir, 'resync', 'office', '--wait'])
    let seen = ''
    child.stdout.on('data', (data) => {
      seen += data
    })
    await until('progress', 10_000, () => seen.includes('Catching up - 43 %'))
    served.port.change(copying(80e9))
    await until('more progress', 10_000, () => seen.includes('Catching up - 80 %'))
    served.port.change(statusOf())
    const { code, out } = await ended
    assert.equal(code, 0)
    assert.match(out, /office: Protected\. Every copy is complete\.\n$/)
  }))

test('status --watch and events --follow tell what changes, until Ctrl-C or the agent ends', () =>
  serving(async (served) => {
    const watching = start(['--dir', served.dir, 'status', '--watch'])
    const following = start(['--dir', served.dir, 'events', '--follow', '--json'])
    let seen = ''
    let told = ''
    watching.child.stdout.on('data', (data) => {
      seen += data
    })
    following.child.stdout.on('data', (data) => {
      told += data
    })
    await until('the first status', 10_000, () => seen.includes('Protected'))
    served.port.change(away())
    served.port.happen('peer-lost', { server: 'nas-2' })
    await until('the change', 10_000, () => seen.includes('One copy') && told.includes('peer-lost'))
    watching.child.kill('SIGINT')
    assert.equal((await watching.ended).code, 0)
    await served.control.close()
    const { code, err } = await following.ended
    assert.equal(code, 2)
    assert.match(err, /Mirrorbay stopped here/)
  }))

test('init writes a configuration that the agent accepts, readable by its owner only, and never over another', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'mirrorbay-init-'))
  try {
    const storage = join(dir, 'nas-1')
    const secret = join(dir, 'secret')
    await writeFile(secret, 'a secret that is long enough\n')
    const [link, nbd, console] = await freePorts(3)
    const words = ['--dir', storage, 'init', '--name', 'nas-1', '--port', `${link}`, '--nbd-port', `${nbd}`]
    words.push('--console-port', `${console}`, '--peer', 'nas-2=10.0.0.2:7400', '--witness', 'w=[fd00::3]:7401')
    const made = await run(...words, '--secret-file', secret)
    assert.equal(made.code, 0, made.err)
    const path = join(storage, 'config.json')
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    const config = agentConfig.parse(JSON.parse(await readFile(path, 'utf8')))
    assert.equal(config.link.secret, 'a secret that is long enough')
    assert.deepEqual(config.peers, [
      { name: 'nas-2', role: 'storage', host: '10.0.0.2', port: 7400 },
      { name: 'w', role: 'tiebreaker', host: 'fd00::3', port: 7401 },
    ])
    const again = await runHere(words)
    assert.equal(again.code, 1)
    assert.match(again.err, /already holds a server/)
    assert.deepEqual(await readdir(storage), ['config.json'])

    const witness = await run(
      '--dir',
      join(dir, 'w'),
      'init',
      '--name',
      'w',
      '--role',
      'tiebreaker',
      '--port',
      `${link}`,
    )
    assert.equal(witness.code, 0, witness.err)
    const its = agentConfig.parse(JSON.parse(await readFile(join(dir, 'w', 'config.json'), 'utf8')))
    assert.ok(its.nbd.port === null && its.link.secret.length >= 32)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
})

test('init refuses what cannot work, and writes nothing then', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'mirrorbay-init-'))
  const taken = createServer()
  try {
    await once(taken.listen(0, '127.0.0.1'), 'listening')
    const address = taken.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const storage = join(dir, 'x')
    const [free] = await freePorts(1)
    const good = ['--name', 'nas-1', '--port', `${free}`, '--nbd-port', `${free + 1}`]
    const bad: [number, string[]][] = [
      [2, []],
      [2, ['--name', 'NAS 1']],
      [2, ['--name', 'nas-1', '--port', '70000']],
      [2, ['--name', 'nas-1', '--port', 'x']],
      [2, [...good, '--peer', 'nas-2']],
      [2, [...good, '--peer', 'nas-1=10.0.0.2:1']],
      [2, [...good, '--peer', 'b=h:1', '--witness', 'b=h:2']],
      [2, [...good, '--nbd-port', `${free}`]],
      [2, [...good, '--secret-file', join(dir, 'absent')]],
      [2, [...good, '--role', 'king']],
      [1, ['--name', 'nas-1', '--port', `${port}`]],
    ]
    for (const [code, words] of bad) {
      const ended = await runHere(['--dir', storage, 'init', ...words])
      assert.equal(ended.code, code, `${words.join(' ')}: ${ended.err}`)
      assert.equal(ended.err.trim().split('\n').length, 3, ended.err)
    }
    await writeFile(join(dir, 'file'), '')
    assert.equal((await runHere(['--dir', join(dir, 'file', 'x'), 'init', ...good])).code, 1)
    await assert.rejects(stat(storage), { code: 'ENOENT' })
  } finally {
    taken.close()
    await chmod(dir, 0o700)
    await rm(dir, { recursive: true, force: true })
  }
})

test('help has examples everywhere, and nonsense is refused in three lines', async () => {
  for (const words of [[], ['status'], ['volume', 'create'], ['resync'], ['init'], ['agent']]) {
    const { code, out } = await runHere([...words, '--help'])
    assert.equal(code, 0)
    assert.match(out, /Examples:\n {2}mirrorbay /)
  }
  for (const words of [['dance'], ['status', '--loudly'], ['resync'], ['resync', 'v', '--wait', '--timeout', 'soon']]) {
    const { code, out, err } = await runHere(words)
    assert.equal(code, 2, words.join(' '))
    assert.equal(out, '')
    assert.equal(err.trim().split('\n').length, 3, err)
  }
  assert.equal((await runHere([])).code, 2)
  assert.equal((await run('dance')).code, 2)
})

async function freePorts(count: number): Promise<[number, ...number[]]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer()
      await once(server.listen(0, '127.0.0.1'), 'listening')
      return server
    }),
  )
  const ports = servers.map((server) => {
    const address = server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  })
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  const [first = 0, ...rest] = ports
  return [first, ...rest]
}
