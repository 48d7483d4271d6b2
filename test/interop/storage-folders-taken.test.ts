/** Storage folders come into use and go out of it by a person's word; data that is found is taken over only by one. */
import assert from 'node:assert/strict'
import { readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import { agentConfig } from '../../agent/contract/config.ts'
import { stepMs, withLab } from '../kit/lab.ts'
import { mustExit } from '../kit/lab-command.ts'
import {
  command,
  createSecond,
  disk1,
  folder,
  mustBeEqual,
  mustRead,
  program,
  second,
  secondIs,
  write,
} from '../kit/second-volume.ts'
import { runTool } from '../kit/tools.ts'
import { until } from '../kit/until.ts'
import { memberNamed } from '../lab/state.ts'

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
