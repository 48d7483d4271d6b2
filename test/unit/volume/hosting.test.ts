/** The host's half: requests of other servers' clients, started only while their session lasts and their client is there. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { configurationId, type ServerId } from '../../../agent/kit/ids.ts'
import { limits } from '../../../agent/limits.ts'
import type { PassMessage } from '../../../agent/link/messages.ts'
import type { Session } from '../../../agent/membership/session.ts'
import type { BlockFailure } from '../../../agent/volume/block-device.ts'
import { Hosting } from '../../../agent/volume/hosting.ts'
import { type Connection, WriteRequest } from '../../../agent/volume/requests.ts'
import { bytes, idOf, MiB, RecordingLinks, VirtualClock } from '../mirror/world.ts'

const [a, b, c] = [idOf(0), idOf(1), idOf(2)]
const pages = 4096

const sessionOf = (number: number, inSync: readonly ServerId[] = [a]): Session => ({
  number,
  // Only who is in the set is looked at here.
  configuration: { id: configurationId('1'.repeat(32)), inSync } as unknown as Session['configuration'],
  runs: new Map(),
  others: [],
})

interface Here {
  readonly what: string
  readonly connection: Connection
  readonly write: WriteRequest | null
  readonly done: (failure: BlockFailure | null, chunks?: readonly Uint8Array[]) => void
}

/** A host whose own requests are kept as they come, for the test to begin and to end. */
function host() {
  const clock = new VirtualClock()
  clock.pass(100_000)
  const links = new RecordingLinks()
  for (const server of [b, c]) links.peers.set(server, { run: 1, connected: true })
  const told: { to: ServerId; kind: string; body: unknown }[] = []
  const here: Here[] = []
  let purges = 0
  const never = () => assert.fail('the test begins them')
  const requestHost = { mayStart: never, startRead: never, startWrite: never }
  const hosting = new Hosting({
    volumeKey: 7,
    clock,
    links,
    send: (to, kind, body) => told.push({ to, kind, body }),
    sizeBytes: () => MiB,
    replicas: () => [a, b, c],
    read: (connection, offset, length, done) =>
      here.push({
        what: `read ${offset}+${length}`,
        connection,
        write: null,
        done: (failure, chunks = []) => done(failure, chunks),
      }),
    write: (connection, wish, done) => {
      const write = new WriteRequest(
        { ...requestHost, answered: () => undefined, ended: () => undefined },
        connection,
        wish,
        0,
        done,
      )
      const ended = (failure: BlockFailure | null) => done(failure, write.differsAtBytes)
      const what = `${wish.look === undefined ? wish.kind : 'compare'} ${wish.offsetBytes}+${wish.lengthBytes}`
      here.push({ what, connection, write, done: ended })
      return write
    },
    flush: (connection, done) => here.push({ what: 'flush', connection, write: null, done }),
    dropUnwanted: () => {
      purges += 1
    },
  })
  const now = () => Math.floor(clock.monotonicMs())
  let last = 0
  const pass = (from: ServerId, more: Partial<PassMessage> = {}, run = 1): PassMessage => {
    last += 1
    const kind = more.kind ?? 'data'
    const lengthBytes = more.lengthBytes ?? (kind === 'flush' ? 0 : pages)
    const message: PassMessage = {
      type: 'pass',
      volumeKey: 7,
      session: 11,
      request: last,
      connection: 1,
      heardMs: now(),
      kind,
      fua: false,
      offsetBytes: 0,
      lengthBytes,
      chunks: kind === 'data' ? [bytes(lengthBytes, 1)] : [],
      ...more,
    }
    hosting.onPass(from, run, message)
    return message
  }
  const answers = () =>
    links
      .take()
      .flatMap(({ to, message }) => (message.type === 'passed' ? [[to, message.request, message.outcome]] : []))
  /** What the volume does when policing lets it begin. @returns what came of it so far */
  const begin = ({ connection }: Here): string[] => {
    const outcome: string[] = []
    connection.mayStart?.(
      () => outcome.push('start'),
      () => outcome.push('end'),
    )
    return outcome
  }
  const offers = () =>
    told
      .splice(0)
      .flatMap(({ to, kind, body }) => (kind === 'host.offer' ? [[to, (body as { session: number }).session]] : [])) // the body of that kind
  return { clock, links, told, here, hosting, now, pass, answers, begin, offers, purges: () => purges }
}

/** As `host`, serving in session 11; the offers are read. */
function serving(inSync: readonly ServerId[] = [a]) {
  const made = host()
  made.hosting.startSession(sessionOf(11, inSync))
  made.told.length = 0
  return made
}

describe('what a host offers', () => {
  it('every replica that is not in sync is told when it serves, and first of all when it does not', () => {
    const { hosting, offers, links } = host()
    hosting.startSession(sessionOf(11, [a, b]))
    assert.deepEqual(offers(), [[c, 11]])
    hosting.peerRun(b)
    hosting.peerRun(c)
    assert.deepEqual(offers(), [[c, 11]], 'again to whom a connection shows')
    hosting.onFind(b)
    hosting.onFind(c)
    assert.deepEqual(offers(), [[c, 11]], 'and to who asks')
    hosting.onPass(c, 1, { ...anyPass, session: 11 })
    hosting.endSession()
    hosting.endSession()
    assert.deepEqual(offers(), [[c, 0]])
    assert.equal(links.take().length, 1)
    hosting.peerRun(c)
    assert.deepEqual(offers(), [])
  })
})

const anyPass: PassMessage = {
  type: 'pass',
  volumeKey: 7,
  session: 11,
  request: 1,
  connection: 1,
  heardMs: 0,
  kind: 'flush',
  fua: false,
  offsetBytes: 0,
  lengthBytes: 0,
  chunks: [],
}

describe('what is executed here', () => {
  it('everything that was passed, each answered once, as it ended', () => {
    const { pass, here, answers, hosting } = serving()
    const names = [pass(b), pass(b, { kind: 'read' }), pass(c, { kind: 'flush' }), pass(b, { kind: 'discard' })]
    assert.deepEqual(
      here.map(({ what }) => what),
      ['data 0+4096', 'read 0+4096', 'flush', 'discard 0+4096'],
    )
    const [write, read, flush, discard] = here
    write?.done('no-space')
    read?.done(null, [bytes(pages, 5)])
    flush?.done(null)
    discard?.done('unknown-outcome')
    discard?.done(null)
    const [first, second, third, fourth] = names.map(({ request }) => request)
    assert.deepEqual(answers(), [
      [b, first, 'no-space'],
      [b, second, 'done'],
      [c, third, 'done'],
      [b, fourth, 'unknown'],
    ])
    assert.equal(hosting.underWay, 0)
  })

  it('nothing of another session, past the end, from a stranger, twice, or beyond what its origin may pass', () => {
    const { pass, here, answers, hosting } = serving()
    const stale = pass(b, { session: 10 })
    const beyond = pass(b, { offsetBytes: MiB - 512 })
    pass(idOf(5))
    assert.deepEqual(answers(), [
      [b, stale.request, 'dropped'],
      [b, beyond.request, 'io'],
    ])
    const once = pass(b)
    pass(b, { request: once.request })
    assert.deepEqual([here.length, answers().length], [1, 0])
    for (let index = 1; index < limits.passedRequests; index += 1) pass(b, { kind: 'flush' })
    assert.equal(here.length, limits.passedRequests)
    const more = pass(b, { kind: 'flush' })
    assert.deepEqual(answers(), [[b, more.request, 'dropped']])
    hosting.endSession()
    assert.equal(answers().length, limits.passedRequests)
    const after = pass(b)
    assert.deepEqual(answers(), [[b, after.request, 'dropped']])
  })

  it('no more bytes than one volume may execute, and no read into a link that is full (N2)', () => {
    const { pass, here, answers, links } = serving()
    for (let index = 0; index < limits.volumeBytes / limits.writePartBytes; index += 1)
      pass(b, { kind: 'read', lengthBytes: limits.writePartBytes / 4 })
    assert.equal(answers().length, 0)
    const { volumeBytes, writePartBytes } = limits
    const most = volumeBytes / writePartBytes
    for (let index = 0; index < 4 * most; index += 1) pass(b, { kind: 'read', lengthBytes: writePartBytes / 4 })
    assert.equal(here.length, 4 * most)
    assert.equal(answers().length, most)
    links.backlogBytes.set(b, limits.linkBacklogBytes + 1)
    here[0]?.done(null, [bytes(writePartBytes / 4, 1)])
    here[1]?.done('io')
    assert.deepEqual(
      answers().map(([, , outcome]) => outcome),
      ['dropped', 'io'],
    )
  })
})

describe('when a passed request may start (W9)', () => {
  it('at once while its origin was lately heard; later it asks, once for many, and waits for the answer', () => {
    const { clock, pass, here, begin, told, hosting, now } = serving()
    pass(b)
    pass(b)
    pass(b)
    const [one, two, three] = here
    assert.ok(one && two && three)
    assert.deepEqual(begin(one), ['start'])
    clock.pass(limits.staleRequestMs + 2)
    const waits = [begin(two), begin(three)]
    assert.deepEqual(waits, [[], []])
    const asked = now()
    assert.deepEqual(told, [{ to: b, kind: 'host.ask', body: { sentMs: asked } }])
    clock.pass(400)
    hosting.onAlive(c, 1, { heardMs: asked })
    hosting.onAlive(b, 2, { heardMs: asked })
    hosting.onAlive(b, 1, { heardMs: asked + 500 })
    assert.deepEqual(
      waits,
      [[], []],
      "another server's word, another run's, or one that was not asked for proves nothing",
    )
    hosting.onAlive(b, 1, { heardMs: asked })
    assert.deepEqual(waits, [['start'], ['start']])
  })

  it('an answer to a question from before the wait began proves too little: it asks again', () => {
    const { clock, pass, here, begin, told, hosting, now } = serving()
    pass(b)
    pass(b)
    clock.pass(limits.staleRequestMs + 2)
    const [one, two] = here
    assert.ok(one && two)
    const first = begin(one)
    const asked = now()
    clock.pass(limits.staleRequestMs + 2)
    const second = begin(two)
    hosting.onAlive(b, 1, { heardMs: asked })
    assert.deepEqual([first, second], [['start'], []])
    assert.equal(told.length, 2)
    hosting.onAlive(b, 1, { heardMs: now() })
    assert.deepEqual(second, ['start'])
  })

  it('a request that its origin sent long ago is asked for, however soon it begins here', () => {
    const { pass, here, begin, told, now } = serving()
    pass(b, { heardMs: now() - limits.staleRequestMs - 1 })
    const [one] = here
    assert.ok(one)
    assert.deepEqual(begin(one), [])
    assert.equal(told.length, 1)
  })

  it('a sleep of this machine counts: what came before it is asked for, and a word from before it starts nothing (A1)', () => {
    const { clock, pass, here, begin, told, hosting, answers } = serving()
    let sleptMs = 0
    clock.leaseMs = () => clock.monotonicMs() + sleptMs
    const [first, second] = [pass(b), pass(b)]
    const [one, two] = here
    assert.ok(one && two)
    sleptMs += limits.staleRequestMs + 2
    const outcome = begin(one)
    assert.deepEqual([outcome, told.map(({ kind }) => kind)], [[], ['host.ask']])
    sleptMs += limits.leaseMs + 2
    hosting.tick()
    assert.deepEqual([outcome, answers()], [['end'], [[b, first.request, 'dropped']]])
    assert.deepEqual(begin(two), [])
    hosting.onClosed(b, 1, { connection: second.connection })
    assert.deepEqual(answers(), [[b, second.request, 'dropped']])
  })

  it('no answer, no start: after a lease it is dropped, and gives up what it holds', () => {
    const { clock, pass, here, begin, hosting, answers, now } = serving()
    const passed = pass(b, { heardMs: 0 })
    const [one] = here
    assert.ok(one)
    const outcome = begin(one)
    const asked = now()
    clock.pass(limits.leaseMs - 10)
    hosting.tick()
    assert.deepEqual([outcome, answers()], [[], []])
    clock.pass(20)
    hosting.tick()
    assert.deepEqual([outcome, answers()], [['end'], [[b, passed.request, 'dropped']]])
    hosting.onAlive(b, 1, { heardMs: asked })
    assert.deepEqual(outcome, ['end'])
  })

  it('a closed connection: what has not started is dropped, wherever it waits; what has started is answered', () => {
    const { pass, here, begin, hosting, answers, purges } = serving()
    const started = pass(b)
    const queued = pass(b)
    const doubted = pass(b, { heardMs: 0 })
    const read = pass(b, { kind: 'read' })
    const other = pass(b, { connection: 2 })
    const [one, two, three] = here
    assert.ok(one?.write && two && three)
    one.write.number = 5
    const outcome = begin(three)
    hosting.onClosed(b, 2, { connection: 1 })
    hosting.onClosed(c, 1, { connection: 1 })
    assert.equal(answers().length, 0)
    hosting.onClosed(b, 1, { connection: 1 })
    assert.deepEqual(answers(), [
      [b, queued.request, 'dropped'],
      [b, doubted.request, 'dropped'],
      [b, read.request, 'dropped'],
    ])
    assert.deepEqual(outcome, ['end'])
    assert.deepEqual([two.connection.closed, one.connection.closed, purges()], [true, false, 1])
    one.done(null)
    here[4]?.done(null)
    assert.deepEqual(answers(), [
      [b, started.request, 'done'],
      [b, other.request, 'done'],
    ])
  })

  it('the end of the session drops whatever has not started, and says so; a started write keeps its answer', () => {
    const { pass, here, begin, hosting, answers } = serving()
    const started = pass(b)
    const queued = pass(c)
    const flush = pass(b, { kind: 'flush' })
    const doubted = pass(b, { heardMs: 0 })
    const [one, two, , four] = here
    assert.ok(one?.write && two && four)
    one.write.number = 9
    const outcome = begin(four)
    hosting.endSession()
    assert.deepEqual(
      new Set(answers().map(([, request, how]) => `${request} ${how}`)),
      new Set([queued, flush, doubted].map(({ request }) => `${request} dropped`)),
    )
    assert.deepEqual(outcome, ['end'])
    assert.equal(two.connection.closed, true)
    hosting.startSession(sessionOf(12))
    one.done(null)
    assert.deepEqual(answers(), [[b, started.request, 'done']])
  })

  it("a new run of the origin: the old one's requests never start, and nobody is answered", () => {
    const { pass, here, hosting, answers, links, begin } = serving()
    pass(b)
    pass(b, { heardMs: 0 })
    const [one, two] = here
    assert.ok(one?.write && two)
    one.write.number = 3
    const outcome = begin(two)
    links.peers.set(b, { run: 2, connected: true })
    hosting.peerRun(b)
    assert.deepEqual([outcome, two.connection.closed], [['end'], true])
    one.done(null)
    assert.deepEqual(answers(), [])
    const again = pass(b, { request: 1 }, 2)
    here[2]?.done(null)
    assert.deepEqual(answers(), [[b, again.request, 'done']], 'its own numbers begin anew')
  })
})
