/** Snapshots of a shared disk: one instant at both servers, read-only, gone when they are deleted. */
import assert from 'node:assert/strict'
import path from 'node:path'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import { UserError } from '../../agent/kit/failure.ts'
import { limits } from '../../agent/limits.ts'
import { stepMs, type TestLab, withLab } from '../kit/lab.ts'
import { connectNbd, listNbdExports, NbdError, NbdRefused, transmissionFlags } from '../kit/nbd-client.ts'
import { needs } from '../kit/needs.ts'
import { qemuIo, runTool } from '../kit/tools.ts'
import { until, within } from '../kit/until.ts'
import * as api from '../lab/api.ts'
import { memberNamed } from '../lab/state.ts'

const MiB = 1024 * 1024
const both = ['a', 'b'] as const

/** Slots in use in the server's storage folder, by its index, and whether some of them are being given back just now. */
function slotsAt(lab: TestLab, name: 'a' | 'b'): { slots: number; isGivingBack: boolean } {
  const database = new Database(path.join(memberNamed(lab.state, name).dir, 'index.db'), { readonly: true })
  try {
    // One moment of both tables. Columns of agent/store/FORMAT.md.
    return database.transaction(() => {
      const rows = database.prepare('SELECT slots FROM regions').pluck().all() as Buffer[]
      const slots = new Set(
        rows.flatMap((row) => Array.from({ length: row.length / 4 }, (_, at) => row.readUInt32LE(at * 4))),
      )
      slots.delete(0)
      const leaving = database.prepare('SELECT count(*) FROM images WHERE leaving <> 0').pluck().get()
      return { slots: slots.size, isGivingBack: leaving !== 0 }
    })()
  } finally {
    database.close()
  }
}

/** With nothing being given back: slots in use, and the bytes that the only snapshot takes there. */
async function spaceAt(lab: TestLab, name: 'a' | 'b'): Promise<{ slots: number; bytes: number }> {
  await until(`quiet at ${name}`, stepMs, () => !slotsAt(lab, name).isGivingBack)
  const [only, ...others] = await snapshotsAt(lab, name)
  assert.equal(others.length, 0)
  return { slots: slotsAt(lab, name).slots, bytes: only?.allocatedBytes ?? 0 }
}

const refusedWith = (code: string) => (failure: unknown) => failure instanceof UserError && failure.code === code
const isNotPermitted = (failure: unknown) => failure instanceof NbdError && failure.code === 'EPERM'

const snapshotsAt = async (lab: TestLab, name: 'a' | 'b') => (await lab.volume(name)).snapshots

test(
  'a snapshot shows the disk as it was, at both servers, whatever is written later',
  needs('qemu-io', 'nbdinfo'),
  async (t) => {
    await withLab({ witness: true }, async (lab) => {
      await qemuIo(lab.uri('a'), ['write -P 0x41 0 8M', 'write -P 0x42 20M 1M'])
      await qemuIo(lab.uri('b'), ['write -P 0x43 21M 1M', 'discard 2M 1M'])
      await api.makeSnapshot(lab.server('a'), 'disk', 'monday')
      await qemuIo(lab.uri('a'), ['write -P 0x51 0 4M', 'write -P 0x52 40M 1M'])
      await qemuIo(lab.uri('b'), ['write -P 0x53 4M 2M', 'discard 6M 2M', 'write -z 20M 1M', 'flush'])
      const asItWas = [
        'read -P 0x41 0 2M',
        'read -P 0 2M 1M',
        'read -P 0x41 3M 5M',
        'read -P 0x42 20M 1M',
        'read -P 0x43 21M 1M',
        'read -P 0 40M 1M',
      ]

      await t.test('it is an export named disk@monday at both, listed after the disk', async () => {
        for (const name of both) {
          assert.deepEqual(await listNbdExports(lab.uri(name)), ['disk', 'disk@monday'])
          for (const uri of [lab.uri(name), lab.unixUri(name)]) {
            await qemuIo(snapshotUri(uri), asItWas, 60_000, ['-r'])
          }
          const [told] = await snapshotsAt(lab, name)
          assert.equal(told?.name, 'monday')
          assert.equal(told?.nbd.tcp, snapshotUri(lab.uri(name)))
          assert.ok((told?.allocatedBytes ?? 0) > 0)
        }
        await qemuIo(lab.uri('b'), [
          'read -P 0x51 0 4M',
          'read -P 0x53 4M 2M',
          'read -P 0 20M 1M',
          'read -P 0x52 40M 1M',
        ])
        await lab.mustBeEqual()
      })

      await t.test('nobody can write it: not qemu-io, not a client that does not look at the flags', async () => {
        const said = await runTool('qemu-io', ['-f', 'raw', '-c', 'write -P 0x66 0 4k', snapshotUri(lab.uri('b'))])
        assert.notEqual(said.code, 0)
        assert.match(said.said, /read-only|read only|permitted|Permission/i)
        assert.match((await runTool('nbdinfo', [snapshotUri(lab.uri('a'))])).said, /is_read_only: true/)
        const client = await connectNbd(snapshotUri(lab.uri('a')))
        const { flags } = client
        assert.ok((flags & transmissionFlags.readOnly) !== 0)
        await assert.rejects(client.write(0, Buffer.alloc(4096, 1)), isNotPermitted)
        await assert.rejects(client.trim(0, 4096), isNotPermitted)
        await assert.rejects(client.zero(0, 4096), isNotPermitted)
        await client.flush()
        assert.equal((await client.read(0, 4096))[0], 0x41)
        await client.disconnect()
      })

      await t.test('it outlives restarts and a resync, also where its server was killed', async () => {
        await lab.kill('b')
        await qemuIo(lab.uri('a'), ['write -P 0x61 0 2M', 'write -P 0x62 20M 2M'])
        await lab.start('b')
        await lab.wait('Protected')
        await lab.stop('a')
        await lab.start('a')
        await lab.wait('Protected')
        for (const name of both) await qemuIo(snapshotUri(lab.uri(name)), asItWas, 60_000, ['-r'])
        await lab.mustBeEqual()
      })

      await t.test('refusals: a name that is taken, a disk or a snapshot that is not there', async () => {
        await assert.rejects(api.makeSnapshot(lab.server('b'), 'disk', 'monday'), refusedWith('image-exists'))
        await assert.rejects(api.makeSnapshot(lab.server('b'), 'other', 'monday'), refusedWith('no-such-volume'))
        await assert.rejects(api.deleteSnapshot(lab.server('b'), 'disk', 'sunday'), refusedWith('no-such-image'))
        await assert.rejects(api.makeSnapshot(lab.server('b'), 'disk', 'a@b'), refusedWith('bad-request'))
      })

      await t.test('deleted, its readers lose their connections, its export is gone', async () => {
        const clients = await Promise.all(both.map((name) => connectNbd(snapshotUri(lab.uri(name)))))
        await until(
          'its readers in the status',
          stepMs,
          async () => (await snapshotsAt(lab, 'a'))[0]?.clients.length === 1,
        )
        const held = { a: await spaceAt(lab, 'a'), b: await spaceAt(lab, 'b') }
        for (const { bytes } of Object.values(held)) assert.ok(bytes > 6 * MiB, `${bytes} bytes`)
        await api.deleteSnapshot(lab.server('b'), 'disk', 'monday')
        for (const client of clients) assert.ok(await within('the end of a connection', stepMs, client.ended))
        for (const name of both) {
          await until(`its end at ${name}`, stepMs, async () => (await snapshotsAt(lab, name)).length === 0)
          await assert.rejects(connectNbd(snapshotUri(lab.uri(name))), NbdRefused)
        }
        // The law of space (agent/store/README.md), at each server by itself: what lies there may be shared otherwise.
        for (const name of both) {
          const { slots, bytes } = held[name]
          const left = () => slotsAt(lab, name)
          await until(`its slots back at ${name}`, stepMs, () => !left().isGivingBack)
          assert.equal((slots - left().slots) * limits.extentBytes, bytes, `slots that came back at ${name}`)
        }
        await qemuIo(lab.uri('b'), ['read -P 0x61 0 2M', 'read -P 0x62 20M 2M'])
        await lab.mustBeEqual()
      })

      await t.test(`at most ${limits.images} of them, and one more after one was deleted`, async () => {
        for (let number = 1; number <= limits.images; number += 1) {
          await api.makeSnapshot(lab.server(number % 2 === 0 ? 'a' : 'b'), 'disk', `n${number}`)
        }
        await assert.rejects(api.makeSnapshot(lab.server('a'), 'disk', 'one-more'), refusedWith('too-many-images'))
        await api.deleteSnapshot(lab.server('a'), 'disk', 'n3')
        await api.makeSnapshot(lab.server('b'), 'disk', 'one-more')
        const names = (await snapshotsAt(lab, 'a')).map(({ name }) => name)
        assert.deepEqual(names, ['n1', 'n2', 'n4', 'n5', 'n6', 'n7', 'n8', 'one-more'])
        await lab.mustBeEqual()
      })
    })
  },
)

const snapshotUri = (uri: string, name = 'monday') => uri.replace('/disk', `/disk@${name}`)

/** Of each server, between two snapshots. */
const writesBetween = 20

/** Two blocks far from each other, by server: what one server writes lies apart from what the other one writes. */
const places = {
  a: { first: 0, second: 48 * MiB },
  b: { first: 4096, second: 48 * MiB + 4096 },
} as const

const blockOf = (count: number) => {
  const block = Buffer.alloc(4096)
  for (let at = 0; at < block.length; at += 4) block.writeUInt32BE(count, at)
  return block
}

/** Counts upwards in its first block, then in its second one, without a pause: the second is never ahead. */
async function counting(lab: TestLab, name: 'a' | 'b', counts: { a: number; b: number }, isOver: () => boolean) {
  const client = await connectNbd(lab.uri(name))
  while (!isOver()) {
    const count = counts[name] + 1
    await client.write(places[name].first, blockOf(count))
    await client.write(places[name].second, blockOf(count))
    counts[name] = count
  }
  await client.disconnect()
}

test('a snapshot under load from both servers is one instant, the same at both', async (t) => {
  await withLab({ witness: true }, async (lab) => {
    let isOver = false
    const counts = { a: 0, b: 0 }
    const writers = both.map((name) => counting(lab, name, counts, () => isOver))
    const names = ['s1', 's2', 's3', 's4', 's5', 's6']
    try {
      for (const [index, name] of names.entries()) {
        const before = { ...counts }
        await until('more writes of both', stepMs, () => both.every((at) => counts[at] >= before[at] + writesBetween))
        await api.makeSnapshot(lab.server(index % 2 === 0 ? 'a' : 'b'), 'disk', name)
      }
    } finally {
      isOver = true
    }
    await Promise.all(writers)
    const seen = new Map<string, string>()
    for (const name of names) {
      for (const at of both) {
        const client = await connectNbd(snapshotUri(lab.uri(at), name))
        const numbers: number[] = []
        for (const writer of both) {
          const first = await client.read(places[writer].first, 4096)
          const second = await client.read(places[writer].second, 4096)
          assert.ok(first.equals(blockOf(first.readUInt32BE())), 'a torn block')
          assert.ok(second.equals(blockOf(second.readUInt32BE())), 'a torn block')
          const ahead = first.readUInt32BE() - second.readUInt32BE()
          assert.ok(
            ahead === 0 || ahead === 1,
            `${name} at ${at}: ${writer} had counted ${first.readUInt32BE()} and then ${second.readUInt32BE()}`,
          )
          numbers.push(first.readUInt32BE(), second.readUInt32BE())
        }
        await client.disconnect()
        const told = numbers.join(' ')
        assert.equal(seen.get(name) ?? told, told, `${name} is not the same at both`)
        seen.set(name, told)
      }
    }
    t.diagnostic(
      `counted to ${counts.a} and ${counts.b}; ${[...seen].map(([name, told]) => `${name}: ${told}`).join('; ')}`,
    )
    // Made one after the other: no later one may show less.
    const sums = names.map((name) => (seen.get(name) ?? '').split(' ').reduce((sum, number) => sum + Number(number), 0))
    assert.deepEqual(
      sums,
      [...sums].sort((one, other) => one - other),
    )
    assert.ok(new Set(sums).size > 1, 'nothing was written between the first and the last of them')
    await lab.mustBeEqual()
  })
})
