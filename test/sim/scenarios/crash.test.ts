/** Counterexamples 14 to 19, 54: agents and machines die with what was not flushed. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Asked } from '../directed.ts'
import { MiB, type Scenario, scenario } from './scenario.ts'

const gradeOf = (cluster: Scenario, index: number) => cluster.volume(index).store.region(0).grade
const seeds = [1, 2, 3, 4, 5, 6]

/** Two servers hold 1 durably, and 2 acknowledged and in their caches. */
async function unflushed(seed: number, count = 2): Promise<Scenario> {
  const cluster = await scenario(count, seed)
  cluster.put(0, 0, 1, MiB)
  cluster.quiet()
  cluster.put(1, 0, 2, MiB)
  return cluster
}

describe('crash with caches', () => {
  // C2: only members of the best grade count, whoever has the lowest id.
  it('counterexample 14: one loses power for less than a lease while the arbiter is away', async () => {
    for (const seed of seeds) {
      const cluster = await unflushed(seed)
      cluster.witness.kill()
      const a = cluster.server(0)
      a.powerCut()
      cluster.pass(300)
      a.start()
      cluster.until('it has looked at what it holds', () => a.volume !== undefined)
      assert.equal(gradeOf(cluster, 0), 'lossy')
      assert.equal(cluster.inSync(1), 'ab', 'nobody was left out')
      cluster.whole({ 0: 2, [MiB / 2]: 2 })
    }
  })

  // C2: whoever lost power proposes nothing without somebody who did not.
  it('counterexample 15: whoever lost power reaches the arbiter, and whoever did not reaches nobody', async () => {
    for (const seed of seeds) {
      const cluster = await unflushed(seed)
      const [a, b] = [cluster.server(0), cluster.server(1)]
      const mend = cluster.isolate(b)
      a.powerCut()
      a.start()
      cluster.until('it has looked at what it holds', () => a.volume !== undefined)
      assert.equal(gradeOf(cluster, 0), 'lossy')
      const read = cluster.read(cluster.attach(0), 0)
      cluster.pass(20_000)
      assert.equal(cluster.namesOf(cluster.register), 'ab')
      assert.equal(read.answer, undefined, 'clients wait')
      mend()
      cluster.whole({ 0: 2, [MiB / 2]: 2 })
    }
  })

  // C9, E9: when a member is left out, what was acknowledged becomes durable at the others before long.
  it('counterexample 16: the survivor of an unflushed write loses power too, later', async () => {
    for (const seed of seeds) {
      const cluster = await unflushed(seed)
      const [a, b] = [cluster.server(0), cluster.server(1)]
      a.powerCut()
      cluster.goOn('b')
      cluster.pass(20)
      b.powerCut()
      b.start()
      cluster.goOn('b')
      assert.equal(cluster.get(1), 2)
      a.start()
      cluster.whole({ 0: 2, [MiB / 2]: 2 })
    }
  })

  // W5, C2: what was not flushed may be old or new when all lose power, sector by sector, but the same on all.
  it('counterexample 17: all lose power in the middle of unflushed writes', async () => {
    let torn = 0
    for (const seed of seeds) {
      const cluster = await unflushed(seed)
      for (const server of cluster.servers) server.powerCut()
      const values = new Set<string>()
      for (const server of cluster.servers) server.start()
      cluster.until('all are in sync', () => cluster.isWhole())
      let data: Uint8Array = new Uint8Array()
      const { store } = cluster.volume(0)
      store.read(0, MiB, (_, read) => {
        data = read
      })
      cluster.until('it is read', () => data.length > 0)
      for (let at = 0; at < MiB; at += 512) {
        const sector = data.subarray(at, at + 512)
        assert.ok(sector.every((byte) => byte === sector[0]) && (sector[0] === 1 || sector[0] === 2))
        values.add(String(sector[0]))
      }
      torn += values.size - 1
      cluster.whole()
    }
    assert.ok(torn > 0, 'power was lost in the middle of something')
  })

  // C2: a killed agent's machine goes on: all that was acknowledged is there, and nobody has to accept a loss.
  it('counterexample 18: all agents are killed, and only one of them comes back', async () => {
    const cluster = await unflushed(1)
    const [a, b] = [cluster.server(0), cluster.server(1)]
    a.kill()
    b.kill()
    b.start()
    cluster.until('it has looked at what it holds', () => b.volume !== undefined)
    assert.equal(gradeOf(cluster, 1), 'torn')
    cluster.goOn('b', 20_000)
    assert.equal(cluster.get(1), 2)
    a.start()
    cluster.whole({ 0: 2, [MiB / 2]: 2 })
  })

  // W4: a sync that began before the flush arrived does not count for it.
  it('counterexample 19: a flush arrives while the disk syncs for another one, and power is lost once it is answered', async () => {
    let between = 0
    for (const seed of [...seeds, 7, 8, 9, 10, 11, 12]) {
      const cluster = await scenario(2, seed)
      cluster.put(0, 0, 1, MiB)
      const [a, b] = [cluster.server(0), cluster.server(1)]
      b.kill()
      cluster.goOn('a')
      const client = cluster.attach(0)
      const flushes: Asked[] = []
      // Whenever the write is acknowledged, a sync has begun before.
      const next = () => {
        flushes.push(cluster.flush(client))
        if (write.answer === undefined) cluster.world.after(0.05, next)
      }
      const write = cluster.write(client, 0, 2, MiB / 4)
      next()
      cluster.until('the write is acknowledged', () => write.answer === null)
      if (flushes.some(({ answer }) => answer === undefined)) between += 1
      cluster.done(cluster.flush(client))
      a.powerCut()
      for (const server of [a, b]) server.start()
      cluster.whole({ 0: 2, [MiB / 8]: 2 })
    }
    assert.ok(between > 0, `in ${between} histories a sync ran`)
  })

  // C2: a milder second crash does not better a grade, nor does a session that was never settled.
  for (const [how, again] of [
    ['then its agent is killed', (cluster: Scenario) => cluster.server(0).kill()],
    ['then it is stopped in order', (cluster: Scenario) => cluster.server(0).leave(() => undefined)],
  ] as const) {
    it(`counterexample 54: a server loses power, ${how}; whoever kept it all is out of sight`, async () => {
      for (const seed of seeds) {
        const cluster = await unflushed(seed)
        const [a, b] = [cluster.server(0), cluster.server(1)]
        const mend = cluster.isolate(b)
        a.powerCut()
        a.start()
        cluster.until('it is up', () => a.volume !== undefined)
        cluster.pass(500)
        again(cluster)
        cluster.until('it is down', () => a.state === 'off')
        a.start()
        cluster.until('it is up again', () => a.volume !== undefined)
        assert.equal(gradeOf(cluster, 0), 'lossy')
        cluster.pass(15_000)
        assert.ok(!cluster.serves(0), 'it went on alone')
        mend()
        cluster.whole({ 0: 2, [MiB / 2]: 2 })
      }
    })
  }
})
