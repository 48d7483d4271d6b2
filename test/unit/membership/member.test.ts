import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import type { Tell } from '../../../agent/membership/messages.ts'
import { Parties } from './members.ts'
import { a, b, first, next, t } from './world.ts'

const pair = (): Parties => new Parties(2, first([a, b], t)).start()
const open = ['open', 'open']

describe('members of one volume', () => {
  it('stop, tell, settle, record, and open only when all have recorded (E9)', () => {
    const parties = new Parties(2, first([a, b], t))
    parties.party(1).host.durable = false
    parties.arbiterUp = false
    parties.start()
    assert.deepEqual(parties.party(0).host.take(), ['stop', 'stop', 'settling', 'settle', 'recorded'])
    assert.equal(parties.phases()[0], 'recorded')
    const fresh = pair()
    assert.deepEqual(fresh.phases(), open)
    assert.deepEqual(fresh.party(1).host.take(), ['stop', 'stop', 'settling', 'recorded', 'opened', 'say serving'])
    assert.equal(fresh.party(0).record.value.opened?.id, fresh.configuration.id)
    assert.equal(fresh.party(0).member.session?.number, fresh.party(1).member.session?.number)
  })

  it('tell nothing before what began has ended', () => {
    const parties = new Parties(2, first([a, b], t))
    parties.party(1).host.drains = false
    parties.start()
    assert.deepEqual(parties.phases(), ['gathering', 'stopping'])
    parties.party(1).host.drains = true
    parties.party(1).host.drain()
    parties.clock.pass(100)
    assert.deepEqual(parties.phases(), open)
  })

  it('answer reads only inside their lease (R2, E3)', () => {
    const parties = pair()
    const { member } = parties.party(0)
    assert.equal(member.mayAnswerRead(), false, 'no heartbeat of this session was answered yet')
    parties.run(500)
    assert.equal(member.mayAnswerRead(), true)
    parties.arbiterUp = false
    parties.kill(1)
    parties.clock.pass(limits.leaseMs + 1)
    assert.equal(member.mayAnswerRead(), false)
    assert.equal(member.waiting(), 'arbiter')
  })

  it('answer heartbeats of their own session only, and only while open', () => {
    const parties = pair()
    const { member } = parties.party(0)
    const number = member.session?.number ?? 0
    assert.equal(member.answerHeartbeat(b, number), true)
    assert.equal(member.answerHeartbeat(b, number + 1), false)
    member.leave('disk-failed')
    assert.equal(member.answerHeartbeat(b, number), false)
  })

  it('stop answering a silent one first, ask the arbiter, and serve no sooner than L and 5 % later (E3)', () => {
    const parties = pair()
    parties.run(500)
    const { member, host } = parties.party(0)
    const session = member.session?.number ?? 0
    const lastAnsweredMs = parties.clock.monotonicMs()
    parties.cut(a, b)
    parties.arbiterUp = true
    host.take()
    while (member.known.epoch === 1 && parties.clock.monotonicMs() < 60_000) {
      const busy = member.proposer.busy
      parties.run(125)
      if (!busy && member.proposer.busy) assert.equal(member.answerHeartbeat(b, session), false, 'not any more')
    }
    assert.deepEqual(member.known.inSync, [a])
    while (member.phase !== 'open' && parties.clock.monotonicMs() < 60_000) parties.run(125)
    const waitedMs = parties.clock.monotonicMs() - lastAnsweredMs
    assert.ok(waitedMs >= limits.leaseMs * limits.leaseMargin, `served after ${waitedMs} ms`)
    assert.ok(waitedMs < 2 * limits.leaseMs, `served after ${waitedMs} ms`)
    assert.equal(member.mayAnswerRead(), true, 'a lone server needs no lease (E5)')
  })

  it('wait for the lease of one who was answered until it was left out (E3)', () => {
    const parties = new Parties(3, first([a, b, t], t)).start()
    parties.run(500)
    const answeredMs = parties.clock.monotonicMs()
    parties.party(1).host.owed.set(t, limits.memberOverdueMs + 1)
    parties.party(1).member.tick()
    parties.clock.pass(50)
    assert.deepEqual(parties.phases(), ['recorded', 'recorded', 'outside'])
    assert.equal(parties.party(0).member.answerHeartbeat(b, parties.party(0).member.session?.number ?? 0), false)
    while (parties.phases()[0] === 'recorded') parties.clock.pass(5)
    const waitedMs = parties.clock.monotonicMs() - answeredMs
    assert.ok(waitedMs >= limits.leaseMs * limits.leaseMargin, `served after ${waitedMs} ms`)
    assert.deepEqual(parties.phases().slice(0, 2), open)
  })

  it('leave a restarted one out at once, without waiting for its lease (E9)', () => {
    const parties = pair()
    parties.run(500)
    parties.restart(1)
    parties.clock.pass(100)
    assert.deepEqual(parties.party(0).member.known.inSync, [a])
    assert.deepEqual(parties.phases(), ['open', 'outside'])
  })

  it('form the next session in the same epoch with a restarted one while the arbiter is away (E4)', () => {
    const parties = pair()
    parties.arbiterUp = false
    parties.restart(1)
    parties.run(500)
    assert.deepEqual(parties.phases(), open)
    assert.equal(parties.party(0).member.known.epoch, 1)
    assert.equal(parties.party(0).member.session?.runs.get(b), 2)
  })

  it('the leader restarted: the other one goes on without it', () => {
    const parties = pair()
    parties.run(500)
    parties.restart(0)
    parties.run(1_000)
    assert.deepEqual(parties.party(1).member.known.inSync, [b])
    assert.deepEqual(parties.phases(), ['outside', 'open'])
  })

  it('leave with a word: the others go on at once, the one who left is a candidate for resync (E5, E7)', () => {
    const parties = pair()
    parties.run(500)
    assert.equal(parties.party(1).member.leave('disk-failed'), true)
    assert.equal(parties.party(1).member.waiting(), 'disk')
    parties.clock.pass(100)
    assert.deepEqual(parties.phases(), ['open', 'outside'])
    assert.equal(parties.party(1).host.calls.at(-1), 'outside')
    assert.equal(parties.party(0).member.leave('left'), false, 'the last one does not leave')
    assert.equal(parties.party(1).member.leave('left'), false, 'who is out has nothing to leave')
  })

  it('both stop as planned: nobody is left out, the set stays (E7)', () => {
    const parties = pair()
    parties.run(500)
    assert.equal(parties.party(1).member.leave('left'), true)
    parties.run(200)
    assert.equal(parties.party(0).member.leave('left'), true)
    parties.run(3_000)
    assert.deepEqual(parties.phases(), ['left', 'left'])
    assert.deepEqual(parties.party(0).member.known.inSync, [a, b])
    assert.ok(parties.party(0).member.everybodyStops() && parties.party(1).member.everybodyStops())
  })

  it('both left at once with failing disks: the lower id takes its word back', () => {
    const parties = pair()
    parties.run(500)
    assert.equal(parties.party(1).member.leave('disk-slow'), true)
    assert.equal(parties.party(0).member.leave('disk-failed'), true)
    parties.run(1_000)
    assert.deepEqual(parties.party(0).member.known.inSync, [a])
    assert.deepEqual(parties.phases(), ['open', 'outside'])
  })

  it('a word that was lost is said again', () => {
    const parties = pair()
    parties.cut(a, b)
    parties.party(1).member.leave('disk-slow')
    parties.clock.pass(100)
    parties.heal()
    parties.run(2_000)
    assert.deepEqual(parties.phases(), ['open', 'outside'])
  })

  it('come back by a proposal of the one that serves, and are told of it (C10)', () => {
    const parties = pair()
    parties.run(500)
    parties.restart(1)
    parties.run(500)
    const joined: boolean[] = []
    assert.equal(
      parties.party(0).member.decisions.proposeJoin(b, (is) => joined.push(is)),
      true,
    )
    parties.run(500)
    assert.deepEqual(joined, [true])
    assert.deepEqual(parties.phases(), open)
    assert.equal(parties.party(0).member.known.epoch, 3)
    assert.equal(parties.party(1).record.value.opened?.epoch, 3)
  })

  it('never go on alone while some region is lossy here: somebody absent may hold more (C2)', () => {
    const parties = pair()
    parties.run(500)
    parties.party(0).host.lossy = true
    parties.kill(1)
    parties.run(10_000)
    assert.deepEqual(parties.party(0).member.known.inSync, [a, b])
    assert.equal(parties.party(0).member.waiting(), 'sound-copy')
  })

  it('a server that learns that it was left out stops at once (E5)', () => {
    const parties = pair()
    const { member, host } = parties.party(1)
    host.take()
    assert.equal(member.learn(next(parties.configuration, [a])), true)
    assert.deepEqual([member.phase, member.inSet, host.take()], ['outside', false, ['say left', 'stop', 'outside']])
    assert.equal(member.learn(parties.configuration), false, 'nothing older is believed')
  })

  it('two histories are found, never mixed (E1)', () => {
    const parties = pair()
    const { member, host } = parties.party(0)
    member.learn(next(parties.configuration, [a]))
    assert.equal(member.learn(next(parties.configuration, [b])), false)
    assert.deepEqual([member.splitBrain, member.waiting()], [true, 'split-brain'])
    assert.equal(host.calls.filter((call) => call === 'say split-brain').length, 1)
    assert.deepEqual(member.known.inSync, [a])
  })

  it('a settling that failed is tried again', () => {
    const parties = new Parties(2, first([a, b], t))
    parties.party(0).host.settles = false
    parties.start()
    assert.equal(parties.phases()[0], 'settling')
    parties.party(0).host.settles = true
    parties.run(500)
    assert.deepEqual(parties.phases(), open)
  })

  it('a member whose disk cannot record leaves; a lone one tries again, not in a hurry', () => {
    const parties = new Parties(2, first([a, b], t), true)
    parties.party(1).host.durable = false
    parties.start()
    parties.run(1_000)
    assert.deepEqual(parties.phases(), ['open', 'outside'])
    const lone = new Parties(1, first([a], t))
    lone.party(0).host.durable = false
    lone.start()
    lone.run(3_000)
    const tries = lone
      .party(0)
      .host.take()
      .filter((call) => call === 'settling').length
    assert.ok(tries >= 2 && tries <= 6, `${tries} tries`)
    lone.party(0).host.durable = true
    lone.run(2_000)
    assert.equal(lone.party(0).member.phase, 'open')
  })

  it('a word to a joiner whose decision is not known is settled by swapping the same set in again (C10, E2)', () => {
    const parties = new Parties(1, first([a], t), true)
    parties.party(0).record.save({ word: { joiner: b } }, () => undefined)
    parties.arbiterUp = false
    parties.start()
    parties.run(1_000)
    assert.notEqual(parties.party(0).member.phase, 'open', 'not before the decision is known')
    parties.arbiterUp = true
    parties.run(4_000)
    const { member, record } = parties.party(0)
    assert.deepEqual([member.phase, member.known.epoch, record.value.word], ['open', 2, null])
  })

  it('asks now and then whether it was superseded (E5)', () => {
    const parties = new Parties(1, first([a], t), true).start()
    const other = next(parties.configuration, [a])
    parties.registers.handle(
      { operation: 'swap', expectedId: parties.configuration.id, configuration: other },
      () => undefined,
    )
    parties.run(limits.registerReadMs + 1_000)
    assert.equal(parties.party(0).member.known.id, other.id)
  })

  it('ignores messages that are none, and steps of sessions that are not its own', () => {
    const parties = pair()
    const { member } = parties.party(1)
    member.onMessage(a, 1, 'form.tell', { nonsense: true })
    member.onMessage(a, 1, 'form.open', 'words')
    const { volumeId, id } = parties.configuration
    const runs = [{ serverId: b, run: 99 }]
    for (const session of [0, 12345]) {
      member.onMessage(a, 1, 'form.begin', { volume: volumeId, configurationId: id, session, runs })
      member.onMessage(a, 1, 'form.record', { volume: volumeId, session, time: 1 })
      member.onMessage(a, 1, 'form.open', { volume: volumeId, session })
      member.onMessage(a, 1, 'form.ready', { volume: volumeId, session })
      member.onMessage(a, 1, 'form.recorded', { volume: volumeId, session })
    }
    assert.deepEqual(parties.phases(), open)
  })

  it('three members open together, and two go on without the third', () => {
    const parties = new Parties(3, first([a, b, t], t)).start()
    assert.deepEqual(parties.phases(), ['open', 'open', 'open'])
    parties.run(500)
    parties.kill(2)
    parties.run(6_000)
    assert.deepEqual(parties.phases().slice(0, 2), open)
    assert.deepEqual(parties.party(0).member.known.inSync, [a, b])
    assert.equal(parties.party(1).member.mayAnswerRead(), true)
  })
})

describe('phases and events', () => {
  const tell: Tell = { openedId: null, doubts: [], names: [], time: 1 }
  /** How to bring a member (b, which does not lead) into each phase. */
  const into: Record<string, () => Parties> = {
    outside: () => {
      const parties = pair()
      parties.party(1).member.learn(next(parties.configuration, [a]))
      return parties
    },
    stopping: () => {
      const parties = pair()
      parties.party(1).host.drains = false
      parties.arbiterUp = false
      parties.restart(0)
      return parties
    },
    gathering: () => {
      const parties = new Parties(2, first([a, b], t))
      parties.party(0).host.drains = false
      return parties.start()
    },
    settling: () => {
      const parties = new Parties(2, first([a, b], t))
      parties.party(0).host.settles = false
      return parties.start()
    },
    recorded: () => {
      const parties = new Parties(2, first([a, b], t))
      parties.party(0).host.durable = false
      parties.arbiterUp = false
      return parties.start()
    },
    open: pair,
    left: () => {
      const parties = pair()
      parties.arbiterUp = false
      parties.party(1).member.leave('left')
      return parties
    },
  }
  type Event = (parties: Parties) => void
  const events: Record<string, Event> = {
    'a configuration without it': (p) => p.party(1).member.learn(next(p.party(1).member.known, [a])),
    'a configuration with it': (p) => p.party(1).member.learn(next(p.party(1).member.known, [a, b])),
    'a leave': (p) => p.party(1).member.leave('left'),
    'another run of the leader': (p) => p.party(1).member.onPeerRun(a, 9),
    'a tell': (p) =>
      p.party(1).member.onMessage(a, 1, 'form.tell', {
        volume: p.configuration.volumeId,
        configurationId: p.configuration.id,
        tell,
        round: 99,
      }),
    'an order to open': (p) =>
      p.party(1).member.onMessage(a, 1, 'form.open', {
        volume: p.configuration.volumeId,
        session: p.party(1).member.session?.number ?? 1,
      }),
    'a tick': (p) => p.party(1).member.tick(),
  }
  const table: Record<string, Record<string, string>> = {
    outside: { 'a configuration with it': 'gathering' },
    stopping: { 'a configuration without it': 'outside', 'a leave': 'left' },
    gathering: { 'a configuration without it': 'outside', 'a leave': 'left' },
    settling: {
      'a configuration without it': 'outside',
      'a configuration with it': 'gathering',
      'a leave': 'left',
      'another run of the leader': 'gathering',
    },
    recorded: {
      'a configuration without it': 'outside',
      'a configuration with it': 'gathering',
      'a leave': 'left',
      'another run of the leader': 'gathering',
      'an order to open': 'open',
    },
    open: {
      'a configuration without it': 'outside',
      'a configuration with it': 'gathering',
      'a leave': 'left',
      'another run of the leader': 'gathering',
    },
    left: { 'a configuration without it': 'outside', 'a configuration with it': 'gathering' },
  }
  for (const [phase, prepare] of Object.entries(into)) {
    for (const [event, happen] of Object.entries(events)) {
      const expected = table[phase]?.[event] ?? phase
      it(`${phase} --${event}--> ${expected}`, () => {
        const parties = prepare()
        assert.equal(parties.party(1).member.phase, phase)
        happen(parties)
        assert.equal(parties.party(1).member.phase, expected)
      })
    }
  }
})
