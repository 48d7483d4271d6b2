import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { type NbdServer, startNbdServer } from '../../../agent/frontends/nbd/server.ts'
import { UserError } from '../../../agent/kit/failure.ts'
import type { Clock, Log } from '../../../agent/kit/world.ts'
import { limits } from '../../../agent/limits.ts'
import { devicesOf, MemoryDevice } from '../../kit/memory-device.ts'
import { connectNbd, listNbdExports, NbdConnectionLost, NbdError, NbdRefused } from '../../kit/nbd-client.ts'
import { until } from '../../kit/until.ts'
import { clientFlags, command, infoData, optionBytes, requestBytes } from './wire.ts'

const waitMs = 10_000

class TestLog implements Log {
  readonly lines: string[] = []
  debug(): void {
    // debug lines are not counted: nobody reads them in production
  }
  info(_fields: Record<string, unknown>, message: string): void {
    this.lines.push(message)
  }
  warn(_fields: Record<string, unknown>, message: string): void {
    this.lines.push(message)
  }
  error(_fields: Record<string, unknown>, message: string): void {
    this.lines.push(message)
  }
}

const timers = new Set<NodeJS.Timeout>()
const clock: Clock = {
  monotonicMs: () => performance.now(),
  leaseMs: () => performance.now(),
  wallMs: () => Date.now(),
  after: (delayMs, fire) => {
    const timer = setTimeout(() => {
      timers.delete(timer)
      fire()
    }, delayMs)
    timers.add(timer)
    return {
      cancel: () => {
        timers.delete(timer)
        clearTimeout(timer)
      },
    }
  },
  nextTurn: (fire) => {
    setImmediate(fire)
  },
}

let folder = ''
let device: MemoryDevice
let server: NbdServer
let log: TestLog
let uri = ''
let unixPath = ''
const rawSockets: Socket[] = []

const device64 = () => new MemoryDevice({ name: 'disk', sizeBytes: 64 << 20, nextTurn: (fire) => setImmediate(fire) })
const start = (options: { port?: number | null; unixPath?: string | null } = {}) =>
  startNbdServer({ devices: devicesOf(device), host: '127.0.0.1', port: 0, unixPath: null, clock, log, ...options })

/** A socket that does what it is told, and counts what it gets. */
function raw(): Socket & { heardBytes: number; isOver: boolean } {
  const socket = Object.assign(connect(server.port ?? 0, '127.0.0.1'), { heardBytes: 0, isOver: false })
  socket.on('error', () => undefined) // resets are what some tests are about; 'close' tells that it is over
  socket.on('data', (bytes) => {
    socket.heardBytes += bytes.length
  })
  socket.on('close', () => {
    socket.isOver = true
  })
  rawSockets.push(socket)
  return socket
}
const entering = Buffer.concat([clientFlags(3), optionBytes(7, infoData('disk'))])
const clientCount = () => server.connections().get('disk')?.length ?? 0

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mirrorbay-nbd-'))
})
after(() => rm(folder, { recursive: true, force: true }))
beforeEach(async (context) => {
  device = device64()
  log = new TestLog()
  unixPath = join(folder, `${context.name.replace(/\W+/g, '').slice(0, 20)}.sock`)
  server = await start({ unixPath })
  uri = `nbd://127.0.0.1:${server.port}/disk`
})
afterEach(async () => {
  for (const socket of rawSockets.splice(0)) socket.destroy()
  await server.close()
  for (const timer of timers) clearTimeout(timer)
  assert.equal(device.attached.size, 0, 'every client was detached')
})

describe('the NBD server', () => {
  test('serves TCP and Unix socket at once, and both see the same bytes', async () => {
    const tcp = await connectNbd(uri)
    const unix = await connectNbd(`nbd+unix:///disk?socket=${unixPath}`, { structured: true })
    assert.deepEqual(await listNbdExports(uri), ['disk'])
    const data = Buffer.alloc(1 << 20, 7)
    await tcp.write(4096, data, { fua: true })
    assert.ok((await unix.read(4096, data.length)).equals(data))
    await unix.zero(4096, 4096)
    await unix.trim(8192, 4096)
    await unix.flush()
    assert.ok((await tcp.read(4096, 8192)).equals(Buffer.alloc(8192)))
    const shown = server
      .connections()
      .get('disk')
      ?.map(({ address }) => address.replace(/:\d+$/, ''))
    assert.deepEqual(shown, ['127.0.0.1', 'unix socket'])
    await Promise.all([tcp.disconnect(), unix.disconnect()])
    await until('no client is shown', waitMs, () => clientCount() === 0)
    assert.equal((await stat(unixPath)).mode & 0o777, 0o660)
  })

  test('the largest request goes through in both directions', async () => {
    const client = await connectNbd(uri)
    const data = Buffer.alloc(limits.requestBytes)
    for (let at = 0; at < data.length; at += 4096) data.writeUInt32BE(at, at)
    await client.write(1, data)
    assert.ok((await client.read(1, data.length)).equals(data))
    await client.disconnect()
  })

  test('many connections, many requests each, everybody gets what is theirs', async () => {
    const clients = await Promise.all(
      Array.from({ length: 32 }, (_, n) => connectNbd(uri, { structured: n % 2 === 0 })),
    )
    const work = clients.map(async (client, n) => {
      const base = n * (1 << 20)
      const blocks = Array.from({ length: 100 }, (_, index) => index * 4096)
      await Promise.all(blocks.map((at) => client.write(base + at, Buffer.alloc(4096, n ^ (at >> 12)))))
      const found = await Promise.all(blocks.map((at) => client.read(base + at, 4096)))
      found.forEach((block, index) => {
        assert.ok(block.equals(Buffer.alloc(4096, n ^ index)))
      })
      await client.disconnect()
    })
    await Promise.all(work)
  })

  test('one client’s garbage, half requests and vanishing leave the others untouched and the log short', async () => {
    const good = await connectNbd(uri)
    await good.write(0, Buffer.alloc(4096, 1))
    const beginMs = performance.now()
    for (let round = 0; round < 20; round += 1) {
      const noise = raw()
      noise.write('GET / HTTP/1.1\r\nHost: somebody\r\n\r\n')
      const garbage = raw()
      garbage.write(Buffer.concat([entering, Buffer.alloc(28, 0xff)]))
      const half = raw()
      half.end(Buffer.concat([entering, requestBytes({ command: command.write, length: 4096 }), Buffer.alloc(100, 9)]))
      const reset = raw()
      reset.write(Buffer.concat([entering, requestBytes({ command: command.write, length: 4096 })]), () =>
        reset.resetAndDestroy(),
      )
      assert.equal((await good.read(0, 4096))[0], 1)
      await until('the bad ones are gone', waitMs, () => [noise, garbage, half, reset].every((socket) => socket.isOver))
    }
    await until('only the good one is left', waitMs, () => clientCount() === 1)
    const most = 2 * (1 + (performance.now() - beginMs) / limits.clientLogMs)
    assert.equal(new Set(log.lines).size, 2)
    assert.ok(log.lines.length <= most, `${log.lines.length} log lines, at most ${most}`)
    await good.disconnect()
  })

  test('a client that never reads stalls nobody, and what waits for it is bounded', async () => {
    const slow = raw()
    slow.pause()
    slow.write(entering)
    for (let index = 0n; index < 400n; index += 1n) {
      slow.write(requestBytes({ command: command.read, cookie: index, length: 1 << 20 }))
    }
    const before = process.memoryUsage().arrayBuffers
    const good = await connectNbd(uri)
    for (let index = 0; index < 200; index += 1) await good.write(0, Buffer.alloc(4096, index))
    const grown = process.memoryUsage().arrayBuffers - before
    assert.ok(grown < limits.clientBytes + 4 * limits.clientUnsentBytes, `${grown} bytes more`)
    slow.resume()
    const all = 18 + 32 + 20 + 400 * (16 + (1 << 20))
    await until('the slow client got every byte', waitMs, () => slow.heardBytes === all)
    await good.disconnect()
  })

  test('a killed client is detached at once; what it asked for and had not begun never begins', async () => {
    const client = await connectNbd(uri)
    const other = await connectNbd(uri)
    device.hold()
    const lost = client.write(0, Buffer.alloc(4096, 1))
    await until('the device has the write', waitMs, () => device.waiting === 1)
    client.destroy()
    await assert.rejects(lost, NbdConnectionLost)
    await until('the killed client is detached', waitMs, () => device.attached.size === 1)
    assert.deepEqual([device.waiting, device.bytes[0]], [0, 0])
    device.release()
    assert.equal((await other.read(0, 1))[0], 0)
    await other.disconnect()
  })

  test('a client at its limits that hangs up is noticed all the same, and nothing of it begins', async () => {
    device.hold()
    const client = raw()
    client.write(entering)
    const writes = Array.from({ length: 4 * limits.clientRequests }, () =>
      requestBytes({ command: command.write, data: Buffer.alloc(4096, 1) }),
    )
    client.write(Buffer.concat(writes))
    await until('the limit is reached', waitMs, () => device.waiting === limits.clientRequests)
    client.end()
    await until('the client is detached', waitMs, () => device.attached.size === 0)
    device.release()
    assert.equal(device.bytes[0], 0)
  })

  test('errors reach the request they belong to; an unknown outcome ends that connection only', async () => {
    const client = await connectNbd(uri)
    const other = await connectNbd(uri)
    device.failures.push('no-space')
    const [full, fine] = await Promise.allSettled([
      client.write(0, Buffer.alloc(512)),
      client.write(512, Buffer.alloc(512)),
    ])
    assert.ok(full.status === 'rejected' && full.reason instanceof NbdError && full.reason.code === 'ENOSPC')
    assert.equal(fine.status, 'fulfilled')
    await assert.rejects(client.read(client.sizeBytes, 1), { code: 'EINVAL' })
    device.failures.push('unknown-outcome')
    await assert.rejects(client.write(0, Buffer.alloc(512)), NbdConnectionLost)
    assert.equal((await other.read(0, 512)).length, 512)
    await assert.rejects(connectNbd(`${uri}-no`), NbdRefused)
    await other.disconnect()
  })

  test('DISC is answered with the replies under way, then with the end', async () => {
    const client = await connectNbd(uri)
    device.hold()
    const writes = Array.from({ length: 32 }, (_, index) => client.write(index * 4096, Buffer.alloc(4096, 3)))
    const gone = client.disconnect()
    await until('the device has all writes', waitMs, () => device.waiting === 32)
    device.release()
    await Promise.all([...writes, gone])
    assert.equal(await client.ended, null)
  })

  test('a client that says DISC and closes its sending side still hears what is under way', async () => {
    device.hold()
    const client = raw()
    const write = requestBytes({ command: command.write, data: Buffer.alloc(4096, 6) })
    client.end(Buffer.concat([entering, write, requestBytes({ command: command.disconnect })]))
    await until('the device has the write', waitMs, () => device.waiting === 1)
    await listNbdExports(uri) // an answer to what was asked later: the end of the first client's sending was seen
    device.release()
    await until('the server closed', waitMs, () => client.isOver)
    assert.deepEqual([client.heardBytes, device.bytes[0]], [18 + 32 + 20 + 16, 6])
  })

  test('connections above the limit are closed at once, and there is room again when others left', async () => {
    const sockets = Array.from({ length: limits.clientConnections }, () => raw())
    await until('all were greeted', waitMs, () => sockets.every((socket) => socket.heardBytes === 18))
    const tooMany = raw()
    await until('one more is closed', waitMs, () => tooMany.isOver)
    assert.equal(tooMany.heardBytes, 0)
    sockets.forEach((socket) => {
      socket.destroy()
    })
    const deadline = performance.now() + waitMs
    for (;;) {
      const client = await connectNbd(uri).catch(() => null)
      if (client !== null) return client.disconnect()
      assert.ok(performance.now() < deadline, 'no room ever again')
    }
  })

  test('close lets requests under way finish and ends every connection', async () => {
    const client = await connectNbd(uri)
    const silent = raw()
    await until('the silent one is greeted', waitMs, () => silent.heardBytes === 18)
    device.hold()
    const write = client.write(0, Buffer.alloc(4096, 5))
    await until('the device has the write', waitMs, () => device.waiting === 1)
    const closed = server.close()
    device.release()
    await write
    assert.ok((await client.ended) instanceof Error)
    await closed
    assert.equal(device.bytes[0], 5)
    await assert.rejects(connectNbd(uri), NbdConnectionLost)
  })
})

describe('where the NBD server listens', () => {
  const refusedWith = (code: string) => (error: unknown) => error instanceof UserError && error.code === code

  /** For what must not start; if it does, it is closed, so that the test fails instead of hanging. */
  const startedByMistake = async (options: { port?: number | null; unixPath?: string | null }) =>
    (await start(options)).close()

  test('a port or socket in use is told in one sentence; nothing stays behind', async () => {
    await assert.rejects(startedByMistake({ port: server.port }), refusedWith('nbd-port'))
    await assert.rejects(startedByMistake({ unixPath }), refusedWith('nbd-socket'))
    await assert.rejects(
      startedByMistake({ port: null, unixPath: join(folder, 'no', 'folder.sock') }),
      refusedWith('nbd-socket'),
    )
    await assert.rejects(
      startedByMistake({ port: null, unixPath: join(folder, 'x'.repeat(120)) }),
      refusedWith('nbd-socket'),
    )
    const client = await connectNbd(`nbd+unix:///?socket=${unixPath}`)
    await client.disconnect()
  })

  test('a file that is no socket is not removed', async () => {
    const path = join(folder, 'precious')
    await writeFile(path, 'data')
    await assert.rejects(startedByMistake({ port: null, unixPath: path }), refusedWith('nbd-socket'))
    assert.equal((await stat(path)).size, 4)
  })

  test('the socket that a killed agent left behind is taken over', async () => {
    const path = join(folder, 'leftover.sock')
    const code = `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`
    const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
    try {
      await new Promise((resolve) => child.stdout.once('data', resolve))
    } finally {
      child.kill('SIGKILL')
    }
    await new Promise((resolve) => child.once('exit', resolve))
    assert.ok((await stat(path)).isSocket())
    const second = await start({ port: null, unixPath: path })
    try {
      assert.equal(second.port, null)
      const client = await connectNbd(`nbd+unix:///disk?socket=${path}`)
      await client.disconnect()
    } finally {
      await second.close()
    }
  })

  test('a server of others at the socket is left alone', async () => {
    const path = join(folder, 'others.sock')
    const others = createServer().listen(path)
    try {
      await new Promise((resolve) => others.once('listening', resolve))
      await assert.rejects(startedByMistake({ port: null, unixPath: path }), refusedWith('nbd-socket'))
      assert.ok((await stat(path)).isSocket())
    } finally {
      await new Promise((resolve) => others.close(resolve))
    }
  })
})
