import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import { Cluster, type Station } from './world.ts'

const pair = (): [Cluster, Station, Station] => {
  const cluster = new Cluster(2).startOpen()
  const [one, other] = cluster.stations
  if (one === undefined || other === undefined) throw new Error('two servers were asked for')
  return [cluster, one, other]
}

/** One request from its beginning to its end. @returns messages that it cost */
function once(
  cluster: Cluster,
  station: Station,
  mode: 'shared' | 'exclusive',
  firstBlock: number,
  blocks = 1,
): number {
  const before = cluster.delivered
  const use = station.use(mode, firstBlock, blocks)
  cluster.settle()
  assert.equal(use.begun, 1)
  return cluster.delivered - before
}

/** The same numbers in the same order each time. */
function* numbers(seed: number): Generator<number> {
  for (let state = seed; ; ) {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31
    yield state
  }
}

const MiB = 256

describe('permission grows beyond what was asked for (W7)', () => {
  it('the first answer grants the whole volume: everything after it is free', () => {
    for (const [index, label] of ['the smaller id', 'the greater id'].entries()) {
      const cluster = new Cluster(2).startOpen()
      const station = cluster.stations[index]
      assert.ok(station)
      assert.equal(once(cluster, station, 'exclusive', 1_000), 2, label)
      for (const block of [0, 999, 1_001, 70_000_000]) {
        assert.equal(once(cluster, station, 'exclusive', block, 300), 0, `${label}, block ${block}`)
      }
    }
  })

  it('two that both begin at once get the whole volume between them, and no block twice', () => {
    const [cluster, one, other] = pair()
    one.use('exclusive', 10)
    other.use('exclusive', 90_000)
    cluster.settle()
    assert.equal(cluster.breach(), null)
    assert.equal(once(cluster, one, 'exclusive', 5) + once(cluster, other, 'exclusive', 90_005), 0)
  })

  it('writers of two halves soon ask each other nothing, one request each at a time', () => {
    const [cluster, one, other] = pair()
    const random = numbers(7)
    const half = 128 * MiB
    const costs: number[] = []
    for (let round = 0; round < 2_000; round += 1) {
      const at = (random.next().value ?? 0) % half
      costs.push(once(cluster, one, 'exclusive', at) + once(cluster, other, 'exclusive', half + at))
    }
    const late = costs.slice(500).filter((cost) => cost > 0).length
    assert.ok(late <= 15, `${late} of the last 1500 rounds cost messages`)
  })

  it('writers of every second MiB soon ask each other nothing', () => {
    const [cluster, one, other] = pair()
    const random = numbers(9)
    let late = 0
    for (let round = 0; round < 4_000; round += 1) {
      const at = 2 * MiB * ((random.next().value ?? 0) % 64)
      const cost = once(cluster, one, 'exclusive', at) + once(cluster, other, 'exclusive', at + MiB)
      if (round > 1_000) late += cost
    }
    assert.ok(late < 100, `${late} messages`)
  })

  it('a server that does nothing for a while gives all it used', () => {
    const [cluster, one, other] = pair()
    for (let place = 0; place < 200; place += 1) once(cluster, one, 'exclusive', place * MiB)
    let messages = 0
    for (let place = 0; place < 200; place += 1) messages += once(cluster, other, 'exclusive', place * MiB)
    assert.ok(messages <= 2 * (limits.quietGrants + 2), `${messages} messages`)
  })

  it('yields only the part that overlaps what it still uses (P1)', () => {
    const [cluster, one, other] = pair()
    const busy = one.use('exclusive', 100, 10)
    while (cluster.deliver(0));
    assert.equal(busy.begun, 1)
    const beside = other.use('exclusive', 110, 10)
    while (cluster.deliver(0));
    assert.equal(beside.begun, 1, 'what is not used is yielded at once')
    const across = other.use('exclusive', 95, 10)
    while (cluster.deliver(0));
    assert.equal(across.begun, 0)
    one.release(busy)
    while (cluster.deliver(0));
    assert.equal(across.begun, 1)
  })

  it('never grows over what is in use, also when that was long ago (P5)', () => {
    const [cluster, one, other] = pair()
    const busy = one.use('exclusive', 3_000, 10)
    while (cluster.deliver(0));
    assert.equal(busy.begun, 1)
    for (let place = 0; place < 4 * limits.quietGrants; place += 1) {
      const use = other.use('exclusive', place * 2 * MiB)
      while (cluster.deliver(0));
      if (use.begun === 1) other.release(use)
      assert.equal(cluster.breach(), null)
    }
    const wanted = other.use('exclusive', 3_005)
    while (cluster.deliver(0));
    assert.equal(wanted.begun, 0)
    cluster.settle()
  })

  it('after both have read everything, a writer has to ask once, not for every block', () => {
    const [cluster, one, other] = pair()
    once(cluster, one, 'shared', 0)
    once(cluster, other, 'shared', 0)
    let messages = 0
    for (let block = 0; block < 4_000; block += 10) messages += once(cluster, other, 'exclusive', block)
    assert.ok(messages <= 2 * (limits.quietGrants + 2), `${messages} messages`)
  })

  it('a map of too many pieces is forgotten, never what waits', () => {
    const [cluster, one, other] = pair()
    once(cluster, one, 'exclusive', 0)
    const pieces = limits.heldPieces / 2 + 10
    for (let index = 0; index < pieces; index += 1) {
      once(cluster, one, 'exclusive', index * 4)
      const use = other.use('exclusive', index * 4 + 2)
      cluster.settle()
      assert.equal(use.begun, 1)
    }
    for (const station of cluster.stations) {
      for (const peer of station.policing.peers) assert.ok(peer.holds.pieces <= limits.heldPieces)
    }
    assert.equal(cluster.breach(), null)
    // Beyond what was cut into pieces, who works alone is asked nothing for every block.
    let messages = 0
    for (let block = 4 * pieces + 100; block < 400_000; block += 100) messages += once(cluster, one, 'exclusive', block)
    assert.ok(messages <= 100, `${messages} messages of one that works alone`)
  })
})
