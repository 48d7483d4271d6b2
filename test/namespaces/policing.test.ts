/**
 * Claim 18: servers that have nothing but the network of their clients settle over it who may write where. Each of them
 * is a machine with one cable, the clients have theirs to the same middle.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TestLab } from '../kit/lab.ts'
import { connectNbd } from '../kit/nbd-client.ts'
import { until, within } from '../kit/until.ts'
import type { Network } from './network.ts'
import { needsNetwork, qemuIoThere, stepMs, withNetworkLab } from './network-lab.ts'

const MiB = 1024 * 1024

async function counts(lab: TestLab, name: 'a' | 'b'): Promise<{ asked: number; granted: number; copies: number }> {
  const { permissionsAsked, permissionsYielded, mirroredWrites } = (await lab.volume(name)).counters
  return { asked: permissionsAsked, granted: permissionsYielded, copies: mirroredWrites }
}

/** While B's cable is out, what A asked waits; it is put back before anybody's lease is over. @returns false when that was too late */
async function askedWithoutCable(lab: TestLab, network: Network): Promise<boolean> {
  await qemuIoThere(network, lab.uri('b'), ['write -P 0x62 8M 4k'])
  const { epoch } = await lab.volume('a')
  const client = await connectNbd(lab.unixUri('a'))
  try {
    let isDone = false
    network.pull('b', 'middle')
    const write = client.write(8 * MiB, new Uint8Array(512).fill(0x61)).then(() => {
      isDone = true
    })
    const waiting = await until('a write that waits for the other server', stepMs, async () => {
      return (await lab.volume('a')).policing.waiting[0]
    })
    assert.equal(waiting.waitsFor, 'servers')
    assert.ok(!isDone, 'it was done without an answer')
    network.plug('b')
    await within('the write once the cable is back', stepMs, write)
    return (await lab.volume('a')).epoch === epoch
  } finally {
    network.plug('b')
    client.destroy()
  }
}

test(
  'over the network of the clients: the servers ask, are answered, and send the copies, and nothing is done without',
  needsNetwork,
  async (t) => {
    await withNetworkLab({}, async (lab, network) => {
      for (const [name, other] of [
        ['a', 'b'],
        ['b', 'a'],
      ] as const) {
        const peer = (await lab.status(name)).peers.find((each) => each.name === other)
        assert.match(peer?.address ?? '', new RegExp(`^${network.address(other)}:`))
      }
      await qemuIoThere(network, lab.uri('a'), ['write -P 0x41 0 4M'])
      const first = await counts(lab, 'a')
      // For the blocks, and perhaps for the page that says who may write at all (W10).
      assert.ok(first.asked === 1 || first.asked === 2, `${first.asked} asks`)
      assert.deepEqual(first, { ...first, granted: 0, copies: 0 })
      await until('an answer to each', stepMs, async () => (await counts(lab, 'b')).granted === first.asked)
      assert.deepEqual(await counts(lab, 'b'), { asked: 0, granted: first.asked, copies: 1 })
      // It has priority now, everywhere: nobody is asked, and the copies are sent over the cable.
      const before = network.bytesTo('b')
      await qemuIoThere(network, lab.uri('a'), ['write -P 0x42 20M 4M', 'write -P 0x43 30M 4M'])
      const carried = network.bytesTo('b') - before
      assert.ok(carried > 8 * MiB, `only ${carried} bytes went over B's cable`)
      assert.deepEqual(await counts(lab, 'a'), first)
      await qemuIoThere(network, lab.uri('b'), ['read -P 0x42 20M 4M', 'read -P 0x43 30M 4M'])
      let tries = 1
      while (!(await askedWithoutCable(lab, network))) {
        tries += 1
        assert.ok(tries <= 5, 'the cable was never back in time')
        await lab.wait('Protected')
      }
      t.diagnostic(`${(carried / MiB).toFixed(1)} MiB of copies; the cable was back in time at try ${tries}`)
      await qemuIoThere(network, lab.uri('b'), ['read -P 0x61 8M 512', 'read -P 0x62 8389120 3584'])
      await lab.mustBeEqual()
    })
  },
)
