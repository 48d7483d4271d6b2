/** Growing, deleting, restoring and removing shared disks, and their snapshots, as typed by a person or a script. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runCli } from '../../../agent/cli/program.ts'
import { UserError } from '../../../agent/kit/failure.ts'
import { deleted, idOf, snapshot, statusOf, volume } from '../control/recording-port.ts'
import { type Served, serving } from '../control/serving.ts'

const GiB = 1024 ** 3
const dayMs = 24 * 3_600_000

interface Said {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** @param answers what a person types when asked, in order; null: nobody sits there */
async function cli(served: Served, words: readonly string[], answers: string[] | null = null): Promise<Said> {
  let out = ''
  let err = ''
  const code = await runCli(['--dir', served.dir, ...words], {
    out: (written) => {
      out += written
    },
    err: (written) => {
      err += written
    },
    isTerminal: answers !== null,
    ...(answers === null
      ? {}
      : {
          ask: async (question: string) => {
            out += question
            return answers.shift() ?? ''
          },
        }),
    environment: {},
    platform: 'linux',
    homeDir: '/nonexistent',
    wallMs: () => dayMs,
    interrupted: new AbortController().signal,
  })
  return { code, out, err }
}

const threeLines = (err: string) => assert.equal(err.trim().split('\n').length, 3, err)

test('volume grow asks for a size, and says when clients see it', () =>
  serving(async (served) => {
    const grown = await cli(served, ['volume', 'grow', 'office', '2T'])
    assert.equal(grown.code, 0, grown.err)
    assert.match(grown.out, /^office has 2 TiB now\. Clients see it when they connect again/)
    const told = JSON.parse((await cli(served, ['volume', 'grow', 'office', '3G', '--json'])).out)
    assert.deepEqual(told, { name: 'office', sizeBytes: 3 * GiB })
    assert.deepEqual(served.port.asked, [
      ['growVolume', 'office', 2048 * GiB],
      ['growVolume', 'office', 3 * GiB],
    ])
    for (const words of [['office'], ['office', 'larger'], ['office', '3G', '4G']]) {
      const { code, err } = await cli(served, ['volume', 'grow', ...words])
      assert.equal(code, 2, words.join(' '))
      threeLines(err)
    }
    served.port.refusal = new UserError({ code: 'not-larger', happened: 'A.', dataIsSafe: 'B.', next: 'C.' })
    assert.deepEqual(await cli(served, ['volume', 'grow', 'office', '3G']), { code: 1, out: '', err: 'A.\nB.\nC.\n' })
  }))

test('volume delete has the name typed first, says what it means and who is connected, and how to undo it', () =>
  serving(async (served) => {
    served.port.change(statusOf([volume({ clients: [{ protocol: 'nbd', address: '192.168.1.50:50000' }] })]))
    const kept = await cli(served, ['volume', 'delete', 'office'], ['offce'])
    assert.equal(kept.code, 1)
    assert.match(kept.out, /kept for 7 days/)
    assert.match(kept.out, /Connected to it here now: 192\.168\.1\.50:50000/)
    assert.match(kept.out, /Nothing was changed\.\n$/)
    assert.deepEqual(served.port.asked, [])
    served.port.change({ ...statusOf(), deletedVolumes: [deleted('office')] })
    const gone = await cli(served, ['volume', 'delete', 'office'], [' office'])
    assert.equal(gone.code, 0, gone.err)
    assert.match(
      gone.out,
      /office is offered no more\. It was deleted on .*kept until .*mirrorbay volume restore office/,
    )
    assert.equal((await cli(served, ['volume', 'delete', 'office', '--yes'])).code, 0)
    assert.deepEqual(served.port.asked, [
      ['deleteVolume', 'office'],
      ['deleteVolume', 'office'],
    ])
  }))

test('where nobody sits, delete and purge want --yes, and do nothing without it', () =>
  serving(async (served) => {
    served.port.change({ ...statusOf(), deletedVolumes: [deleted('old')] })
    for (const words of [
      ['delete', 'office'],
      ['delete', 'office', '--json'],
      ['purge', 'old'],
    ]) {
      const { code, err } = await cli(served, ['volume', ...words], words.includes('--json') ? ['office'] : null)
      assert.equal(code, 2, words.join(' '))
      assert.match(err, /--yes/)
    }
    assert.deepEqual(served.port.asked, [])
  }))

test('volume deleted lists what is kept until when, and what is being overwritten', () =>
  serving(async (served) => {
    assert.equal((await cli(served, ['volume', 'deleted'])).out, 'No shared disk was deleted lately.\n')
    const wiping = { doneBytes: 43e9, totalBytes: 100e9 }
    served.port.change({ ...statusOf(), deletedVolumes: [deleted('old'), deleted('older', { wiping })] })
    const { out } = await cli(served, ['volume', 'deleted'])
    assert.match(
      out,
      new RegExp(`^old {4}1 GiB {2}deleted on 1 Jan at .*, kept until 8 Jan at .* {2}${idOf('old')}$`, 'm'),
    )
    assert.match(out, /^older {2}1 GiB {2}being overwritten and removed: 43 % {2}/m)
    assert.equal(JSON.parse((await cli(served, ['volume', 'deleted', '--json'])).out).length, 2)
    assert.match((await cli(served, ['status'])).out, /^Recently deleted\n {2}old, 1 GiB: deleted on/m)
  }))

test('restore and purge take a name or an id; a name that several have wants the id', () =>
  serving(async (served) => {
    const second = deleted('old', { id: idOf('second') })
    served.port.change({ ...statusOf(), deletedVolumes: [deleted('old'), deleted('other')] })
    assert.equal((await cli(served, ['volume', 'restore', 'old'])).out, 'old is back.\n')
    assert.equal((await cli(served, ['volume', 'restore', 'other', '--as', 'new'])).out, 'other is back as new.\n')
    served.port.change({ ...statusOf(), deletedVolumes: [deleted('old'), second] })
    const unsure = await cli(served, ['volume', 'restore', 'old'])
    assert.equal(unsure.code, 2)
    assert.match(unsure.err, /2 recently deleted shared disks are named old/)
    assert.equal((await cli(served, ['volume', 'purge', idOf('second'), '--yes'])).code, 0)
    const wiped = await cli(served, ['volume', 'purge', idOf('old'), '--wipe'], ['old'])
    assert.match(wiped.out, /Nothing brings them back[\s\S]*being overwritten/)
    assert.equal((await cli(served, ['volume', 'purge', idOf('old')], ['no'])).code, 1)
    const unknown = await cli(served, ['volume', 'restore', 'office'])
    assert.equal(unknown.code, 1)
    threeLines(unknown.err)
    assert.deepEqual(served.port.asked, [
      ['restoreVolume', idOf('old'), null],
      ['restoreVolume', idOf('other'), 'new'],
      ['purgeVolume', idOf('second'), false],
      ['purgeVolume', idOf('old'), true],
    ])
  }))

test('snapshots are made, listed with their address, and deleted', () =>
  serving(async (served) => {
    assert.equal((await cli(served, ['snapshot', 'list'])).out, 'No snapshots.\n')
    const disks = [volume({ snapshots: [snapshot('monday')] }), volume({ id: idOf('w'), name: 'archive' })]
    served.port.change(statusOf(disks))
    const made = await cli(served, ['snapshot', 'create', 'office', 'monday'])
    assert.equal(made.code, 0, made.err)
    assert.match(made.out, /^office@monday keeps what office holds now\. Open it read-only at nbd:.*\/office@monday\n$/)
    const all = await cli(served, ['snapshot', 'list'])
    assert.match(
      all.out,
      /^office@monday {2}made on 1 Jan at .* {2}holds 3 GB {2}nbd:\/\/127\.0\.0\.1:10809\/office@monday\n$/,
    )
    assert.equal((await cli(served, ['snapshot', 'list', 'archive'])).out, 'No snapshots.\n')
    assert.equal((await cli(served, ['snapshot', 'list', 'nothing'])).code, 1)
    const [told] = JSON.parse((await cli(served, ['snapshot', 'list', 'office', '--json'])).out)
    assert.deepEqual([told.volume, told.name], ['office', 'monday'])
    assert.match((await cli(served, ['status'])).out, /^ {2}Snapshots: monday$/m)
    assert.equal((await cli(served, ['snapshot', 'delete', 'office', 'monday'])).code, 0)
    assert.deepEqual(served.port.asked, [
      ['makeSnapshot', 'office', 'monday'],
      ['deleteSnapshot', 'office', 'monday'],
    ])
    for (const name of ['Monday', 'a.b', 'a@b', '-a', 'x'.repeat(64)]) {
      assert.equal((await cli(served, ['snapshot', 'create', 'office', '--', name])).code, 2, name)
    }
    assert.equal(served.port.asked.length, 2)
  }))

test('the help of each has an example', () =>
  serving(async (served) => {
    for (const words of [
      ['volume', 'grow'],
      ['volume', 'delete'],
      ['volume', 'restore'],
      ['volume', 'purge'],
      ['snapshot', 'create'],
      ['snapshot', 'delete'],
    ]) {
      const { code, out } = await cli(served, [...words, '--help'])
      assert.equal(code, 0)
      assert.match(out, /Examples:\n {2}mirrorbay /)
    }
  }))
