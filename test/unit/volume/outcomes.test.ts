/** W8: what became of writes whose server was left out: told only by who has seen every forming since. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { configurationId, type ServerId } from '../../../agent/kit/ids.ts'
import { limits } from '../../../agent/limits.ts'
import type { Tell, WriteName } from '../../../agent/membership/messages.ts'
import type { Session } from '../../../agent/membership/session.ts'
import type { BlockFailure } from '../../../agent/volume/block-device.ts'
import type { HostBody } from '../../../agent/volume/host-messages.ts'
import { OpenWrites, Outcomes } from '../../../agent/volume/outcomes.ts'
import { WriteRequest } from '../../../agent/volume/requests.ts'
import { idOf } from '../mirror/world.ts'

const [a, b, c] = [idOf(0), idOf(1), idOf(2)]

const sessionOf = (number: number, runs: readonly [ServerId, number][]): Session => ({
  number,
  // Of the configuration nothing is looked at here.
  configuration: { id: configurationId('1'.repeat(32)) } as unknown as Session['configuration'],
  runs: new Map(runs),
  others: [],
})

const tellOf = (...names: [ServerId, number, number][]): Tell => doubting([], ...names)

const doubting = (doubts: readonly Tell['doubts'][number][], ...names: [ServerId, number, number][]): Tell => ({
  openedId: null,
  doubts: [...doubts],
  names: names.map(
    ([origin, run, number]): WriteName => ({ origin, run, number, time: 1, offsetBytes: 0, lengthBytes: 512 }),
  ),
  time: 1,
})

const none = () => 0

/** `a`, which followed in session 1 with `b` and `c` and then led session 2 without `b`. */
function leader(...told: [ServerId, Tell][]) {
  const outcomes = new Outcomes()
  outcomes.forget()
  outcomes.recorded(
    sessionOf(1, [
      [a, 1],
      [b, 4],
      [c, 1],
    ]),
    none,
  )
  outcomes.settling(2, new Map(told))
  outcomes.recorded(
    sessionOf(2, [
      [a, 1],
      [c, 1],
    ]),
    none,
  )
  return outcomes
}

describe('the leader knows what became of a write', () => {
  it('told by any member: it is applied; told by none: it is barred', () => {
    const outcomes = leader([a, tellOf([b, 4, 10])], [c, tellOf([b, 4, 11], [c, 1, 12])])
    assert.deepEqual(
      [10, 11, 12].map((number) => outcomes.of(b, 4, 1, number)),
      ['applied', 'applied', 'barred'],
    )
  })

  it('nothing of another run, a session that it has not seen, or a server that it does not know', () => {
    const outcomes = leader([a, tellOf([b, 4, 10])], [c, tellOf([b, 3, 11])])
    assert.equal(outcomes.of(b, 3, 1, 11), 'unknown')
    assert.equal(outcomes.of(b, 5, 1, 10), 'unknown')
    assert.equal(outcomes.of(b, 4, 7, 10), 'unknown')
    assert.equal(outcomes.of(idOf(5), 4, 1, 10), 'unknown')
    assert.equal(new Outcomes().of(b, 4, 1, 10), 'unknown')
  })

  it('nothing once another server has led a forming, finished or not', () => {
    const outcomes = leader([a, tellOf([b, 4, 10])], [c, tellOf()])
    outcomes.forget()
    assert.equal(outcomes.of(b, 4, 1, 10), 'unknown')
    outcomes.recorded(
      sessionOf(3, [
        [a, 1],
        [c, 1],
      ]),
      none,
    )
    assert.equal(outcomes.of(b, 4, 1, 10), 'unknown')
    assert.equal(outcomes.of(c, 1, 3, 10), 'barred')
  })

  it('told in an attempt that became no session: perhaps half copied, so unknown, but for what was told again', () => {
    const outcomes = new Outcomes()
    outcomes.recorded(
      sessionOf(1, [
        [a, 1],
        [b, 4],
        [c, 1],
      ]),
      none,
    )
    outcomes.settling(
      2,
      new Map([
        [a, tellOf([b, 4, 10])],
        [c, tellOf([b, 4, 11])],
      ]),
    )
    outcomes.settling(3, new Map([[a, tellOf([b, 4, 10])]]))
    outcomes.recorded(sessionOf(3, [[a, 1]]), none)
    assert.deepEqual(
      [10, 11, 12].map((number) => outcomes.of(b, 4, 1, number)),
      ['applied', 'unknown', 'barred'],
    )
  })

  it('told only by a member that was in doubt there: what it had applied was overwritten (C2), so it is not applied', () => {
    const there = [{ first: 0, last: 3, grade: 'lossy' }] as const
    const elsewhere = [{ first: 1, last: 3, grade: 'torn' }] as const
    const outcomes = leader(
      [a, doubting(elsewhere, [b, 4, 10])],
      [c, doubting(there, [b, 4, 10], [b, 4, 11])],
      [idOf(3), tellOf([b, 4, 12])],
    )
    assert.deepEqual(
      [10, 11, 12, 13].map((number) => outcomes.of(b, 4, 1, number)),
      ['applied', 'unknown', 'applied', 'barred'],
    )
  })

  it('nothing where all members were in doubt: the one that wins may have applied what it does not tell', () => {
    const torn = [{ first: 2, last: 5, grade: 'torn' }] as const
    const lossy = [{ first: 5, last: 9, grade: 'lossy' }] as const
    const outcomes = leader([a, doubting(lossy, [b, 4, 10])], [c, doubting(torn)])
    assert.deepEqual([outcomes.of(b, 4, 1, 10), outcomes.of(b, 4, 1, 11)], ['unknown', 'unknown'])
  })

  it('through later sessions, as far back as the limit; what was confirmed is forgotten, of another run all', () => {
    const outcomes = leader([a, tellOf([b, 4, 10], [b, 4, 20])], [c, tellOf()])
    const more = (number: number, run = 4, lowWater = 0) => {
      outcomes.settling(number, new Map([[a, tellOf()]]))
      outcomes.recorded(
        sessionOf(number, [
          [a, 1],
          [b, run],
        ]),
        () => lowWater,
      )
    }
    for (let number = 3; number < 2 + limits.outcomeSessions; number += 1) more(number, 4, 15)
    assert.deepEqual([outcomes.of(b, 4, 1, 20), outcomes.of(b, 4, 1, 10)], ['applied', 'unknown'])
    more(99)
    assert.equal(outcomes.of(b, 4, 1, 20), 'unknown')
    assert.equal(outcomes.of(b, 4, 3, 20), 'applied')
    more(100, 5)
    assert.equal(outcomes.of(b, 4, 3, 20), 'unknown')
    assert.equal(outcomes.of(b, 5, 100, 20), 'barred')
  })
})

function asker() {
  const asked: { to: ServerId; body: HostBody<'outcome.ask'> }[] = []
  const again: number[] = []
  const answers: [number, BlockFailure | null][] = []
  const state = { leader: a, offer: { run: 1, session: 2 } as { run: number; session: number } | null }
  const open = new OpenWrites({
    send: (to, kind, body) => {
      assert.equal(kind, 'outcome.ask')
      // The kind says which body it is.
      asked.push({ to, body: body as HostBody<'outcome.ask'> })
    },
    leader: () => state.leader,
    offerOf: () => state.offer,
    again: (write) => again.push(write.number),
  })
  const never = () => assert.fail('nothing begins here')
  const host = {
    mayStart: never,
    startRead: never,
    startWrite: never,
    answered: () => undefined,
    ended: () => undefined,
  }
  const add = (number: number, startedIn = 1) => {
    const connection = { closed: false }
    const wish = { kind: 'zero', offsetBytes: 0, lengthBytes: 512, chunks: [], fua: false } as const
    const write = new WriteRequest(host, connection, wish, 0, (failure) => answers.push([number, failure]))
    write.number = number
    write.startedIn = startedIn
    open.add(write)
    return connection
  }
  return { asked, again, answers, state, open, add }
}

describe('a server that fell out asks', () => {
  it('the leader, once in each session that it serves in, and does as it is told', () => {
    const { open, add, asked, answers, again, state } = asker()
    open.ask()
    assert.equal(asked.length, 0, 'nothing is open')
    for (const number of [5, 6, 7, 8]) add(number)
    state.offer = null
    open.ask()
    assert.equal(asked.length, 0, 'it does not serve')
    state.offer = { run: 1, session: 2 }
    open.ask()
    open.ask()
    assert.deepEqual(
      asked.map(({ to, body }) => [to, body.writes.map(({ number, session }) => [number, session])]),
      [[a, [5, 6, 7, 8].map((number) => [number, 1])]],
    )
    const writes = [
      { number: 5, outcome: 'applied' },
      { number: 6, outcome: 'barred' },
      { number: 7, outcome: 'unknown' },
      { number: 99, outcome: 'applied' },
    ] as const
    open.onAnswer(c, 1, { writes: [...writes] })
    open.onAnswer(a, 2, { writes: [...writes] })
    assert.equal(open.size, 4, 'it was not asked')
    open.onAnswer(a, 1, { writes: [...writes] })
    open.onAnswer(a, 1, { writes: [...writes] })
    assert.deepEqual(
      [answers, again],
      [
        [
          [5, null],
          [7, 'unknown-outcome'],
        ],
        [6],
      ],
    )
    state.offer = { run: 1, session: 3 }
    open.ask()
    assert.deepEqual(asked[1]?.body.writes, [{ number: 8, session: 1 }])
    open.giveUp()
    assert.deepEqual(answers.at(-1), [8, 'unknown-outcome'])
    assert.equal(open.size, 0)
  })

  it('for nobody whose connection is closed', () => {
    const { open, add, asked, answers, again } = asker()
    const gone = add(5)
    const late = add(6)
    gone.closed = true
    open.dropUnwanted()
    open.ask()
    late.closed = true
    open.onAnswer(a, 1, {
      writes: [
        { number: 5, outcome: 'barred' },
        { number: 6, outcome: 'barred' },
      ],
    })
    assert.deepEqual([asked[0]?.body.writes.length, answers, again], [1, [], []])
  })
})
