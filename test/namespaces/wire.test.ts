/** Servers, witness and clients as machines with addresses of their own: what one server got, the other one shows. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '../../agent/limits.ts'
import { loadOn, needsNetwork, qemuIoThere, withNetworkLab } from './network-lab.ts'

const MiB = 1024 * 1024
/** The wire of a small office's slow corner. */
const megabits = 20

test('written at A over the wire, read at B over the wire, and the replicas are equal', needsNetwork, async (t) => {
  await withNetworkLab({}, async (lab, network) => {
    const before = network.bytesTo('b')
    await qemuIoThere(network, lab.uri('a'), ['write -P 0x41 0 8M', 'write -P 0x42 20M 8M', 'flush'])
    const mirrored = network.bytesTo('b') - before
    assert.ok(mirrored > 16 * MiB, `only ${mirrored} bytes went over B's cable: the copy came another way`)
    await qemuIoThere(network, lab.uri('b'), ['read -P 0x41 0 8M', 'read -P 0x42 20M 8M', 'write -P 0x43 4M 1M'])
    await qemuIoThere(network, lab.uri('a'), ['read -P 0x41 0 4M', 'read -P 0x43 4M 1M'])
    await lab.mustBeEqual()
    t.diagnostic(`16 MiB written at A, ${(mirrored / MiB).toFixed(1)} MiB went over B's cable`)
  })
})

test('a slow wire full of large writes: nobody is removed, work goes on', needsNetwork, async (t) => {
  await withNetworkLab({}, async (lab, network) => {
    const epoch = (await lab.volume('a')).epoch
    network.slow('b', megabits)
    const beganMs = performance.now()
    const before = network.bytesTo('b')
    // At the server itself: only the mirror's own bytes are on the slow wire.
    // Together they take the wire longer than E8 gives a disk: that they wait for it is no debt of B's.
    const large = [
      'aio_write -P 0x51 0 16M',
      'aio_write -P 0x52 16M 16M',
      'aio_write -P 0x53 32M 24M',
      'aio_flush',
      'flush',
    ]
    await qemuIoThere(network, lab.unixUri('a'), large)
    const tookMs = performance.now() - beganMs
    const carried = network.bytesTo('b') - before
    t.diagnostic(
      `56 MiB in ${(tookMs / 1000).toFixed(1)} s, ${((carried * 8) / tookMs / 1000).toFixed(1)} Mbit/s on the wire`,
    )
    assert.ok(tookMs > limits.memberOverdueMs, 'the wire was not slow: the test shows nothing')
    const { epoch: after, replicas } = await lab.volume('a')
    assert.equal(after, epoch, 'somebody was removed')
    assert.ok(replicas.every(({ state, connected }) => state === 'in-sync' && connected))
    await lab.wait('Protected')
    await qemuIoThere(network, lab.unixUri('b'), ['read -P 0x51 0 16M', 'read -P 0x52 16M 16M', 'read -P 0x53 32M 24M'])
    await lab.mustBeEqual()
  })
})

test(
  'a resync fills the slow wire: it ends in one attempt, clients work, nobody is removed',
  needsNetwork,
  async (t) => {
    await withNetworkLab({}, async (lab, network) => {
      await lab.stop('b')
      await qemuIoThere(network, lab.unixUri('a'), ['write -P 0x61 8M 24M', 'flush'])
      network.slow('b', megabits)
      const left = async () => (await lab.events('a')).filter(({ kind }) => kind === 'server-left').length
      const leftBefore = await left()
      const load = await loadOn(lab, network, { seed: 5, local: ['a', 'b'] })
      try {
        await load.goesOn('a')
        const writesBefore = (await load.reports()).a.writes
        const beganMs = performance.now()
        await lab.start('b')
        await lab.wait('Protected')
        const tookMs = performance.now() - beganMs
        const meanwhile = (await load.reports()).a.writes - writesBefore
        await load.goesOn('a')
        await load.goesOn('b')
        const { a, violations } = await load.stop()
        const events = await lab.events('a')
        t.diagnostic(
          `Protected after ${(tookMs / 1000).toFixed(1)} s, ${meanwhile} writes at A meanwhile, the longest waited ${Math.round(a.longestMs)} ms`,
        )
        assert.ok(tookMs > 5_000, 'the wire was not slow: the test shows nothing')
        assert.equal(await left(), leftBefore, 'somebody was removed')
        assert.deepEqual(
          events.filter(({ kind }) => kind === 'resync-voided').map(({ details }) => details.why),
          [],
        )
        assert.deepEqual([a.refusals, a.lost], [[], 0])
        assert.deepEqual(violations.slice(0, 5), [])
        await qemuIoThere(network, lab.unixUri('b'), ['read -P 0x61 8M 24M'])
        await lab.mustBeEqual()
      } finally {
        load.kill()
      }
    })
  },
)
