/** Aim: kill -9 of an agent under load loses no acknowledged write, and its lock is free at once. */
import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inspectStore } from '../../agent/store/inspect.ts'
import { openStore } from '../../agent/store/open-store.ts'
import { rounds } from '../kit/length.ts'
import { resumable } from '../kit/resumable.ts'
import { quiet, realClock, seeded, temporaryFolder } from '../unit/store/world.ts'

const child = fileURLToPath(new URL('./store-child.ts', import.meta.url))
/** Kills of one store, and stores: each begins with an empty folder, so a long run can go on between two of them. */
const kills = Number(process.env.MIRRORBAY_KILL_ROUNDS ?? 6)
const stores = rounds({ short: 1, full: 1, long: 50 })

interface Told {
  run?: number
  end?: string
  begin?: number
  done?: number
  value?: number
}

/** Runs a child until it acknowledged `writes` writes, kills it, and adds what it told. */
async function killedRun(
  dir: string,
  seed: number,
  writes: number,
  acked: Map<number, number>,
  begun: Map<number, Set<number>>,
) {
  const victim: ChildProcess = fork(child, [dir, String(seed)], { execPath: process.execPath })
  const told: { run: number; end: string } = { run: 0, end: '' }
  let count = 0
  try {
    const exit = once(victim, 'exit')
    victim.on('message', (message) => {
      const { run, end, begin, done, value } = message as Told // the child's own shape
      if (run !== undefined) Object.assign(told, { run, end })
      if (begin !== undefined && value !== undefined) begun.set(begin, (begun.get(begin) ?? new Set()).add(value))
      if (done !== undefined && value !== undefined) {
        acked.set(done, value)
        begun.set(done, new Set())
        count += 1
        if (count === writes) victim.kill('SIGKILL')
      }
    })
    const [code, signal] = await exit
    assert.deepEqual([code, signal], [null, 'SIGKILL'], 'the child lived until it was killed')
  } finally {
    victim.kill('SIGKILL')
  }
  return told
}

test(`${kills} kills under load: every acknowledged write is there, the rest is old or new`, async () => {
  for (const store of resumable({ name: 'stores', count: stores, tally: {} })) await killedAgainAndAgain(store)
})

async function killedAgainAndAgain(number: number): Promise<void> {
  const folder = temporaryFolder()
  try {
    const random = seeded(4710 + number)
    const acked = new Map<number, number>()
    const begun = new Map<number, Set<number>>()
    for (let round = 1; round <= kills; round++) {
      const writes = 20 + Math.floor(random.unit() * 400)
      const told = await killedRun(folder.dir, number * 1000 + round, writes, acked, begun)
      assert.deepEqual(told, { run: round, end: round === 1 ? 'first' : 'torn' })
      const look = inspectStore(folder.dir)
      const [replica] = look.replicas
      assert.ok(replica)
      for (const block of new Set([...acked.keys(), ...begun.keys()])) {
        const bytes = replica.readBlocks(block * 4096, 4096)
        const got = bytes.readDoubleLE(0)
        const whole = bytes.every((byte, at) => byte === bytes[at % 8])
        const right = got === (acked.get(block) ?? 0) || begun.get(block)?.has(got)
        assert.ok(whole && right, `block ${block} holds ${got}, acknowledged was ${acked.get(block)}`)
        assert.ok(got === 0 || replica.region(Math.floor(block / 4096)).marked, 'a written region is marked (C1)')
        if (got !== 0) acked.set(block, got)
        begun.delete(block)
      }
      look.close()
    }
    const store = await openStore({ dir: folder.dir, clock: realClock, log: quiet })
    assert.equal(store.previousEnd, 'torn')
    assert.equal(store.replicas()[0]?.region(0).grade, 'torn')
    assert.equal(await new Promise((done) => store.close(done)), null)
  } finally {
    folder.remove()
  }
}

test('a second opener hears that the folder is in use, from the same and from another process', async () => {
  const folder = temporaryFolder()
  const options = { dir: folder.dir, clock: realClock, log: quiet }
  const victim = fork(child, [folder.dir, '1'], { execPath: process.execPath })
  try {
    await once(victim, 'message')
    await assert.rejects(openStore(options), { code: 'store-in-use' })
    const exit = once(victim, 'exit')
    victim.kill('SIGKILL')
    await exit
    const store = await openStore(options)
    await assert.rejects(openStore(options), { code: 'store-in-use' })
    assert.equal(await new Promise((done) => store.close(done)), null)
    const again = await openStore(options)
    assert.equal(again.previousEnd, 'clean')
    assert.equal(await new Promise((done) => again.close(done)), null)
  } finally {
    victim.kill('SIGKILL')
    folder.remove()
  }
})
