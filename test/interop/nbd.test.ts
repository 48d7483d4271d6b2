/** Our NBD frontend with the clients of others, and our test client with the servers of others. */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { type NbdServer, startNbdServer } from '../../agent/frontends/nbd/server.ts'
import type { Clock, Log } from '../../agent/kit/world.ts'
import { devicesOf, MemoryDevice } from '../kit/memory-device.ts'
import { connectNbd, NbdError } from '../kit/nbd-client.ts'
import { needs } from '../kit/needs.ts'
import { until } from '../kit/until.ts'

const run = promisify(execFile)
const mib = 1 << 20
const clock: Clock = {
  monotonicMs: () => performance.now(),
  leaseMs: () => performance.now(),
  wallMs: () => Date.now(),
  after: (delayMs, fire) => {
    const timer = setTimeout(fire, delayMs)
    return { cancel: () => clearTimeout(timer) }
  },
  nextTurn: (fire) => {
    setImmediate(fire)
  },
}
const log: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

describe('clients of others at our NBD frontend', () => {
  let folder = ''
  let server: NbdServer
  let uris: string[] = []
  let device: MemoryDevice

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mirrorbay-nbd-'))
    device = new MemoryDevice({ name: 'disk', sizeBytes: 64 * mib, nextTurn: (fire) => setImmediate(fire) })
    const unixPath = join(folder, 'nbd.sock')
    server = await startNbdServer({ devices: devicesOf(device), host: '127.0.0.1', port: 0, unixPath, clock, log })
    uris = [`nbd://127.0.0.1:${server.port}/disk`, `nbd+unix:///disk?socket=${unixPath}`]
  })
  after(async () => {
    await server.close()
    await rm(folder, { recursive: true, force: true })
  })

  test('qemu-io writes, zeroes, discards, flushes and verifies, without any option', needs('qemu-io'), async () => {
    for (const uri of [...uris, uris[0]?.replace('/disk', '') ?? '']) {
      const steps = ['write -P 0x5a 0 1M', 'read -P 0x5a 0 1M', 'write -f -P 0x33 1M 64k', 'read -P 0x33 1M 64k']
      steps.push(
        'write -z 512k 64k',
        'read -P 0 512k 64k',
        'write -z -u 640k 64k',
        'read -P 0 640k 64k',
        'discard 2M 64k',
        'flush',
      )
      for (let n = 0; n < 32; n += 1) steps.push(`aio_write -P ${n + 1} ${3072 + 16 * n}k 16k`)
      steps.push('aio_flush')
      for (let n = 0; n < 32; n += 1) steps.push(`read -P ${n + 1} ${3072 + 16 * n}k 16k`)
      const { stdout, stderr } = await run('qemu-io', ['-f', 'raw', ...steps.flatMap((step) => ['-c', step]), uri])
      assert.doesNotMatch(stdout + stderr, /verification failed|rror/)
      assert.equal(device.bytes[1], 0x5a)
    }
  })

  test('nbdinfo sees name, size and what is offered', needs('nbdinfo'), async () => {
    for (const uri of uris) {
      const told = JSON.parse((await run('nbdinfo', ['--json', uri])).stdout).exports[0]
      assert.equal(told['export-name'], 'disk')
      assert.equal(told['export-size'], 64 * mib)
      const offered = ['can_flush', 'can_fua', 'can_trim', 'can_zero', 'can_multi_conn', 'can_df'].map(
        (what) => told[what],
      )
      assert.deepEqual(offered, [true, true, true, true, true, true])
      assert.equal(told.can_cache, false)
    }
  })

  test('nbdcopy with four connections brings an image in and out unchanged', needs('nbdcopy'), async () => {
    const back = join(folder, 'back')
    for (let at = 0; at < device.sizeBytes; at += 4096) device.bytes.writeUInt32BE(at, at)
    await run('nbdcopy', ['--connections=4', '--requests=64', uris[0] ?? '', back])
    assert.equal((await stat(back)).size, device.sizeBytes)
    const before = Buffer.from(device.bytes)
    device.bytes.fill(0xff)
    await run('nbdcopy', ['--connections=4', '--requests=64', '--flush', back, uris[1] ?? ''])
    assert.ok(device.bytes.equals(before))
  })

  test('fio writes at random and verifies', needs('fio'), async () => {
    const job = [
      '--name=v',
      '--ioengine=nbd',
      `--uri=${uris[0]}`,
      '--rw=randwrite',
      '--bs=4k',
      '--iodepth=32',
      '--size=8M',
    ]
    await run('fio', [...job, '--verify=crc32c', '--do_verify=1', '--verify_fatal=1', '--fsync=64'], { cwd: folder })
  })
})

describe('our NBD client at servers of others', () => {
  const servers = [
    { tool: 'nbdkit', command: (path: string) => ['-f', '-U', path, 'memory', '64M'] },
    {
      tool: 'qemu-nbd',
      command: (path: string) => ['-k', path, '-t', '--image-opts', 'driver=null-co,size=67108864,read-zeroes=on'],
    },
  ] as const
  for (const { tool, command } of servers) {
    test(`${tool}: requests, errors and goodbye, simple and structured`, needs(tool), async () => {
      const folder = await mkdtemp(join(tmpdir(), 'mirrorbay-nbd-'))
      const path = join(folder, 's')
      const child = spawn(tool, command(path), { stdio: 'ignore' })
      try {
        for (const structured of [false, true]) {
          const client = await until(`${tool} listens`, 10_000, () =>
            connectNbd(`nbd+unix:///?socket=${path}`, { structured }),
          )
          assert.equal(client.sizeBytes, 64 * mib)
          await Promise.all(Array.from({ length: 64 }, (_, n) => client.write(n * 8192, Buffer.alloc(8192, n))))
          const found = await Promise.all(Array.from({ length: 64 }, (_, n) => client.read(n * 8192, 8192)))
          // qemu's null device takes every write and forgets it.
          found.forEach((data, n) => {
            assert.ok(data.equals(Buffer.alloc(8192, tool === 'nbdkit' ? n : 0)))
          })
          await client.zero(4096, 8192)
          await client.trim(65536, 65536)
          await client.flush()
          assert.ok((await client.read(4096, 8192)).equals(Buffer.alloc(8192)))
          await assert.rejects(
            client.read(client.sizeBytes, 4096),
            (error) => error instanceof NbdError && error.code === 'EINVAL',
          )
          await client.disconnect()
          assert.equal(await client.ended, null)
        }
      } finally {
        child.kill()
        await rm(folder, { recursive: true, force: true })
      }
    })
  }
})
