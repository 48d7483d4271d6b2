/** C12: a disk that comes back as it was some time ago (a restored backup, a clone, one that loses what it confirmed) is
 * found out by its peers, wholly in doubt, and compared in full before anything is read from it. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../agent/limits.ts'
import type { Asked } from './directed.ts'
import { Directed } from './directed.ts'
import { forScenarios } from './mutations.ts'

const MiB = 1024 * 1024
const blocks = 40

function answer(cluster: Directed, what: string, asked: Asked): void {
  cluster.until(what, () => asked.answer !== undefined)
  assert.equal(asked.answer, null, what)
}

/** Writes every block at that server, flushes, and lets marks come off. */
function fill(cluster: Directed, at: number, value: number): void {
  const client = cluster.attach(at)
  for (let block = 0; block < blocks; block += 1) {
    answer(cluster, 'a write', cluster.write(client, block * 16 * 4096, value))
  }
  answer(cluster, 'a flush', cluster.flush(client))
  client.detach()
  // Nothing is in doubt of its own accord.
  const isQuiet = (index: number) => !cluster.volume(index).store.region(0).marked
  cluster.until('no region is marked', () => isQuiet(0) && isQuiet(1), 10 * limits.markIdleMs)
  cluster.pass(1_000)
}

function everyRead(cluster: Directed, at: number, value: number): void {
  const client = cluster.attach(at)
  for (let block = 0; block < blocks; block += 1) {
    const read = cluster.read(client, block * 16 * 4096)
    answer(cluster, 'a read', read)
    assert.equal(read.first, value, `block ${block} at server ${at}`)
  }
}

const nothing = () => undefined
const told = (cluster: Directed) => cluster.story.lines.filter((line) => line.includes('older-store')).length

/** `index` lost what it had since it held 1: both hold 2 now. `before` its kill; `meanwhile` until its return. */
async function restored(
  index: number,
  before: (cluster: Directed) => void,
  meanwhile: (cluster: Directed) => void = () => undefined,
  whole = new Directed(2),
): Promise<Directed> {
  const cluster = await whole.begin(4 * MiB)
  fill(cluster, 0, 1)
  const restore = cluster.server(index).disk.backup()
  fill(cluster, 1 - index, 2)
  before(cluster)
  cluster.server(index).kill()
  restore()
  meanwhile(cluster)
  cluster.server(index).start()
  cluster.until('both are in sync', () => cluster.isWhole(), 120_000)
  return cluster
}

function whole(cluster: Directed): void {
  for (const at of [0, 1]) everyRead(cluster, at, 2)
  assert.ok(cluster.equal(0, 1))
  assert.deepEqual(cluster.problems, [])
}

describe('a store that is an older copy of itself (C12)', () => {
  for (const index of [0, 1]) {
    const who = index === 0 ? 'the leader' : 'the other one'
    it(`${who}, back before anybody missed it: no session opens before all of it is compared (counterexample 11)`, async () => {
      const cluster = await restored(index, nothing)
      assert.equal(told(cluster), 2, 'people are told, once at each server')
      whole(cluster)
    })
    it(`${who}, back after it was left out: its resync compares all, not only what it missed`, async () => {
      const cluster = await restored(index, nothing, (cluster) => {
        cluster.until('the other goes on alone', () => cluster.serves(1 - index), 60_000)
        cluster.pass(2_000)
      })
      assert.ok(told(cluster) > 0)
      whole(cluster)
    })
    it(`${who}, and the other one restarted too: what it remembers is durable`, async () => {
      const remembers = (cluster: Directed) => cluster.pass(limits.peerCountMs + 1_000)
      const cluster = await restored(index, remembers, (cluster) => {
        cluster.server(1 - index).kill()
        cluster.server(1 - index).start()
      })
      whole(cluster)
    })
  }

  it(`broken on purpose, a server ${forScenarios.olderStore.what}: that is found out`, async () => {
    for (const seed of [1, 2, 3]) {
      const broken = new Directed(2, seed, forScenarios.olderStore.tampering)
      const cluster = await restored(1, nothing, nothing, broken)
      assert.throws(() => whole(cluster), assert.AssertionError, `seed ${seed} looked good`)
    }
  })

  it('once in doubt it is trusted again: the next start is an ordinary one', async () => {
    const cluster = await restored(1, nothing)
    const before = told(cluster)
    fill(cluster, 0, 2)
    cluster.server(1).kill()
    cluster.server(1).start()
    cluster.until('both are in sync', () => cluster.isWhole(), 120_000)
    assert.equal(told(cluster), before)
    whole(cluster)
  })

  it('who has not told of its store is asked, and nothing is served before it has', async () => {
    let asked = 0
    const cluster = await restored(1, nothing, (cluster) => {
      cluster.lost = ({ kind }) => kind === 'member.store' && asked++ < 4
      // Nobody can decide that it is left out: it must be in the next session.
      cluster.witness.kill()
    })
    assert.ok(asked > 4)
    whole(cluster)
  })

  it('kills and power cuts are no reason', async () => {
    const cluster = await new Directed(2).begin(4 * MiB)
    for (let round = 0; round < 6; round += 1) {
      fill(cluster, round % 2, 2)
      const server = cluster.server(round % 2)
      if (round < 3) server.kill()
      else server.powerCut()
      server.start()
      cluster.until('both are in sync', () => cluster.isWhole(), 120_000)
    }
    assert.equal(told(cluster), 0)
    whole(cluster)
  })
})
