/** E8: for how long the own disk has been recording an opened session, as the volume asks at every tick. */
import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import type { Configuration } from '../../../agent/membership/configuration.ts'
import { Silence } from '../../../agent/membership/lease.ts'
import { Member } from '../../../agent/membership/member.ts'
import { RecordFile } from '../../../agent/membership/record.ts'
import { RecordingLinks } from '../mirror/world.ts'
import { RecordingHost } from './members.ts'
import { a, first, next, quiet, ScriptedArbiter, SlowRecords, seeded, VirtualClock, volume } from './world.ts'

const tickMs = limits.heartbeatMs / 2

describe('recording an opened session (E8)', () => {
  let clock: VirtualClock
  let records: SlowRecords
  let silence: Silence
  let present: Configuration
  let member: Member
  beforeEach(() => {
    clock = new VirtualClock()
    records = new SlowRecords()
    silence = new Silence()
    present = first([a])
    const record = new RecordFile(records, volume, {
      known: present,
      opened: null,
      prepared: false,
      word: null,
      resyncBegun: false,
      older: false,
      peers: [],
    })
    const world = {
      self: a,
      selfRun: 1,
      volumeId: volume,
      links: new RecordingLinks(),
      clock,
      random: seeded(1),
      log: quiet,
      silence,
      arbiter: new ScriptedArbiter(),
      record,
      ownStore: { storeId: a, life: a, found: 0, commits: () => 1, doubtAll: () => undefined },
    }
    member = new Member(world, new RecordingHost(clock))
  })
  /** The own loop turns as it should. */
  const turn = (ms: number) => {
    for (let passed = 0; passed < ms; passed += tickMs) {
      clock.pass(tickMs)
      silence.tick(tickMs, tickMs, [])
    }
  }

  it('counts from when the record was asked for until the disk has it, in turned time', () => {
    member.start()
    turn(tickMs)
    assert.equal(records.waiting, 1, 'the session is being recorded')
    turn(4_000)
    assert.ok(member.recordingMs() >= 4_000 && member.recordingMs() <= 4_000 + tickMs, `${member.recordingMs()}`)
    // A pause of the process: the clock went on, the loop turned once.
    const before = member.recordingMs()
    clock.pass(60_000)
    silence.tick(60_000, tickMs, [])
    assert.ok(member.recordingMs() <= before + 2 * tickMs, 'a pause is not the disk')
    assert.equal(member.phase, 'settling')
    records.answer()
    assert.deepEqual([member.recordingMs(), member.phase], [0, 'open'])
    turn(20_000)
    assert.equal(member.recordingMs(), 0, 'nothing is recorded any more')
  })

  it('ends with a record that failed, and begins again with the next one', () => {
    member.start()
    turn(2_000)
    records.answer('io')
    assert.equal(member.recordingMs(), 0)
    turn(limits.returnBackoffMs + 1_000)
    assert.equal(records.waiting, 1, 'alone it tries again')
    assert.ok(member.recordingMs() <= 1_000 + tickMs, `only the new one counts: ${member.recordingMs()}`)
    records.answer()
    assert.equal(member.phase, 'open')
  })

  it('the answer to an older record is no answer to the present one', () => {
    member.start()
    turn(tickMs)
    assert.equal(records.waiting, 1)
    member.learn(next(present, [a]))
    turn(2 * tickMs)
    assert.equal(records.waiting, 3, 'the older session, the new configuration, the new session')
    records.answer()
    turn(30_000)
    assert.ok(member.recordingMs() >= 30_000, `the disk owes the new session: ${member.recordingMs()}`)
    records.answer()
    records.answer()
    assert.deepEqual([member.recordingMs(), member.phase], [0, 'open'])
  })
})
