/** Aim: a question that was taken back before it was sent is asked again: an open word does not hold for ever (C10, E2). */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { Parties } from './members.ts'
import { a, b, first, t } from './world.ts'

it('a server that left with its question unsent, and is needed again, asks it again', () => {
  const parties = new Parties(2, first([a, b]))
  parties.start()
  parties.run(3_000)
  assert.deepEqual(parties.phases(), ['open', 'open'])
  const one = parties.party(0)
  one.record.save({ word: { joiner: t } }, () => undefined)
  parties.arbiterUp = false
  parties.run(500)
  // The session ends, and what became of the word is not known.
  parties.restart(1)
  parties.run(1_000)
  assert.equal(one.member.leave('disk-slow'), true)
  parties.run(1_000)
  // After a power cut the other one needs this server again (C2).
  parties.restart(1).host.lossy = true
  parties.run(2_000)
  parties.arbiterUp = true
  parties.run(120_000)
  assert.deepEqual(parties.phases(), ['open', 'open'])
})

it('a server that left while a session was formed comes back when another one, restarted, needs it (C2, E8)', () => {
  const parties = new Parties(2, first([a, b]))
  parties.start()
  parties.run(3_000)
  const one = parties.party(0)
  // The arbiter is away, so that nobody is left out for its restart.
  parties.arbiterUp = false
  parties.run(500)
  parties.restart(1)
  for (let ms = 0; ms < 2_000 && one.member.phase === 'open'; ms += 1) parties.run(1)
  assert.notEqual(one.member.phase, 'open')
  assert.equal(one.member.leave('disk-slow'), true)
  parties.restart(1).host.lossy = true
  parties.run(2_000)
  parties.arbiterUp = true
  parties.run(60_000)
  assert.deepEqual(parties.phases(), ['open', 'open'])
})
