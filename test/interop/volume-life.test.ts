/** Growing a shared disk, deleting it, bringing it back and removing it for good: two servers, real clients at both. */
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Status } from '../../agent/contract/status.ts'
import { UserError } from '../../agent/kit/failure.ts'
import { stepMs, type TestLab, withLab } from '../kit/lab.ts'
import { rounds } from '../kit/length.ts'
import {
  connectNbd,
  listNbdExports,
  type NbdClient,
  NbdConnectionLost,
  NbdError,
  NbdRefused,
} from '../kit/nbd-client.ts'
import { needs } from '../kit/needs.ts'
import { qemuIo } from '../kit/tools.ts'
import { until, within } from '../kit/until.ts'
import * as api from '../lab/api.ts'
import { Pulse } from '../lab/pulse.ts'

const MiB = 1024 * 1024
const both = ['a', 'b'] as const

const refusedWith = (code: string) => (failure: unknown) => failure instanceof UserError && failure.code === code
const isLost = (failure: unknown) => failure instanceof NbdConnectionLost
const hasCode = (code: string) => (failure: unknown) => failure instanceof NbdError && failure.code === code

/** The disk is offered at neither server, under no name. */
async function offeredNowhere(lab: TestLab): Promise<void> {
  for (const name of both) {
    await lab.deletedAt(name)
    await assert.rejects(connectNbd(lab.uri(name)), NbdRefused, name)
    assert.deepEqual(await listNbdExports(lab.uri(name)), [], name)
  }
}

test(
  'a disk grows under a client that writes; new clients see the new size and fill it to its end',
  needs('qemu-io'),
  async (t) => {
    await withLab({ witness: true, sizeBytes: 64 * MiB }, async (lab) => {
      const largerBytes = 100 * MiB
      const before = await connectNbd(lab.uri('a'))
      const pulse = await Pulse.begin(lab.uri('a'), { firstByte: 0, blocks: 512 })
      await assert.rejects(api.grow(lab.server('b'), 'disk', 64 * MiB), refusedWith('not-larger'))
      await assert.rejects(api.grow(lab.server('b'), 'disk', 32 * MiB), refusedWith('not-larger'))
      await assert.rejects(api.grow(lab.server('b'), 'other', 128 * MiB), refusedWith('no-such-volume'))
      await api.grow(lab.server('b'), 'disk', largerBytes)

      const at = await connectNbd(lab.uri('b'))
      assert.equal(at.sizeBytes, largerBytes, 'a client that comes when growing is done sees it')
      await at.disconnect()
      for (const name of both) {
        await until(`the new size at ${name}`, stepMs, async () => (await lab.volume(name)).sizeBytes === largerBytes)
      }
      // Who was there keeps its size: beyond it nothing is done, and the connection goes on.
      await assert.rejects(before.write(64 * MiB, Buffer.alloc(4096, 1)), hasCode('ENOSPC'))
      await assert.rejects(before.read(64 * MiB, 4096), hasCode('EINVAL'))
      await before.write(63 * MiB, Buffer.alloc(MiB, 0x31))
      await before.disconnect()
      await pulse.end()
      t.diagnostic(`${pulse.writes} writes meanwhile, longest ${Math.round(pulse.longestMs)} ms`)

      await qemuIo(lab.uri('b'), ['write -P 0x41 64M 36M', 'flush'])
      await qemuIo(lab.uri('a'), ['read -P 0x31 63M 1M', 'read -P 0x41 64M 36M'])
      await pulse.verify(lab.uri('b'))
      await lab.mustBeEqual()
      await lab.kill('a')
      await lab.start('a')
      await lab.wait('Protected')
      assert.equal((await lab.volume('a')).sizeBytes, largerBytes)
      await qemuIo(lab.uri('a'), ['read -P 0x41 64M 36M'])
    })
  },
)

/** A client that writes until its connection ends. @returns how it ended */
function writing(client: NbdClient): Promise<unknown> {
  const run = async () => {
    for (let block = 0; ; block = (block + 1) % 256) await client.write(block * 4096, Buffer.alloc(4096, 0x55))
  }
  return run().catch((failure: unknown) => failure)
}

test(
  'a deleted disk is offered to nobody, its clients are thrown out; restored it has its data',
  needs('qemu-io'),
  async (t) => {
    await withLab({ witness: true }, async (lab) => {
      await qemuIo(lab.uri('a'), ['write -P 0x41 8M 4M', 'flush'])
      await t.test('its clients at both servers lose their connections, also while they write', async () => {
        const clients = await Promise.all(
          both.flatMap((name) => [connectNbd(lab.uri(name)), connectNbd(lab.unixUri(name))]),
        )
        const busy = clients.filter((_client, index) => index % 2 === 0).map(writing)
        await api.deleteVolume(lab.server('b'), 'disk')
        for (const client of clients) assert.ok(await within('the end of a connection', stepMs, client.ended))
        for (const ended of busy) assert.ok(isLost(await within('the end of a writer', stepMs, ended)))
        await offeredNowhere(lab)
      })

      await t.test('it is told as deleted, with the time until which it is kept', async () => {
        for (const name of both) {
          const { deletedMs, goneMs, wiping } = await lab.deletedAt(name)
          assert.ok(Math.abs(Date.now() - deletedMs) < stepMs)
          assert.equal(goneMs - deletedMs, 7 * 24 * 3_600_000)
          assert.equal(wiping, null)
        }
        await assert.rejects(api.deleteVolume(lab.server('a'), 'disk'), refusedWith('no-such-volume'))
      })

      await t.test('its name is free; restored it takes another one, or is refused', async () => {
        const { id } = await lab.deletedAt('a')
        await api.createVolume(lab.server('a'), { name: 'disk', sizeBytes: 64 * MiB, witness: true })
        await assert.rejects(api.restoreVolume(lab.server('b'), id, null), refusedWith('volume-exists'))
        await api.restoreVolume(lab.server('b'), id, 'old')
        await qemuIo(lab.uri('a').replace(/disk$/, 'old'), ['read -P 0x41 8M 4M'])
        await qemuIo(lab.uri('a'), ['read -P 0 8M 4M'])
        await assert.rejects(api.purgeVolume(lab.server('a'), id, false), refusedWith('not-deleted'))
      })

      await t.test('a restart of both changes nothing of it', async () => {
        await api.deleteVolume(lab.server('a'), 'old')
        for (const name of both) await lab.kill(name)
        for (const name of both) await lab.start(name)
        for (const name of both) {
          await until(`what ${name} keeps`, stepMs, async () => {
            const { volumes, deletedVolumes } = await lab.status(name)
            return (
              volumes.map((each) => each.name).join() === 'disk' &&
              deletedVolumes.map((each) => each.name).join() === 'old'
            )
          })
        }
      })
    })
  },
)

test('who was away hears of it when it returns: deleted, restored, removed for good', needs('qemu-io'), async (t) => {
  await withLab({ witness: true }, async (lab) => {
    await qemuIo(lab.uri('b'), ['write -P 0x41 8M 4M', 'flush'])
    await t.test('deleted while b is away: b offers it no more when it is back', async () => {
      await lab.kill('b')
      await lab.waitAt('a', 'One copy')
      await qemuIo(lab.uri('a'), ['write -P 0x42 12M 4M', 'flush'])
      await api.deleteVolume(lab.server('a'), 'disk')
      await lab.start('b')
      await offeredNowhere(lab)
      // It is kept as safe as before: the copy that missed something is made complete.
      await until('two equal copies of the deleted disk', stepMs, async () => (await lab.equal()).yes)
    })

    await t.test('restored while a is away: both have it and all its data', async () => {
      const { id } = await lab.deletedAt('b')
      await lab.kill('a')
      await until('the disk back at b', stepMs, async () => {
        await api.restoreVolume(lab.server('b'), id, null)
        return true
      })
      await lab.start('a')
      await lab.wait('Protected')
      for (const name of both) await qemuIo(lab.uri(name), ['read -P 0x41 8M 4M', 'read -P 0x42 12M 4M'])
      await lab.mustBeEqual()
    })

    await t.test('removed for good while b is away: b removes it when it is back', async () => {
      await api.deleteVolume(lab.server('a'), 'disk')
      const { id } = await lab.deletedAt('a')
      await lab.deletedAt('b')
      await lab.kill('b')
      await until('the end asked for at a', stepMs, async () => {
        await api.purgeVolume(lab.server('a'), id, false)
        return true
      })
      await goneAt(lab, 'a', id)
      await lab.start('b')
      await goneAt(lab, 'b', id)
    })
  })
})

async function goneAt(lab: TestLab, name: 'a' | 'b', id: string): Promise<void> {
  await until(`its end at ${name}`, stepMs, async () => {
    const { volumes, deletedVolumes } = await lab.status(name)
    return ![...volumes, ...deletedVolumes].some((volume) => volume.id === id)
  })
}

/** Files below a folder that hold the text. */
async function filesWith(folder: string, marker: Buffer): Promise<string[]> {
  const found: string[] = []
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    const file = path.join(entry.parentPath, entry.name)
    if (entry.isFile() && (await readFile(file)).includes(marker)) found.push(file)
  }
  return found
}

test(
  'removed for good its space is free again; wiped its bytes are nowhere in the files',
  needs('qemu-io'),
  async () => {
    await withLab({ witness: true }, async (lab) => {
      const marker = Buffer.from('this was a secret of the office ')
      const client = await connectNbd(lab.uri('a'))
      await client.write(8 * MiB, Buffer.alloc(16 * MiB, marker), { fua: true })
      await client.disconnect()
      for (const name of both) assert.notDeepEqual(await filesWith(lab.server(name).dir, marker), [], 'it can be found')
      await api.deleteVolume(lab.server('a'), 'disk')
      const { id } = await lab.deletedAt('a')
      for (const name of both) assert.notDeepEqual(await filesWith(lab.server(name).dir, marker), [], 'it is kept')
      await api.purgeVolume(lab.server('a'), id, true)
      for (const name of both) {
        await goneAt(lab, name, id)
        assert.deepEqual(await filesWith(lab.server(name).dir, marker), [], `bytes of it are left at ${name}`)
      }
      // Its place is taken by the next one.
      await api.createVolume(lab.server('b'), { name: 'disk', sizeBytes: 64 * MiB, witness: true })
      await qemuIo(lab.uri('a'), ['read -P 0 0 64M'])
      await lab.mustBeEqual()
    })
  },
)

test(
  'a server killed in the middle of each change: it is done or not, at both alike, and no write is lost',
  needs('qemu-io'),
  async (t) => {
    await withLab({ witness: true }, async (lab) => {
      await qemuIo(lab.uri('a'), ['write -P 0x41 8M 4M', 'flush'])
      /** Asks server a and kills one of both meanwhile. @returns whether it was answered with a yes */
      const killedMeanwhile = async (
        victim: 'a' | 'b',
        afterMs: number,
        ask: () => Promise<void>,
      ): Promise<boolean> => {
        const asked = ask().then(
          () => true,
          () => false,
        )
        await sleep(afterMs)
        await lab.kill(victim)
        const isDone = await within('the answer', 2 * stepMs, asked)
        await lab.start(victim)
        return isDone
      }
      /** What both say when they agree about all that there is. */
      const agreed = async (victim: string): Promise<string> =>
        until(`both agree after ${victim} came back`, stepMs, async () => {
          const [at, other] = await Promise.all(both.map((name) => lab.status(name).then(shape)))
          return at === other && (await lab.equal()).yes ? at : undefined
        })
      for (const [victim, afterMs] of kills.slice(0, rounds({ short: 1, full: 4, long: 4 }))) {
        await t.test(`${victim}, ${afterMs} ms after it was asked`, async () => {
          const { sizeBytes } = await lab.volume('a')
          const grown = await killedMeanwhile(victim, afterMs, () =>
            api.grow(lab.server('a'), 'disk', sizeBytes + 4 * MiB),
          )
          const told = await agreed(victim)
          if (grown) assert.match(told, new RegExp(`disk ${sizeBytes + 4 * MiB}`))
          await lab.wait('Protected')
          const name = `s-${victim}${afterMs}`
          const made = await killedMeanwhile(victim, afterMs, () => api.makeSnapshot(lab.server('a'), 'disk', name))
          await agreed(victim)
          await lab.wait('Protected')
          if (made) await qemuIo(lab.uri('a').replace('/disk', `/disk@${name}`), ['read -P 0x41 8M 4M'], stepMs, ['-r'])
          const deleted = await killedMeanwhile(victim, afterMs, () => api.deleteVolume(lab.server('a'), 'disk'))
          const kept = await agreed(victim)
          if (deleted) assert.match(kept, /deleted: disk/)
          if (kept.includes('deleted: disk')) {
            const { id } = await lab.deletedAt('a')
            const back = await killedMeanwhile(victim, afterMs, () => api.restoreVolume(lab.server('a'), id, null))
            const restored = await agreed(victim)
            if (back) assert.match(restored, /deleted: $/)
            if (!restored.endsWith('deleted: ')) await api.restoreVolume(lab.server('a'), id, null)
          }
          await lab.wait('Protected')
          for (const at of both) await qemuIo(lab.uri(at), ['read -P 0x41 8M 4M'])
        })
      }
      await t.test('and while it is removed for good', async () => {
        await api.deleteVolume(lab.server('a'), 'disk')
        const { id } = await lab.deletedAt('b')
        await lab.deletedAt('a')
        const ended = await killedMeanwhile('b', 2, () => api.purgeVolume(lab.server('a'), id, false))
        if (!ended) await api.purgeVolume(lab.server('a'), id, false).catch(() => undefined)
        for (const at of both) await goneAt(lab, at, id)
      })
    })
  },
)

/** Who is killed, and how many milliseconds after the change was asked for. A server that is away costs some seconds each. */
const kills = [
  ['a', 3],
  ['b', 0],
  ['b', 20],
  ['a', 40],
] as const

/** Names and sizes of what a server offers, and names of what it keeps. */
const shape = ({ volumes, deletedVolumes }: Status): string =>
  `${volumes.map(({ name, sizeBytes }) => `${name} ${sizeBytes}`).join()} deleted: ${deletedVolumes.map(({ name }) => name).join()}`
