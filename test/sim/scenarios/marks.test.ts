/** Counterexamples 1 to 6, 10: marks, stamps, and what a returning replica is compared by. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import { mirrorMessages } from '../../../agent/mirror/messages.ts'
import { block, MiB, scenario } from './scenario.ts'

describe('marks and stamps', () => {
  // C1: a mark comes off only when every write there is confirmed.
  it('counterexample 1: a write is durable at its own server only when the cable is cut, and both agents die', async () => {
    const cluster = await scenario(2)
    cluster.put(0, 0, 1)
    cluster.quiet()
    cluster.witness.kill()
    const [a, b] = [cluster.server(0), cluster.server(1)]
    const mend = cluster.cut(a, b)
    const write = cluster.write(cluster.attach(0), 0, 2)
    cluster.pass(4 * limits.markIdleMs)
    assert.equal(write.answer, undefined)
    assert.deepEqual([cluster.lies(0), cluster.lies(1)], [2, 1], 'the write is at one server only')
    a.kill()
    b.kill()
    mend()
    a.start()
    b.start()
    cluster.until('they form again, without an arbiter', () => cluster.isWhole())
    cluster.whole()
  })

  // C3: in a new epoch what is marked counts as changed in it, whenever it was written.
  it('counterexample 2: a write of the last epoch is settled in the next one, whose member was never sent it', async () => {
    const cluster = await scenario(2)
    cluster.put(0, 0, 1)
    cluster.quiet()
    const [a, b] = [cluster.server(0), cluster.server(1)]
    const mend = cluster.isolate(b)
    const write = cluster.write(cluster.attach(0), 0, 2)
    assert.equal(cluster.inSync(0), 'ab')
    cluster.done(write, 'settled in the next epoch')
    assert.equal(cluster.inSync(0), 'a')
    cluster.quiet()
    assert.equal(cluster.lies(1), 1, 'the other one has not had it')
    // What waits on the link for its old run goes with that.
    b.kill()
    mend()
    b.start()
    cluster.whole({ 0: 2 })
    a.kill()
    cluster.goOn('b')
    assert.equal(cluster.get(1), 2)
  })

  // C3: all of a marked region counts as changed in the current epoch, also where no stamp is durable.
  it('counterexample 3: the survivor of an unacknowledged write loses power before its stamp is durable', async () => {
    for (let seed = 1; seed <= 5; seed += 1) {
      const cluster = await scenario(3, seed)
      cluster.put(2, 0, 1)
      cluster.quiet()
      const [a, b, c] = [cluster.server(0), cluster.server(1), cluster.server(2)]
      const mend = [cluster.isolate(a), cluster.cut(c, cluster.witness)]
      const write = cluster.write(cluster.attach(2), 0, 2)
      cluster.pass(20)
      assert.deepEqual([cluster.lies(0), cluster.lies(1), write.answer], [1, 2, undefined])
      c.kill()
      cluster.goOn('b')
      b.powerCut()
      b.start()
      cluster.goOn('b')
      const survives = cluster.get(1)
      for (const each of mend) each()
      cluster.until('the returning one is in sync', () => cluster.inSync(1) === 'ab' && cluster.serves(0))
      assert.equal(cluster.get(0), survives)
      assert.ok(cluster.equal(0, 1), `seed ${seed}`)
    }
  })

  // C1 "any byte", C4: what a resync wrote and a power cut took is compared by what the disk gives, not by what was meant.
  it('counterexample 4: the joiner loses power in the middle of its resync', async () => {
    for (let seed = 1; seed <= 6; seed += 1) {
      const cluster = await scenario(2, seed, 4 * MiB)
      for (let at = 0; at < 4; at += 1) cluster.put(0, at * MiB, 1, MiB)
      cluster.quiet()
      const b = cluster.server(1)
      b.kill()
      cluster.goOn('a')
      for (let at = 0; at < 4; at += 1) cluster.put(0, at * MiB, 2, MiB)
      b.start()
      const moved = () => cluster.volume(0).resync.movedBytes
      cluster.until('some of it is copied', () => moved() > 0 && cluster.volume(1).copyTarget !== undefined)
      assert.equal(cluster.inSync(0), 'a')
      b.powerCut()
      b.start()
      cluster.whole({ 0: 2, [3 * MiB + 17 * block]: 2 })
    }
  })

  // C3: a copy takes its source's stamp, also where it found equal bytes.
  it('counterexample 5: bytes that were changed and changed back are equal at one who returns, and not at the next', async () => {
    const cluster = await scenario(3)
    const [a, b, c] = [cluster.server(0), cluster.server(1), cluster.server(2)]
    cluster.put(0, 0, 1)
    cluster.quiet()
    b.kill()
    cluster.goOn('ac')
    cluster.put(0, 0, 2)
    cluster.quiet()
    c.kill()
    cluster.goOn('a')
    cluster.put(0, 0, 1)
    cluster.quiet()
    b.start()
    cluster.goOn('ab')
    cluster.quiet()
    assert.equal(cluster.volume(1).resync.movedBytes, 0)
    a.kill()
    cluster.goOn('b')
    c.start()
    cluster.until('c is in sync with b', () => cluster.inSync(1) === 'bc' && cluster.serves(2))
    assert.deepEqual([cluster.get(1), cluster.get(2)], [1, 1])
    assert.ok(cluster.equal(1, 2))
  })

  // C3: discarded extents keep their stamp.
  it('counterexample 6: an extent is discarded while one is away, and its slot and mark are gone when that returns', async () => {
    const cluster = await scenario(2)
    cluster.put(0, 0, 7, limits.extentBytes)
    cluster.quiet()
    const b = cluster.server(1)
    b.kill()
    cluster.goOn('a')
    const trimmed = { answer: undefined, first: undefined } as Parameters<typeof cluster.done>[0]
    cluster.attach(0).trim(0, limits.extentBytes, false, (failure) => {
      trimmed.answer = failure
    })
    cluster.done(trimmed)
    cluster.quiet()
    assert.equal(cluster.volume(0).store.allocatedBytes(), 0, 'nothing of it is left where it was discarded')
    b.start()
    cluster.whole({ 0: 0 })
  })

  // C4: equality is never judged by fewer than 64 bits.
  it('counterexample 10: a digest of 32 bits is not taken for a comparison', () => {
    const body = {
      volume: '1'.repeat(32),
      session: 1,
      attempt: 1,
      request: 1,
      offsetBytes: 0,
      lengthBytes: block,
      stamp: 1,
    }
    const judge = (bytes: number) =>
      mirrorMessages['copy.compare'].safeParse({ ...body, digest: Buffer.alloc(bytes, 7).toString('base64') }).success
    assert.deepEqual([judge(4), judge(8), judge(12), judge(32)], [false, false, true, true])
  })
})
