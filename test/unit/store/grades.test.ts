/**
 * C2: a marked region's grade is the worst since it was last settled, whatever ends follow each other, and wherever in its
 * opening a run ends again. A clean end makes what is still marked torn: the names of unconfirmed writes died with it.
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import type { Grade, Store } from '../../../agent/store/replica.ts'
import { endOf } from '../../../agent/store/run.ts'
import { rounds } from '../../kit/length.ts'
import { calls, close, create, only } from './suite.ts'
import { quiet, seeded, VirtualClock } from './world.ts'

const MiB = 1024 * 1024
const sizeBytes = 48 * MiB
const badness: Record<Grade, number> = { sound: 0, torn: 1, lossy: 2 }
const worse = (one: Grade, other: Grade): Grade => (badness[one] >= badness[other] ? one : other)

/** One disk through its lives. */
class Machine {
  readonly clock = new VirtualClock()
  readonly disk: MemoryDisk
  readonly world = { settle: <T>(promise: Promise<T>) => this.clock.settle(promise) }

  constructor(seed: number) {
    this.disk = new MemoryDisk({ clock: this.clock, random: seeded(seed), log: quiet })
  }
  open(): Promise<Store> {
    return this.clock.settle(this.disk.openStore())
  }
  /** A new replica with region 0 written, and so marked; region 1 written, synced and unmarked. */
  async begin(): Promise<Store> {
    const store = await this.open()
    const { write, sync, unmark } = calls(this.world, await create(this.world, store, sizeBytes))
    await write(16 * MiB, Buffer.alloc(4096, 2))
    await sync()
    await unmark([1], 3)
    await write(0, Buffer.alloc(4096, 1))
    return store
  }
  /** Begins to open, and gets so many events far. @returns whether it was open by then */
  openPartly(events: number): boolean {
    let opened = false
    this.disk.open((error, store) => {
      assert.equal(error, null)
      opened = store !== undefined
    })
    for (let count = 0; count < events && !opened; count += 1) this.clock.step()
    return opened
  }
  /** @param store what is open; a clean end closes it */
  async end(how: 'clean' | 'kill' | 'cut', store: Store | null): Promise<void> {
    if (how === 'clean' && store !== null) await close(this.world, store)
    if (how === 'cut') this.disk.powerCut()
    else this.disk.kill()
  }
}

const gradeOf = (store: Store, region = 0): Grade => only(store).region(region).grade

describe('grades after ends (C2)', () => {
  for (const { ends, grade } of [
    { ends: ['clean'], grade: 'torn' },
    { ends: ['kill'], grade: 'torn' },
    { ends: ['cut'], grade: 'lossy' },
    { ends: ['clean', 'clean', 'clean'], grade: 'torn' },
    { ends: ['clean', 'kill'], grade: 'torn' },
    { ends: ['kill', 'clean'], grade: 'torn' },
    { ends: ['kill', 'cut'], grade: 'lossy' },
    { ends: ['cut', 'clean'], grade: 'lossy' },
    { ends: ['cut', 'kill', 'clean', 'kill'], grade: 'lossy' },
  ] as const) {
    it(`${ends.join(', then ')}: ${grade}; what is not marked is in no doubt`, async () => {
      const machine = new Machine(3)
      let store = await machine.begin()
      for (const end of ends) {
        await machine.end(end, store)
        store = await machine.open()
        assert.equal(store.previousEnd, { clean: 'clean', kill: 'torn', cut: 'lossy' }[end])
      }
      assert.deepEqual(only(store).region(0), { marked: true, grade, stamp: 0 })
      assert.deepEqual(only(store).region(1), { marked: false, grade: 'sound', stamp: 3 })
      await machine.end('kill', store)
    })
  }

  it('running on, writing and syncing better nothing; settling does, durably, until the next end', async () => {
    const machine = new Machine(4)
    let store = await machine.begin()
    await machine.end('cut', store)
    store = await machine.open()
    const { write, sync, settled } = calls(machine.world, only(store))
    await write(4096, Buffer.alloc(4096, 5))
    await sync()
    assert.equal(gradeOf(store), 'lossy')
    await settled([0])
    assert.deepEqual(only(store).region(0), { marked: true, grade: 'sound', stamp: 0 })
    await machine.end('cut', store)
    store = await machine.open()
    assert.equal(gradeOf(store), 'lossy', 'the mark stayed, so the next end counts')
    const later = calls(machine.world, only(store))
    await later.settled([0])
    await later.sync()
    await later.unmark([0], 9)
    await later.sync()
    await machine.end('cut', store)
    store = await machine.open()
    assert.deepEqual(only(store).region(0), { marked: false, grade: 'sound', stamp: 9 })
    await machine.end('kill', store)
  })

  it('settled before the power went, but not durably: nothing is bettered', async () => {
    const machine = new Machine(5)
    let store = await machine.begin()
    await machine.end('cut', store)
    store = await machine.open()
    let done = false
    only(store).settled([0], () => {
      done = true
    })
    machine.disk.powerCut()
    assert.equal(done, false)
    store = await machine.open()
    assert.equal(gradeOf(store), 'lossy')
    await machine.end('kill', store)
  })

  for (const synced of [false, true]) {
    it(`what a killed run had only in the cache: no mark comes off before it is durable (${synced ? 'synced' : 'not synced'})`, async () => {
      for (let seed = 1; seed <= 8; seed += 1) {
        const machine = new Machine(seed)
        let store = await machine.begin()
        await machine.end('kill', store)
        store = await machine.open()
        const { sync, settled, unmark } = calls(machine.world, only(store))
        await settled([0])
        if (synced) await sync()
        await unmark([0], 4)
        await machine.end('cut', store)
        store = await machine.open()
        const { marked, grade } = only(store).region(0)
        const data = await calls(machine.world, only(store)).read(0, 4096)
        if (marked) assert.equal(grade, 'lossy')
        else assert.deepEqual(data, Buffer.alloc(4096, 1))
        if (synced) assert.deepEqual(data, Buffer.alloc(4096, 1))
        await machine.end('kill', store)
      }
    })
  }

  for (const first of ['clean', 'kill', 'cut'] as const) {
    for (const second of ['kill', 'cut'] as const) {
      it(`${first}, then ${second} at every instant of the next opening`, async () => {
        // Nothing was unsynced after a clean end, so a power cut takes nothing more.
        const least = first === 'cut' || (first === 'kill' && second === 'cut') ? 'lossy' : 'torn'
        let events = 0
        for (let opened = false; !opened; events += 1) {
          const machine = new Machine(7)
          await machine.end(first, await machine.begin())
          opened = machine.openPartly(events)
          await machine.end(second, null)
          const store = await machine.open()
          assert.ok(badness[gradeOf(store)] >= badness[least], `${gradeOf(store)} after ${events} events`)
          assert.equal(gradeOf(store, 1), 'sound', `after ${events} events`)
          await machine.end('kill', store)
        }
        assert.ok(events > 20, 'an opening has many instants')
      })
    }
  }

  const count = rounds({ short: 30, full: 200, long: 2_000 })
  it(`${count} random lives`, async () => {
    for (let seed = 1; seed <= count; seed += 1) {
      const random = seeded(seed)
      const pick = (most: number) => Math.floor(random.unit() * most)
      const machine = new Machine(seed)
      let store = await machine.begin()
      let least: Grade = 'sound'
      let most: Grade = 'sound'
      let unsynced = true
      for (let life = 0; life < 8; life += 1) {
        const end = (['clean', 'kill', 'cut'] as const)[pick(3)] ?? 'kill'
        await machine.end(end, store)
        // Of a run that was open: its data may be lost whenever its machine lost power.
        least = worse(least, end === 'cut' ? 'lossy' : 'torn')
        most = worse(most, least)
        if (end === 'clean') unsynced = false
        while (random.unit() < 0.5) {
          machine.openPartly(pick(60))
          const again = random.unit() < 0.5 ? 'kill' : 'cut'
          machine.disk[again === 'kill' ? 'kill' : 'powerCut']()
          if (again === 'cut') most = 'lossy'
          if (again === 'cut' && unsynced) least = 'lossy'
        }
        store = await machine.open()
        const is = badness[gradeOf(store)]
        const words = `seed ${seed}, life ${life}: ${gradeOf(store)}, not ${least} to ${most}`
        assert.ok(is >= badness[least] && is <= badness[most], words)
        assert.equal(gradeOf(store, 1), 'sound', `seed ${seed}, life ${life}`)
        const { settled, write } = calls(machine.world, only(store))
        if (random.unit() < 0.3) {
          await settled([0])
          least = 'sound'
          most = 'sound'
        } else if (random.unit() < 0.5) await write(pick(100) * 4096, Buffer.alloc(4096, life))
        unsynced = true
      }
      await machine.end('kill', store)
    }
  })
})

describe('what a run record says about the run (C2)', () => {
  const record = { run: 4, bootId: 'one', end: 'running', failed: false, sums: false } as const
  for (const [words, before, bootId, end] of [
    ['no record', null, 'one', 'first'],
    ['the agent died, the machine went on', record, 'one', 'torn'],
    ['the machine began anew', record, 'two', 'lossy'],
    ['nobody knows whether the machine went on', record, null, 'lossy'],
    ['nobody knew then', { ...record, bootId: null }, 'one', 'lossy'],
    ['nobody ever knows', { ...record, bootId: null }, null, 'lossy'],
    ['its disk had failed', { ...record, failed: true }, 'one', 'lossy'],
    ['a clean end', { ...record, end: 'clean' }, 'one', 'clean'],
    ['a clean end, then a new start of the machine', { ...record, end: 'clean' }, 'two', 'clean'],
  ] as const) {
    it(`${words}: ${end}`, () => assert.equal(endOf(before, bootId), end))
  }
})
