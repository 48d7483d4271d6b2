/** C12 with two volumes in one store: what is found out for one of them later leaves the other one as it is. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../agent/limits.ts'
import type { Volume } from '../../agent/volume/volume.ts'
import { Directed } from './directed.ts'

const MiB = 1024 * 1024

async function make(cluster: Directed, name: string, at: readonly number[]): Promise<void> {
  const [first = 0] = at
  let made: string | null = null
  cluster
    .server(first)
    .engine?.creations.create({
      name,
      sizeBytes: 4 * MiB,
      writeThrough: false,
      arbiter: { kind: 'witness', serverId: cluster.witness.id },
      servers: at.map((index) => cluster.server(index).id),
    })
    .then(
      () => {
        made = 'made'
      },
      (error: Error) => {
        made = error.message
      },
    )
  await cluster.untilSettled(() => made !== null)
  assert.equal(made, 'made')
}

function find(cluster: Directed, index: number, name: string): Volume | null {
  for (const volume of cluster.server(index).engine?.volumes.values() ?? []) if (volume.name === name) return volume
  return null
}

function named(cluster: Directed, index: number, name: string): Volume {
  const volume = find(cluster, index, name)
  assert.ok(volume !== null, `no ${name} at ${index}`)
  return volume
}

const serves = (cluster: Directed, index: number, name: string) =>
  find(cluster, index, name)?.member.mayAnswerRead() === true
const members = (cluster: Directed, index: number, name: string) =>
  find(cluster, index, name)?.member.known.inSync.length ?? 0

function work(cluster: Directed, index: number, name: string, value: number): void {
  const client = named(cluster, index, name).attach({ protocol: 'sim', address: 'x' }, () => undefined)
  for (let block = 0; block < 20; block += 1) {
    const write = cluster.write(client, block * 65536, value)
    cluster.until('written', () => write.answer === null)
    const flush = cluster.flush(client)
    cluster.until('flushed', () => flush.answer === null)
  }
  client.detach()
}

/** d at a and b, e at b and c, both 2; c is down, and b comes back as it was when both were 1. `beforeMs` until that. */
async function restored(beforeMs: number): Promise<{ cluster: Directed; both: () => boolean }> {
  const cluster = new Directed(3).start()
  await make(cluster, 'd', [0, 1])
  await make(cluster, 'e', [1, 2])
  const both = () =>
    [0, 1].every((at) => serves(cluster, at, 'd') && members(cluster, at, 'd') === 2) &&
    [1, 2].every((at) => serves(cluster, at, 'e') && members(cluster, at, 'e') === 2)
  cluster.until('both are open', both)
  work(cluster, 0, 'd', 1)
  work(cluster, 1, 'e', 1)
  // No region is marked, so nothing is in doubt of its own accord.
  cluster.pass(10 * limits.markIdleMs)
  const restore = cluster.server(1).disk.backup()
  work(cluster, 0, 'd', 2)
  work(cluster, 1, 'e', 2)
  cluster.pass(beforeMs)
  cluster.server(2).kill()
  cluster.server(1).kill()
  restore()
  cluster.server(1).start()
  const whole = () => [0, 1].every((at) => serves(cluster, at, 'd') && members(cluster, at, 'd') === 2)
  cluster.until('d is whole again', whole)
  cluster.pass(5_000)
  cluster.server(2).start()
  cluster.until('e is whole again', both)
  return { cluster, both }
}

describe('an older store with two volumes (C12)', () => {
  it('its second volume finds it out later, by another server: the first one, settled meanwhile, is as sound as before', async () => {
    const { cluster } = await restored(limits.peerCountMs + 1_000)
    cluster.pass(30_000)
    const lossy = [...named(cluster, 1, 'd').store.regions()].filter(([, { grade }]) => grade === 'lossy').length
    cluster.server(0).kill()
    cluster.until(
      `b goes on alone; ${lossy} regions are lossy`,
      () => serves(cluster, 1, 'd') && members(cluster, 1, 'd') === 1,
    )
  })

  it('found out for one volume, it holds for the other one too, whose other server has forgotten the count', async () => {
    const { cluster } = await restored(100)
    for (const at of [1, 2]) {
      const client = named(cluster, at, 'e').attach({ protocol: 'sim', address: 'x' }, () => undefined)
      const read = cluster.read(client, 5 * 65536)
      cluster.until('read', () => read.answer === null)
      assert.equal(read.first, 2, `at ${at}`)
    }
  })
})
