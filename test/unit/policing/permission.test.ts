import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { Cluster, type Station, TestUse } from './world.ts'

const pair = (): [Cluster, Station, Station] => {
  const cluster = new Cluster(2).startOpen()
  const [one, other] = cluster.stations
  if (one === undefined || other === undefined) throw new Error('two servers were asked for')
  return [cluster, one, other]
}

const messages = (cluster: Cluster): number =>
  cluster.delivered + [...cluster.queues.values()].reduce((sum, queue) => sum + queue.length, 0)

describe('permission: who may use the volume', () => {
  for (const count of [2, 3]) {
    it(`never lets a writer and another server in together, and lets everybody in at last (${count} servers)`, () => {
      fc.assert(
        fc.property(fc.array(fc.nat(1_000_000), { minLength: 50, maxLength: 250, size: 'max' }), (choices) => {
          const cluster = new Cluster(count)
          cluster.start()
          const uses: TestUse[] = []
          for (const choice of choices) {
            const station = cluster.stations[choice % count]
            if (station === undefined) continue
            const [oldest] = station.active
            const action = Math.floor(choice / count) % 16
            // Mostly a few blocks, near or so far apart that the memory of recent uses has one seat for all of them; now and
            // then the whole volume, as a snapshot has it.
            const scale = choice % 3 === 0 ? 256 * 1024 : 1
            const first = scale * (Math.floor(choice / 48) % 12)
            const blocks = choice % 97 === 0 ? 5_000_000 : 1 + scale * (Math.floor(choice / 600) % 5)
            if (action < 3) uses.push(station.use('shared', first, blocks))
            else if (action < 6) uses.push(station.use('exclusive', first, blocks))
            else if (action === 6) cluster.open(station)
            else if (action < 10 && oldest !== undefined) station.release(oldest)
            else if (action === 10 && choice % 7 === 0) {
              cluster.end()
              cluster.start()
            } else cluster.deliver(Math.floor(choice / 64))
            assert.equal(cluster.breach(), null)
          }
          for (const station of cluster.stations) if (!station.isOpen) cluster.open(station)
          cluster.settle()
          for (const use of uses) assert.ok(use.begun > 0, 'a use was never let in')
          for (const station of cluster.stations) assert.equal(station.policing.waiting.size, 0)
        }),
        { numRuns: Number(process.env.MIRRORBAY_RUNS ?? 300), seed: 20261122 },
      )
    })
  }

  it('sends no message when it is alone in sync (W7)', () => {
    const cluster = new Cluster(1).startOpen()
    const [only] = cluster.stations
    assert.equal(only?.use('exclusive').begun, 1)
    assert.equal(messages(cluster), 0)
  })

  it('costs one round trip at first, then none while nobody else wants the volume (W7)', () => {
    const [cluster, one] = pair()
    for (let index = 0; index < 50; index += 1) {
      one.use('exclusive')
      one.use('shared')
      cluster.settle()
    }
    assert.equal(cluster.delivered, 2)
  })

  it('lets both read without a message once both have asked', () => {
    const [cluster, one, other] = pair()
    one.use('shared')
    other.use('shared')
    cluster.settle()
    const before = cluster.delivered
    one.use('shared')
    other.use('shared')
    assert.equal(one.active.size + other.active.size, 2)
    cluster.settle()
    assert.equal(cluster.delivered, before)
  })

  it('keeps shared when it yields shared only, so that its reads go on', () => {
    const [cluster, one, other] = pair()
    one.use('exclusive')
    cluster.settle()
    other.use('shared')
    cluster.settle()
    const before = messages(cluster)
    assert.equal(one.use('shared').begun, 1)
    assert.equal(messages(cluster), before)
  })

  it('begins no younger use once another server asked (P1)', () => {
    const [cluster, one, other] = pair()
    const running = one.use('exclusive', 0)
    while (cluster.deliver(0));
    other.use('exclusive', 0, 2)
    while (cluster.deliver(0));
    const younger = one.use('exclusive', 1)
    assert.equal(younger.begun, 0, 'nobody uses that block, but the other server asked for it first')
    one.release(running)
    while (cluster.deliver(0));
    assert.equal(other.active.size, 1, 'the one who asked comes before the younger use')
    cluster.settle()
    assert.equal(younger.begun, 1)
  })

  it('yields only after its last use of the range has ended', () => {
    const [cluster, one, other] = pair()
    const first = one.use('exclusive', 0)
    const second = one.use('exclusive', 1)
    while (cluster.deliver(0));
    const waiting = other.use('shared', 0, 2)
    while (cluster.deliver(0));
    one.release(first)
    while (cluster.deliver(0));
    assert.equal(waiting.begun, 0)
    one.release(second)
    while (cluster.deliver(0));
    assert.equal(waiting.begun, 1)
  })

  it('gives the smaller (time, server id) priority when both ask at once (P1)', () => {
    const [cluster, one, other] = pair()
    const lower = one.use('exclusive')
    const higher = other.use('exclusive')
    while (cluster.deliver(0));
    assert.deepEqual([lower.begun, higher.begun], [1, 0])
    one.release(lower)
    while (cluster.deliver(0));
    assert.equal(higher.begun, 1)
  })

  it('three servers that each hold what another one waits for do not wait for ever (P1, P2)', () => {
    const cluster = new Cluster(3).startOpen()
    for (const station of cluster.stations) station.use('exclusive')
    cluster.settle()
    for (const station of cluster.stations) station.use('exclusive')
    cluster.settle()
    assert.ok(cluster.stations.every((station) => station.policing.waiting.size === 0))
  })

  it('holds nothing in a new session, and asks again (P3)', () => {
    const [cluster, one, other] = pair()
    one.use('exclusive')
    cluster.settle()
    cluster.end()
    cluster.startOpen()
    const again = one.use('exclusive')
    assert.equal(again.begun, 0, 'what was granted in the old session is void')
    const opposite = other.use('exclusive')
    cluster.settle()
    assert.deepEqual([again.begun, opposite.begun], [1, 1])
  })

  it('owes nothing to an ended session: a use released late releases nothing of the new one', () => {
    const [cluster, one, other] = pair()
    const old = one.use('exclusive')
    while (cluster.deliver(0));
    one.active.clear()
    cluster.end()
    cluster.startOpen()
    const present = one.use('exclusive')
    while (cluster.deliver(0));
    one.policing.release(old)
    other.use('exclusive')
    while (cluster.deliver(0));
    assert.equal(present.begun, 1)
    assert.equal(cluster.breach(), null)
    assert.equal(other.active.size, 0, 'the present use still holds the volume')
  })

  it('says nothing more in a session that the beginning of a use has ended, nor of it in the next one (P3)', () => {
    for (const startsNext of [false, true]) {
      const [cluster, one, other] = pair()
      const use = new TestUse('exclusive', 0, 4096, () => {
        // As a write does whose disk refuses it at once.
        one.policing.endSession()
        if (startsNext) one.policing.startSession([other.id])
      })
      one.policing.acquire(use)
      other.use('exclusive')
      while (use.begun === 0) assert.ok(cluster.deliver(0))
      const said = cluster.queues.get(`${one.id} ${other.id}`) ?? []
      assert.deepEqual(said, [], 'the ask that waited for it belongs to the session that is over')
    }
  })

  it('answers others as soon as the session is recorded, but begins nothing of its own before it is open (E9)', () => {
    const cluster = new Cluster(2)
    cluster.start()
    const [one, other] = cluster.stations
    if (one === undefined || other === undefined) throw new Error('two servers were asked for')
    const own = other.use('exclusive')
    cluster.open(one)
    const theirs = one.use('shared')
    while (cluster.deliver(0));
    assert.equal(own.begun, 0)
    if (theirs.begun === 0) cluster.open(other)
    cluster.open(other)
    cluster.settle()
    assert.deepEqual([own.begun, theirs.begun], [1, 1])
  })

  it('ignores words of servers that are not in the session', () => {
    const [cluster, one] = pair()
    const stranger = new Cluster(3).stations[2]
    if (stranger === undefined) throw new Error('three servers were asked for')
    one.policing.onAsk(stranger.id, { firstBlock: 0, lastBlock: 9, mode: 'exclusive', time: 1 })
    one.policing.onGrant(stranger.id, { firstBlock: 0, lastBlock: 9, mode: 'exclusive', asked: 1, time: 1 })
    assert.equal(one.use('exclusive').begun, 0)
    assert.equal(cluster.queues.get(`${one.id} ${stranger.id}`), undefined)
  })

  it('takes no grant that was not asked for, or that gives less or something else than was asked for', () => {
    const [cluster, one, other] = pair()
    const use = one.use('exclusive', 4, 2)
    const grant = { firstBlock: 4, lastBlock: 5, mode: 'exclusive', asked: use.askedTime, time: 9 } as const
    for (const wrong of [
      { asked: use.askedTime + 1 },
      { lastBlock: 4 },
      { firstBlock: 5 },
      { mode: 'shared' as const },
      { firstBlock: -1 },
      { lastBlock: 2 ** 50 },
    ]) {
      one.policing.onGrant(other.id, { ...grant, ...wrong })
      assert.equal(use.begun, 0, JSON.stringify(wrong))
    }
    one.policing.onGrant(other.id, grant)
    assert.equal(use.begun, 1)
    cluster.queues.clear()
  })

  it('answers no ask that is none, and one that is repeated once', () => {
    const [cluster, one, other] = pair()
    for (const [firstBlock, lastBlock] of [
      [5, 4],
      [-3, 2],
      [0, 2 ** 50],
    ] as const) {
      one.policing.onAsk(other.id, { firstBlock, lastBlock, mode: 'exclusive', time: 3 })
    }
    assert.equal(messages(cluster), 0)
    const busy = one.use('exclusive')
    cluster.deliver(0)
    cluster.deliver(0)
    assert.equal(busy.begun, 1)
    const before = messages(cluster)
    for (let time = 0; time < 3; time += 1) {
      one.policing.onAsk(other.id, { firstBlock: 0, lastBlock: 0, mode: 'exclusive', time: 50 })
    }
    one.release(busy)
    assert.equal(messages(cluster), before + 1)
  })
})
