/** Counterexamples 7 to 9, 50 to 53, 59: what may happen while a replica comes back, and at the moment it is in. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { block, MiB, type Scenario, scenario } from './scenario.ts'

const wordOf = (cluster: Scenario, index: number) => cluster.volume(index).world.record.value.word

/** Two servers; one of them is away, and comes back while swaps are kept back: until its joining is proposed. */
async function proposed(
  away: number,
  seed = 1,
): Promise<{ cluster: Scenario; swaps: ReturnType<Scenario['holdSwaps']> }> {
  const cluster = await scenario(2, seed)
  const stays = 1 - away
  cluster.put(stays, 0, 1)
  cluster.quiet()
  cluster.server(away).kill()
  cluster.goOn(cluster.server(stays).name)
  cluster.put(stays, 0, 2)
  const swaps = cluster.holdSwaps()
  cluster.server(away).start()
  cluster.until('its joining is proposed', () => swaps.length > 0)
  assert.notEqual(wordOf(cluster, stays), null)
  assert.equal(cluster.namesOf(cluster.register), cluster.server(stays).name)
  return { cluster, swaps }
}

describe('joining', () => {
  // C10: from its word until the decision is known, a server acknowledges nothing that the joiner lacks.
  it('counterexample 7: a write that begins after the word; the joiner is in, and whoever wrote is gone', async () => {
    const { cluster, swaps } = await proposed(1)
    const [a, b] = [cluster.server(0), cluster.server(1)]
    const late = cluster.oneWay(a, b)
    const write = cluster.write(cluster.attach(0), 0, 3)
    cluster.pass(100)
    assert.equal(cluster.lies(0), 3)
    assert.equal(cluster.lies(1), 2, 'the joiner has not got it')
    const acknowledged = write.answer === null
    cluster.lost = () => false
    const [swap] = swaps
    assert.ok(swap !== undefined)
    cluster.deliver(swap)
    cluster.until('it is decided', () => cluster.namesOf(cluster.register) === 'ab')
    // With its machine: what waits on the link goes with it.
    a.powerCut()
    late()
    cluster.goOn('b')
    const seen = cluster.get(1)
    assert.ok(!acknowledged || seen === 3, 'an acknowledged write is gone')
    a.start()
    cluster.whole(seen === undefined ? {} : { 0: seen })
  })

  // C10: everything is durable at the joiner before it is in; a session's opening makes it so once more (E9).
  it('counterexample 8: the new member, and all others, lose power right after it was taken in', async () => {
    for (let seed = 1; seed <= 6; seed += 1) {
      const cluster = await scenario(2, seed)
      cluster.put(0, 0, 1, MiB)
      cluster.quiet()
      const [a, b] = [cluster.server(0), cluster.server(1)]
      a.kill()
      cluster.goOn('b')
      cluster.put(1, 0, 2, MiB)
      cluster.done(cluster.flush(cluster.attach(1)))
      a.start()
      cluster.until('it is in', () => cluster.isWhole())
      a.powerCut()
      b.powerCut()
      for (const server of [a, b]) server.start()
      cluster.whole({ 0: 2, [MiB - block]: 2, [100 * block]: 2 })
    }
  })

  // C4: a piece is read, sent and applied while `shared` is held for it.
  it('counterexample 9: a piece is copied while a write of another server is at the joiner, and not yet at the source', async () => {
    for (let seed = 1; seed <= 10; seed += 1) {
      const cluster = await scenario(3, seed)
      cluster.put(1, 0, 1)
      cluster.quiet()
      const [a, b, c] = [cluster.server(0), cluster.server(1), cluster.server(2)]
      c.kill()
      cluster.goOn('ab')
      cluster.put(1, 0, 2)
      const writer = cluster.attach(1)
      c.start()
      cluster.until('its pieces are compared', () => (cluster.volume(0).resync.progress()?.totalBytes ?? 0) > 0)
      const late = cluster.oneWay(b, a)
      const write = cluster.write(writer, 0, 3)
      cluster.pass(60)
      const reached = [cluster.lies(0), cluster.lies(2)]
      late()
      cluster.done(write)
      // Whether the write or the piece was first is the weather's; never is the write at the source with the piece older.
      assert.ok(reached[0] === 2, `seed ${seed}: ${reached}`)
      cluster.whole({ 0: 3 })
    }
  })

  // W3, C4: while a joiner has not applied it a write is in flight, and its range is not given to the next one.
  it('counterexample 50: of two writers one is late at the joiner only', async () => {
    const cluster = await scenario(3, 1, 8 * MiB)
    cluster.put(1, 0, 1)
    cluster.quiet()
    const [b, c] = [cluster.server(1), cluster.server(2)]
    c.kill()
    cluster.goOn('ab')
    cluster.put(1, 0, 2)
    const { resync } = cluster.volume(0)
    resync.pause()
    c.start()
    cluster.untilConnected()
    cluster.until('both mirror to it', () => resync.progress()?.totalBytes === 8 * MiB)
    resync.continue()
    cluster.until('its first piece is compared', () => (resync.progress()?.doneBytes ?? 0) > 0)
    resync.pause()
    cluster.pass(200)
    assert.deepEqual([resync.progress()?.phase, cluster.lies(2)], ['paused', 2], 'others are not')
    const late = cluster.oneWay(b, c)
    cluster.done(cluster.write(cluster.attach(1), 0, 3), 'acknowledged without the joiner', 200)
    const second = cluster.write(cluster.attach(0), 0, 4)
    cluster.pass(50)
    const there = cluster.lies(2)
    assert.notEqual(there, 3, 'the first one has not come to the joiner')
    late()
    cluster.done(second)
    resync.continue()
    cluster.whole({ 0: 4 })
    assert.equal(there, 2, 'nor had the second one overtaken it')
  })

  // C4, E1: an attempt is of one session; what was sent in an older one is refused.
  it('counterexample 51: a write of a void attempt comes to the joiner when the next one has compared its block', async () => {
    const cluster = await scenario(3)
    cluster.put(0, 0, 1)
    cluster.quiet()
    const [a, b, c] = [cluster.server(0), cluster.server(1), cluster.server(2)]
    c.kill()
    cluster.goOn('ab')
    cluster.put(0, 0, 2)
    cluster.volume(0).resync.pause()
    c.start()
    cluster.until('both mirror to it', () => cluster.volume(1).joinMember.joiner === c.id)
    cluster.put(1, 0, 2)
    cluster.pass(20)
    const mend = { c: cluster.cut(b, c), others: [cluster.cut(b, a), cluster.cut(b, cluster.witness)] }
    const client = cluster.attach(1)
    cluster.write(client, 0, 3)
    cluster.pass(5)
    client.detach()
    cluster.goOn('a')
    cluster.volume(0).resync.continue()
    cluster.goOn('ac')
    assert.deepEqual([cluster.lies(0), cluster.lies(1), cluster.lies(2)], [2, 3, 2], 'the write is on its way only')
    mend.c()
    cluster.until('they see each other', () => b.engine?.world.links.peer(c.id)?.connected === true)
    cluster.pass(20)
    assert.equal(cluster.lies(2), 2)
    for (const each of mend.others) each()
    cluster.whole({ 0: 2 })
  })

  // E2: an unanswered proposal has not failed before the register shows something else.
  it('counterexample 52: the swap that takes a joiner in gets no answer, and wins late', async () => {
    const { cluster, swaps } = await proposed(1)
    const [a, b] = [cluster.server(0), cluster.server(1)]
    b.kill()
    cluster.pass(6_000)
    const write = cluster.write(cluster.attach(0), 0, 3)
    cluster.pass(6_000)
    assert.ok(swaps.length > 2, 'it asked again')
    assert.equal(new Set(swaps.map(({ message }) => JSON.stringify(message).match(/"configuration":.*/)?.[0])).size, 1)
    const acknowledged = write.answer === null
    const [swap] = swaps
    assert.ok(swap !== undefined)
    cluster.deliver(swap)
    cluster.pass(10)
    assert.equal(cluster.namesOf(cluster.register), 'ab', 'it has won')
    a.kill()
    b.start()
    cluster.lost = () => false
    cluster.goOn('b')
    assert.ok(!acknowledged || cluster.get(1) === 3, 'the new member lacks what was acknowledged')
    a.start()
    cluster.whole()
  })

  // C10: a word is durable before it is given; while it stands no session opens without the joiner.
  it('counterexample 53: who gave its word is killed, its swap has won, and it cannot ask', async () => {
    const { cluster, swaps } = await proposed(1)
    const [a, b] = [cluster.server(0), cluster.server(1)]
    const mend = [cluster.cut(a, cluster.witness), cluster.cut(a, b)]
    a.kill()
    const [swap] = swaps
    assert.ok(swap !== undefined)
    cluster.deliver(swap)
    cluster.until('it has won', () => cluster.namesOf(cluster.register) === 'ab')
    cluster.lost = () => false
    a.start()
    cluster.until('it is up again', () => a.state === 'up' && a.volume !== undefined)
    const write = cluster.write(cluster.attach(0), 0, 3)
    cluster.pass(4_000)
    const acknowledged = write.answer === null
    a.kill()
    for (const each of mend) each()
    cluster.goOn('b')
    assert.ok(!acknowledged || cluster.get(1) === 3, 'an acknowledged write is gone')
    a.start()
    cluster.whole({ 0: 2 })
  })

  // C10: from the first word on, flushed means durable at the joiner too; a session's opening makes it so once more (E9).
  it('counterexample 59: flushed between the last copy and the swap; then all lose power', async () => {
    for (let seed = 1; seed <= 6; seed += 1) {
      const { cluster, swaps } = await proposed(0, seed)
      const client = cluster.attach(1)
      cluster.done(cluster.write(client, 0, 3, MiB))
      cluster.done(cluster.flush(client))
      const [swap] = swaps
      assert.ok(swap !== undefined)
      cluster.lost = () => false
      cluster.deliver(swap)
      cluster.until('it is in', () => cluster.isWhole())
      for (const server of cluster.servers) server.powerCut()
      for (const server of cluster.servers) server.start()
      cluster.whole({ 0: 3, [100 * block]: 3, [MiB - block]: 3 })
    }
  })
})
