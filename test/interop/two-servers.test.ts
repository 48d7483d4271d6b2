/** The main thing: one disk, two servers, other people's clients at both. */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { withLab } from '../kit/lab.ts'
import { needs } from '../kit/needs.ts'
import { mustRun, qemuIo } from '../kit/tools.ts'
import { Pulse } from '../lab/pulse.ts'

test('what is written at one server is read at the other', needs('qemu-io', 'nbdcopy'), async (t) => {
  await withLab({ witness: false }, async (lab) => {
    await t.test('qemu-io writes at A and reads at B, over TCP and over the Unix socket', async () => {
      await qemuIo(lab.uri('a'), ['write -P 0x41 0 1M', 'write -P 0x42 5M 3M', 'write -P 0x43 12345344 512'])
      for (const uri of [lab.uri('b'), lab.unixUri('b')]) {
        await qemuIo(uri, ['read -P 0x41 0 1M', 'read -P 0x42 5M 3M', 'read -P 0x43 12345344 512', 'read -P 0 1M 4M'])
      }
    })

    await t.test('and the other way round, over what the first one wrote', async () => {
      await qemuIo(lab.uri('b'), ['write -P 0x51 512k 1M', 'flush'])
      await qemuIo(lab.uri('a'), ['read -P 0x41 0 512k', 'read -P 0x51 512k 1M', 'read -P 0 1536k 1M'])
    })

    await t.test('zeros and discards at one are seen at the other', async () => {
      await qemuIo(lab.uri('a'), ['write -P 0x61 16M 4M'])
      await qemuIo(lab.uri('b'), ['write -z 17M 1M', 'discard 18M 1M'])
      await qemuIo(lab.uri('a'), ['read -P 0x61 16M 1M', 'read -P 0 17M 1M', 'read -P 0x61 19M 1M'])
    })

    await t.test('the whole disk copied out by nbdcopy is the same at both', async () => {
      const folder = await mkdtemp(path.join(os.tmpdir(), 'mirrorbay-copy-'))
      try {
        const images = { a: path.join(folder, 'a.img'), b: path.join(folder, 'b.img') }
        for (const name of ['a', 'b'] as const) await mustRun('nbdcopy', [lab.uri(name), images[name]])
        const [a, b] = [await readFile(images.a), await readFile(images.b)]
        assert.equal(a.length, lab.sizeBytes)
        assert.equal(a[0], 0x41)
        assert.equal(Buffer.compare(a, b), 0, 'the two copies differ')
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
    })

    await t.test('the copies are equal on the disks themselves', () => lab.mustBeEqual())
  })
})

test('a planned stop hands over: the others write on without waiting for a lease', needs('qemu-io'), async (t) => {
  await withLab({ witness: true }, async (lab) => {
    for (const [leaver, other] of [
      ['b', 'a'],
      ['a', 'b'],
    ] as const) {
      const pulse = await Pulse.begin(lab.uri(other), { firstByte: 0, blocks: 64 })
      await lab.stop(leaver)
      await lab.waitAt(other, 'One copy')
      await qemuIo(lab.uri(other), ['write -P 0x71 32M 1M'])
      await pulse.end()
      t.diagnostic(`${leaver} stopped: ${pulse.writes} writes at ${other}, longest ${Math.round(pulse.longestMs)} ms`)
      // A lease is 2 s: whoever says goodbye is not waited for that long (E7).
      assert.ok(pulse.longestMs < 1_500, `a write waited ${pulse.longestMs} ms for a server that had said goodbye`)
      await lab.start(leaver)
      await lab.wait('Protected')
      await pulse.verify(lab.uri(leaver))
      await qemuIo(lab.uri(leaver), ['read -P 0x71 32M 1M'])
    }
    await lab.mustBeEqual()
  })
})

test('both stopped together come back with everything', needs('qemu-io'), async () => {
  await withLab({ witness: false }, async (lab) => {
    await qemuIo(lab.uri('b'), ['write -P 0x81 0 2M', 'write -P 0x82 7M 64k'])
    await Promise.all([lab.stop('a'), lab.stop('b')])
    await Promise.all([lab.start('a'), lab.start('b')])
    await lab.wait('Protected')
    for (const name of ['a', 'b'] as const) await qemuIo(lab.uri(name), ['read -P 0x81 0 2M', 'read -P 0x82 7M 64k'])
    await lab.mustBeEqual()
  })
})
