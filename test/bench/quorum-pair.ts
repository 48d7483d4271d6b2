/**
 * The neighbour that we measure against: qemu-storage-daemon's `quorum` of a local file and an NBD child, which is a
 * synchronous mirror too: a write is acknowledged when both children took it into their page cache (write-back), a
 * flush goes to both. The replica's leg is TCP on loopback, as ours is.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { mkdir, rm, truncate, writeFile } from 'node:fs/promises'
import net from 'node:net'
import path from 'node:path'
import { findTool } from '../kit/needs.ts'
import { until } from '../kit/until.ts'
import { freePorts } from '../lab/ports.ts'
import type { Target } from './measure.ts'

const startMs = 10_000

export const canRunQuorumPair = (): boolean => findTool('qemu-storage-daemon') !== null

const answers = (address: net.NetConnectOpts): Promise<boolean> =>
  new Promise((tell) => {
    const socket = net.connect(address)
    socket.once('error', () => tell(false))
    socket.once('connect', () => {
      socket.destroy()
      tell(true)
    })
  })

class Servers {
  readonly #dir: string
  readonly #children: ChildProcess[] = []

  constructor(dir: string) {
    this.#dir = dir
  }

  async begin(name: string, program: string, args: readonly string[], address: net.NetConnectOpts): Promise<void> {
    const file = path.join(this.#dir, `${name}.log`)
    const log = openSync(file, 'a')
    const child = spawn(program, args, { stdio: ['ignore', log, log] })
    closeSync(log)
    let failed = ''
    child.once('error', (failure) => {
      failed = failure.message
    })
    this.#children.push(child)
    await until(`${program} as ${name}`, startMs, async () => {
      if (failed !== '' || child.exitCode !== null) return 'ended'
      return (await answers(address)) && 'up'
    }).then((how) => {
      if (how === 'ended') throw new Error(`${program} did not come up: ${failed} ${readFileSync(file, 'utf8')}`)
    })
  }

  pids(): number[] {
    return this.#children.flatMap((child) => (child.pid === undefined ? [] : [child.pid]))
  }

  async end(): Promise<void> {
    for (const child of this.#children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue
      const gone = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGKILL')
      await gone
    }
  }
}

/** @returns the pair as a target, and how to end it */
export async function startQuorumPair(
  dir: string,
  sizeBytes: number,
  client: 'tcp' | 'unix',
): Promise<{ target: Target; end: () => Promise<void> }> {
  await mkdir(dir, { recursive: true })
  const fileOf = (name: string) => path.join(dir, `${name}.raw`)
  for (const name of ['near', 'far']) {
    await writeFile(fileOf(name), '')
    await truncate(fileOf(name), sizeBytes)
  }
  const servers = new Servers(dir)
  const end = async () => {
    await servers.end()
    await rm(dir, { recursive: true, force: true })
  }
  try {
    const [farPort = 0, frontPort = 0] = await freePorts(2)
    const far = await beginFar(servers, fileOf('far'), farPort)
    const socket = path.join(dir, 'front.sock')
    const front =
      client === 'unix'
        ? `addr.type=unix,addr.path=${socket}`
        : `addr.type=inet,addr.host=127.0.0.1,addr.port=${frontPort}`
    await servers.begin(
      'near',
      'qemu-storage-daemon',
      [
        ['--blockdev', `driver=file,node-name=local,filename=${fileOf('near')},aio=io_uring,discard=unmap`],
        [
          '--blockdev',
          `driver=nbd,node-name=remote,server.type=inet,server.host=127.0.0.1,server.port=${farPort},export=${far.export}`,
        ],
        [
          '--blockdev',
          'driver=quorum,node-name=disk,children.0=local,children.1=remote,vote-threshold=2,read-pattern=fifo',
        ],
        ['--nbd-server', front],
        ['--export', 'type=nbd,id=export,node-name=disk,name=disk,writable=on'],
      ].flat(),
      client === 'unix' ? { path: socket } : { host: '127.0.0.1', port: frontPort },
    )
    const uri = client === 'unix' ? `nbd+unix:///disk?socket=${socket}` : `nbd://127.0.0.1:${frontPort}/disk`
    return {
      target: {
        name: 'qemu pair',
        means: `both copies are in the page cache (qemu-storage-daemon quorum, second copy behind ${far.program})`,
        uri,
        sizeBytes,
        pids: servers.pids(),
      },
      end,
    }
  } catch (failure) {
    await end()
    throw failure
  }
}

/** The second copy: nbdkit where it is there, since qemu's mirror is faster with it; else another storage daemon. */
async function beginFar(servers: Servers, file: string, port: number): Promise<{ program: string; export: string }> {
  const address = { host: '127.0.0.1', port }
  if (findTool('nbdkit') !== null) {
    // Without --no-sr qemu would ask for the block status before every read.
    const args = ['-f', '--no-sr', '-i', '127.0.0.1', '-p', String(port), '-t', '16', 'file', file]
    await servers.begin('far', 'nbdkit', args, address)
    return { program: 'nbdkit', export: '' }
  }
  await servers.begin(
    'far',
    'qemu-storage-daemon',
    [
      ['--blockdev', `driver=file,node-name=disk,filename=${file},aio=io_uring,discard=unmap`],
      ['--nbd-server', `addr.type=inet,addr.host=127.0.0.1,addr.port=${port}`],
      ['--export', 'type=nbd,id=export,node-name=disk,name=disk,writable=on'],
    ].flat(),
    address,
  )
  return { program: 'qemu-storage-daemon', export: 'disk' }
}
