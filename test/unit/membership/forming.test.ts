import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import type { ServerId } from '../../../agent/kit/ids.ts'
import { limits } from '../../../agent/limits.ts'
import type { Configuration } from '../../../agent/membership/configuration.ts'
import { Forming, mayOpen } from '../../../agent/membership/forming.ts'
import { Lease, Silence } from '../../../agent/membership/lease.ts'
import type { Tell } from '../../../agent/membership/messages.ts'
import { Removal } from '../../../agent/membership/removal.ts'
import { makeSession } from '../../../agent/membership/session.ts'
import { a, b, first, next, t, VirtualClock } from './world.ts'

const tell = (changes: Partial<Tell> = {}): Tell => ({ openedId: null, doubts: [], names: [], time: 1, ...changes })

describe('lease and silence (E3)', () => {
  it('is valid while every other member has answered a heartbeat sent less than L ago', () => {
    const lease = new Lease()
    lease.start([b, t])
    assert.equal(lease.valid(0), false)
    lease.answered(b, 100)
    assert.equal(lease.valid(200), false)
    lease.answered(t, 50)
    assert.equal(lease.valid(50 + limits.leaseMs - 1), true)
    assert.equal(lease.valid(50 + limits.leaseMs), false, 'counted from the sending of the oldest')
    lease.answered(t, 40)
    lease.answered(t, 120)
    assert.equal(lease.valid(100 + limits.leaseMs - 1), true)
    assert.equal(lease.valid(100 + limits.leaseMs), false)
  })

  it('counts no answer of an older session, none of strangers, and needs none alone (E5)', () => {
    const lease = new Lease()
    lease.start([b])
    lease.answered(b, 100)
    lease.answered(t, 100)
    lease.start([b, t])
    assert.equal(lease.valid(101), false)
    lease.start([])
    assert.equal(lease.valid(1e9), true)
  })

  it('blames no pause of its own on others', () => {
    const silence = new Silence()
    silence.tick(60_000, 125, [b])
    assert.equal(silence.ofMs(b), 250)
    assert.equal(silence.turnedMs, 250, 'neither what they owe (E8)')
    for (let round = 0; round < 8; round += 1) silence.tick(125, 125, [b])
    assert.equal(silence.ofMs(b), 1_250)
    silence.heard(b)
    assert.equal(silence.ofMs(b), 0)
  })
})

describe('removal: who must go, and how long the others wait (E3, E7, E8)', () => {
  let clock: VirtualClock
  let silence: Silence
  let owed: Map<ServerId, number>
  let removal: Removal
  const one = first([a, b, t])
  beforeEach(() => {
    clock = new VirtualClock()
    silence = new Silence()
    owed = new Map()
    removal = new Removal({ clock, silence, links: { peer: () => undefined } }, (server) => owed.get(server) ?? 0)
  })
  const silentMs = (server: ServerId, ms: number) => {
    for (let passed = 0; passed < ms; passed += 125) silence.tick(125, 125, [server])
  }
  const gone = () => removal.whoMustGo([b, t], true)

  it('the silent, the overdue, and those who said so themselves', () => {
    assert.deepEqual(gone(), [])
    silentMs(b, limits.leaseMs + 200)
    assert.deepEqual(gone(), [b])
    assert.deepEqual(removal.whoMustGo([b, t], false), [], 'a starting server is patient')
    silence.heard(b)
    owed.set(t, limits.memberOverdueMs + 1)
    assert.deepEqual(gone(), [t])
    owed.clear()
    removal.left(b, 'disk-failed')
    assert.deepEqual(gone(), [b])
    assert.equal(removal.reasonOf(b), 'disk-failed')
    removal.newConfiguration()
    assert.deepEqual(gone(), [])
    removal.restarted(t, false)
    assert.deepEqual(gone(), [], 'the session was not open here: it is formed anew with it')
    removal.restarted(t, true)
    assert.deepEqual(gone(), [t])
  })

  it('waits L and 5 % after it last answered each server that is not in the set any more', () => {
    removal.answered(b)
    clock.pass(300)
    removal.answered(t)
    clock.pass(100)
    const alone = next(one, [a])
    assert.equal(removal.barrierMs(alone), limits.leaseMs * limits.leaseMargin - 100)
    assert.equal(removal.barrierMs(next(one, [a, t])), limits.leaseMs * limits.leaseMargin - 400)
    assert.equal(removal.barrierMs(one), 0)
    clock.pass(limits.leaseMs * limits.leaseMargin)
    assert.ok(removal.barrierMs(alone) <= 0)
  })

  it('a restart counts as an answer to everybody it last opened with', () => {
    removal.startedAt([a, b])
    assert.equal(removal.barrierMs(next(one, [a])), limits.leaseMs * limits.leaseMargin)
  })

  it('does not wait for a server whose own word says that it has stopped, until it is back in', () => {
    for (const stop of [() => removal.left(b, 'left'), () => removal.restarted(b, true)]) {
      removal.answered(b)
      stop()
      assert.equal(removal.barrierMs(next(one, [a, t])), 0)
      removal.sessionRecorded(one)
      removal.answered(b)
      assert.ok(removal.barrierMs(next(one, [a, t])) > 0)
    }
  })
})

describe('forming a session, at its leader (E9)', () => {
  let runs: Map<ServerId, number>
  let sent: string[]
  let ready: boolean
  let settling: ((settled: boolean) => void)[]
  let pieces: number
  let turnedMs: number
  let used: number
  let told: ReadonlyMap<ServerId, Tell>
  let recordedTime: number
  let forming: Forming
  let one: Configuration
  beforeEach(() => {
    runs = new Map([
      [a, 1],
      [b, 5],
    ])
    sent = []
    ready = true
    settling = []
    pieces = 0
    turnedMs = 0
    used = 0
    recordedTime = 0
    one = first()
    forming = new Forming({
      self: a,
      runOf: (server) => runs.get(server),
      send: (to, kind, body) => {
        sent.push(`${kind} ${to === a ? 'a' : 'b'}`)
        if ('time' in body && typeof body.time === 'number') recordedTime = body.time
      },
      mayBegin: () => ready,
      mayOpen: () => true,
      settle: (_session, tells, done) => {
        told = tells
        settling.push(done)
        return () => pieces
      },
      turnedMs: () => turnedMs,
      vectorWasUsed: () => {
        used += 1
      },
    })
  })
  const take = () => sent.splice(0)
  const number = () => makeSession(one, runs, a).number
  const gatherBoth = () => {
    forming.gather(one)
    forming.onTell(a, 1, one, tell({ time: 4 }), 1)
    forming.onTell(b, 5, one, tell({ time: 9 }), 1)
  }
  const bothReady = () => {
    forming.onReady(a, number())
    forming.onReady(b, number())
  }

  it('takes one step after the other, each once all have finished the one before', () => {
    forming.gather(one)
    forming.onTell(a, 1, one, tell({ time: 4 }), 1)
    assert.deepEqual(take(), [])
    forming.onTell(b, 5, one, tell({ time: 9 }), 1)
    assert.deepEqual(take(), ['form.begin b', 'form.begin a'])
    forming.onReady(a, number())
    assert.equal(settling.length, 0)
    forming.onReady(b, number())
    assert.deepEqual([...told.keys()], [a, b])
    assert.deepEqual(take(), [])
    settling.shift()?.(true)
    assert.deepEqual(take(), ['form.record b', 'form.record a'])
    assert.equal(recordedTime, 9, 'the greatest clock told (C7)')
    forming.onRecorded(a, number())
    assert.deepEqual(take(), [])
    forming.onRecorded(b, number())
    assert.deepEqual(take(), ['form.open b', 'form.open a'])
    assert.equal(forming.step, 'opened')
  })

  it('is not moved by answers of another session, or that come twice, or too early', () => {
    gatherBoth()
    take()
    forming.onRecorded(a, number())
    forming.onReady(a, number() + 1)
    forming.onReady(b, number())
    forming.onReady(b, number())
    assert.equal(settling.length, 0)
    assert.equal(forming.step, 'readying')
  })

  it('begins anew when a step does not get on for its limit, but never one that does', () => {
    const wait = (ms: number) => {
      for (let passed = 0; passed < ms; passed += 125) {
        turnedMs += 125
        forming.tick()
      }
    }
    const anew = ['form.begin b', 'form.begin a']
    gatherBoth()
    forming.tick()
    take()
    wait(limits.formingStepMs)
    assert.deepEqual(take(), [])
    wait(250)
    assert.deepEqual(take(), anew, 'nobody became ready')
    bothReady()
    for (let hour = 0; hour < 3; hour += 1) {
      wait(limits.formingStepMs)
      pieces += 1
    }
    wait(limits.formingStepMs)
    assert.deepEqual(take(), [], 'settling may take as long as it gets on')
    wait(500)
    assert.deepEqual(take(), anew)
    settling.shift()?.(true)
    assert.deepEqual(take(), [], 'the old settling counts no more')
    bothReady()
    settling.shift()?.(true)
    forming.onRecorded(a, number())
    take()
    wait(limits.formingStepMs + 500)
    assert.deepEqual(
      take(),
      [],
      'who has recorded cannot begin anew by itself; a disk that does not record is overdue (E8)',
    )
  })

  it('the same words again change nothing; other words begin anew', () => {
    gatherBoth()
    take()
    forming.onTell(b, 5, one, tell({ time: 9 }), 1)
    assert.deepEqual(take(), [])
    forming.onTell(b, 5, one, tell({ time: 10 }), 1)
    assert.deepEqual(take(), ['form.begin b', 'form.begin a'])
    forming.onTell(b, 5, one, tell({ time: 10 }), 2)
    assert.deepEqual(take(), ['form.begin b', 'form.begin a'], 'the same words of a member that began anew')
  })

  it('what an older run told is void', () => {
    gatherBoth()
    bothReady()
    take()
    runs.set(b, 6)
    forming.onRun(b, 6)
    settling.shift()?.(true)
    assert.deepEqual(take(), [], 'the settling of the older run leads nowhere')
    forming.onTell(b, 6, one, tell(), 1)
    assert.deepEqual(take(), ['form.begin b', 'form.begin a'])
  })

  it('words told for another configuration are not used', () => {
    forming.gather(one)
    forming.onTell(b, 5, one, tell(), 1)
    one = next(one, [a, b])
    forming.gather(one)
    forming.onTell(a, 1, one, tell(), 1)
    assert.deepEqual(take(), [])
  })

  it('waits while it may not begin, and tries again at the next tick', () => {
    ready = false
    gatherBoth()
    assert.deepEqual(take(), [])
    ready = true
    forming.retry()
    assert.deepEqual(take(), ['form.begin b', 'form.begin a'])
  })

  it('after a settling that failed it begins again, not at once', () => {
    gatherBoth()
    bothReady()
    take()
    settling.shift()?.(false)
    assert.deepEqual(take(), [])
    forming.retry()
    assert.deepEqual(take(), ['form.begin b', 'form.begin a'])
  })

  it('a vector that was open is not opened again, and its words are not used again', () => {
    gatherBoth()
    bothReady()
    settling.shift()?.(true)
    forming.onRecorded(a, number())
    forming.onRecorded(b, number())
    take()
    forming.gather(one)
    assert.deepEqual([take(), used], [[], 0], 'nobody has told anything yet')
    assert.equal(forming.onTell(a, 1, one, tell(), 1), false, 'a late repetition of what was used')
    forming.onTell(a, 1, one, tell(), 2)
    forming.onTell(b, 5, one, tell(), 2)
    assert.deepEqual([take(), used], [[], 1])
  })
})

describe('what may be opened (C2)', () => {
  const one = first([a, b, t])
  const lossy = (...ranges: [number, number][]): Tell =>
    tell({ doubts: ranges.map(([from, to]) => ({ first: from, last: to, grade: 'lossy' })) })
  const may = (...tells: Tell[]) =>
    mayOpen(one, new Map([a, b, t].flatMap((id, at) => (tells[at] ? [[id, tells[at]]] : []))))

  it('waits while some region is lossy at every member', () => {
    assert.equal(may(lossy([0, 3]), lossy([3, 9])), false)
    assert.equal(may(lossy([0, 2]), lossy([3, 9])), true)
    assert.equal(may(lossy([0, 3])), false, 'a lone lossy one')
    assert.equal(may(tell({ doubts: [{ first: 0, last: 3, grade: 'torn' }] })), true)
  })

  it('is about one region at a time: lossy here and lossy there is allowed', () => {
    assert.equal(may(lossy([0, 10]), lossy([0, 2]), lossy([8, 10])), true)
    assert.equal(may(lossy([0, 10]), lossy([0, 2], [8, 8]), lossy([8, 10])), false)
    assert.equal(may(lossy([0, 1], [3, 4]), lossy([0, 9]), lossy([4, 4])), false)
  })

  it('opens what a member had opened before: nobody absent can hold more', () => {
    assert.equal(may({ ...lossy([0, 3]), openedId: one.id }, lossy([0, 3])), true)
  })
})
