/**
 * Aim: after a kill nothing acknowledged is lost; after a power cut nothing flushed is, every doubt lies in a marked
 * region of the right grade, sectors are old or new, and nobody ever sees another extent's bytes.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import type { ReplicaStore, Store } from '../../../agent/store/replica.ts'
import { calls, create, only } from './suite.ts'
import { quiet, seeded, VirtualClock } from './world.ts'

const sizeBytes = 17 * 1024 * 1024
const sector = 512
const sectors = sizeBytes / sector
const regionSectors = (16 * 1024 * 1024) / sector

const filledSectors = Array.from({ length: 256 }, (_, value) => Buffer.alloc(sector, value))

/** What each sector may hold: one byte value stands for its whole content. */
class Model {
  /** What a read must give now. */
  readonly live = new Uint8Array(sectors)
  /** What a power cut may leave besides `live`: everything since the last sync. */
  readonly maybe = new Map<number, Set<number>>()

  change(from: number, to: number, value: number): void {
    for (let at = from; at < to; at++) {
      const before = this.live[at] ?? 0
      const known = this.maybe.get(at)
      if (known) known.add(before).add(value)
      else this.maybe.set(at, new Set([before, value]))
      this.live[at] = value
    }
  }
}

type Op = { kind: 'write' | 'zero' | 'keep' | 'discard'; from: number; to: number; value: number }

function randomOp(unit: () => number): Op {
  const kinds = ['write', 'write', 'write', 'zero', 'keep', 'discard'] as const
  const kind = kinds[Math.floor(unit() * kinds.length)] ?? 'write'
  // A few places, so that ops meet; sometimes long enough to cover whole extents.
  const from = Math.floor(unit() * 20) * 1664 + Math.floor(unit() * 8)
  const length = 1 + Math.floor(unit() * (unit() < 0.4 ? 1500 : 24))
  return { kind, from, to: Math.min(sectors, from + length), value: 1 + Math.floor(unit() * 255) }
}

/** What the op leaves where. */
function effect(op: Op): [from: number, to: number, value: number] {
  if (op.kind === 'write') return [op.from, op.to, op.value]
  if (op.kind !== 'discard') return [op.from, op.to, 0]
  const first = Math.ceil(op.from / 512) * 512
  const last = op.to === sectors ? op.to : Math.floor(op.to / 512) * 512
  return [first, Math.max(first, last), 0]
}

function start(replica: ReplicaStore, op: Op, done: (failure: unknown) => void): void {
  const [offset, length] = [op.from * sector, (op.to - op.from) * sector]
  if (op.kind === 'write') replica.write(offset, [Buffer.alloc(length, op.value)], length, done)
  else if (op.kind === 'discard') replica.discard(offset, length, done)
  else replica.zero(offset, length, op.kind === 'zero', done)
}

async function verify(
  replica: ReplicaStore,
  read: (o: number, l: number) => Promise<Buffer>,
  model: Model,
  cut: boolean,
) {
  const bytes = await read(0, sizeBytes)
  const wrong: string[] = []
  for (let at = 0; at < sectors; at++) {
    const got = bytes[at * sector] ?? 0
    const filled = filledSectors[got]
    if (!filled || bytes.compare(filled, 0, sector, at * sector, (at + 1) * sector) !== 0)
      wrong.push(`sector ${at} is mixed`)
    const expected = model.live[at] ?? 0
    if (got === expected) continue
    const region = replica.region(Math.floor(at / regionSectors))
    const allowed = model.maybe.get(at)?.has(got) === true
    if (!cut || !allowed || !region.marked || region.grade !== 'lossy') {
      wrong.push(`sector ${at}: ${got} instead of ${expected}, ${JSON.stringify(region)}`)
    }
    model.live[at] = got
  }
  assert.deepEqual(wrong.slice(0, 5), [])
}

/** One disk's life: several runs, each ended by a kill or a power cut in the middle of something. */
async function life(seed: number, endings: readonly ('kill' | 'cut')[]): Promise<void> {
  const clock = new VirtualClock()
  const random = seeded(seed)
  const disk = new MemoryDisk({ clock, random, log: quiet })
  const world = { settle: <T>(promise: Promise<T>) => clock.settle(promise) }
  const model = new Model()
  let store: Store = await clock.settle(disk.openStore())
  await create(world, store, sizeBytes)
  let runs = 1
  for (const ending of endings) {
    const replica = only(store)
    const { sync, unmark } = calls(world, replica)
    for (let count = Math.floor(random.unit() * 12); count > 0; count--) {
      const op = randomOp(random.unit)
      assert.equal(await clock.settle(new Promise((done) => start(replica, op, done))), null)
      model.change(...effect(op))
      if (random.unit() < 0.25) {
        await sync()
        model.maybe.clear()
        if (random.unit() < 0.5) await unmark([0, 1], runs)
      }
    }
    // Some calls under way at the end; W3 keeps them from overlapping.
    const underWay: Op[] = []
    for (let count = 0; count < 4; count++) {
      const op = randomOp(random.unit)
      if (underWay.some((other) => op.from < other.to && other.from < op.to)) continue
      underWay.push(op)
      start(replica, op, () => {
        const at = underWay.indexOf(op)
        if (at >= 0) underWay.splice(at, 1)
        model.change(...effect(op))
      })
    }
    for (let steps = Math.floor(random.unit() * 60); steps > 0; steps--) clock.step()
    if (ending === 'kill') disk.kill()
    else disk.powerCut()
    store = await clock.settle(disk.openStore())
    runs += 1
    assert.equal(store.run, runs)
    assert.equal(store.previousEnd, ending === 'kill' ? 'torn' : 'lossy')
    await settleUnderWay(store, world, model, underWay)
    const read = calls(world, only(store)).read
    await verify(only(store), read, model, ending === 'cut')
    if (ending === 'cut') model.maybe.clear()
  }
  disk.kill()
}

/** What was never acknowledged may be there or not, sector by sector; only in marked regions. */
async function settleUnderWay(
  store: Store,
  world: { settle<T>(p: Promise<T>): Promise<T> },
  model: Model,
  ops: readonly Op[],
) {
  const replica = only(store)
  for (const op of ops) {
    const [from, to, value] = effect(op)
    if (from >= to) continue
    const bytes = await calls(world, replica).read(from * sector, (to - from) * sector)
    for (let at = from; at < to; at++) {
      const got = bytes[(at - from) * sector] ?? 0
      if (got !== value || got === model.live[at]) continue
      assert.ok(replica.region(Math.floor(at / regionSectors)).marked, 'a half done write lies in a marked region (C1)')
      model.change(at, at + 1, value)
    }
  }
}

test('kills and power cuts at random moments keep every promise of the store', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 2 ** 31 }),
      fc.array(fc.constantFrom('kill' as const, 'cut' as const), { minLength: 1, maxLength: 5 }),
      (seed, endings) => life(seed, endings),
    ),
    { numRuns: Number(process.env.MIRRORBAY_STORE_RUNS ?? 12), seed: 20261122 },
  )
})

test('a power cut, then a kill on the same boot: the grade stays lossy', async () => {
  const clock = new VirtualClock()
  const disk = new MemoryDisk({ clock, random: seeded(7), log: quiet })
  const world = { settle: <T>(promise: Promise<T>) => clock.settle(promise) }
  const first = await clock.settle(disk.openStore())
  await calls(world, await create(world, first, sizeBytes)).write(0, Buffer.alloc(4096, 1))
  disk.powerCut()
  const second = await clock.settle(disk.openStore())
  assert.equal(only(second).region(0).grade, 'lossy')
  await calls(world, only(second)).write(16 * 1024 * 1024, Buffer.alloc(4096, 1))
  disk.kill()
  const third = await clock.settle(disk.openStore())
  assert.equal(only(third).region(0).grade, 'lossy')
  assert.equal(only(third).region(1).grade, 'torn')
  await calls(world, only(third)).settled([0])
  assert.deepEqual(only(third).region(0), { marked: true, grade: 'sound', stamp: 0 })
  disk.kill()
})

test('a failed sync fails the replica for good and makes its marked regions lossy', async () => {
  const clock = new VirtualClock()
  const disk = new MemoryDisk({ clock, random: seeded(8), log: quiet })
  const world = { settle: <T>(promise: Promise<T>) => clock.settle(promise) }
  const replica = await create(world, await clock.settle(disk.openStore()), sizeBytes)
  await calls(world, replica).write(0, Buffer.alloc(4096, 1))
  disk.fault = 'fail'
  assert.equal(await clock.settle(new Promise((done) => replica.sync(done))), 'io')
  disk.fault = 'none'
  clock.pass(1000)
  assert.equal(replica.region(0).grade, 'lossy')
  assert.equal(
    await clock.settle(new Promise((done) => replica.sync(done))),
    'io',
    'never retried as if nothing happened',
  )
  assert.equal(await clock.settle(new Promise((done) => replica.write(0, [Buffer.alloc(512)], 512, done))), 'io')
  disk.kill()
  const again = await clock.settle(disk.openStore())
  assert.equal(only(again).region(0).grade, 'lossy')
  disk.kill()
})

test('a full disk refuses what needs new space, everything else goes on', async () => {
  const clock = new VirtualClock()
  const disk = new MemoryDisk({ clock, random: seeded(9), log: quiet })
  const world = { settle: <T>(promise: Promise<T>) => clock.settle(promise) }
  const replica = await create(world, await clock.settle(disk.openStore()), sizeBytes)
  const { write, read, sync } = calls(world, replica)
  await write(0, Buffer.alloc(4096, 1))
  disk.fault = 'full'
  const fresh = await clock.settle(new Promise((done) => replica.write(5 << 20, [Buffer.alloc(512)], 512, done)))
  assert.equal(fresh, 'no-space')
  await write(0, Buffer.alloc(4096, 2))
  await sync()
  assert.deepEqual(await read(0, 4096), Buffer.alloc(4096, 2))
  disk.fault = 'none'
  await write(5 << 20, Buffer.alloc(512, 3))
  disk.kill()
})

test('a hanging disk shows in oldestPendingMs, and closing does not wait for ever', async () => {
  const clock = new VirtualClock()
  const disk = new MemoryDisk({ clock, random: seeded(10), log: quiet })
  const world = { settle: <T>(promise: Promise<T>) => clock.settle(promise) }
  const store = await clock.settle(disk.openStore())
  const replica = await create(world, store, sizeBytes)
  disk.fault = 'hang'
  let answered = false
  replica.write(0, [Buffer.alloc(512)], 512, () => {
    answered = true
  })
  clock.pass(7000)
  assert.equal(answered, false)
  assert.ok(replica.oldestPendingMs() >= 6999)
  assert.equal(await clock.settle(new Promise((done) => store.close(done))), 'io')
  disk.kill()
})
