/**
 * A server's cable is pulled under load and put back: the other one goes on after the lease, the one without a cable
 * answers nobody, also not those at its own Unix socket, and afterwards there is one history.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TestLab } from '../kit/lab.ts'
import { answersIn, type RemoteLoad } from './load.ts'
import type { Network } from './network.ts'
import { loadOn, needsNetwork, stallMs, withNetworkLab } from './network-lab.ts'

type Name = 'a' | 'b'

interface Pull {
  readonly victim: Name
  readonly survivor: Name
  readonly where: 'here' | 'middle'
}

/** @returns answers that the victim's clients got while the survivor's got hundreds */
async function answeredMeanwhile(load: RemoteLoad, { victim, survivor }: Pull): Promise<number> {
  const before = answersIn((await load.reports())[victim])
  await load.goesOn(survivor, 300)
  return answersIn((await load.reports())[victim]) - before
}

async function pullAndPlug(lab: TestLab, network: Network, pull: Pull): Promise<string> {
  const { victim, survivor, where } = pull
  const load = await loadOn(lab, network, { seed: victim === 'a' ? 11 : 12, local: [victim] })
  try {
    await load.goesOn('a', 100)
    await load.goesOn('b', 100)
    network.pull(victim, where)
    await lab.waitAt(survivor, 'One copy')
    // From here on the other one's lease is over; its last answers in time are read by its clients before these.
    await load.goesOn(survivor)
    assert.equal(await answeredMeanwhile(load, pull), 0, `${victim} answered its clients without a lease`)
    await lab.waitAt(victim, 'Waiting')
    network.plug(victim)
    await lab.wait('Protected')
    await load.goesOn('a', 100)
    await load.goesOn('b', 100)
    const end = await load.stop()
    const joined = (await lab.events(survivor)).findLast(({ kind }) => kind === 'server-joined')
    assert.deepEqual([end.a.refusals, end.b.refusals], [[], []], 'requests were refused')
    assert.equal(end[survivor].lost, 0, `${survivor} closed connections`)
    assert.deepEqual(end.violations.slice(0, 5), [])
    assert.ok(end[survivor].longestMs < stallMs, `a client of ${survivor} waited ${end[survivor].longestMs} ms`)
    await lab.mustBeEqual()
    return [
      `${end.a.writes} writes at A, ${end.b.writes} at B, ${end.values} values judged`,
      `the longest at ${survivor} waited ${Math.round(end[survivor].longestMs)} ms`,
      `${joined?.details.movedBytes} bytes copied`,
    ].join('; ')
  } finally {
    load.kill()
  }
}

test("B's cable is pulled under load and put back", needsNetwork, async (t) => {
  await withNetworkLab({}, async (lab, network) => {
    t.diagnostic(await pullAndPlug(lab, network, { victim: 'b', survivor: 'a', where: 'here' }))
  })
})

test("A's cable is pulled at its other end and put back", needsNetwork, async (t) => {
  await withNetworkLab({}, async (lab, network) => {
    t.diagnostic(await pullAndPlug(lab, network, { victim: 'a', survivor: 'b', where: 'middle' }))
  })
})
