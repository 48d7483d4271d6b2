/** Counterexamples 20 to 27: reads, leases, and clocks that stand still. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import { isSwap, type Scenario, scenario } from './scenario.ts'

/** Everybody holds 1, and nothing is in doubt. */
async function one(count: number, seed = 1): Promise<Scenario> {
  const cluster = await scenario(count, seed)
  cluster.put(0, 0, 1)
  cluster.quiet()
  return cluster
}

/** The others have gone on without it, and have written 2. It does not know. */
function writtenElsewhere(cluster: Scenario, at: number, names: string): void {
  cluster.goOn(names)
  cluster.put(at, 0, 2)
}

describe('reads and leases', () => {
  // R4: a read waits for its own server's write in flight.
  it('counterexample 20: a read at the server whose write is at itself only, which then dies', async () => {
    const cluster = await one(2)
    const [a, b] = [cluster.server(0), cluster.server(1)]
    const late = cluster.oneWay(a, b)
    const write = cluster.write(cluster.attach(0), 0, 2)
    cluster.pass(20)
    const read = cluster.read(cluster.attach(0), 0)
    cluster.pass(100)
    assert.deepEqual([cluster.lies(0), cluster.lies(1), write.answer], [2, 1, undefined])
    const seen = read.answer === null ? read.first : undefined
    a.powerCut()
    late()
    cluster.goOn('b')
    const after = cluster.get(1)
    assert.ok(seen === undefined || seen === after, `${seen} was read, and then ${after}`)
    a.start()
    cluster.whole()
  })

  // E3: who wants another one out answers it no more until the decision is known, whatever the cable does meanwhile.
  it('counterexample 21: the swap hangs, the cable is mended, the swap wins, and the one left out does not hear of it', async () => {
    const cluster = await one(2)
    assert.equal(cluster.get(1), 1, 'it may read without asking')
    const [a, b] = [cluster.server(0), cluster.server(1)]
    const mend = [cluster.cut(a, b), cluster.cut(b, cluster.witness)]
    const swaps = cluster.holdSwaps()
    cluster.until('the other one is wanted out', () => swaps.some(({ from }) => from === a), 15_000)
    mend[0]?.()
    cluster.until('they see each other again', () => b.engine?.world.links.peer(a.id)?.connected === true, 15_000)
    let asked = 0
    const { lost } = cluster
    cluster.lost = (sending) => {
      if (sending.kind === 'beat.ask' && sending.from === b && sending.to === a) asked += 1
      return lost(sending)
    }
    cluster.pass(1_000)
    assert.ok(asked >= 3, 'it is asked for heartbeats')
    assert.equal(cluster.volume(1).member.session?.number, cluster.volume(0).member.session?.number)
    const mendAgain = cluster.cut(a, b)
    const swap = swaps.find(({ from }) => from === a)
    assert.ok(swap !== undefined)
    cluster.lost = () => false
    cluster.deliver(swap)
    cluster.goOn('a', 1_000)
    const write = cluster.write(cluster.attach(0), 0, 2)
    cluster.done(write, 'written without the other one', 1_000)
    const read = cluster.read(cluster.attach(1), 0)
    cluster.pass(500)
    assert.notDeepEqual([read.answer, read.first], [null, 1], 'a stale read')
    mendAgain()
    mend[1]?.()
    cluster.whole({ 0: 2 })
  })

  // E3: a restart counts as an answer: nobody serves without another one before its lease is surely over.
  it('counterexample 21: who has just answered restarts, and the swap of its old life wins at once', async () => {
    const cluster = await one(3)
    const [a, b, c] = [cluster.server(0), cluster.server(1), cluster.server(2)]
    // Only one of them asks the arbiter for anything: the others do not reach it.
    cluster.witness.kill()
    const away = { b: cluster.cut(b, cluster.witness), c: cluster.cut(c, cluster.witness) }
    cluster.pass(5_000)
    cluster.witness.start()
    const reaches = (server: typeof a) => server.engine?.world.links.peer(cluster.witness.id)?.connected === true
    cluster.until('one of them reaches it', () => reaches(a) && !reaches(b) && !reaches(c))
    const swaps = cluster.holdSwaps()
    const { lost } = cluster
    cluster.lost = (sending) => (sending.kind.startsWith('beat.') && sending.from === b) || lost(sending)
    cluster.until('one is wanted out', () => swaps.length > 0, 15_000)
    cluster.lost = lost
    const [swap] = swaps
    assert.ok(swap !== undefined)
    a.kill()
    a.start()
    cluster.until('all serve again', () => a.volume !== undefined && cluster.isWhole(), 15_000)
    let reads = 0
    cluster.lost = (sending) => {
      if (sending.kind === 'register.ask' && sending.from === c) reads += 1
      return lost(sending)
    }
    assert.equal(cluster.get(1), 1, 'it may read without asking')
    away.c()
    cluster.until('another one looks at the register', () => reads > 0, 15_000)
    // Both have answered the heartbeats of the one that is wanted out: its lease goes on after this.
    const mend = cluster.isolate(b)
    a.kill()
    cluster.deliver(swap)
    cluster.lost = () => false
    a.start()
    cluster.until('both know', () => a.volume !== undefined && cluster.inSync(0) === 'ac', 1_000)
    assert.ok(cluster.serves(1), 'the one that is out may still read')
    const write = cluster.write(cluster.attach(0), 0, 2)
    let stale = 0
    while (cluster.serves(1)) {
      const read = cluster.read(cluster.attach(1), 0)
      cluster.pass(5)
      if (read.answer !== null) continue
      stale += 1
      assert.equal(write.answer, undefined, 'a stale read')
    }
    assert.ok(stale > 10, 'it does read')
    cluster.done(write)
    mend()
    away.b()
    cluster.whole({ 0: 2 })
  })

  // A1: an own lease is measured by whichever clock went on, so that sleep counts.
  it('counterexample 22: a server sleeps, and answers a read at the moment it wakes', async () => {
    for (const timersFirst of [true, false]) {
      const cluster = await one(2)
      const a = cluster.server(0)
      const client = cluster.attach(0)
      a.clock.sleep()
      const mend = cluster.isolate(a)
      writtenElsewhere(cluster, 1, 'b')
      a.clock.goOn(timersFirst)
      const read = cluster.read(client, 0)
      assert.ok(cluster.volume(0).member.phase === 'open', 'it knows nothing yet')
      cluster.pass(1_500)
      assert.notDeepEqual([read.answer, read.first], [null, 1], 'a stale read')
      mend()
      cluster.done(read)
      assert.equal(read.first, 2)
      cluster.whole({ 0: 2 })
    }
  })

  // R2: the lease is looked at when the data is in hand, not before.
  it('counterexample 23: the disk takes so long for a read that the lease is over', async () => {
    const cluster = await one(2)
    const a = cluster.server(0)
    a.disk.fault = 'hang'
    const read = cluster.read(cluster.attach(0), 0)
    cluster.pass(50)
    assert.ok(cluster.serves(0), 'it had a lease when the read began')
    const mend = cluster.isolate(a)
    writtenElsewhere(cluster, 1, 'b')
    assert.equal(cluster.volume(0).member.phase, 'open', 'it knows nothing yet')
    a.disk.fault = 'none'
    cluster.pass(100)
    assert.notDeepEqual([read.answer, read.first], [null, 1], 'a stale read')
    mend()
    cluster.done(read)
    assert.equal(read.first, 2)
    cluster.whole({ 0: 2 })
  })

  // E3: silence counts only while the own loop turned.
  it('counterexample 24: a server is stopped for seconds, and its timers run before it hears anybody', async () => {
    const cluster = await one(2)
    const [a, b] = [cluster.server(0), cluster.server(1)]
    const mend = cluster.cut(b, cluster.witness)
    a.clock.stop()
    cluster.pass(6_000)
    let swaps = 0
    cluster.lost = (sending) => {
      if (isSwap(sending) && sending.from === a) swaps += 1
      return false
    }
    a.clock.goOn(true)
    cluster.pass(3_000)
    assert.equal(swaps, 0, 'it blames another one for its own silence')
    mend()
    cluster.whole({ 0: 1 })
  })

  // W1: confirmations of one session are the proof; no lease is needed for an acknowledgement.
  it('counterexample 25: a write is confirmed by all while the lease is over', async () => {
    const cluster = await one(2)
    cluster.witness.kill()
    cluster.lost = ({ kind }) => kind === 'beat.answer'
    cluster.pass(limits.leaseMs + 200)
    assert.ok(!cluster.serves(0) && cluster.volume(0).member.phase === 'open')
    cluster.done(cluster.write(cluster.attach(0), 0, 2), 'written', 1_000)
    const read = cluster.read(cluster.attach(0), 0)
    cluster.pass(1_000)
    assert.equal(read.answer, undefined, 'a read needs it')
    cluster.lost = () => false
    cluster.done(read)
    cluster.witness.start()
    cluster.whole({ 0: 2 })
  })

  // E5: a lone in-sync server needs neither lease nor arbiter, also to begin anew.
  it('counterexample 26: the only one in sync restarts while the arbiter is away', async () => {
    const cluster = await one(2)
    cluster.server(1).kill()
    cluster.goOn('a')
    cluster.witness.kill()
    cluster.put(0, 0, 2)
    cluster.server(0).kill()
    cluster.server(0).start()
    cluster.until('it serves', () => cluster.server(0).volume !== undefined && cluster.serves(0), 10_000)
    assert.equal(cluster.get(0), 2)
    cluster.witness.start()
    cluster.server(1).start()
    cluster.whole({ 0: 2 })
  })
})
