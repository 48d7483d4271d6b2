/** C6, C7: a lone in-sync server's own replica fails a write while a joiner is attached. The client gets an error; what a
 * joiner may have applied stays in flight until the attempt is over or a session has settled it. */
import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import { ClientWrite, Outgoing } from '../../../agent/mirror/outgoing.ts'
import type { StoreFailure } from '../../../agent/store/replica.ts'
import { bytes, type Disk, idOf, MiB, openDisk, RecordingLinks, VirtualClock } from './world.ts'

const t = idOf(2)

class TestWrite extends ClientWrite {
  answers: (StoreFailure | null)[] = []
  ended = 0

  constructor(offsetBytes = 0) {
    super('data', offsetBytes, 4096, [bytes(4096, 7)], false)
  }
  override begin(): void {
    throw new Error('not policed here')
  }
  override acknowledge(failure: StoreFailure | null): void {
    assert.equal(this.ended, 0, 'acknowledged before it ends')
    this.answers.push(failure)
  }
  override end(): void {
    this.ended += 1
  }
}

describe('a lone replica that fails beside a joiner (C6, C7)', () => {
  let clock: VirtualClock
  let disk: Disk
  let outgoing: Outgoing
  let failures: StoreFailure[]
  beforeEach(() => {
    clock = new VirtualClock()
    disk = openDisk(clock)
    failures = []
    let time = 0
    outgoing = new Outgoing({
      volumeKey: 12,
      links: new RecordingLinks(),
      clock,
      store: disk.replica,
      tick: () => {
        time += 1
        return time
      },
      touched: () => undefined,
      ownReplicaFailed: (failure) => failures.push(failure),
    })
    outgoing.startSession(9, [])
  })

  /** Executed with the joiner there, refused by the own full disk. */
  const failed = (before: () => void = () => undefined): TestWrite => {
    outgoing.addJoiner(t, 3)
    before()
    disk.disk.fault = 'full'
    const write = new TestWrite(32 * MiB)
    outgoing.execute(write)
    clock.pass(50)
    return write
  }

  for (const worded of [false, true]) {
    const when = worded ? 'after the word' : 'before the word'
    const before = () => (worded ? outgoing.needJoiner(t) : undefined)

    it(`${when}: the client gets an error at once, the name stays, the volume is told`, () => {
      const write = failed(before)
      assert.deepEqual([write.answers, write.ended, failures], [['io'], 0, ['no-space']])
      assert.equal(outgoing.inFlight.get(write.number), write)
      assert.equal(outgoing.lowWater, write.number, 'nobody may forget the name (C1, C7)')
      assert.deepEqual([...outgoing.appliedHere()], [], 'this replica does not claim to hold it')
    })

    it(`${when}: what the joiner applied is no success, and does not end it`, () => {
      const write = failed(before)
      outgoing.onWritten(t, 9, [write.number])
      assert.deepEqual([write.answers, write.ended], [['io'], 0])
    })

    for (const confirmed of [false, true]) {
      it(`${when}: it ends with the attempt, ${confirmed ? 'applied there' : 'not applied there'}`, () => {
        const write = failed(before)
        if (confirmed) outgoing.onWritten(t, 9, [write.number])
        outgoing.dropJoiner(t)
        assert.deepEqual([write.answers, write.ended], [['io'], 1])
        assert.equal(outgoing.lowWater, write.number + 1)
        // The next one meets nobody any more.
        disk.disk.fault = 'none'
        const later = new TestWrite(32 * MiB)
        outgoing.execute(later)
        clock.pass(50)
        assert.deepEqual([later.answers, later.ended], [[null], 1])
      })
    }

    it(`${when}: it ends once a session with the joiner has settled it`, () => {
      const write = failed(before)
      let drained = 0
      outgoing.endSession(() => {
        drained += 1
      })
      assert.equal(drained, 1)
      outgoing.startSession(10, [t])
      outgoing.settled()
      assert.deepEqual([write.answers, write.ended], [['io'], 1])
      assert.equal(outgoing.lowWater, write.number + 1)
    })

    it(`${when}: out of the set, its client is not told a second time`, () => {
      const write = failed(before)
      outgoing.endSession(() => undefined)
      const unknown: ClientWrite[] = []
      outgoing.abandon((abandoned) => unknown.push(abandoned))
      assert.deepEqual([unknown, write.answers, write.ended], [[], ['io'], 1])
    })
  }

  it('a joiner sent away before the disk answers: the write fails alone, and is over', () => {
    outgoing.addJoiner(t, 3)
    disk.disk.fault = 'full'
    const write = new TestWrite(32 * MiB)
    outgoing.execute(write)
    outgoing.dropJoiner(t)
    assert.deepEqual([write.answers, write.ended], [[], 0])
    clock.pass(50)
    assert.deepEqual([write.answers, write.ended, failures], [['no-space'], 1, []])
  })

  it('a failure that comes after the server was put out of the set tells nobody anything', () => {
    outgoing.addJoiner(t, 3)
    disk.disk.fault = 'hang'
    const write = new TestWrite(32 * MiB)
    outgoing.execute(write)
    clock.pass(5)
    // Given up without draining: the disk does not answer.
    outgoing.abandon(() => undefined)
    disk.disk.fault = 'fail'
    clock.pass(50)
    assert.deepEqual([write.answers, write.ended], [[], 1])
  })
})
