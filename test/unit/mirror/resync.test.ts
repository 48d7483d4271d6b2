import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import { a, ResyncPair, session, t } from './resync-pair.ts'
import { bytes, MiB, writeAll } from './world.ts'

describe('a replica comes back (C4, C5, C10)', () => {
  let pair: ResyncPair
  beforeEach(() => {
    pair = new ResyncPair()
    // Both had this; A changed two regions since.
    for (const disk of [pair.source, pair.target]) writeAll(pair.clock, disk.replica, 0, bytes(2 * MiB, 1))
    pair.target.replica.sync(() => undefined)
    pair.clock.pass(100)
    writeAll(pair.clock, pair.source.replica, MiB, bytes(8192, 2))
    writeAll(pair.clock, pair.source.replica, 33 * MiB, bytes(4096, 3))
  })

  it('gets what differs, and only that; is proposed when all is durable and every word is given', () => {
    pair.joiner.start(0)
    pair.until('join.sync')
    assert.equal(pair.resync.movedBytes, 3 * 4096)
    pair.run(1_000)
    assert.equal(pair.resync.progress()?.phase, 'joining')
    assert.deepEqual(pair.words, [t])
    assert.ok(pair.decided !== null, 'the joiner was proposed')
    pair.decided?.(true)
    assert.equal(pair.resync.progress(), null)
    assert.ok(pair.equal())
  })

  it('takes its steps in order, words only after a sync, the proposal only after another one (C10)', () => {
    pair.joiner.start(0)
    for (const kind of ['join.begin', 'join.ready', 'join.mirror', 'join.mirroring', 'copy.compare']) {
      pair.until(kind)
      assert.equal(pair.decided, null)
    }
    for (const kind of ['join.sync', 'join.synced', 'join.word', 'join.worded', 'join.sync', 'join.synced']) {
      pair.until(kind)
      assert.equal(pair.decided, null, `proposed before ${kind}`)
    }
    pair.run(250)
    assert.ok(pair.decided !== null)
  })

  it('brings the source stamp along where nothing differed (C3)', () => {
    pair.source.replica.sync(() => undefined)
    pair.clock.pass(100)
    pair.source.replica.unmark([0, 2], 4, () => undefined)
    pair.clock.pass(100)
    pair.joiner.start(0)
    pair.run(1_000)
    assert.deepEqual(
      [0, 2].map((region) => pair.target.replica.region(region).stamp),
      [4, 4],
    )
    assert.equal(pair.target.replica.region(1).stamp, 0)
  })

  it('compares its own marked regions as well: it may hold what nobody else has', () => {
    writeAll(pair.clock, pair.target.replica, 20 * MiB, bytes(4096, 9))
    pair.joiner.start(0)
    pair.run(1_500)
    assert.ok(pair.equal())
  })

  it('gets every write that clients make meanwhile, without delaying its acknowledgement', () => {
    pair.joiner.start(0)
    pair.until('copy.compare')
    const writes = Array.from({ length: 40 }, (_, index) => {
      pair.clock.pass(1)
      return pair.write(((index * 7) % 36) * MiB, 100 + index)
    })
    pair.run(1_500)
    assert.ok(writes.every(({ answers }) => answers.length === 1 && answers[0] === null))
    assert.ok(pair.decided !== null)
    assert.ok(pair.equal())
  })

  it('a write waits while its piece is compared, so that no old copy lands over it (C4)', () => {
    pair.held.add('copy.compared')
    pair.joiner.start(0)
    pair.until('copy.compare')
    pair.run(125)
    const write = pair.write(MiB, 50)
    const elsewhere = pair.write(30 * MiB, 51)
    pair.run(125)
    assert.deepEqual([write.answers, elsewhere.answers], [[], [null]])
    pair.held.clear()
    for (const arrive of pair.kept.splice(0)) arrive()
    pair.run(1_500)
    assert.deepEqual(write.answers, [null])
    assert.ok(pair.equal())
  })

  it('acknowledges nothing without the joiner from its word on, flushes neither (C10)', () => {
    pair.joiner.start(0)
    pair.until('join.worded')
    pair.held.add('written').add('flush.done')
    const write = pair.write(5 * MiB, 60)
    let flushed = 0
    pair.flusher.flush(() => {
      flushed += 1
    })
    pair.run(1_000)
    assert.deepEqual([write.answers, flushed], [[], 0])
    pair.held.clear()
    for (const arrive of pair.kept.splice(0)) arrive()
    pair.run(250)
    assert.deepEqual([write.answers, flushed], [[null], 1])
  })

  it('a joiner that is gone is let go, whatever was under way, and all ranges with it', () => {
    for (const kind of ['join.ready', 'copy.compare', 'copy.compared', 'copy', 'copy.applied', 'join.sync']) {
      const fresh = new ResyncPair()
      writeAll(fresh.clock, fresh.source.replica, 0, bytes(6 * MiB, 2))
      fresh.joiner.start(0)
      fresh.until(kind)
      fresh.connected = false
      fresh.run(1_000)
      const writes = Array.from({ length: 36 }, (_, index) => fresh.write(index * MiB, 1))
      fresh.run(1_000)
      assert.ok(
        writes.every(({ answers }) => answers.length === 1),
        `after ${kind}`,
      )
      assert.match(fresh.said.at(-1) ?? '', /^voided/)
    }
  })

  it('a piece that is ended while it is read lets its range go', () => {
    pair.joiner.start(0)
    pair.until('join.mirroring')
    pair.source.disk.fault = 'hang'
    pair.clock.pass(5)
    pair.connected = false
    pair.resync.tick()
    pair.source.disk.fault = 'none'
    const write = pair.write(0, 9)
    pair.run(1_000)
    assert.deepEqual(write.answers, [null])
  })

  it('a joiner whose disk hangs delays clients for a few seconds at most (P7)', () => {
    pair.joiner.start(0)
    pair.until('copy.compare')
    pair.target.disk.fault = 'hang'
    const writes = Array.from({ length: 36 }, (_, index) => pair.write(index * MiB, 1))
    pair.run(limits.joinerOverdueMs + 1_000)
    assert.ok(writes.every(({ answers }) => answers[0] === null))
    assert.equal(pair.said.at(-1), 'voided: it was too slow')
    pair.target.disk.fault = 'none'
    pair.run(8_000)
    assert.ok(pair.decided !== null, 'it came again')
    assert.ok(pair.equal())
  })

  it('a joiner that answers no comparison lets go of the range after a few seconds, with no write sent to it yet', () => {
    pair.joiner.start(0)
    pair.until('copy.compare')
    pair.target.disk.fault = 'hang'
    const write = pair.write(MiB, 1)
    pair.run(limits.joinerOverdueMs - 1_000)
    assert.deepEqual(write.answers, [])
    pair.run(2_000)
    assert.deepEqual(write.answers, [null])
  })

  for (const how of ['kill', 'powerCut'] as const) {
    it(`survives the joiner's ${how} in the middle, and moves nothing twice that stayed there (C5)`, () => {
      writeAll(pair.clock, pair.source.replica, 4 * MiB, bytes(8 * MiB, 5))
      pair.joiner.start(0)
      pair.until('copy.applied')
      pair.restartTarget(how)
      pair.run(4_000)
      assert.ok(pair.decided !== null)
      assert.ok(pair.equal())
    })
  }

  it('refuses messages of an attempt that is void (C4)', () => {
    pair.held.add('copy')
    pair.joiner.start(0)
    pair.until('copy')
    pair.resync.joinerRestarted(t)
    pair.held.clear()
    pair.run(3_000)
    assert.ok(pair.decided !== null)
    writeAll(pair.clock, pair.source.replica, MiB, bytes(8192, 44))
    writeAll(pair.clock, pair.target.replica, MiB, bytes(8192, 44))
    for (const arrive of pair.kept.splice(0)) arrive()
    pair.clock.pass(100)
    assert.ok(pair.equal(), 'the old copy was not applied')
  })

  it('asks for no word while the arbiter does not answer: a dead arbiter holds no clients (C10)', () => {
    pair.arbiterAnswers = false
    pair.joiner.start(0)
    pair.run(10_000)
    assert.deepEqual(pair.words, [])
    pair.arbiterAnswers = true
    pair.run(3_000)
    assert.deepEqual(pair.words, [t])
    assert.ok(pair.decided !== null)
  })

  it('a word that cannot be made durable voids the attempt and is taken off', () => {
    pair.wordIsSaved = false
    pair.joiner.start(0)
    pair.run(1_000)
    assert.equal(pair.decided, null)
    assert.deepEqual(pair.words.slice(0, 2), [t, null])
    assert.equal(pair.said.includes('voided: a server did not give its word'), true)
  })

  it('when nothing can be proposed, or the arbiter decides otherwise, it is void', () => {
    pair.proposable = false
    pair.joiner.start(0)
    pair.run(1_000)
    assert.equal(pair.said.at(-1), 'voided: no decision could be asked for')
    pair.proposable = true
    pair.run(4_000)
    pair.decided?.(false)
    assert.equal(pair.said.at(-1), 'voided: the arbiter decided otherwise')
  })

  it('a replica of another history is refused, not overwritten (E1)', () => {
    pair.known = false
    writeAll(pair.clock, pair.target.replica, 0, bytes(4096, 77))
    pair.joiner.start(0)
    pair.run(2_000)
    assert.equal(pair.joiner.refusal, 'split-brain')
    assert.deepEqual(pair.said, [])
    assert.equal(pair.equal(), false)
  })

  it('a session that ends voids the attempt, and a server that does not lead begins none', () => {
    pair.joiner.start(0)
    pair.until('copy.compare')
    pair.resync.endSession()
    assert.equal(pair.said.at(-1), 'voided: the session ended')
    pair.joiner.start(0)
    pair.run(1_000)
    assert.equal(pair.resync.progress(), null)
    assert.equal(pair.decided, null)
  })

  it('pauses and goes on, and shows it', () => {
    pair.joiner.start(0)
    pair.until('copy.compare')
    pair.resync.pause()
    pair.run(2_000)
    assert.equal(pair.resync.progress()?.phase, 'paused')
    const doneBytes = pair.resync.progress()?.doneBytes ?? 0
    pair.run(1_000)
    assert.equal(pair.resync.progress()?.doneBytes, doneBytes)
    pair.resync.continue()
    pair.run(2_000)
    assert.ok(pair.decided !== null)
    assert.deepEqual(pair.said, ['started', 'paused', 'continued'])
  })

  it('words and mirroring belong to one attempt: a late order changes nothing', () => {
    pair.joiner.start(0)
    pair.until('join.mirroring')
    pair.joinMember.onWord(a, { session, attempt: 77, joiner: t })
    pair.clock.pass(10)
    assert.deepEqual(pair.words, [])
    assert.equal(pair.joinMember.joiner, t)
    pair.joinMember.onVoid({ session, attempt: 77, joiner: t, why: 'late' })
    assert.equal(pair.joinMember.joiner, t)
    pair.joinMember.endSession()
    assert.equal(pair.joinMember.joiner, null)
  })
})
