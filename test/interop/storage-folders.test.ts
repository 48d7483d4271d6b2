/**
 * Several storage folders on one server: one that fails, is missing, is an empty mount point, is damaged or locked takes
 * only its own copies down, and comes back with them.
 */
import assert from 'node:assert/strict'
import { cp, mkdir, readdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { connectAgent } from '../../agent/cli/connection.ts'
import { agentConfig } from '../../agent/contract/config.ts'
import type { FolderStatus, VolumeStatus } from '../../agent/contract/status.ts'
import { headlineOf } from '../../agent/contract/words.ts'
import { realClock } from '../../agent/host/machine.ts'
import { closeStore } from '../../agent/host/opening.ts'
import { openStore } from '../../agent/store/open-store.ts'
import { type ServerName, stepMs, type TestLab, withLab } from '../kit/lab.ts'
import { mustExit } from '../kit/lab-command.ts'
import { Load } from '../kit/load.ts'
import { connectNbd } from '../kit/nbd-client.ts'
import { needs } from '../kit/needs.ts'
import { mustRun, type Ran, runTool } from '../kit/tools.ts'
import { until } from '../kit/until.ts'
import { equal } from '../lab/equal.ts'
import { tcpUri } from '../lab/layout.ts'
import { memberNamed } from '../lab/state.ts'

const MiB = 1024 * 1024
const sizeBytes = 64 * MiB
const program = fileURLToPath(new URL('../../agent/cli/main.ts', import.meta.url))
const quiet = () => undefined
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }

const command = (lab: TestLab, name: ServerName, ...words: string[]): Promise<Ran> =>
  runTool(process.execPath, [program, '--dir', memberNamed(lab.state, name).dir, ...words], stepMs)

const second = (lab: TestLab, name: ServerName): string => tcpUri(memberNamed(lab.state, name), 'second')

/** A second volume, whose copy on a lies in disk1; the first one lies in main. */
async function createSecond(lab: TestLab): Promise<void> {
  const a = connectAgent(memberNamed(lab.state, 'a').api)
  await a.call('createVolume', { name: 'second', sizeBytes, arbiter: 'witness', folder: 'disk1' })
  await secondIs(lab, 'Protected')
}

async function secondAt(lab: TestLab, name: ServerName): Promise<VolumeStatus | undefined> {
  return (await lab.status(name)).volumes.find((volume) => volume.name === 'second')
}

async function secondIs(lab: TestLab, headline: string, names: readonly ServerName[] = ['a', 'b']): Promise<void> {
  for (const name of names) {
    await until(`second ${headline} at ${name}`, stepMs, async () => {
      const volume = await secondAt(lab, name)
      return volume !== undefined && headlineOf(volume) === headline
    })
  }
}

async function mustBeEqual(lab: TestLab): Promise<void> {
  await lab.mustBeEqual()
  const answer = await equal({ ...lab.state, volume: { name: 'second', sizeBytes } })
  assert.ok(answer.yes, answer.says)
}

async function folder(lab: TestLab, name: ServerName, which = 'disk1'): Promise<FolderStatus> {
  const found = (await lab.status(name)).folders.find((each) => each.name === which)
  assert.ok(found !== undefined, `${name} knows no folder ${which}`)
  return found
}

const disk1 = (lab: TestLab): string => path.join(lab.dir, 'a-disk1')

async function write(uri: string, atMiB: number, fill: number): Promise<void> {
  const client = await connectNbd(uri)
  try {
    await client.write(atMiB * MiB, new Uint8Array(MiB).fill(fill))
    await client.flush()
  } finally {
    client.destroy()
  }
}

async function mustRead(uri: string, atMiB: number, fill: number): Promise<void> {
  const client = await connectNbd(uri)
  try {
    const found = await client.read(atMiB * MiB, MiB)
    assert.ok(
      found.every((byte) => byte === fill),
      `MiB ${atMiB} does not hold ${fill}`,
    )
  } finally {
    client.destroy()
  }
}

/** A disk of a fails; clients at both servers of the first volume, and at b of the second, go on. */
async function failsAlone(lab: TestLab, [first, other]: readonly [Load, Load]): Promise<void> {
  const { epoch } = await lab.volume('b')
  await mustExit(0, 'fault', lab.dir, 'a', 'disk-fail', '--folder', 'disk1')
  await secondIs(lab, 'One copy', ['b'])
  const left = async () => (await lab.events('b')).findLast((event) => event.kind === 'server-left')
  await until('the event at b', stepMs, async () => (await left()) !== undefined)
  assert.deepEqual([(await left())?.volume, (await left())?.details.reason], ['second', 'disk-failed'])
  await lab.stays('Protected', 1_500)
  assert.equal((await lab.volume('b')).epoch, epoch, 'the volume in the sound folder was touched')
  assert.equal((await folder(lab, 'a')).state, 'failed')
  assert.equal((await folder(lab, 'a', 'main')).state, 'ok')
  const told = (await lab.events('a')).filter((event) => event.kind === 'disk-failed')
  assert.deepEqual(
    told.map(({ details }) => details.folder),
    ['disk1'],
  )
  const retried = await command(lab, 'a', 'folder', 'retry', 'disk1')
  assert.equal(retried.code, 1)
  assert.match(retried.said, /restart Mirrorbay/)
  for (const load of [first, other]) {
    const before = load.answered()
    await until('more answers', stepMs, () => load.answered() > before + 50)
  }
}

test('a folder that fails takes only its own volume down, and comes back with the next run', async () => {
  await withLab({ folders: 1 }, async (lab) => {
    await createSecond(lab)
    assert.deepEqual((await folder(lab, 'a')).volumes, ['second'])
    assert.deepEqual((await folder(lab, 'a', 'main')).volumes, ['disk'])
    const shape = { blocks: 128, connectionsPerServer: 1, depth: 2 }
    const both = [
      { name: 'a', uri: lab.uri('a') },
      { name: 'b', uri: lab.uri('b') },
    ]
    const first = await Load.begin({ ...shape, servers: both, seed: 1 })
    const atB = [{ name: 'b', uri: second(lab, 'b') }]
    const other = await Load.begin({ ...shape, servers: atB, seed: 2 })
    try {
      await failsAlone(lab, [first, other])
      assert.deepEqual([(await first.stop(both)).slice(0, 3), (await other.stop(atB)).slice(0, 3)], [[], []])
    } finally {
      // Twice is harmless; a load that goes on after a failure would keep the process.
      await Promise.all([first.stop([]), other.stop([])])
    }
    for (const [load, name] of [
      [first, 'a'],
      [first, 'b'],
      [other, 'b'],
    ] as const) {
      assert.deepEqual(
        [load.report(name).refusals, load.report(name).lost],
        [[], 0],
        `a client at ${name} saw an error`,
      )
    }
    await lab.kill('a')
    await lab.start('a')
    await lab.wait('Protected')
    await secondIs(lab, 'Protected')
    await mustBeEqual(lab)
  })
})

test('a folder that is missing at start: the others work, nobody waits for it, and it comes in by itself', async (t) => {
  await withLab({ folders: 1 }, async (lab) => {
    await createSecond(lab)
    const aside = path.join(lab.dir, 'aside')

    await t.test('absent', async () => {
      await lab.kill('a')
      await rename(disk1(lab), aside)
      await lab.start('a')
      await lab.wait('Protected')
      assert.equal((await folder(lab, 'a')).state, 'missing')
      assert.deepEqual((await folder(lab, 'a')).volumes, ['second'])
      await secondIs(lab, 'One copy', ['b'])
      await write(second(lab, 'b'), 3, 33)
      const check = await command(lab, 'a', 'status', '--check')
      assert.equal(check.code, 1, check.said)
      await rename(aside, disk1(lab))
      await secondIs(lab, 'Protected')
      await mustRead(second(lab, 'a'), 3, 33)
      assert.equal((await folder(lab, 'a')).state, 'ok')
    })

    await t.test('an empty mount point is not made a store', async () => {
      await lab.kill('a')
      await rename(disk1(lab), aside)
      await mkdir(disk1(lab))
      await lab.start('a')
      await lab.wait('Protected')
      assert.equal((await folder(lab, 'a')).state, 'missing')
      await write(second(lab, 'b'), 4, 44)
      const refused = await command(lab, 'a', 'folder', 'retry', 'disk1')
      assert.deepEqual([refused.code, /not mounted/.test(refused.said)], [1, true], refused.said)
      // A name that lies in the folder that is away is not given again.
      const taken = await command(lab, 'a', 'volume', 'create', 'second', '--size', '8M')
      assert.equal(taken.code, 1, taken.said)
      assert.deepEqual(await readdir(disk1(lab)), [], 'something was written to the mount point')
      await rmdir(disk1(lab))
      await rename(aside, disk1(lab))
      await mustExitRetry(lab)
      await secondIs(lab, 'Protected')
      await mustRead(second(lab, 'a'), 4, 44)
    })

    await t.test('both servers begin anew: the one with its folder goes on alone', async () => {
      await write(second(lab, 'a'), 5, 55)
      await lab.stop('b')
      await lab.kill('a')
      await rename(disk1(lab), aside)
      await lab.start('a')
      await lab.start('b')
      await secondIs(lab, 'Waiting', ['b'])
      await rename(aside, disk1(lab))
      await secondIs(lab, 'Protected')
      await lab.kill('a')
      await lab.kill('b')
      await rename(disk1(lab), aside)
      await Promise.all([lab.start('a'), lab.start('b')])
      await secondIs(lab, 'One copy', ['b'])
      await mustRead(second(lab, 'b'), 5, 55)
      await lab.wait('Protected')
      await rename(aside, disk1(lab))
      await secondIs(lab, 'Protected')
      await mustBeEqual(lab)
    })
  })
})

/** A retry that meets the look that the agent takes by itself is asked again. */
const mustExitRetry = (lab: TestLab) =>
  until('disk1 to be back', stepMs, async () => (await command(lab, 'a', 'folder', 'retry', 'disk1')).code === 0)

test('a folder that another program holds, or that cannot be read, keeps nobody from starting', async (t) => {
  await withLab({ folders: 1 }, async (lab) => {
    await createSecond(lab)

    await t.test('locked', async () => {
      await lab.kill('a')
      const holder = await openStore({ dir: disk1(lab), clock: realClock(), log })
      try {
        await lab.start('a')
        await lab.wait('Protected')
        assert.equal((await folder(lab, 'a')).state, 'in-use')
        await secondIs(lab, 'One copy', ['b'])
      } finally {
        await closeStore(holder)
      }
      await secondIs(lab, 'Protected')
    })

    await t.test('a copy of a folder in use', async () => {
      const clone = path.join(lab.dir, 'clone')
      await cp(disk1(lab), clone, { recursive: true })
      const refused = await command(lab, 'a', 'folder', 'add', 'disk2', clone)
      assert.deepEqual([refused.code, /copy of the storage folder disk1/.test(refused.said)], [1, true], refused.said)
      const elsewhere = await command(lab, 'b', 'folder', 'add', 'disk2', clone, '--take-over')
      assert.deepEqual([elsewhere.code, /another server.*second/.test(elsewhere.said)], [1, true], elsewhere.said)
      await rm(clone, { recursive: true })
    })

    await t.test('damaged', async () => {
      await lab.kill('a')
      for (const name of await readdir(disk1(lab))) {
        if (name.startsWith('index.db')) await rm(path.join(disk1(lab), name))
      }
      await lab.start('a')
      await lab.wait('Protected')
      const { state, why } = await folder(lab, 'a')
      assert.equal(state, 'damaged')
      assert.match(why ?? '', /index/)
      await secondIs(lab, 'One copy', ['b'])
      await lab.mustBeEqual()
    })
  })
})

test('a folder comes into use while the agent runs, stays over a restart, and goes only when nothing lies in it', async () => {
  await withLab({ witness: true }, async (lab) => {
    const added = path.join(lab.dir, 'added')
    assert.equal((await command(lab, 'a', 'folder', 'add', 'disk1', added)).code, 0)
    await createSecond(lab)
    await write(second(lab, 'a'), 1, 11)
    for (const [words, about] of [
      [['folder', 'remove', 'disk1'], /still used: second/],
      [['folder', 'remove', 'main'], /identity of this server/],
      [['folder', 'remove', 'other'], /no storage folder named other/],
      [['folder', 'add', 'disk1', path.join(lab.dir, 'x')], /already|two storage folders/],
      [['folder', 'add', 'disk2', path.join(added, 'inside')], /inside the other/],
      [['folder', 'add', 'disk2', path.join(lab.dir, 'a', 'inside')], /inside the other/],
      [['volume', 'create', 'third', '--size', '8M', '--folder', 'disk7'], /storage folder disk7/],
    ] as const) {
      const refused = await command(lab, 'a', ...words)
      assert.equal(refused.code, 1, `${words.join(' ')}: ${refused.said}`)
      assert.match(refused.said, about)
    }
    await lab.kill('a')
    await lab.start('a')
    await lab.wait('Protected')
    await secondIs(lab, 'Protected')
    await mustRead(second(lab, 'a'), 1, 11)
    assert.equal((await command(lab, 'a', 'folder', 'add', 'disk2', path.join(lab.dir, 'empty'))).code, 0)
    assert.equal((await command(lab, 'a', 'folder', 'remove', 'disk2')).code, 0)
    assert.equal((await lab.status('a')).folders.length, 2)
    await mustBeEqual(lab)
  })
})

test('a disk that is nearly full is told once, and when it is no more', async () => {
  await withLab({ folders: 1, witness: false }, async (lab) => {
    const told = async () =>
      (await lab.events('a'))
        .filter(({ kind }) => kind.startsWith('space-'))
        .map(({ kind, details }) => [kind, details.folder])
    await mustExit(0, 'fault', lab.dir, 'a', 'disk-full', '--folder', 'disk1')
    await until('disk1 low', stepMs, async () => (await folder(lab, 'a')).isLow)
    assert.equal((await folder(lab, 'a', 'main')).isLow, false)
    const status = await command(lab, 'a', 'status')
    assert.match(status.said, /nearly full: 0 B left/)
    await mustExit(0, 'fault', lab.dir, 'a', 'off')
    await until('disk1 no more low', stepMs, async () => !(await folder(lab, 'a')).isLow)
    assert.deepEqual(await told(), [
      ['space-low', 'disk1'],
      ['space-ok', 'disk1'],
    ])
  })
})

test('a server whose configuration is lost is the same server again: data found in a folder is taken over', async () => {
  await withLab({ folders: 1 }, async (lab) => {
    await createSecond(lab)
    await write(lab.uri('a'), 1, 11)
    await write(second(lab, 'a'), 2, 22)
    const before = (await lab.status('a')).server
    const a = memberNamed(lab.state, 'a')
    const file = path.join(a.dir, 'config.json')
    const config = agentConfig.parse(JSON.parse(await readFile(file, 'utf8')))
    await lab.kill('a')
    await rm(file)
    const secret = path.join(lab.dir, 'secret')
    await writeFile(secret, config.link.secret)
    const peers = config.peers.flatMap(({ name, host, port, role }) => [
      role === 'storage' ? '--peer' : '--witness',
      `${name}=${host}:${port}`,
    ])
    const words = ['init', '--name', 'a', '--port', String(config.link.port), ...peers, '--secret-file', secret]
    const ports = ['--nbd-port', String(config.nbd.port), '--console-port', String(config.control.port)]
    const refused = await command(lab, 'a', ...words, ...ports)
    assert.equal(refused.code, 1, refused.said)
    assert.match(refused.said, /already holds the data of a server: disk \(64 MiB\); last used at .*--take-over/s)
    const wrong = await runTool(
      process.execPath,
      [program, '--dir', disk1(lab), ...words, ...ports, '--take-over'],
      stepMs,
    )
    assert.equal(wrong.code, 1, wrong.said)
    assert.match(wrong.said, /second storage folder of a server.*second \(64 MiB\)/)
    const taken = await command(lab, 'a', ...words, ...ports, '--nbd-socket', String(config.nbd.unix), '--take-over')
    assert.equal(taken.code, 0, taken.said)
    assert.match(taken.said, /Taken over: disk/)
    // The lab's agents answer at a socket of the lab's.
    const made = agentConfig.parse(JSON.parse(await readFile(file, 'utf8')))
    await writeFile(file, JSON.stringify({ ...made, control: config.control }))
    await lab.start('a')
    await lab.wait('Protected')
    await secondIs(lab, 'Protected')
    const after = (await lab.status('a')).server
    assert.equal(after.id, before.id)
    assert.equal(after.run, before.run + 1)
    await mustRead(lab.uri('a'), 1, 11)
    await mustRead(second(lab, 'a'), 2, 22)
    await mustBeEqual(lab)
  })
})

test('a folder that was taken out of use by hand comes back with --take-over only', async () => {
  await withLab({ folders: 1 }, async (lab) => {
    await createSecond(lab)
    await write(second(lab, 'a'), 2, 22)
    const file = path.join(memberNamed(lab.state, 'a').dir, 'config.json')
    const config = agentConfig.parse(JSON.parse(await readFile(file, 'utf8')))
    await lab.kill('a')
    await writeFile(file, JSON.stringify({ ...config, folders: [] }))
    await lab.start('a')
    await lab.wait('Protected')
    assert.equal((await folder(lab, 'a')).state, 'missing')
    const refused = await command(lab, 'a', 'folder', 'add', 'disk1', disk1(lab))
    assert.equal(refused.code, 1, refused.said)
    assert.match(refused.said, /already holds data: second \(64 MiB\).*--take-over/s)
    const taken = await command(lab, 'a', 'folder', 'add', 'disk1', disk1(lab), '--take-over')
    assert.equal(taken.code, 0, taken.said)
    await secondIs(lab, 'Protected')
    await mustRead(second(lab, 'a'), 2, 22)
    await mustBeEqual(lab)
  })
})

test('a preferred server whose disk fails still decides: its register lies on another disk than its copy', async () => {
  await withLab({ folders: 1, witness: false }, async (lab) => {
    assert.equal((await lab.volume('a')).folder, 'main')
    await write(lab.uri('b'), 1, 11)
    await mustExit(0, 'fault', lab.dir, 'a', 'disk-fail', '--folder', 'main')
    await lab.waitAt('b', 'One copy')
    await write(lab.uri('b'), 2, 22)
    await mustRead(lab.uri('b'), 1, 11)
    const refused = await command(lab, 'a', 'folder', 'remove', 'disk1')
    assert.deepEqual([refused.code, /decides about a shared disk/.test(refused.said)], [1, true], refused.said)
    await lab.kill('a')
    await lab.start('a')
    await lab.wait('Protected')
    await lab.mustBeEqual()
  })
})

test('a disk that is mounted late, and one that fills up: real mounts', needs('root'), async (t) => {
  const real = (dir: string) => path.join(dir, 'real')
  const mounted = (dir: string) => path.join(dir, 'a-disk1')
  const mount = (dir: string) => mustRun('mount', ['--bind', real(dir), mounted(dir)])
  const unmount = (dir: string) => mustRun('umount', [mounted(dir)])
  const prepare = async (dir: string) => {
    for (const folder of [real(dir), mounted(dir)]) await mkdir(folder)
    await mustRun('mount', ['-t', 'tmpfs', '-o', 'size=288m', 'tmpfs', real(dir)])
    await mount(dir)
  }
  const undo = async (dir: string) => {
    // Also when the test ended while it was not mounted.
    await runTool('umount', [mounted(dir)], stepMs)
    await mustRun('umount', [real(dir)])
  }
  await withLab({ folders: 1, prepare, undo }, async (lab) => {
    const a = connectAgent(memberNamed(lab.state, 'a').api)
    const size = 256 * MiB
    await a.call('createVolume', { name: 'second', sizeBytes: size, arbiter: 'witness', folder: 'disk1' })
    await secondIs(lab, 'Protected')

    await t.test('nearly full: told before anything is refused', async () => {
      assert.equal((await folder(lab, 'a')).isLow, false)
      for (let at = 0; at < 232; at++) await write(second(lab, 'b'), at, at + 1)
      await until('disk1 low', stepMs, async () => (await folder(lab, 'a')).isLow)
      const low = (await lab.events('a')).filter(({ kind }) => kind === 'space-low')
      assert.deepEqual(
        low.map(({ details }) => details.folder),
        ['disk1'],
      )
      await secondIs(lab, 'Protected')
    })

    await t.test('mounted late', async () => {
      await lab.kill('a')
      await unmount(lab.dir)
      await lab.start('a')
      await lab.wait('Protected')
      assert.equal((await folder(lab, 'a')).state, 'missing')
      assert.deepEqual(await readdir(mounted(lab.dir)), [])
      await write(second(lab, 'b'), 7, 77)
      await mount(lab.dir)
      await secondIs(lab, 'Protected')
      await mustRead(second(lab, 'a'), 7, 77)
    })
    await lab.mustBeEqual()
  })
})
