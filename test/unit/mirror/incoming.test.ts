import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import type { WriteMessage } from '../../../agent/link/messages.ts'
import { Incoming } from '../../../agent/mirror/incoming.ts'
import type { StoreFailure } from '../../../agent/store/replica.ts'
import { bytes, type Disk, idOf, MiB, openDisk, RecordingLinks, readAll, recordingSend, VirtualClock } from './world.ts'

const [a, b] = [idOf(0), idOf(1)]

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

describe('incoming: the writes of others', () => {
  let incoming: Incoming
  let sends: ReturnType<typeof recordingSend>
  const message = (number: number, changes: Partial<WriteMessage> = {}): WriteMessage => ({
    type: 'write',
    volumeKey: 12,
    session: 9,
    attempt: 0,
    number,
    lowWater: 1,
    time: number,
    kind: 'data',
    fua: false,
    offsetBytes: number * 4096,
    lengthBytes: 4096,
    chunks: [bytes(4096, number)],
    ...changes,
  })
  beforeEach(() => {
    sends = recordingSend()
    incoming = new Incoming({
      volumeKey: 12,
      links,
      clock,
      store: disk.replica,
      send: sends.send,
      observe: () => undefined,
      touched: () => undefined,
      ownReplicaFailed,
      space: { cover: () => undefined },
    })
    incoming.accept(9, 0)
  })
  const confirmed = () => links.take().map(({ to, message: sent }) => [to, sent.type === 'written' ? sent.numbers : []])

  it('confirms what it has applied, to its origin, in its session', () => {
    incoming.onWrite(a, 1, message(1))
    incoming.onWrite(b, 1, message(2))
    assert.deepEqual(confirmed(), [])
    clock.pass(50)
    assert.deepEqual(confirmed().flat(3).sort(), [1, 2, a, b].sort())
    assert.equal(readAll(clock, disk.replica, 4096, 1)[0], 1)
  })

  it('refuses another session, another attempt, and everything once the session is over (E1, C4)', () => {
    incoming.onWrite(a, 1, message(1, { session: 8 }))
    incoming.onWrite(a, 1, message(2, { attempt: 1 }))
    incoming.refuse(() => undefined)
    incoming.onWrite(a, 1, message(3))
    clock.pass(50)
    assert.deepEqual(confirmed(), [])
    assert.deepEqual(incoming.names(), [])
    assert.equal(
      readAll(clock, disk.replica, 4096, 3 * 4096).every((byte) => byte === 0),
      true,
    )
  })

  it('calls back only when what began has ended, and confirms none of it any more (E9)', () => {
    incoming.onWrite(a, 1, message(1))
    let drained = 0
    incoming.refuse(() => {
      drained += 1
    })
    assert.equal(drained, 0)
    clock.pass(50)
    assert.equal(drained, 1)
    assert.deepEqual(confirmed(), [])
    assert.deepEqual(
      incoming.names().map(({ number }) => number),
      [1],
      'it is told by its name instead (C7)',
    )
    incoming.forgetNames()
    assert.deepEqual(incoming.names(), [])
  })

  it('confirms nothing of an older session, however soon the next one begins (W1)', () => {
    incoming.onWrite(a, 1, message(1))
    incoming.refuse(() => incoming.accept(10, 0))
    clock.pass(50)
    assert.deepEqual(confirmed(), [])
    incoming.onWrite(a, 1, message(2, { session: 10 }))
    clock.pass(50)
    assert.deepEqual(confirmed(), [[a, [2]]])
  })

  it('a confirmation that waits for the end of the turn is not sent in the next session (W1)', () => {
    incoming.onWrite(a, 1, message(1))
    incoming.onWrite(a, 1, message(2, { fua: true }))
    while (incoming.applied === 0) clock.step()
    assert.equal(incoming.applied, 1, 'the other one is under way, so this one waits for it')
    incoming.refuse(() => undefined)
    incoming.accept(10, 0)
    clock.pass(50)
    assert.deepEqual(confirmed(), [])
  })

  it('forgets names below the low-water mark that writes and heartbeats bring (W8)', () => {
    for (const number of [1, 2, 3]) incoming.onWrite(a, 1, message(number))
    incoming.onWrite(a, 1, message(4, { lowWater: 3 }))
    assert.deepEqual(
      incoming.names().map(({ number }) => number),
      [3, 4],
    )
    incoming.confirmedBelow(a, 4)
    incoming.confirmedBelow(a, 2)
    assert.deepEqual(
      incoming.names().map(({ number }) => number),
      [4],
    )
    assert.equal(incoming.lowWaterOf(a), 4)
    incoming.originRestarted(a)
    assert.equal(incoming.lowWaterOf(a), 0)
    assert.deepEqual(
      incoming.names().map(({ number }) => number),
      [4],
      'what it applied is told all the same',
    )
  })

  it('splits confirmations that name more than a message may', () => {
    for (let number = 1; number <= 1500; number += 1) {
      incoming.onWrite(a, 1, message(number, { offsetBytes: (number % 1000) * 4096 }))
    }
    clock.pass(2_000)
    const numbers = links.take().flatMap(({ message: sent }) => (sent.type === 'written' ? [sent.numbers] : []))
    assert.ok(numbers.every((each) => each.length <= 1024))
    assert.equal(new Set(numbers.flat()).size, 1500)
  })

  it('a write outside the volume, or a failing disk, takes this replica out (C6)', () => {
    incoming.onWrite(a, 1, message(1, { offsetBytes: disk.replica.sizeBytes }))
    assert.deepEqual(failures, ['io'])
    disk.disk.fault = 'fail'
    incoming.onWrite(a, 1, message(2, { offsetBytes: 32 * MiB }))
    clock.pass(50)
    assert.deepEqual(failures, ['io', 'io'])
    assert.deepEqual(confirmed(), [])
  })

  it('answers a flush with a sync that began after it came, in its session only (W4)', () => {
    incoming.onFlush(a, { session: 9, attempt: 0, request: 5 })
    assert.deepEqual(sends.sent, [])
    clock.pass(50)
    assert.deepEqual(sends.sent, [
      { to: a, kind: 'flush.done', body: { session: 9, attempt: 0, request: 5, failed: false } },
    ])
    incoming.onFlush(a, { session: 8, attempt: 0, request: 6 })
    incoming.onFlush(a, { session: 9, attempt: 0, request: 7 })
    incoming.refuse(() => undefined)
    clock.pass(50)
    assert.equal(sends.sent.length, 1)
  })

  it('knows for how long its own disk has owed a write (E8)', () => {
    disk.disk.fault = 'hang'
    incoming.onWrite(a, 1, message(1))
    clock.pass(3_000)
    assert.ok(incoming.overdueMs() >= 3_000)
    disk.disk.fault = 'none'
    clock.pass(50)
    assert.equal(incoming.overdueMs(), 0)
  })
})
