/**
 * Several storage folders on one server: one that fails, is missing, is an empty mount point, is damaged or locked takes
 * only its own copies down, and comes back with them.
 */
import assert from 'node:assert/strict'
import { cp, mkdir, readdir, readFile, rename, rm, rmdir } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import { connectAgent } from '../../agent/cli/connection.ts'
import { realClock } from '../../agent/host/machine.ts'
import { closeStore } from '../../agent/host/opening.ts'
import { limits } from '../../agent/limits.ts'
import { openStore } from '../../agent/store/open-store.ts'
import { stepMs, type TestLab, withLab } from '../kit/lab.ts'
import { mustExit } from '../kit/lab-command.ts'
import { Load } from '../kit/load.ts'
import { unmounted } from '../kit/mounts.ts'
import { needs } from '../kit/needs.ts'
import {
  command,
  createSecond,
  disk1,
  folder,
  MiB,
  mustBeEqual,
  mustRead,
  second,
  secondIs,
  write,
} from '../kit/second-volume.ts'
import { mustRun } from '../kit/tools.ts'
import { until, within } from '../kit/until.ts'
import { memberNamed } from '../lab/state.ts'

const quiet = () => undefined
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }

/** Threads for files of a process; null where the system does not show them. */
async function fileThreads(pid: number): Promise<number | null> {
  if (process.platform !== 'linux') return null
  const tasks = await readdir(`/proc/${pid}/task`)
  const names = await Promise.all(tasks.map((task) => readFile(`/proc/${pid}/task/${task}/comm`, 'utf8')))
  return names.filter((name) => name.startsWith('libuv-worker')).length
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
    const threads = await fileThreads(lab.pid('a'))
    // A hung disk holds its own, and leaves all others to the other.
    if (threads !== null) assert.equal(threads, limits.threadPool + limits.folderThreads)
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

test('a preferred server whose disk fails still decides: its register lies on another disk than its copy', async () => {
  await withLab({ folders: 1, witness: false }, async (lab) => {
    assert.equal((await lab.volume('a')).folder, 'main')
    await write(lab.uri('b'), 1, 11)
    await mustExit(0, 'fault', lab.dir, 'a', 'disk-fail', '--folder', 'main')
    await within('a write at b', stepMs / 2, write(lab.uri('b'), 2, 22))
    await lab.waitAt('b', 'One copy')
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
  const unmount = (dir: string) => unmounted(mounted(dir), stepMs)
  const prepare = async (dir: string) => {
    for (const folder of [real(dir), mounted(dir)]) await mkdir(folder)
    await mustRun('mount', ['-t', 'tmpfs', '-o', 'size=288m', 'tmpfs', real(dir)])
    await mount(dir)
  }
  const undo = async (dir: string) => {
    // Also when the test ended while it was not mounted.
    await unmounted(mounted(dir), stepMs)
    await unmounted(real(dir), stepMs)
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
