import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import type { ServerId } from '../../../agent/kit/ids.ts'
import { limits } from '../../../agent/limits.ts'
import { Flusher } from '../../../agent/mirror/flusher.ts'
import { MarkKeeper } from '../../../agent/mirror/marks.ts'
import type { StoreFailure } from '../../../agent/store/replica.ts'
import { bytes, type Disk, idOf, openDisk, recordingSend, VirtualClock, writeAll } from './world.ts'

const [a, b, t] = [idOf(0), idOf(1), idOf(2)]

let clock: VirtualClock
let disk: Disk
let failures: StoreFailure[]
beforeEach(() => {
  clock = new VirtualClock()
  disk = openDisk(clock)
  failures = []
})
const ownReplicaFailed = (failure: StoreFailure) => void failures.push(failure)

describe('flusher: durable everywhere (W4)', () => {
  let flusher: Flusher
  let sends: ReturnType<typeof recordingSend>
  let answers: (StoreFailure | null)[]
  const flush = () => flusher.flush((failure) => answers.push(failure))
  const asked = () => sends.sent.splice(0).map(({ to, body }) => [to, 'request' in body ? body.request : 0])
  const done = (from: ServerId, session: number, request: number, failed = false) =>
    flusher.onDone(from, { session, attempt: 0, request, failed })
  beforeEach(() => {
    sends = recordingSend()
    answers = []
    flusher = new Flusher({ clock, store: disk.replica, send: sends.send, ownReplicaFailed })
  })

  it('waits for every member and for its own sync', () => {
    flusher.startSession(9, [b, t])
    flush()
    assert.deepEqual(asked(), [
      [b, 1],
      [t, 1],
    ])
    done(b, 9, 1)
    done(t, 9, 1)
    assert.deepEqual(answers, [])
    clock.pass(50)
    assert.deepEqual(answers, [null])
  })

  it('begins again in the next session: answers of the old one do not count', () => {
    flusher.startSession(9, [b])
    flush()
    clock.pass(50)
    flusher.endSession()
    done(b, 9, 1)
    flusher.startSession(10, [b])
    done(b, 9, 1)
    done(b, 9, 2)
    clock.pass(50)
    assert.deepEqual(answers, [])
    done(b, 10, 2)
    assert.deepEqual(answers, [null])
  })

  it('waits for a session when there is none', () => {
    flush()
    clock.pass(50)
    assert.deepEqual(answers, [])
    flusher.startSession(9, [])
    clock.pass(50)
    assert.deepEqual(answers, [null])
  })

  it('does not take a sync that began in the older session for one of this (W4)', () => {
    writeAll(clock, disk.replica, 0, bytes(4096, 1))
    const answeredMs: number[] = []
    flusher.startSession(9, [])
    flusher.flush(() => answeredMs.push(clock.monotonicMs()))
    flusher.endSession()
    disk.replica.write(0, [bytes(4096, 2)], 4096, () => undefined)
    flusher.startSession(10, [])
    let syncedMs = 0
    disk.replica.sync(() => {
      syncedMs = clock.monotonicMs()
    })
    clock.pass(100)
    assert.deepEqual(answeredMs, [syncedMs])
  })

  it('needs a joiner from its word on, until it is dropped (C10)', () => {
    flusher.startSession(9, [])
    flusher.needJoiner(t)
    flush()
    clock.pass(50)
    assert.deepEqual(answers, [])
    flusher.dropJoiner(t)
    assert.deepEqual(answers, [null])
  })

  it('takes no failed sync for an answer; alone, the client gets the error', () => {
    flusher.startSession(9, [b])
    flush()
    clock.pass(50)
    done(b, 9, 1, true)
    assert.deepEqual(answers, [])
    assert.ok(flusher.owedByMs(b) >= 50)
    writeAll(clock, disk.replica, 0, bytes(4096, 1))
    disk.disk.fault = 'fail'
    flush()
    clock.pass(50)
    assert.deepEqual(failures, ['io'])
    flusher.endSession()
    flusher.startSession(10, [])
    clock.pass(50)
    assert.deepEqual(answers, ['io', 'io'])
  })
})

describe('marks: when they come off (C1)', () => {
  let marks: MarkKeeper
  let lowWater: Map<ServerId, number>
  const isMarked = (region = 0) => disk.replica.region(region).marked
  const write = (origin: ServerId, number: number, offsetBytes = 0) => {
    marks.touched(origin, offsetBytes, 4096, number)
    disk.replica.write(offsetBytes, [bytes(4096, number)], 4096, () => undefined)
    clock.pass(50)
  }
  const idle = () => {
    clock.pass(limits.markIdleMs + 10)
    marks.tick()
    clock.pass(100)
  }
  beforeEach(() => {
    lowWater = new Map()
    marks = new MarkKeeper({
      clock,
      store: disk.replica,
      lowWaterOf: (origin) => lowWater.get(origin) ?? 0,
      ownReplicaFailed: (failure) => assert.fail(failure),
    })
    marks.startSession()
    marks.openSession(4)
  })

  it('stays while a write there is not confirmed, of any origin', () => {
    write(a, 1)
    write(b, 5)
    lowWater.set(a, 2)
    idle()
    assert.equal(isMarked(), true)
    lowWater.set(b, 5)
    idle()
    assert.equal(isMarked(), true)
    lowWater.set(b, 6)
    idle()
    assert.deepEqual(disk.replica.region(0), { marked: false, grade: 'sound', stamp: 4 })
  })

  it('stays on for a while, and again when the region is written meanwhile', () => {
    write(a, 1)
    lowWater.set(a, 9)
    marks.tick()
    clock.pass(100)
    assert.equal(isMarked(), true)
    clock.pass(limits.markIdleMs)
    marks.tick()
    write(a, 2)
    clock.pass(100)
    assert.equal(isMarked(), true, 'written while the sync was under way')
    idle()
    assert.equal(isMarked(), false)
  })

  it('out of a session never', () => {
    write(a, 1)
    lowWater.set(a, 9)
    clock.pass(limits.markIdleMs + 10)
    marks.tick()
    marks.endSession()
    clock.pass(100)
    assert.equal(isMarked(), true, 'the session ended during the sync')
    idle()
    assert.equal(isMarked(), true)
  })

  it('remembers what others wrote before the session opened here', () => {
    marks.endSession()
    marks.startSession()
    write(b, 3)
    marks.openSession(5)
    idle()
    assert.equal(isMarked(), true, 'the write is not confirmed')
    lowWater.set(b, 4)
    idle()
    assert.equal(isMarked(), false)
  })

  it('takes settled marks of the session before off as well', () => {
    write(a, 1)
    marks.endSession()
    marks.startSession()
    marks.openSession(5)
    idle()
    assert.deepEqual(disk.replica.region(0), { marked: false, grade: 'sound', stamp: 5 })
  })
})
