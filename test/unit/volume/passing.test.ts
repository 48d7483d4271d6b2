/** The origin's half of hosts: what is passed where, what becomes of it when a host goes, and what nobody may start. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { ServerId } from '../../../agent/kit/ids.ts'
import { limits } from '../../../agent/limits.ts'
import type { PassedMessage, PassMessage, PassOutcome } from '../../../agent/link/messages.ts'
import type { BlockFailure } from '../../../agent/volume/block-device.ts'
import { Passing, type PassWish } from '../../../agent/volume/passing.ts'
import type { Connection } from '../../../agent/volume/requests.ts'
import { bytes, idOf, MiB, RecordingLinks, VirtualClock } from '../mirror/world.ts'

const [a, b] = [idOf(0), idOf(1)]
const pages = 4096

function origin() {
  const clock = new VirtualClock()
  const links = new RecordingLinks()
  const told: { to: ServerId; kind: string; body: unknown }[] = []
  const servedHere: PassWish[] = []
  const answers: [string, BlockFailure | null][] = []
  const state = { inSync: [a, b], mostBytes: limits.volumeBytes as number, mayPass: true }
  const passing = new Passing({
    volumeKey: 7,
    clock,
    links,
    send: (to, kind, body) => told.push({ to, kind, body }),
    sizeBytes: () => 64 * MiB,
    others: () => [a, b],
    inSync: () => state.inSync,
    mayPass: () => state.mayPass,
    mostBytes: () => state.mostBytes,
    serveHere: (wish) => servedHere.push(wish),
    answered: () => undefined,
  })
  const connect = (server: ServerId, run = 1) => {
    links.peers.set(server, { run, connected: true })
    passing.peerRun(server)
  }
  const offer = (server: ServerId, session: number, run = 1, sizeBytes = 64 * MiB) =>
    passing.onOffer(server, run, { session, sizeBytes, sentMs: 5_000 })
  const submit = (name: string, wish: Partial<PassWish> = {}, connection: Connection = { closed: false }) => {
    const kind = wish.kind ?? 'data'
    const lengthBytes = wish.lengthBytes ?? (kind === 'flush' ? 0 : pages)
    const chunks = kind === 'data' ? [bytes(lengthBytes, 1)] : []
    const arrivedMs = clock.monotonicMs()
    const done = (failure: BlockFailure | null) => answers.push([name, failure])
    passing.submit({
      connection,
      kind,
      offsetBytes: 0,
      lengthBytes,
      chunks,
      fua: false,
      arrivedMs,
      ownsChunks: true,
      done,
      ...wish,
    })
    return connection
  }
  const sent = () => links.take().flatMap(({ to, message }) => (message.type === 'pass' ? [{ to, ...message }] : []))
  const answer = (
    from: ServerId,
    passed: PassMessage,
    outcome: PassOutcome,
    more: Partial<PassedMessage> = {},
    run = 1,
  ) =>
    passing.onPassed(from, run, {
      type: 'passed',
      volumeKey: 7,
      session: passed.session,
      request: passed.request,
      sentMs: 6_000,
      outcome,
      lengthBytes: 0,
      chunks: [],
      ...more,
    })
  return { clock, links, told, servedHere, answers, state, passing, connect, offer, submit, sent, answer }
}

/** As `origin`, passing to `a`, with `b` offering too. */
function passingOrigin() {
  const made = origin()
  made.passing.begin()
  made.told.length = 0
  for (const server of [a, b]) {
    made.connect(server)
    made.offer(server, 11)
  }
  return made
}

const first = <T>(list: readonly T[]): T => list[0] ?? assert.fail('nothing was passed')

describe('requests passed to a host', () => {
  it('every other server with a replica is asked, once each time that this one falls out', () => {
    const { passing, told } = origin()
    passing.begin()
    passing.begin()
    passing.end()
    passing.begin()
    assert.deepEqual(
      told.map(({ to, kind }) => [to, kind]),
      [a, b, a, b].map((server) => [server, 'host.find']),
    )
  })

  it('wait until a server offers, is connected in that run, and knows the whole size; the lowest id is the host', () => {
    const { passing, connect, offer, submit, sent, links } = origin()
    passing.begin()
    submit('one')
    offer(b, 11)
    assert.equal(sent().length, 0, 'not connected')
    connect(b, 2)
    assert.equal(sent().length, 0, 'another run')
    offer(b, 12, 2, MiB)
    assert.equal(sent().length, 0, 'it does not know of the growth')
    offer(b, 13, 2)
    assert.deepEqual(
      sent().map(({ to, session, kind, heardMs }) => [to, session, kind, heardMs]),
      [[b, 13, 'data', 5_000]],
    )
    connect(a)
    offer(a, 13)
    submit('two')
    assert.equal(first(sent()).to, a, 'it leads')
    links.peers.set(a, { run: 1, connected: false })
    submit('three')
    assert.equal(first(sent()).to, b)
  })

  it('the lower id is preferred, and a server whose history is another one passes nothing', () => {
    const { submit, sent, state } = passingOrigin()
    submit('one')
    assert.equal(first(sent()).to, a)
    state.mayPass = false
    submit('two')
    assert.equal(sent().length, 0)
  })

  it('are answered as the host says, once', () => {
    const { submit, sent, answer, answers } = passingOrigin()
    submit('write')
    submit('full')
    submit('broken')
    submit('read', { kind: 'read' })
    submit('flush', { kind: 'flush' })
    const [write, full, broken, read, flush] = sent()
    assert.ok(write && full && broken && read && flush)
    answer(a, write, 'done')
    answer(a, write, 'io')
    answer(a, full, 'no-space')
    answer(a, broken, 'io')
    answer(b, read, 'done', { lengthBytes: pages, chunks: [bytes(pages, 3)] })
    answer(a, read, 'done', { session: 12, lengthBytes: pages, chunks: [bytes(pages, 3)] })
    answer(a, read, 'done', { lengthBytes: pages, chunks: [bytes(pages, 3)] }, 2)
    assert.equal(answers.length, 3, 'answers of another server, session or run are none')
    answer(a, read, 'done', { lengthBytes: pages, chunks: [bytes(pages, 3)] })
    answer(a, flush, 'done')
    assert.deepEqual(answers, [
      ['write', null],
      ['full', 'no-space'],
      ['broken', 'io'],
      ['read', null],
      ['flush', null],
    ])
  })

  it('a read that is answered with another length is an I/O error, never bad data', () => {
    const { submit, sent, answer, answers } = passingOrigin()
    submit('read', { kind: 'read' })
    answer(a, first(sent()), 'done', { lengthBytes: 3, chunks: [bytes(3, 3)] })
    assert.deepEqual(answers, [['read', 'io']])
  })

  it('what a host dropped is passed again when it offers its next session, to it or another one, or is served here', () => {
    const { submit, sent, answer, answers, offer, passing, servedHere } = passingOrigin()
    submit('write')
    const one = first(sent())
    offer(a, 0)
    offer(b, 0)
    answer(a, one, 'dropped')
    assert.deepEqual([sent().length, answers.length], [0, 0])
    offer(b, 12)
    const two = first(sent())
    assert.deepEqual([two.to, two.session], [b, 12])
    assert.notEqual(two.request, one.request)
    answer(a, one, 'done')
    assert.equal(answers.length, 0, 'an answer to the old number is none')
    passing.end()
    assert.equal(servedHere.length, 0, 'its host may have started it')
    answer(b, two, 'dropped')
    assert.equal(servedHere.length, 1)
  })

  it('what waits is served here as soon as this server is in sync', () => {
    const { passing, submit, servedHere, offer, sent } = passingOrigin()
    offer(a, 0)
    offer(b, 0)
    submit('one')
    submit('two', { kind: 'flush' })
    passing.end()
    assert.deepEqual(
      servedHere.map(({ kind }) => kind),
      ['data', 'flush'],
    )
    offer(a, 13)
    assert.equal(sent().length, 0)
  })
})

describe('a host that is lost (W8)', () => {
  it('as a new run: writes have an unknown outcome, reads and flushes are passed again', () => {
    const { submit, sent, answers, connect, offer, told } = passingOrigin()
    submit('write')
    submit('zero', { kind: 'zero' })
    submit('read', { kind: 'read' })
    submit('flush', { kind: 'flush' })
    assert.equal(sent().length, 4)
    offer(b, 0)
    connect(a, 2)
    assert.deepEqual(answers, [
      ['write', 'unknown-outcome'],
      ['zero', 'unknown-outcome'],
    ])
    assert.deepEqual(
      told.map(({ kind, to }) => [kind, to]),
      [
        ['host.closed', a],
        ['host.closed', a],
      ],
      'nothing of it may start there any more (W9)',
    )
    offer(b, 12)
    assert.deepEqual(
      sent().map(({ kind, to }) => [kind, to]),
      [
        ['read', b],
        ['flush', b],
      ],
    )
  })

  it('out of reach, in the set: reads go on at once elsewhere, writes wait for it, but not for ever', () => {
    const { clock, links, passing, submit, sent, answers } = passingOrigin()
    submit('write')
    submit('read', { kind: 'read' })
    sent()
    passing.tick()
    links.peers.set(a, { run: 1, connected: false })
    passing.tick()
    clock.pass(200)
    passing.tick()
    assert.deepEqual(
      sent().map(({ kind, to }) => [kind, to]),
      [['read', b]],
    )
    clock.pass(limits.passedAwayMs - 500)
    passing.tick()
    assert.deepEqual(answers, [])
    clock.pass(1_000)
    passing.tick()
    assert.deepEqual(answers, [['write', 'unknown-outcome']])
  })

  it('out of reach with no other host: everything waits, as for a server that may come back (E5)', () => {
    const { clock, links, passing, submit, sent, answers, offer } = passingOrigin()
    offer(b, 0)
    submit('write')
    submit('read', { kind: 'read' })
    sent()
    links.peers.set(a, { run: 1, connected: false })
    for (let round = 0; round < 100; round += 1) {
      passing.tick()
      clock.pass(1_000)
    }
    assert.deepEqual([answers.length, sent().length], [0, 0])
  })

  it('out of reach and out of the set: its writes are given up at once', () => {
    const { clock, links, passing, submit, state, answers } = passingOrigin()
    submit('write')
    links.peers.set(a, { run: 1, connected: false })
    state.inSync = [b]
    passing.tick()
    clock.pass(200)
    passing.tick()
    assert.deepEqual(answers, [['write', 'unknown-outcome']])
  })
})

describe('clients that go (W9)', () => {
  it('every host that has requests of the connection is told, once; what waits is forgotten', () => {
    const { submit, sent, links, passing, told, answer, answers, offer } = passingOrigin()
    const connection = submit('one')
    const one = first(sent())
    links.peers.set(a, { run: 1, connected: false })
    submit('two', {}, connection)
    offer(b, 0)
    submit('three', {}, connection)
    connection.closed = true
    passing.closed(connection)
    passing.closed(connection)
    assert.deepEqual(
      told.map(({ to, kind, body }) => [to, kind, body]),
      [
        [a, 'host.closed', { connection: one.connection }],
        [b, 'host.closed', { connection: one.connection }],
      ],
    )
    offer(b, 12)
    answer(a, one, 'done')
    assert.equal(sent().length, 1, 'two was passed to b before')
    assert.deepEqual(answers, [], 'nobody is there to hear')
  })

  it('a connection never has the number of another one', () => {
    const { submit, sent, passing } = passingOrigin()
    const connection = submit('one')
    connection.closed = true
    passing.closed(connection)
    submit('two')
    submit('three')
    assert.equal(new Set(sent().map((pass) => pass.connection)).size, 3)
  })

  it('what waited longer than 250 ms is passed only after a turn of the event loop showed its connection open', () => {
    const { clock, submit, sent, offer } = passingOrigin()
    offer(a, 0)
    offer(b, 0)
    const gone = submit('gone')
    submit('stays')
    clock.pass(limits.staleRequestMs + 1)
    offer(a, 12)
    assert.equal(sent().length, 0)
    gone.closed = true
    clock.pass(1)
    assert.equal(sent().length, 1)
  })

  it('a host that asks is answered after such a turn, behind what it was told before, in that run only', () => {
    const { clock, passing, told, connect } = passingOrigin()
    passing.onAsk(a, 1, { sentMs: 77 })
    passing.onAsk(b, 1, { sentMs: 78 })
    assert.equal(told.length, 0)
    connect(b, 2)
    clock.pass(1)
    assert.deepEqual(told, [{ to: a, kind: 'host.alive', body: { heardMs: 77 } }])
  })
})

describe('how much is passed at once (P7, N2)', () => {
  it('no more requests and bytes than the limits; the rest follows in order', () => {
    const { submit, sent, answer, state } = passingOrigin()
    state.mostBytes = 4 * pages
    for (let index = 0; index < 6; index += 1) submit(`${index}`)
    const under = sent()
    assert.equal(under.length, 4)
    answer(a, first(under), 'done')
    assert.equal(sent().length, 1)
    for (let index = 0; index < 2 * limits.passedRequests; index += 1) submit(`flush ${index}`, { kind: 'flush' })
    for (const passed of under.slice(1)) answer(a, passed, 'done')
    assert.equal(sent().length, limits.passedRequests - 1)
  })

  it('nothing while the link has a backlog; it goes on when the link has got on', () => {
    const { links, submit, sent, passing } = passingOrigin()
    links.backlogBytes.set(a, limits.linkBacklogBytes + 1)
    submit('one')
    assert.equal(sent().length, 0)
    links.backlogBytes.set(a, 0)
    passing.tick()
    assert.equal(sent().length, 1)
  })
})
