import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import { InvariantBroken } from '../../../agent/kit/failure.ts'
import { limits } from '../../../agent/limits.ts'
import { type Configuration, configurationSchema, relation } from '../../../agent/membership/configuration.ts'
import { type Decision, Proposer } from '../../../agent/membership/proposer.ts'
import { onePlace, type RegisterAnswer, type RegisterRequest, Registers } from '../../../agent/membership/register.ts'
import { a, b, first, next, ScriptedArbiter, SlowRecords, t, VirtualClock, volume } from './world.ts'

describe('configurations (E1)', () => {
  const one = first()
  const two = next(one, [a])
  const three = next(two, [a, b])

  it('a follower knows all before it', () => {
    assert.equal(relation(three, one), 'newer')
    assert.equal(relation(one, three), 'older')
    assert.equal(relation(two, two), 'same')
    assert.equal(three.epoch, 3)
  })

  it('two followers of one configuration are strange to each other, whatever their epochs', () => {
    const other = next(one, [b])
    assert.equal(relation(other, two), 'strange')
    assert.equal(relation(next(other, [b]), two), 'strange')
  })

  it('the history goes back to the oldest that any replica last opened, and to some before, not farther', () => {
    const epochs = (configuration: Configuration) => configuration.history.map((entry) => entry.epoch)
    assert.deepEqual(epochs(three), [1, 2], 'b opened 1')
    let long = three
    while (long.epoch < 200) long = next(long, [a])
    assert.deepEqual(epochs(long).slice(0, 2), [3, 4], 'b last opened 3')
    const whole = next(next(long, [a, b]), [a, b])
    assert.equal(whole.epoch, 202)
    assert.equal(epochs(whole)[0], 201 - limits.keptConfigurations, 'all opened 201')
    const four = next(three, [a, b])
    const unopened = next(four, [a], false)
    assert.deepEqual(
      unopened.replicas.map(({ opened }) => opened),
      [3, 3],
    )
  })

  it('is ascending whatever order it was asked for, and its schema refuses an empty set', () => {
    assert.deepEqual(next(one, [b, a]).inSync, [a, b])
    assert.equal(configurationSchema.safeParse({ ...one, inSync: [] }).success, false)
    assert.equal(configurationSchema.safeParse({ ...one, epoch: 0 }).success, false)
    assert.equal(configurationSchema.safeParse(JSON.parse(JSON.stringify(three))).success, true)
  })
})

describe('registers: the compare-and-swap (E2, A3, E11)', () => {
  let records: SlowRecords
  let registers: Registers
  let answers: RegisterAnswer[]
  const ask = (request: RegisterRequest) => registers.handle(request, (answer) => answers.push(answer))
  const swap = (present: Configuration, configuration: Configuration) =>
    ask({ operation: 'swap', expectedId: present.id, configuration })
  const outcomes = () => answers.splice(0).map(({ outcome }) => outcome)
  const one = first()
  beforeEach(() => {
    records = new SlowRecords()
    registers = new Registers(onePlace(records))
    answers = []
    ask({ operation: 'create', configuration: one })
    records.answer()
    assert.deepEqual(outcomes(), ['stored'])
  })

  it('answers only from what is durable: whoever asks meanwhile waits', () => {
    const two = next(one, [a])
    swap(one, two)
    ask({ operation: 'read', volumeId: volume })
    assert.deepEqual(outcomes(), [])
    records.answer()
    assert.deepEqual(
      answers.map(({ current }) => current?.id),
      [two.id, two.id].slice(0, answers.length),
    )
    assert.equal(answers.length, 2)
  })

  it('decides for one of two, and gives the same swap the same answer, also after more followed', () => {
    const mine = next(one, [a])
    const theirs = next(one, [b])
    swap(one, mine)
    swap(one, theirs)
    records.answer()
    assert.deepEqual(outcomes().sort(), ['other', 'stored'])
    swap(one, mine)
    assert.deepEqual(outcomes(), ['stored'])
    swap(mine, next(mine, [a, b]))
    records.answer()
    swap(one, mine)
    swap(one, theirs)
    assert.deepEqual(outcomes(), ['stored', 'stored', 'other'])
  })

  it('refuses a swap of another instance, of a wrong epoch, or without its predecessor', () => {
    const two = next(one, [a])
    swap(one, { ...two, arbiter: { ...two.arbiter, instance: 'd'.repeat(32) } })
    swap(one, { ...two, epoch: 3 })
    swap(one, { ...two, history: [] })
    assert.deepEqual(outcomes(), ['other', 'other', 'other'])
    assert.equal(records.waiting, 0)
  })

  it('is made once, and only for a first configuration', () => {
    ask({ operation: 'create', configuration: first() })
    assert.deepEqual(outcomes(), ['other'])
    const empty = new Registers(onePlace(new SlowRecords()))
    empty.handle({ operation: 'create', configuration: next(one, [a]) }, (answer) => answers.push(answer))
    empty.handle({ operation: 'swap', expectedId: one.id, configuration: next(one, [a]) }, (x) => answers.push(x))
    empty.handle({ operation: 'read', volumeId: volume }, (answer) => answers.push(answer))
    assert.deepEqual(outcomes(), ['absent', 'absent', 'absent'])
  })

  it('says nothing any more in this run once a record failed: what it holds may not be durable (A3)', () => {
    swap(one, next(one, [a]))
    ask({ operation: 'read', volumeId: volume })
    records.answer('io')
    ask({ operation: 'read', volumeId: volume })
    swap(one, next(one, [b]))
    assert.deepEqual(outcomes(), ['failed', 'failed', 'failed', 'failed'])
  })

  it('a record that is garbage is no register', () => {
    records.values.set(`register-${volume}`, { current: { epoch: 'seven' } })
    ask({ operation: 'read', volumeId: volume })
    assert.deepEqual(outcomes(), ['absent'])
  })

  it('turns away what would queue for ever', () => {
    swap(one, next(one, [a]))
    for (let index = 0; index < 101; index += 1) ask({ operation: 'read', volumeId: volume })
    assert.deepEqual(outcomes(), ['failed'])
  })
})

describe('proposer: the way to the arbiter (E2, E11)', () => {
  let clock: VirtualClock
  let arbiter: ScriptedArbiter
  let alarms: string[]
  let proposer: Proposer
  let decisions: Decision[]
  const one = first()
  const mine = next(one, [a])
  const propose = () => proposer.propose(one, mine, (decision) => decisions.push(decision))
  beforeEach(() => {
    clock = new VirtualClock()
    arbiter = new ScriptedArbiter()
    alarms = []
    decisions = []
    proposer = new Proposer(arbiter, clock, (words) => alarms.push(words))
  })

  it('asks the same thing again until an answer comes', () => {
    propose()
    const request = arbiter.answer('lost')
    assert.equal(decisions.length, 0)
    clock.pass(500)
    assert.deepEqual(arbiter.answer('stored', mine), request)
    assert.deepEqual(decisions, [{ outcome: 'won', current: mine }])
    assert.equal(proposer.busy, false)
    clock.pass(5_000)
    assert.equal(arbiter.asked.length, 0)
  })

  it('does not take the old configuration for a failure: a late swap may still win (E2)', () => {
    propose()
    arbiter.answer('other', one)
    assert.equal(decisions.length, 0)
    assert.equal(proposer.busy, true)
    clock.pass(500)
    arbiter.answer('stored', mine)
    assert.equal(decisions[0]?.outcome, 'won')
  })

  it('knows from a configuration that does not follow its own that it lost', () => {
    const theirs = next(one, [b])
    propose()
    arbiter.answer('other', theirs)
    assert.deepEqual(decisions, [{ outcome: 'lost', current: theirs }])
  })

  it('won also when more was built on it', () => {
    const built = next(mine, [a, b])
    propose()
    arbiter.answer('stored', built)
    assert.deepEqual(decisions, [{ outcome: 'won', current: built }])
  })

  it('takes back only what was never sent', () => {
    arbiter.up = false
    propose()
    assert.equal(proposer.withdraw(), true)
    assert.equal(proposer.busy, false)
    arbiter.up = true
    clock.pass(1_000)
    assert.equal(arbiter.asked.length, 0)
    propose()
    assert.equal(proposer.withdraw(), false)
    assert.equal(proposer.busy, true)
  })

  it('believes no register that is empty, failed, older, strange or of another instance (E11)', () => {
    propose()
    const stranger = first()
    const other = { ...mine, arbiter: { ...mine.arbiter, instance: 'd'.repeat(32) } }
    const zero = { ...one, id: stranger.id, epoch: 1 }
    for (const [outcome, current] of [
      ['absent', null],
      ['failed', null],
      ['stored', stranger],
      ['stored', other],
      ['other', zero],
    ] as const) {
      arbiter.answer(outcome, current)
      assert.equal(decisions.length, 0)
      clock.pass(500)
    }
    assert.equal(alarms.length, 4)
    const found: (Configuration | null)[] = []
    arbiter.answer('lost')
    proposer.read(mine, (current) => found.push(current))
    arbiter.answer('stored', one)
    assert.deepEqual([...found], [null], 'older than what is known')
    proposer.read(one, (current) => found.push(current))
    arbiter.answer('stored', mine)
    assert.deepEqual([...found], [null, mine])
    arbiter.up = false
    proposer.read(one, (current) => found.push(current))
    assert.deepEqual(found, [null, mine, null])
  })

  it('E2a, E2b: two proposals at once, or one that does not follow, are found', () => {
    propose()
    assert.throws(propose, InvariantBroken)
    const fresh = new Proposer(arbiter, clock, () => undefined)
    assert.throws(() => fresh.propose(one, next(mine, [a]), () => undefined), InvariantBroken)
    assert.throws(() => fresh.propose(mine, next(first([a, b, t]), [a]), () => undefined), InvariantBroken)
  })
})
