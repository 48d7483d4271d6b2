/** Item for item what a careless, broken or hostile neighbour sends to real agents. They live on, and lose nothing. */
import assert from 'node:assert/strict'
import http from 'node:http'
import net from 'node:net'
import { test } from 'node:test'
import { type TestLab, withLab } from '../kit/lab.ts'
import { connectNbd, listNbdExports, NbdConnectionLost, NbdError, NbdRefused } from '../kit/nbd-client.ts'
import { seeded } from '../kit/random.ts'
import { until, within } from '../kit/until.ts'
import { Pulse } from '../lab/pulse.ts'
import { memberNamed } from '../lab/state.ts'

const MiB = 1024 * 1024
const answerMs = 15_000
/** From the NBD protocol document: NBD_REP_ERR_UNKNOWN. */
const unknownExport = 0x8000_0006

function noise(bytes: number, seed: number): Buffer {
  const random = seeded(seed)
  return Buffer.from(Array.from({ length: bytes }, () => Math.floor(random() * 256)))
}

/** Sends bytes to a port and hangs up, at once or when the other side has closed. */
async function shout(port: number, bytes: Uint8Array, how: 'hang up' | 'wait for their end'): Promise<void> {
  const socket = net.connect({ port, host: '127.0.0.1' })
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  // Being thrown out with a reset is an answer, too.
  socket.on('error', () => undefined)
  await new Promise<void>((resolve) => socket.once('connect', () => resolve()))
  socket.resume()
  await new Promise((resolve) => socket.write(bytes, resolve))
  if (how === 'hang up') socket.destroy()
  await within('the end of the connection', answerMs, closed)
}

const portsOf = (lab: TestLab, name: 'a' | 'b') => {
  const { nbdPort, linkPort, consolePort } = memberNamed(lab.state, name)
  if (nbdPort === null) throw new Error(`${name} has no NBD port`)
  return { nbdPort, linkPort, consolePort }
}

async function nbdPort(lab: TestLab): Promise<void> {
  const { nbdPort: port } = portsOf(lab, 'a')
  const greeting = Buffer.alloc(4, 0)
  greeting.writeUInt32BE(3)
  const option = (number: number, data: Uint8Array, lengthBytes = data.length) => {
    const header = Buffer.alloc(16)
    header.write('IHAVEOPT', 'latin1')
    header.writeUInt32BE(number, 8)
    header.writeUInt32BE(lengthBytes, 12)
    return Buffer.concat([header, data])
  }
  for (let seed = 1; seed <= 5; seed++) await shout(port, noise(4096, seed), 'wait for their end')
  await shout(port, Buffer.concat([greeting, noise(4096, 6)]), 'wait for their end')
  await shout(port, Buffer.concat([greeting, option(7, Buffer.alloc(0), 0xffff_ffff)]), 'wait for their end')
  await shout(port, Buffer.concat([greeting, option(7, noise(100, 7), 200)]), 'hang up')
  await shout(port, Buffer.alloc(0), 'hang up')
}

/** A connection that has entered the volume and sends the bytes; resolves when the server has closed it. */
async function afterEntering(lab: TestLab, bytes: Uint8Array, how: 'hang up' | 'wait for their end'): Promise<void> {
  const socket = net.connect({ port: portsOf(lab, 'a').nbdPort, host: '127.0.0.1' })
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.on('error', () => undefined)
  let received = 0
  socket.on('data', (chunk) => {
    received += chunk.length
  })
  const name = Buffer.from('disk')
  const header = Buffer.alloc(20)
  header.writeUInt32BE(3, 0)
  header.write('IHAVEOPT', 4, 'latin1')
  header.writeUInt32BE(1, 12)
  header.writeUInt32BE(name.length, 16)
  socket.write(Buffer.concat([header, name]))
  // EXPORT_NAME without zeroes: 18 bytes of greeting, 8 of size, 2 of flags.
  await until('entering', answerMs, () => received >= 28)
  await new Promise((resolve) => socket.write(bytes, resolve))
  if (how === 'hang up') socket.destroy()
  await within('the end of the connection', answerMs, closed)
}

function request(of: { magic?: number; command: number; offset: bigint; length: number }): Buffer {
  const bytes = Buffer.alloc(28)
  bytes.writeUInt32BE(of.magic ?? 0x25609513, 0)
  bytes.writeUInt16BE(of.command, 6)
  bytes.writeBigUInt64BE(of.offset, 16)
  bytes.writeUInt32BE(of.length, 24)
  return bytes
}

interface HttpAnswer {
  readonly status: number
  readonly body: string
}

function ask(
  to: http.RequestOptions,
  body: string | Buffer = '',
  headers: Record<string, string> = {},
): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const asked = http.request({ ...to, headers, agent: false }, (answer) => {
      let text = ''
      answer.on('data', (chunk) => {
        text += String(chunk)
      })
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: text }))
      answer.on('error', reject)
    })
    // A refusal may come, and the door close, while a body that is too large is still on its way: the answer counts.
    let trouble: Error = new Error('closed without an answer')
    asked.on('error', (error) => {
      trouble = error
    })
    asked.on('close', () => reject(trouble))
    asked.end(body)
  })
}

async function refused(lab: TestLab): Promise<void> {
  const client = await connectNbd(lab.uri('a'))
  try {
    const end = lab.sizeBytes
    const code = async (promise: Promise<unknown>): Promise<string> => {
      try {
        await promise
        return 'done'
      } catch (failure) {
        if (failure instanceof NbdError) return failure.code
        throw failure
      }
    }
    // NBD document: a read beyond the end is EINVAL, a write there ENOSPC; never a part of it.
    assert.match(await code(client.read(end, 4096)), /EINVAL|EOVERFLOW/)
    assert.match(await code(client.read(end - 2048, 4096)), /EINVAL|EOVERFLOW/)
    assert.match(await code(client.write(end - 2048, new Uint8Array(4096).fill(9))), /ENOSPC|EINVAL/)
    assert.match(await code(client.write(2 ** 52, new Uint8Array(4096).fill(9))), /ENOSPC|EINVAL/)
    assert.match(await code(client.zero(end - 4096, 8192)), /ENOSPC|EINVAL/)
    assert.match(await code(client.trim(end, 4096)), /EINVAL|ENOSPC/)
    // The same connection is as good as before, and nothing of the refused writes is there.
    const last = await client.read(end - 4096, 4096)
    assert.ok(last.every((byte) => byte === 0))
  } finally {
    client.destroy()
  }
}

test('garbage on every door of real agents: they live on and lose nothing', async (t) => {
  await withLab({ witness: true }, async (lab) => {
    const runBefore = (await lab.status('a')).server.run
    const pulse = await Pulse.begin(lab.uri('a'), { firstByte: 32 * MiB, blocks: 64 })

    await t.test('NBD port: noise, impossible options, half a negotiation', () => nbdPort(lab))

    await t.test('NBD port: an unknown export is refused by name, the list shows what there is', async () => {
      await assert.rejects(
        connectNbd(lab.uri('a').replace(/disk$/, 'nosuchdisk')),
        (failure) => failure instanceof NbdRefused && failure.reply === unknownExport,
      )
      assert.deepEqual(await listNbdExports(lab.uri('a')), ['disk'])
    })

    await t.test('NBD port: requests out of range get an error, the connection lives', () => refused(lab))

    await t.test('NBD port: wrong magic or a write cut short ends that connection only', async () => {
      await afterEntering(
        lab,
        request({ magic: 0x12345678, command: 0, offset: 0n, length: 4096 }),
        'wait for their end',
      )
      await afterEntering(lab, request({ command: 1, offset: 0n, length: 0xffff_ffff }), 'wait for their end')
      const half = Buffer.concat([request({ command: 1, offset: 0n, length: 8192 }), Buffer.alloc(4096, 0xee)])
      await afterEntering(lab, half, 'hang up')
      await afterEntering(lab, request({ command: 0, offset: 0n, length: 4096 }).subarray(0, 13), 'hang up')
      const client = await connectNbd(lab.uri('a'))
      try {
        const found = await client.read(0, 8192)
        assert.ok(
          found.every((byte) => byte === 0),
          'half a write has left something',
        )
      } finally {
        client.destroy()
      }
    })

    await t.test(
      'NBD port: a request that is too large is refused or the connection closed, nothing else',
      async () => {
        const client = await connectNbd(lab.uri('a'))
        try {
          await client.read(0, 48 * MiB)
          assert.fail('48 MiB were read at once')
        } catch (failure) {
          assert.ok(failure instanceof NbdError || failure instanceof NbdConnectionLost, String(failure))
        } finally {
          client.destroy()
        }
      },
    )

    await t.test('link port: noise, and a stranger that says nothing', async () => {
      for (const name of ['a', 'b'] as const) {
        const { linkPort } = portsOf(lab, name)
        for (let seed = 20; seed < 25; seed++) await shout(linkPort, noise(8192, seed), 'wait for their end')
        await shout(linkPort, Buffer.from('GET / HTTP/1.1\r\n\r\n'.repeat(20)), 'wait for their end')
        await shout(linkPort, noise(3, 30), 'hang up')
      }
    })

    await t.test('API and console: wrong bodies, unknown paths, no token', async () => {
      const socketPath = memberNamed(lab.state, 'a').api
      const json = { 'content-type': 'application/json', host: 'localhost' }
      const post = (path: string, body: string | Buffer, headers: Record<string, string> = json) =>
        ask({ socketPath, path, method: 'POST' }, body, headers)
      const bad = async (answer: Promise<HttpAnswer>) => {
        const { status, body } = await answer
        assert.ok(status >= 400 && status < 500, `answered ${status}: ${body}`)
        assert.doesNotMatch(body, /\n {4}at /, 'an answer shows the inside of the program')
      }
      await bad(post('/api/v1/volumes', '{"name":'))
      await bad(post('/api/v1/volumes', '{"name":5,"sizeBytes":"big"}'))
      await bad(post('/api/v1/volumes', '{"name":"x","sizeBytes":4097}'))
      await bad(post('/api/v1/volumes', '{"name":"disk","sizeBytes":67108864}'))
      await bad(post('/api/v1/volumes', `{"name":"${'x'.repeat(400_000)}"}`))
      await bad(post('/api/v1/hold', '{"seconds":1e9}'))
      await bad(post('/api/v1/volumes/nosuch/resync', '{"action":"now"}'))
      await bad(post('/api/v1/nothing/here', '{}'))
      const { consolePort } = portsOf(lab, 'a')
      const console = { host: '127.0.0.1', port: consolePort }
      await bad(ask({ ...console, path: '/api/v1/status' }))
      await bad(ask({ ...console, path: '/api/v1/status?token=wrong' }))
      await bad(ask({ ...console, path: '/api/v1/stop', method: 'POST' }, '{}', json))
      await shout(consolePort, noise(4096, 40), 'wait for their end')
    })

    await t.test(
      'all the while a client has written, on the same run of both servers, and the copies are equal',
      async () => {
        await pulse.end()
        t.diagnostic(`${pulse.writes} writes meanwhile, the longest waited ${Math.round(pulse.longestMs)} ms`)
        assert.ok(pulse.writes > 100)
        for (const name of ['a', 'b'] as const) await pulse.verify(lab.uri(name))
        assert.equal((await lab.status('a')).server.run, runBefore)
        assert.equal(await lab.headline('a'), 'Protected')
        await lab.mustBeEqual()
      },
    )
  })
})
