/**
 * What only some of the machines lose: one direction between the servers, both directions, the witness. Clients are at
 * both servers all the while, and never see two histories.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { VolumeStatus } from '../../agent/contract/status.ts'
import { statusWords } from '../../agent/contract/words.ts'
import type { TestLab } from '../kit/lab.ts'
import { connectNbd } from '../kit/nbd-client.ts'
import { TookTooLong, until, within } from '../kit/until.ts'
import { answersIn, type RemoteLoad } from './load.ts'
import type { Network } from './network.ts'
import { loadOn, needsNetwork, qemuIoThere, stallMs, stepMs, withNetworkLab } from './network-lab.ts'

type Name = 'a' | 'b'

/** Longer than a lease and everything after it: who has not gone on by then does not go on. */
const frozenMs = 5_000
/** What nobody's absence may cost a client, milliseconds; a lease is 2 000. */
const unnoticedMs = 1_500

/**
 * Waits until one server serves in a newer configuration. Headlines would not do: for a moment the one that was left out
 * still hears the other one, and rightly tells of its one copy; nor would serving alone, in the old one, for a lease.
 * @returns the one that serves
 */
function theOneThatGoesOn(lab: TestLab, epochBefore: number): Promise<Name> {
  return until('one server goes on', stepMs, async () => {
    const [a, b] = await Promise.all([lab.volume('a'), lab.volume('b')])
    const goesOn = ({ serving, epoch }: VolumeStatus) => serving && epoch > epochBefore
    // Both would be the disaster itself: then what both answer shows it.
    if (goesOn(a)) return 'a'
    return goesOn(b) ? 'b' : false
  })
}

/** Only one server answers from here on. */
async function onlyOneAnswers(load: RemoteLoad, winner: Name): Promise<void> {
  const loser = winner === 'a' ? 'b' : 'a'
  // What the other one answered within its lease is read by its clients before these.
  await load.goesOn(winner)
  const before = answersIn((await load.reports())[loser])
  await load.goesOn(winner, 300)
  assert.equal(answersIn((await load.reports())[loser]), before, `${loser} answered while ${winner} went on alone`)
}

async function loseAndHeal(
  lab: TestLab,
  network: Network,
  of: { seed: number; ways: readonly [from: Name, to: Name][] },
): Promise<string> {
  const load = await loadOn(lab, network, { seed: of.seed })
  try {
    await load.goesOn('a', 100)
    await load.goesOn('b', 100)
    const { epoch } = await lab.volume('a')
    for (const [from, to] of of.ways) network.lose(from, to)
    const winner = await theOneThatGoesOn(lab, epoch)
    await onlyOneAnswers(load, winner)
    network.loseNothing()
    await lab.wait('Protected')
    await load.goesOn('a', 100)
    await load.goesOn('b', 100)
    const end = await load.stop()
    assert.deepEqual([end.a.refusals, end.b.refusals], [[], []], 'requests were refused')
    assert.equal(end[winner].lost, 0, `${winner} closed connections`)
    // The last reads are at both servers: an acknowledged write that is missing at either one is a violation.
    assert.deepEqual(end.violations.slice(0, 5), [])
    assert.ok(end[winner].longestMs < stallMs, `a client of ${winner} waited ${end[winner].longestMs} ms`)
    await lab.mustBeEqual()
    return `${winner} went on; ${end.a.writes} writes at A, ${end.b.writes} at B, ${end.values} values judged; the longest at ${winner} waited ${Math.round(end[winner].longestMs)} ms`
  } finally {
    load.kill()
  }
}

const losses: readonly { title: string; seed: number; ways: readonly [from: Name, to: Name][] }[] = [
  { title: 'what A sends to B is lost, the other direction works', seed: 21, ways: [['a', 'b']] },
  { title: 'what B sends to A is lost, the other direction works', seed: 22, ways: [['b', 'a']] },
  {
    title: 'both servers are cut from each other, and both reach the witness: exactly one goes on',
    seed: 23,
    ways: [
      ['a', 'b'],
      ['b', 'a'],
    ],
  },
]
for (const { title, ...of } of losses) {
  test(title, needsNetwork, async (t) => {
    await withNetworkLab({}, async (lab, network) => t.diagnostic(await loseAndHeal(lab, network, of)))
  })
}

const wordsAt = async (lab: TestLab, name: Name): Promise<string> => {
  const { headline, second } = statusWords(await lab.status(name), Date.now())
  return `${headline}: ${second}`
}

test(
  'the witness is cut off: nothing happens; then a server dies: the other waits, in words',
  needsNetwork,
  async (t) => {
    await withNetworkLab({}, async (lab, network) => {
      const load = await loadOn(lab, network, { seed: 31 })
      try {
        await load.goesOn('a', 100)
        const { epoch } = await lab.volume('a')
        network.pull('witness', 'middle')
        await until('A misses the witness', stepMs, async () => !(await lab.volume('a')).arbiter.reachable)
        await load.goesOn('a', 300)
        await load.goesOn('b', 300)
        const end = await load.stop()
        assert.equal((await lab.volume('a')).epoch, epoch, 'the configuration changed')
        assert.deepEqual(end.violations.slice(0, 5), [])
        assert.deepEqual([end.a.lost, end.b.lost], [0, 0])
        const longestMs = Math.max(end.a.longestMs, end.b.longestMs)
        t.diagnostic(`without the witness the longest waited ${Math.round(longestMs)} ms`)
        assert.ok(longestMs < unnoticedMs, `a client waited ${longestMs} ms`)
      } finally {
        load.kill()
      }
      await thenAServerDies(lab, network, (words) => t.diagnostic(words))
    })
  },
)

async function thenAServerDies(lab: TestLab, network: Network, told: (words: string) => void): Promise<void> {
  await lab.kill('b')
  await lab.waitAt('a', 'Waiting')
  const words = await wordsAt(lab, 'a')
  told(words)
  assert.match(words, /witness/, 'the words do not name who is missing')
  const client = await connectNbd(lab.unixUri('a'))
  try {
    const write = client.write(3 * 1024 * 1024, new Uint8Array(4096).fill(0x43))
    write.catch(() => undefined)
    await assert.rejects(within('a write at a', frozenMs, write), TookTooLong)
    network.plug('witness')
    await lab.waitAt('a', 'One copy')
    await within('the write that waited', stepMs, write)
  } finally {
    client.destroy()
  }
  await lab.start('b')
  await lab.wait('Protected')
  await qemuIoThere(network, lab.uri('b'), ['read -P 0x43 3M 4k'])
  await lab.mustBeEqual()
}
