/** C4: what a resync compares is listed once every in-sync server mirrors to the joiner, so that no write falls between. */
import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import { a, ResyncPair, session, t } from './resync-pair.ts'
import { bytes, idOf, MiB, writeAll } from './world.ts'

/** In a region of its own, in which nobody has ever written. */
const placeBytes = 20 * MiB

describe('the list of what a resync compares (C4)', () => {
  let pair: ResyncPair
  beforeEach(() => {
    pair = new ResyncPair()
    for (const disk of [pair.source, pair.target]) writeAll(pair.clock, disk.replica, 0, bytes(MiB, 1))
    pair.joiner.start(0)
  })
  const releaseAll = (kind: string) => {
    pair.held.delete(kind)
    for (const arrive of pair.kept.splice(0)) arrive()
  }
  const joined = () => {
    pair.run(3_000)
    assert.ok(pair.decided !== null, 'the joiner was proposed')
    assert.ok(pair.equal())
  }

  it('holds a write whose mark is not durable yet when the joiner says that it is ready', () => {
    pair.until('join.ready')
    // Executed with no joiner attached; its region is not marked before the disk has answered.
    pair.source.disk.fault = 'hang'
    const write = pair.write(placeBytes, 9)
    pair.clock.pass(20)
    assert.equal(pair.source.replica.region(1).marked, false)
    assert.ok(!pair.kinds.includes('join.mirroring'), 'it is still in flight, so nobody mirrors yet')
    pair.source.disk.fault = 'none'
    joined()
    assert.deepEqual(write.answers, [null])
  })

  it('holds writes that begin and end between ready and the order to mirror', () => {
    pair.held.add('join.mirror')
    pair.until('join.mirror')
    const write = pair.write(placeBytes, 9)
    pair.clock.pass(100)
    assert.deepEqual(write.answers, [null], 'done without the joiner')
    releaseAll('join.mirror')
    joined()
  })

  it('waits for every in-sync server, and holds what the last one wrote before it mirrored', () => {
    const other = idOf(2)
    pair.resync.startSession({ number: session, epoch: 4, members: [a, other] })
    pair.held.add('join.mirror')
    pair.until('join.mirror')
    // The pair has one member that takes orders: the other one's answer is given by hand.
    pair.kept.length = 1
    releaseAll('join.mirror')
    assert.ok(pair.kinds.includes('join.mirroring'))
    pair.run(500)
    const attempt = pair.resync.scope()
    pair.resync.onMirroring(a, attempt)
    pair.resync.onMirroring(t, attempt)
    pair.run(500)
    assert.ok(!pair.kinds.includes('copy.compare'), 'repeated words, and words of strangers, are nobody else’s')
    // What the other one wrote, acknowledged by itself and this server alone.
    writeAll(pair.clock, pair.source.replica, placeBytes, bytes(4096, 9))
    pair.resync.onMirroring(other, { ...attempt, attempt: attempt.attempt + 1 })
    pair.run(500)
    assert.ok(!pair.kinds.includes('copy.compare'), 'another attempt')
    pair.resync.onMirroring(other, attempt)
    pair.until('join.sync')
    assert.ok(pair.equal())
  })
})
