/** E4: who may go on alone is decided by the arbiter, and nobody else. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { withLab } from '../kit/lab.ts'
import { connectNbd } from '../kit/nbd-client.ts'
import { needs } from '../kit/needs.ts'
import { qemuIo } from '../kit/tools.ts'
import { TookTooLong, within } from '../kit/until.ts'
import { Pulse } from '../lab/pulse.ts'

/** Longer than a lease and everything after it: who has not gone on by then does not go on. */
const frozenMs = 5_000

test('without a witness, the server that is not preferred waits: frozen, not wrong', needs('qemu-io'), async (t) => {
  await withLab({ witness: false }, async (lab) => {
    await qemuIo(lab.uri('a'), ['write -P 0x11 0 1M'])
    const client = await connectNbd(lab.uri('b'))
    let write: Promise<void> | undefined
    try {
      await t.test('its clients wait, and its headline says so', async () => {
        await lab.kill('a')
        await lab.waitAt('b', 'Waiting')
        write = client.write(1024 * 1024, new Uint8Array(4096).fill(0x22))
        write.catch(() => undefined)
        const read = client.read(0, 4096)
        read.catch(() => undefined)
        await assert.rejects(within('a write at b', frozenMs, write), TookTooLong)
        await assert.rejects(within('a read at b', 100, read), TookTooLong)
      })

      await t.test('when the preferred server is back, what waited is done, and nothing was lost', async () => {
        await lab.start('a')
        await lab.wait('Protected')
        await within('the write that waited', 10_000, write ?? Promise.reject(new Error('no write')))
        await qemuIo(lab.uri('a'), ['read -P 0x11 0 1M', 'read -P 0x22 1M 4k'])
        await lab.mustBeEqual()
      })

      await t.test('the preferred one itself goes on alone', async () => {
        const pulse = await Pulse.begin(lab.uri('a'), { firstByte: 8 * 1024 * 1024, blocks: 64 })
        await lab.kill('b')
        await lab.waitAt('a', 'One copy')
        await qemuIo(lab.uri('a'), ['write -P 0x33 2M 1M'])
        await pulse.end()
        await lab.start('b')
        await lab.wait('Protected')
        await pulse.verify(lab.uri('b'))
        await qemuIo(lab.uri('b'), ['read -P 0x33 2M 1M'])
        await lab.mustBeEqual()
      })
    } finally {
      client.destroy()
    }
  })
})

test('the witness may be away: nothing but a change of configuration needs it', needs('qemu-io'), async (t) => {
  await withLab({ witness: true }, async (lab) => {
    await t.test('without it, both servers go on as before, also when a client comes anew', async () => {
      const pulse = await Pulse.begin(lab.uri('a'), { firstByte: 0, blocks: 64 })
      await lab.kill('witness')
      await qemuIo(lab.uri('a'), ['write -P 0x41 1M 1M'])
      await qemuIo(lab.uri('b'), ['read -P 0x41 1M 1M', 'write -P 0x42 2M 1M'])
      await qemuIo(lab.uri('a'), ['read -P 0x42 2M 1M'])
      await pulse.end()
      assert.ok(pulse.longestMs < 1_500, `a write waited ${pulse.longestMs} ms`)
      await lab.mustBeEqual()
    })

    await t.test('without it, nobody goes on alone; when it is back, the survivor does', async () => {
      const client = await connectNbd(lab.uri('a'))
      try {
        await lab.kill('b')
        await lab.waitAt('a', 'Waiting')
        const write = client.write(3 * 1024 * 1024, new Uint8Array(4096).fill(0x43))
        write.catch(() => undefined)
        await assert.rejects(within('a write at a', frozenMs, write), TookTooLong)
        await lab.start('witness')
        await lab.waitAt('a', 'One copy')
        await within('the write that waited', 10_000, write)
        await lab.start('b')
        await lab.wait('Protected')
        await qemuIo(lab.uri('b'), ['read -P 0x43 3M 4k', 'read -P 0x42 2M 1M'])
        await lab.mustBeEqual()
      } finally {
        client.destroy()
      }
    })
  })
})
