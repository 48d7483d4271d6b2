/**
 * Aim: whatever one call of the disk or the index answers, at every place of a history: every caller gets one answer, a
 * failed store stays failed, nothing acknowledged is lost, and the next run knows what is in doubt (C2, C8, R3).
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { UserError } from '../../../agent/kit/failure.ts'
import type { StoreFailure } from '../../../agent/store/replica.ts'
import { rounds } from '../../kit/length.ts'
import { checkImage } from './image-check.ts'
import type { Fault } from './recorded-disk.ts'
import { History, openRecorded } from './recorded-history.ts'
import { seeded } from './world.ts'

interface Hit {
  what: string
  path: string
}

const steps = 22

/** A history in which call number `number` meets the fault. */
async function faulty(seed: number, number: number, fault: Fault) {
  const hit: Hit = { what: '', path: '' }
  const faults = (now: number, what: string, path: string) => {
    if (now === number) Object.assign(hit, { what, path })
    return now === number ? fault : null
  }
  const history = new History(seed, {
    steps,
    sumPages: 1,
    volumes: 1,
    lifecycle: false,
    faults,
    mayHang: fault.kind === 'hang',
  })
  let refused: unknown = null
  try {
    await history.run()
    await history.idle()
  } catch (error) {
    if (history.store !== null) throw error
    refused = error
  }
  return { history, hit, refused }
}

async function outcome(seed: number, number: number, fault: Fault): Promise<boolean> {
  const { history, hit, refused } = await faulty(seed, number, fault)
  const words = `history ${seed}, call ${number} (${hit.what} of ${hit.path}), ${JSON.stringify(fault)}`
  assert.deepEqual(history.wrong, [], words)
  if (refused !== null && fault.kind !== 'hang') assert.ok(refused instanceof UserError, `${words}: ${refused}`)
  history.clock.pass(5_000)
  const [replica] = history.store?.replicas() ?? []
  const failed = replica?.failed === true
  // It may have failed just now: that takes a moment to be written down.
  if (failed) history.clock.pass(3_000)
  if (fault.kind === 'error' && replica !== undefined) await hasFailed(history, hit, fault, words)
  try {
    for (const ending of ['kill', 'nothing unsynced', 'half of all sectors']) {
      const at = history.disk.now
      // Without a replica nobody tells whether the store has failed: only that it opens again.
      const again = replica === undefined ? [{ events: 0, ending: 'kill' }] : []
      await checkImage(history, { at, ending, seed: number, again, goesOn: number % 4 === 0, failed })
    }
  } catch (error) {
    throw new Error(`${words}: ${error instanceof Error ? error.message : error}`, { cause: error })
  }
  return hit.what !== ''
}

/** Which faults fail a store for good, and that it then takes nothing more. */
async function hasFailed(history: History, hit: Hit, fault: Fault, words: string): Promise<void> {
  const [replica] = history.store?.replicas() ?? []
  if (replica === undefined || fault.kind !== 'error') return
  const isChange = ['write', 'sync', 'commit'].includes(hit.what) && !hit.path.startsWith('store.json')
  if (isChange && fault.code === 'EIO') assert.equal(replica.failed, true, `${words}: the store goes on`)
  // What is mapped in memory is in no index then, also where it was the room that lacked.
  const isIndexChange = hit.path === 'index' && ['sync', 'commit'].includes(hit.what)
  if (isIndexChange) assert.equal(replica.failed, true, `${words}: the store goes on`)
  if (['list', 'space', 'readAll'].includes(hit.what)) assert.equal(replica.failed, false, words)
  if (!replica.failed) return
  const answers = await history.clock.settle(
    Promise.all([
      new Promise<StoreFailure | null>((done) => replica.write(0, [Buffer.alloc(4096)], 4096, done)),
      new Promise<StoreFailure | null>((done) => replica.sync(done)),
      new Promise<StoreFailure | null>((done) => replica.unmark([0], 9, done)),
      new Promise<StoreFailure | null>((done) => replica.settled([0], done)),
    ]),
  )
  assert.deepEqual(answers, ['io', 'io', 'io', 'io'], `${words}: a failed store takes something`)
}

const faults: Readonly<Record<string, Fault>> = {
  'an error of the disk': { kind: 'error', code: 'EIO' },
  'an error of the disk after a part of it': { kind: 'error', code: 'EIO', effect: 'half' },
  'an error of the disk after all of it': { kind: 'error', code: 'EIO', effect: 'all' },
  'a sync that fails and forgets': { kind: 'error', code: 'EIO', effect: 'drop' },
  'a full disk': { kind: 'error', code: 'ENOSPC' },
  'a full disk after a part of it': { kind: 'error', code: 'ENOSPC', effect: 'half' },
  'a call that takes nine seconds': { kind: 'slow', ms: 9_000 },
  'a call that never ends': { kind: 'hang' },
}

describe('one call goes wrong', () => {
  for (const [name, fault] of Object.entries(faults)) {
    it(name, async () => {
      const seeds = rounds({ short: 1, full: 12, long: 100 })
      const stride = rounds({ short: 7, full: 1, long: 1 })
      for (let seed = 1; seed <= seeds; seed += 1) {
        let isThere = true
        let number = 1 + (name.length % stride)
        for (; isThere; number += stride) isThere = await outcome(seed, number, fault)
        assert.ok(number > 100, 'a history has many calls')
      }
    })
  }

  it('a call that never ends shows in oldestPendingMs, and the store still closes', async () => {
    let seen = 0
    for (let number = 30; number < 160; number += 1) {
      const { history, hit } = await faulty(2, number, { kind: 'hang' })
      const [replica] = history.store?.replicas() ?? []
      const changes = [...history.volumes.values()].flatMap((journal) => journal.changes)
      const isOpen = changes.some(({ end }) => end === Number.POSITIVE_INFINITY)
      if (replica === undefined || !isOpen || !['commit', 'sync'].includes(hit.what)) continue
      history.clock.pass(8_000)
      seen += 1
      assert.ok(replica.oldestPendingMs() >= 8_000, `call ${number}`)
      const end = await history.closeStore()
      if (hit.what === 'commit') assert.equal(end, 'io', `call ${number}`)
    }
    assert.ok(seen > 5)
  })

  it('a write that hangs while the store is closed: not a clean end, whatever else the disk still does', async () => {
    let seen = 0
    for (let number = 30; number < 160; number += 1) {
      const { history, hit } = await faulty(2, number, { kind: 'hang' })
      if (history.open === 0 || !/^(write|read)$/.test(hit.what) || !hit.path.startsWith('data/')) continue
      if (![...history.volumes.values()].some(({ changes }) => changes.some(({ end }) => end === Infinity))) continue
      seen += 1
      const { disk } = history
      assert.equal(await history.closeStore(), 'io', `call ${number} (${hit.what} of ${hit.path})`)
      history.clock.pass(60_000)
      const kill = disk.fork(disk.now, null, history.clock, seeded(number))
      const again = await history.clock.settle(openRecorded(kill, history.clock, 1))
      assert.equal(again.previousEnd, 'torn', `call ${number} (${hit.what} of ${hit.path})`)
    }
    assert.ok(seen > 5, `seen ${seen}`)
  })

  it('a sync that hangs while a mark is taken off shows in oldestPendingMs', async () => {
    let seen = 0
    for (let number = 30; number < 60; number += 1) {
      const { history, isUnmark } = await hangsInUnmark(number)
      if (!isUnmark) continue
      seen += 1
      history.clock.pass(8_000)
      const [replica] = history.store?.replicas() ?? []
      assert.ok((replica?.oldestPendingMs() ?? 0) >= 8_000, `call ${number}`)
    }
    assert.ok(seen > 0)
  })
})

/** One write, synced, then its mark is taken off; a call of that hangs, counted from the first one of all. */
async function hangsInUnmark(number: number) {
  const history = new History(1, { steps: 0, sumPages: 4, volumes: 1, lifecycle: false, mayHang: true })
  await history.run()
  const [replica] = history.store?.replicas() ?? []
  assert.ok(replica)
  const ask = (call: (done: (failure: StoreFailure | null) => void) => void) => history.clock.settle(new Promise(call))
  assert.equal(await ask((done) => replica.write(0, [Buffer.alloc(4096, 7)], 4096, done)), null)
  assert.equal(await ask((done) => replica.sync(done)), null)
  let calls = 0
  let isUnmark = false
  history.disk.faults = (_, what, path) => {
    calls += 1
    if (calls !== number - 29) return null
    isUnmark = path.startsWith('data/') || what === 'sync'
    return { kind: 'hang' }
  }
  replica.unmark([0], 5, () => undefined)
  history.clock.pass(100)
  return { history, isUnmark }
}
