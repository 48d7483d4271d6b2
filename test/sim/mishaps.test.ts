/** What goes wrong strangely (mishaps.ts): that each really happens, and what must come of it. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../agent/limits.ts'
import { simulate } from './cluster.ts'
import { type Asked, Directed } from './directed.ts'
import { type MishapKind, Mishaps } from './mishaps.ts'

const MiB = 1024 * 1024

function mishapsOf(cluster: Directed): Mishaps {
  const { world, network, story, servers, witness } = cluster
  const parts = { world, network, story, storage: servers, witness, powerLost: () => undefined }
  return new Mishaps(parts, witness, 'none')
}

function answer(cluster: Directed, what: string, asked: Asked): number | undefined {
  cluster.until(what, () => asked.answer !== undefined)
  assert.equal(asked.answer, null, what)
  return asked.first
}

function write(cluster: Directed, at: number, value: number, offsetBytes = 0): void {
  const client = cluster.attach(at)
  answer(cluster, 'a write', cluster.write(client, offsetBytes, value))
  client.detach()
}

const told = (cluster: Directed, what: string) => cluster.story.lines.filter((line) => line.includes(what)).length

describe('in histories', () => {
  const lines: Record<MishapKind, RegExp> = {
    sleep: /FAULT .* sleeps for/,
    calendar: /FAULT .* calendar of/,
    rot: /FAULT .* a bit rots at/,
    'store-older': /FAULT .* its storage folder comes back as it was/,
    'register-older': /FAULT .* its register comes back as it was/,
    'register-empty': /FAULT .* its register is gone/,
  }
  for (const [kind, line] of Object.entries(lines)) {
    it(`${kind}: it strikes, and promises are kept`, async () => {
      let struck = 0
      // A copy must have been taken, and something have changed since that others remember.
      const short = !kind.endsWith('older')
      for (let seed = 1; seed <= 12; seed += 1) {
        // The keys are all kinds.
        const result = await simulate({ seed, short, story: true, mishap: kind as MishapKind })
        if (result.lines.some((text) => line.test(text))) struck += 1
        assert.deepEqual(
          result.problems,
          [],
          `node test/sim/main.ts --seed ${seed}${short ? ' --short' : ''} --mishap ${kind} --story`,
        )
      }
      assert.ok(struck >= 2, `it struck in ${struck} of 12 histories`)
    })
  }
})

describe('sleep (A1)', () => {
  it("stops monotonic time and timers, not the calendar; and what is read after it is the others' newest", async () => {
    const cluster = await new Directed(2).begin()
    write(cluster, 0, 1)
    const { clock } = cluster.server(0)
    const before = { monotonicMs: clock.monotonicMs(), leaseMs: clock.leaseMs(), wallMs: clock.wallMs() }
    let ticked = false
    clock.after(1_000, () => {
      ticked = true
    })
    const client = cluster.attach(0)
    mishapsOf(cluster).sleep(cluster.server(0), 8_000)
    cluster.until('b goes on', () => cluster.serves(1) && cluster.inSync(1) === 'b', 8_000)
    write(cluster, 1, 2)
    cluster.until('it is awake', () => !clock.sleeps, 10_000)
    assert.ok(clock.monotonicMs() - before.monotonicMs < 100, 'monotonic time stood still')
    assert.ok(clock.leaseMs() - before.leaseMs > 7_900 && clock.wallMs() - before.wallMs > 7_900)
    assert.equal(ticked, false, 'timers, too')
    assert.equal(answer(cluster, 'a read at the one that slept', cluster.read(client, 0)), 2)
    cluster.pass(1_100)
    assert.ok(ticked)
    cluster.until('both are in sync', () => cluster.isWhole())
  })

  it('the calendar set ahead and back again lengthens no lease', async () => {
    const cluster = await new Directed(2).begin()
    const mishaps = mishapsOf(cluster)
    write(cluster, 0, 1)
    for (const byMs of [3_600_000, -3_600_000]) {
      mishaps.setCalendar(cluster.server(0), byMs)
      cluster.pass(3_000)
      assert.ok(cluster.isWhole())
    }
    for (const [from, to] of [
      [0, 1],
      [1, 0],
    ] as const)
      cluster.network.block(cluster.server(from).id, cluster.server(to).id)
    cluster.network.block(cluster.server(0).id, cluster.witness.id)
    cluster.network.block(cluster.witness.id, cluster.server(0).id)
    cluster.until('b goes on', () => cluster.serves(1) && cluster.inSync(1) === 'b')
    write(cluster, 1, 2)
    const read = cluster.read(cluster.attach(0), 0)
    cluster.pass(3_000)
    assert.equal(read.first, undefined, 'a read at the one that is cut off waits')
  })
})

describe('bit rot (R3)', () => {
  it('of data and of checksums is repaired from the other server, and never seen', async () => {
    const cluster = await new Directed(2).begin()
    write(cluster, 0, 7)
    // Checksums are on the disk, and the next run reads them from there.
    cluster.until('no region is marked', () => !cluster.volume(0).store.region(0).marked, 10 * limits.markIdleMs)
    const page = (isData: boolean) => {
      const found = cluster
        .server(0)
        .disk.stored()
        .find(({ block }) => (block !== null) === isData)
      assert.ok(found)
      return found
    }
    page(true).flip(100, 3)
    assert.equal(answer(cluster, 'a read', cluster.read(cluster.attach(0), 0)), 7)
    assert.equal(cluster.volume(0).repairs.repairedBytes, 4096)
    cluster.pass(1_000)
    cluster.until('no region is marked', () => !cluster.volume(0).store.region(0).marked, 10 * limits.markIdleMs)
    // And durably so.
    cluster.pass(1_000)
    const before = told(cluster, 'does not fit its checksum')
    cluster.server(0).kill()
    page(false).flip(0, 3)
    cluster.server(0).start()
    cluster.until('both are in sync', () => cluster.isWhole())
    assert.equal(answer(cluster, 'a read', cluster.read(cluster.attach(0), 0)), 7)
    assert.ok(told(cluster, 'does not fit its checksum') > before, 'it was found')
    assert.ok(cluster.equal(0, 1))
  })

  it('where there is no other copy is an error, no data', async () => {
    const cluster = await new Directed(2).begin()
    write(cluster, 0, 7)
    cluster.server(1).kill()
    cluster.until('a goes on', () => cluster.serves(0) && cluster.inSync(0) === 'a')
    cluster
      .server(0)
      .disk.stored()
      .find(({ block }) => block === 0)
      ?.flip(100, 3)
    const read = cluster.read(cluster.attach(0), 0)
    cluster.until('answered', () => read.answer !== undefined)
    assert.deepEqual([read.answer, read.first], ['io', undefined])
  })

  it('at the one that leads a resync is repaired there by the third, and hinders nobody', async () => {
    const cluster = await new Directed(3).begin()
    write(cluster, 0, 7)
    cluster.server(2).kill()
    cluster.until('two go on', () => cluster.serves(0) && cluster.inSync(0) === 'ab')
    write(cluster, 0, 8)
    cluster
      .server(0)
      .disk.stored()
      .find(({ block }) => block === 0)
      ?.flip(100, 3)
    cluster.server(2).start()
    cluster.until('all are in sync', () => cluster.isWhole())
    assert.ok(cluster.volume(0).repairs.repairedBytes > 0)
    assert.ok(cluster.equal(0, 2))
  })
})

describe('a register that forgot (E11)', () => {
  it('gone, it is an alarm and unreachable: nobody goes on without the other (counterexample 41)', async () => {
    const cluster = await new Directed(2).begin()
    cluster.witness.kill()
    cluster.witness.blank()
    cluster.witness.start()
    cluster.until('people are told', () => told(cluster, 'd register-alarm') > 0)
    assert.ok(cluster.isWhole(), 'with all replicas up nobody needs it (E4)')
    cluster.server(1).kill()
    cluster.pass(20_000)
    assert.equal(cluster.inSync(0), 'ab')
    assert.equal(cluster.serves(0), false)
    assert.equal(cluster.volume(0).member.proposer.busy, true, 'what was asked has no answer, and is asked again')
  })

  it('as it was some time ago, it is one too', async () => {
    const cluster = await new Directed(2).begin()
    const bringBack = cluster.witness.disk.backupRecord(`register-${cluster.volume(0).world.volumeId}`)
    cluster.server(1).kill()
    cluster.until('a goes on', () => cluster.serves(0) && cluster.inSync(0) === 'a')
    cluster.witness.kill()
    bringBack()
    cluster.witness.start()
    cluster.until('people are told', () => told(cluster, 'd register-alarm') > 0)
    cluster.server(1).start()
    cluster.pass(20_000)
    assert.equal(cluster.inSync(0), 'a', 'nothing can be decided')
    assert.ok(cluster.serves(0), 'a lone server needs no arbiter (E5)')
  })
})

describe('answers of the register', () => {
  for (const [what, weather] of Object.entries({
    'lost, half of them': { lost: 0.5, late: 0, lateMs: 0, twice: 0 },
    'later than their asker waits': { lost: 0, late: 0.9, lateMs: 3 * limits.registerAnswerMs, twice: 0 },
    'given twice': { lost: 0, late: 0, lateMs: 4_000, twice: 1 },
  })) {
    it(`${what}: each decision is taken once (E2)`, async () => {
      const cluster = await new Directed(2).begin()
      cluster.network.weather = { ...cluster.network.weather, register: weather }
      let mishaps = 0
      cluster.network.mishap = () => {
        mishaps += 1
      }
      for (let round = 1; round <= 3; round += 1) {
        cluster.server(1).kill()
        cluster.until('a goes on', () => cluster.serves(0) && cluster.inSync(0) === 'a', 120_000)
        write(cluster, 0, round)
        cluster.server(1).start()
        cluster.until('both are in sync', () => cluster.isWhole(), 120_000)
        assert.equal(cluster.volume(0).member.known.id, cluster.volume(1).member.known.id)
      }
      assert.ok(mishaps > 3, `${mishaps} of them`)
      assert.equal(told(cluster, 'split-brain') + told(cluster, 'register-alarm'), 0)
    })
  }
})

it('C12: an older copy does not win over what a power cut has left of flushed data', async () => {
  const cluster = await new Directed(2).begin()
  write(cluster, 1, 1)
  cluster.pass(limits.peerCountMs + 1_000)
  const restore = cluster.server(0).disk.backup()
  write(cluster, 1, 2)
  answer(cluster, 'a flush', cluster.flush(cluster.attach(1)))
  cluster.pass(limits.peerCountMs + 1_000)
  // The region is marked when the power goes.
  write(cluster, 1, 3, 64 * 1024)
  cluster.server(0).kill()
  cluster.server(1).powerCut()
  restore()
  for (const index of [0, 1]) cluster.server(index).start()
  cluster.until('both are in sync', () => cluster.isWhole(), 120_000)
  assert.ok(told(cluster, 'older-store') > 0)
  for (const index of [0, 1]) assert.equal(answer(cluster, 'a read', cluster.read(cluster.attach(index), 0)), 2)
})

it('C12, E1: an older copy from several configurations ago is no split brain, and is resynced', async () => {
  const cluster = await new Directed(3).begin()
  write(cluster, 0, 1)
  const restore = cluster.server(2).disk.backup()
  for (let round = 2; round <= 4; round += 1) {
    cluster.server(2).kill()
    cluster.until('two go on', () => cluster.serves(0) && cluster.inSync(0) === 'ab')
    write(cluster, 0, round)
    cluster.server(2).start()
    cluster.until('all are in sync', () => cluster.isWhole())
  }
  cluster.pass(limits.peerCountMs + 1_000)
  cluster.server(2).kill()
  restore()
  cluster.server(2).start()
  cluster.until('all are in sync', () => cluster.isWhole(), 120_000)
  assert.equal(told(cluster, 'split-brain'), 0)
  assert.ok(told(cluster, 'older-store') > 0)
  assert.equal(answer(cluster, 'a read', cluster.read(cluster.attach(2), 0)), 4)
})

it('five servers: two of them killed, three go on, and five are in sync again', async () => {
  const cluster = await new Directed(5).begin(MiB)
  for (let at = 0; at < 5; at += 1) write(cluster, at, at + 1, at * 4096)
  for (const index of [1, 4]) cluster.server(index).kill()
  cluster.until('three go on', () => cluster.serves(0) && cluster.inSync(0) === 'acd')
  write(cluster, 3, 9)
  for (const index of [1, 4]) cluster.server(index).start()
  cluster.until('all are in sync', () => cluster.isWhole(), 120_000)
  for (let at = 0; at < 5; at += 1) assert.equal(answer(cluster, 'a read', cluster.read(cluster.attach(at), 0)), 9)
})

it('links: one takes longer than another, so that what was sent first comes second', async () => {
  const cluster = new Directed(3).start()
  cluster.network.weather = { ...cluster.network.weather, skewMs: 60 }
  const came = new Map<unknown, string>()
  for (const index of [1, 2]) {
    const { engine, name } = cluster.server(index)
    assert.ok(engine !== null)
    const onAsk = engine.heartbeats.onAsk.bind(engine.heartbeats)
    engine.heartbeats.onAsk = (from, body) => {
      // Those of one round are sent at one instant, to b first.
      const { sentMonotonicMs } = body as { sentMonotonicMs: number } // a heartbeat's
      if (from === cluster.server(0).id) came.set(sentMonotonicMs, (came.get(sentMonotonicMs) ?? '') + name)
      return onAsk(from, body)
    }
  }
  cluster.pass(10_000)
  const rounds = [...came.values()].filter((names) => names.length === 2)
  assert.ok(rounds.length >= 20)
  const turned = rounds.filter((names) => names === 'cb').length
  assert.equal(turned, rounds.length, 'each time: what these links differ by is more than all else')
})
