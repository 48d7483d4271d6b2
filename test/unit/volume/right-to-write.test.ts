/** W10: writes hold the reservations' page, one standing use for all of a server's; changes of it wait for them, and they for it. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import type { Use } from '../../../agent/policing/use.ts'
import { WriteRequest } from '../../../agent/volume/requests.ts'
import { everybody, type ReservationCheck, RightToWrite } from '../../../agent/volume/right-to-write.ts'
import { seeded } from '../../kit/random.ts'
import { Cluster, type Station, TestUse } from '../policing/world.ts'

const pageBlock = (limits.hiddenStartBytes + limits.reservationsPage * limits.pageBytes) / limits.blockBytes
const page = [pageBlock * limits.blockBytes, limits.pageBytes] as const

/** Writes of one server: begun when they hold the page and their range, in flight until they end. */
class Writer {
  readonly station: Station
  readonly right: RightToWrite
  readonly inFlight = new Set<WriteRequest>()
  readonly order: number[] = []
  covered = 0
  readonly #connection = { closed: false }

  constructor(station: Station, check: ReservationCheck = everybody) {
    this.station = station
    const { policing } = station
    const enter = (request: WriteRequest) => {
      this.covered += 1
      policing.acquire(request)
    }
    this.right = new RightToWrite({ policing, check, enter })
  }

  write(block: number): WriteRequest {
    const never = () => assert.fail('not in this test')
    const host = {
      mayStart: (_request: Use, start: () => void) => start(),
      startRead: never,
      answered: () => undefined,
      ended: never,
      startWrite: (request: WriteRequest) => this.#start(request),
    }
    const wish = { kind: 'data', offsetBytes: block * 4096, lengthBytes: 4096, chunks: [], fua: false } as const
    const request = new WriteRequest(host, this.#connection, wish, 0, never)
    this.right.ask(request)
    return request
  }

  /** As Writes.start. */
  #start(request: WriteRequest): void {
    if (!this.right.covers(request)) {
      this.#release(request)
      return this.right.ask(request)
    }
    this.inFlight.add(request)
    this.order.push(request.firstBlock)
  }

  #release(request: WriteRequest): void {
    this.station.policing.release(request)
    this.right.leave(request)
  }

  end(request: WriteRequest): void {
    this.inFlight.delete(request)
    this.#release(request)
  }
}

function pair() {
  const cluster = new Cluster(2).startOpen()
  const [one, two] = cluster.stations
  assert.ok(one && two)
  const [a, b] = [new Writer(one), new Writer(two)]
  const run = () => {
    for (let step = 0; cluster.deliver(step); step += 1) assert.ok(step < 1_000, 'messages without end')
  }
  /** A change of the page: begun when it holds it alone. */
  const change = (station: Station): TestUse => {
    const use = new TestUse('exclusive', ...page, () => station.active.add(use))
    station.policing.acquire(use)
    return use
  }
  return { cluster, one, two, a, b, run, change }
}

describe('the right to write (W10)', () => {
  it('costs one use and at most one question for all writes of a server, while nobody changes the page', () => {
    const { a, b, one, run } = pair()
    const first = a.write(1)
    run()
    assert.deepEqual([...a.inFlight], [first])
    a.end(first)
    run()
    const before = { ...one.policing.counters }
    for (let block = 0; block < 10_000; block += 1) a.end(a.write(block % 50))
    const { asksSent, begun } = one.policing.counters
    assert.deepEqual([asksSent - before.asksSent, begun - before.begun], [0, 10_000], 'a use for the data of each only')
    const other = b.write(900_000)
    run()
    assert.equal(b.inFlight.has(other), true, 'both servers hold it at once')
    b.end(other)
  })

  it('a change at another server waits for writes in flight here; later writes wait for it', () => {
    const { a, two, run, change } = pair()
    const before = a.write(1)
    run()
    const changing = change(two)
    run()
    assert.equal(changing.phase, 'asking', 'a write is in flight')
    const after = a.write(7)
    run()
    assert.equal(a.inFlight.has(after), false, 'P1: asked back, nothing younger begins')
    a.end(before)
    run()
    assert.deepEqual([changing.phase, a.inFlight.size], ['active', 0])
    two.release(changing)
    run()
    assert.deepEqual([...a.inFlight], [after])
    a.end(after)
  })

  it('so does one at the same server, and one that comes while no write is in flight has it at once', () => {
    const { a, one, run, change } = pair()
    const before = a.write(1)
    run()
    const changing = change(one)
    const after = a.write(7)
    run()
    assert.deepEqual([changing.phase, a.inFlight.size], ['behind', 1])
    a.end(before)
    run()
    assert.deepEqual([changing.phase, a.inFlight.size], ['active', 0])
    one.release(changing)
    run()
    assert.deepEqual([...a.inFlight], [after])
    a.end(after)
    const idle = change(one)
    run()
    assert.equal(idle.phase, 'active', 'the standing use left when it was wanted')
    one.release(idle)
  })

  it('the page comes before the range: who waits for it holds no range (counterexample 31)', () => {
    const { a, b, one, two, run, change } = pair()
    const changing = change(two)
    run()
    const waits = a.write(1)
    run()
    assert.equal(waits.phase, 'idle', 'not even queued for its range')
    const read = one.use('exclusive', 1)
    run()
    assert.equal(read.phase, 'active', 'the range is free for who need not hold the page')
    one.release(read)
    two.release(changing)
    run()
    assert.equal(a.inFlight.has(waits), true)
    a.end(waits)
    assert.equal(b.covered, 0)
  })

  it('another session: what was covered in the old one is covered anew before it begins (P3)', () => {
    const { cluster, a, b, two, run, change } = pair()
    const first = b.write(1)
    run()
    const waits = a.write(1)
    run()
    assert.equal(waits.phase, 'asking', 'covered, waiting for its range')
    cluster.end()
    cluster.start()
    const changing = change(two)
    for (const station of cluster.stations) cluster.open(station)
    b.end(first)
    run()
    assert.equal(changing.phase, 'active')
    assert.equal(a.inFlight.size, 0, 'it would be a write under the old reservation')
    two.release(changing)
    run()
    assert.deepEqual([...a.inFlight], [waits])
    a.end(waits)
    const after = change(two)
    run()
    assert.equal(after.phase, 'active', 'nothing of the old session stays behind')
  })

  it('the check is renewed whenever the page is newly held, and nothing is covered before it has been', () => {
    const renewals: (() => void)[] = []
    const { one, two, run, change } = pair()
    const a = new Writer(one, { renew: (done) => renewals.push(done), permits: () => true })
    const first = a.write(1)
    const second = a.write(2)
    run()
    assert.deepEqual([renewals.length, a.covered], [1, 0])
    renewals[0]?.()
    run()
    assert.deepEqual([renewals.length, a.covered, a.order], [1, 2, [1, 2]])
    for (const request of [first, second]) a.end(request)
    a.end(a.write(3))
    assert.equal(renewals.length, 1)
    two.release(change(two))
    const changing = change(two)
    run()
    two.release(changing)
    a.write(4)
    run()
    assert.deepEqual([renewals.length, a.covered], [2, 3], 'another server may have changed it')
    // The session ends while the page is read: what was seen counts for nothing.
    one.policing.endSession()
    renewals[1]?.()
    one.policing.startSession([])
    one.policing.openSession()
    assert.deepEqual([renewals.length, a.covered], [3, 3])
    renewals[2]?.()
    assert.deepEqual([a.covered, a.inFlight.size], [4, 1])
  })
})

describe('writes and changes of the page at random, sessions ending between', () => {
  for (const servers of [1, 2, 3]) {
    it(`${servers} servers: never both in flight, and all of them end`, () => {
      for (let seed = 1; seed <= 150; seed += 1) randomRun(servers, seed)
    })
  }
})

function randomRun(servers: number, seed: number): void {
  const random = seeded(seed)
  const pick = (count: number) => Math.floor(random() * count)
  const cluster = new Cluster(servers).startOpen()
  const writers = cluster.stations.map((station) => new Writer(station))
  const changes = new Map<TestUse, Station>()
  let [asked, changed] = [0, 0]
  const look = () => {
    const active = [...changes].filter(([use, station]) => station.policing.isHeld(use))
    const flying = writers.flatMap(({ inFlight }) => [...inFlight])
    assert.ok(active.length < 2, `seed ${seed}: two changes at once`)
    assert.ok(active.length === 0 || flying.length === 0, `seed ${seed}: a write in flight while the page is changed`)
  }
  const endOne = () => {
    const writer = writers.find(({ inFlight }) => inFlight.size > 0)
    const [request] = writer?.inFlight ?? []
    if (writer !== undefined && request !== undefined) return writer.end(request)
    for (const [use, station] of changes) {
      if (!station.policing.isHeld(use)) continue
      changes.delete(use)
      changed += 1
      return station.policing.release(use)
    }
  }
  const acts = [
    () => cluster.deliver(pick(100)),
    () => cluster.deliver(pick(100)),
    () => cluster.deliver(pick(100)),
    endOne,
    () => {
      asked += 1
      writers[pick(servers)]?.write(pick(3))
    },
    () => {
      const station = cluster.stations[pick(servers)]
      if (station === undefined || changes.size > 3) return
      const use = new TestUse('exclusive', ...page)
      changes.set(use, station)
      station.policing.acquire(use)
    },
    () => {
      if (pick(15) === 0) endSession(cluster, writers, changes)
    },
  ]
  for (let step = 0; step < 300; step += 1) {
    acts[pick(acts.length)]?.()
    look()
  }
  for (let step = 0; step < 20_000; step += 1) {
    if (!cluster.deliver(step)) endOne()
    look()
    const open = writers.some(({ inFlight }) => inFlight.size > 0) || changes.size > 0
    if (!open && !cluster.deliver(step)) break
  }
  const begun = writers.reduce((sum, { order }) => sum + order.length, 0)
  assert.ok(
    begun >= asked && changes.size === 0,
    `seed ${seed}: ${begun} of ${asked} writes, ${changes.size} changes left`,
  )
  assert.ok(changed >= 0)
}

/** What is in flight is settled, and has ended when the next session opens; what waits goes on waiting. */
function endSession(cluster: Cluster, writers: readonly Writer[], changes: Map<TestUse, Station>): void {
  const active = [...changes].filter(([use, station]) => station.policing.isHeld(use))
  cluster.end()
  cluster.start()
  for (const writer of writers) for (const request of [...writer.inFlight]) writer.end(request)
  for (const [use, station] of active) {
    changes.delete(use)
    station.policing.release(use)
  }
  for (const station of cluster.stations) cluster.open(station)
}
