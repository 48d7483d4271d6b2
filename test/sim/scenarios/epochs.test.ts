/** Counterexamples 48 and 56: configurations, and who decides. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { scenario } from './scenario.ts'

describe('epochs and arbiter', () => {
  // E7: when all stop together the set stays, so that whoever starts first may go on.
  for (const first of [0, 1]) {
    it(`counterexample 48: all stop in order at once, and ${'ab'[first]} alone is started again`, async () => {
      const cluster = await scenario(2)
      cluster.put(0, 0, 1)
      let stopped = 0
      for (const server of cluster.servers) {
        server.leave(() => {
          stopped += 1
        })
      }
      cluster.until('both have stopped', () => stopped === 2)
      cluster.server(first).start()
      cluster.until('it is up', () => cluster.server(first).volume !== undefined)
      assert.equal(cluster.namesOf(cluster.register), 'ab', 'nobody was left out')
      cluster.goOn('ab'[first] ?? '')
      assert.equal(cluster.get(first), 1)
      cluster.server(1 - first).start()
      cluster.whole({ 0: 1 })
    })
  }

  // E1: servers show what they last opened; two histories are a split brain whatever their numbers, and nothing is overwritten.
  it('counterexample 56: after the register came back as it was, two histories meet, one of them an epoch ahead', async () => {
    const cluster = await scenario(2)
    cluster.put(0, 0, 1)
    cluster.quiet()
    const [a, b] = [cluster.server(0), cluster.server(1)]
    const bringBack = cluster.witness.disk.backupRecord(`register-${cluster.volume(0).world.volumeId}`)
    const cable = cluster.cut(a, b)
    const far = { b: cluster.cut(b, cluster.witness) }
    cluster.goOn('a')
    cluster.put(0, 0, 2)
    const { engine } = a
    assert.ok(engine !== null)
    let grown = false
    void engine.changes.grow('d', 2 * cluster.volume(0).sizeBytes).then(() => {
      grown = true
    })
    await cluster.untilSettled(() => grown)
    assert.equal(cluster.volume(0).member.known.epoch, 3)
    const gone = cluster.cut(a, cluster.witness)
    cluster.witness.kill()
    bringBack()
    cluster.witness.start()
    far.b()
    cluster.goOn('b')
    cluster.put(1, 0, 3)
    assert.equal(cluster.volume(1).member.known.epoch, 2)
    cable()
    gone()
    cluster.until('people are told', () => cluster.told('split-brain'), 30_000)
    cluster.pass(30_000)
    assert.deepEqual([cluster.lies(0), cluster.lies(1)], [2, 3], 'both are kept')
  })
})
