import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import { InvariantBroken } from '../../../agent/kit/failure.ts'
import { limits } from '../../../agent/limits.ts'
import type { WriteKind, WriteMessage } from '../../../agent/link/messages.ts'
import { ClientWrite, Outgoing } from '../../../agent/mirror/outgoing.ts'
import type { StoreFailure } from '../../../agent/store/replica.ts'
import { bytes, type Disk, idOf, MiB, openDisk, RecordingLinks, readAll, VirtualClock } from './world.ts'

const [b, t] = [idOf(1), idOf(2)]

class TestWrite extends ClientWrite {
  answers: (StoreFailure | null)[] = []
  ended = 0

  constructor(offsetBytes = 0, lengthBytes = 4096, fua = false, kind: WriteKind = 'data') {
    super(kind, offsetBytes, lengthBytes, kind === 'data' ? [bytes(lengthBytes, 7)] : [], fua)
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

let clock: VirtualClock
let disk: Disk
let links: RecordingLinks
let failures: StoreFailure[]
beforeEach(() => {
  clock = new VirtualClock()
  disk = openDisk(clock)
  links = new RecordingLinks()
  failures = []
})
const ownReplicaFailed = (failure: StoreFailure) => void failures.push(failure)

describe('outgoing: one write, every copy', () => {
  let outgoing: Outgoing
  let touched: number[]
  beforeEach(() => {
    let time = 0
    touched = []
    outgoing = new Outgoing({
      volumeKey: 12,
      links,
      clock,
      store: disk.replica,
      tick: () => {
        time += 1
        return time
      },
      touched: (_offset, _length, number) => touched.push(number),
      ownReplicaFailed,
    })
  })
  const writes = (): WriteMessage[] =>
    links.take().flatMap(({ message }) => (message.type === 'write' ? [message] : []))

  it('acknowledges only when every in-sync replica has applied it (W1)', () => {
    outgoing.startSession(9, [b, t])
    const write = new TestWrite()
    outgoing.execute(write)
    clock.pass(50)
    assert.deepEqual(write.answers, [])
    outgoing.onWritten(b, 9, [write.number])
    assert.deepEqual(write.answers, [])
    outgoing.onWritten(t, 9, [write.number])
    assert.deepEqual([write.answers, write.ended], [[null], 1])
    assert.equal(readAll(clock, disk.replica, 0, 1)[0], 7)
  })

  it('has no room while one of the servers that a write goes to has not taken what was sent (N2)', () => {
    outgoing.startSession(9, [b, t])
    assert.equal(outgoing.linksHaveRoom(), true)
    links.backlogBytes.set(t, limits.linkBacklogBytes + 1)
    assert.equal(outgoing.linksHaveRoom(), false)
    outgoing.startSession(10, [b])
    assert.equal(outgoing.linksHaveRoom(), true, 'what waits for a server that is out delays nobody')
    outgoing.addJoiner(t, 1)
    assert.equal(outgoing.linksHaveRoom(), false)
  })

  it('waits for its own replica as well (W1)', () => {
    outgoing.startSession(9, [b])
    const write = new TestWrite()
    outgoing.execute(write)
    outgoing.onWritten(b, 9, [write.number])
    assert.deepEqual(write.answers, [])
    clock.pass(50)
    assert.deepEqual(write.answers, [null])
  })

  it('sends before it executes here, with name, session, time and low-water mark', () => {
    outgoing.startSession(9, [b])
    const first = new TestWrite(0, 4096, true)
    outgoing.execute(first)
    outgoing.execute(new TestWrite(8192))
    const [one, two] = writes()
    assert.deepEqual(
      [one?.session, one?.number, one?.lowWater, one?.attempt, one?.fua, one?.time],
      [9, 1, 1, 0, true, 1],
    )
    assert.deepEqual([two?.number, two?.lowWater, two?.time], [2, 1, 2])
    assert.deepEqual(touched, [1, 2])
    clock.pass(50)
    outgoing.onWritten(b, 9, [1, 2])
    outgoing.execute(new TestWrite(12288))
    assert.equal(writes()[0]?.lowWater, 3)
    assert.equal(outgoing.span, 1)
  })

  it('takes no confirmation of another session, of a stranger, or of a number that is no more (W1)', () => {
    outgoing.startSession(9, [b])
    const write = new TestWrite()
    outgoing.execute(write)
    clock.pass(50)
    outgoing.onWritten(b, 8, [write.number])
    outgoing.onWritten(t, 9, [write.number])
    outgoing.onWritten(b, 9, [77])
    assert.deepEqual(write.answers, [])
    outgoing.onWritten(b, 9, [write.number, write.number])
    assert.deepEqual([write.answers, write.ended], [[null], 1])
  })

  it('drains when its own executions have ended, acknowledges nothing meanwhile, and settles in the next session', () => {
    outgoing.startSession(9, [b])
    const write = new TestWrite()
    outgoing.execute(write)
    let drained = 0
    outgoing.endSession(() => {
      drained += 1
    })
    assert.equal(drained, 0)
    outgoing.onWritten(b, 9, [write.number])
    clock.pass(50)
    assert.equal(drained, 1)
    assert.deepEqual(write.answers, [])
    assert.deepEqual([...outgoing.appliedHere()], [write])
    outgoing.startSession(10, [b])
    outgoing.settled()
    assert.deepEqual([write.answers, write.ended], [[null], 1])
    assert.deepEqual([...outgoing.appliedHere()], [])
  })

  it('acknowledges nothing that its own disk finishes after the session has ended (W1)', () => {
    outgoing.startSession(9, [b])
    const write = new TestWrite()
    outgoing.execute(write)
    outgoing.onWritten(b, 9, [write.number])
    outgoing.endSession(() => undefined)
    clock.pass(50)
    assert.deepEqual([write.answers, write.ended], [[], 0])
  })

  it('gives the client an error when the only replica fails (C6)', () => {
    outgoing.startSession(9, [])
    disk.disk.fault = 'fail'
    const write = new TestWrite(32 * MiB)
    outgoing.execute(write)
    clock.pass(50)
    assert.deepEqual([write.answers, write.ended, failures], [['io'], 1, []])
  })

  it('acknowledges nothing when its own replica fails while others are there: it leaves instead (C6)', () => {
    outgoing.startSession(9, [b])
    disk.disk.fault = 'fail'
    const write = new TestWrite(32 * MiB)
    outgoing.execute(write)
    clock.pass(50)
    outgoing.onWritten(b, 9, [write.number])
    assert.deepEqual([write.answers, failures], [[], ['io']])
    const unknown: ClientWrite[] = []
    outgoing.abandon((abandoned) => unknown.push(abandoned))
    assert.deepEqual([unknown, write.ended, write.answers], [[write], 1, []])
  })

  it('does not wait for a joiner before the word, but does not end before it has applied (C4, C10)', () => {
    outgoing.startSession(9, [b])
    outgoing.addJoiner(t, 3)
    const write = new TestWrite()
    outgoing.execute(write)
    assert.deepEqual(
      links.sent.map(({ to, message }) => [to, message.type === 'write' ? message.attempt : -1]),
      [
        [b, 0],
        [t, 3],
      ],
    )
    clock.pass(50)
    outgoing.onWritten(b, 9, [write.number])
    assert.deepEqual([write.answers, write.ended], [[null], 0])
    outgoing.onWritten(t, 9, [write.number])
    assert.equal(write.ended, 1)
  })

  it('needs the joiner from the word on, and no more once it is dropped (C10)', () => {
    outgoing.startSession(9, [b])
    outgoing.addJoiner(t, 3)
    outgoing.needJoiner(t)
    const write = new TestWrite()
    outgoing.execute(write)
    clock.pass(50)
    outgoing.onWritten(b, 9, [write.number])
    assert.deepEqual(write.answers, [])
    outgoing.dropJoiner(t)
    assert.deepEqual([write.answers, write.ended], [[null], 1])
    outgoing.dropJoiner(b)
    const later = new TestWrite(8192)
    outgoing.execute(later)
    clock.pass(50)
    assert.deepEqual(later.answers, [], 'a member is not dropped like a joiner')
  })

  it('says when all that was in flight has ended, whatever came later (C4)', () => {
    outgoing.startSession(9, [b])
    const before = new TestWrite()
    outgoing.execute(before)
    let ended = 0
    outgoing.whenEnded(() => {
      ended += 1
    })
    outgoing.execute(new TestWrite(8192))
    clock.pass(50)
    assert.equal(ended, 0)
    outgoing.onWritten(b, 9, [before.number])
    assert.equal(ended, 1)
    outgoing.endSession(() => undefined)
    outgoing.startSession(10, [])
    outgoing.settled()
    let atOnce = 0
    outgoing.whenEnded(() => {
      atOnce += 1
    })
    assert.equal(atOnce, 1)
  })

  it('knows for how long each one owes it a write (E8)', () => {
    outgoing.startSession(9, [b, t])
    const write = new TestWrite()
    outgoing.execute(write)
    clock.pass(700)
    outgoing.onWritten(t, 9, [write.number])
    assert.ok(outgoing.owedByMs(b) >= 700)
    assert.equal(outgoing.owedByMs(t), 0)
    assert.equal(outgoing.ownOverdueMs(), 0)
  })

  it('W1a, C7a: writing outside a session, or opening with others without own writes, is found', () => {
    assert.throws(() => outgoing.execute(new TestWrite()), InvariantBroken)
    outgoing.startSession(9, [b])
    disk.disk.fault = 'hang'
    outgoing.execute(new TestWrite())
    outgoing.endSession(() => undefined)
    outgoing.startSession(10, [b])
    assert.throws(() => outgoing.settled(), InvariantBroken)
  })
})
