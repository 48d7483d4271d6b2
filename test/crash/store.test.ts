/** Aim: kill -9 of an agent under load loses no acknowledged write, and its lock is free at once. */
import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inspectStore } from '../../agent/store/inspect.ts'
import { openStore } from '../../agent/store/open-store.ts'
import { rounds } from '../kit/length.ts'
import { resumable } from '../kit/resumable.ts'
import { quiet, realClock, seeded, temporaryFolder } from '../unit/store/world.ts'

const child = fileURLToPath(new URL('./store-child.ts', import.meta.url))
/** Kills of one store, and stores: each begins with an empty folder, so a long run can go on between two of them. */
const kills = Number(process.env.MIRRORBAY_KILL_ROUNDS ?? rounds({ short: 6, full: 200, long: 40 }))
const stores = rounds({ short: 1, full: 1, long: 50 })

interface Told {
  run?: number
  end?: string
  begin?: number
  done?: number
  value?: number
}

type Victim = ChildProcessByStdio<null, Readable, null>

const startVictim = (dir: string, seed: number): Victim =>
  spawn(process.execPath, [child, dir, String(seed)], { stdio: ['ignore', 'pipe', 'inherit'] })

/** The last line of a killed child may be half a one. */
function parsed(line: string): Told {
  try {
    return JSON.parse(line) as Told // the child's own shape
  } catch {
    return {}
  }
}

/** Runs a child until it acknowledged `writes` writes, kills it, and adds what it told. */
async function killedRun(
  dir: string,
  seed: number,
  writes: number,
  acked: Map<number, number>,
  begun: Map<number, Set<number>>,
) {
  const victim = startVictim(dir, seed)
  const told: { run: number; end: string } = { run: 0, end: '' }
  let count = 0
  try {
    const exit = once(victim, 'exit')
    const lines = createInterface(victim.stdout)
    // What it told before it died may come later than its end.
    const allIsTold = once(lines, 'close')
    lines.on('line', (line) => {
      const { run, end, begin, done, value } = parsed(line)
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
    await allIsTold
    assert.deepEqual([code, signal], [null, 'SIGKILL'], 'the child lived until it was killed')
  } finally {
    victim.kill('SIGKILL')
  }
  return told
}

test(`${kills} kills under load: every acknowledged write is there, the rest is old or new, and every checksum fits`, async () => {
  for (const store of resumable({ name: 'stores', count: stores, tally: {} })) await killedAgainAndAgain(store)
})

/** What the test knows of one store. */
interface Known {
  readonly acked: Map<number, number>
  readonly begun: Map<number, Set<number>>
  /** Regions written since their mark was last taken off. */
  readonly written: Set<number>
}

const regionOf = (block: number): number => Math.floor(block / 4096)

/** A block holds what was acknowledged, or what a write under way may have put there; never some of both. */
function judge(block: number, bytes: Buffer, { acked, begun }: Known): void {
  const got = bytes.readDoubleLE(0)
  const whole = bytes.every((byte, at) => byte === bytes[at % 8])
  const right = got === (acked.get(block) ?? 0) || begun.get(block)?.has(got) === true
  assert.ok(whole && right, `block ${block} holds ${got}, acknowledged was ${acked.get(block)}`)
  if (got !== 0) acked.set(block, got)
}

async function killedAgainAndAgain(number: number): Promise<void> {
  const folder = temporaryFolder()
  try {
    const random = seeded(4710 + number)
    const known: Known = { acked: new Map(), begun: new Map(), written: new Set() }
    let run = 0
    let end = 'first'
    for (let round = 1; round <= kills; round++) {
      const writes = 20 + Math.floor(random.unit() * 400)
      const before = new Map(known.acked)
      const told = await killedRun(folder.dir, number * 1000 + round, writes, known.acked, known.begun)
      run += 1
      assert.deepEqual(told, { run, end })
      for (const [block, value] of known.acked) if (before.get(block) !== value) known.written.add(regionOf(block))
      lookAt(folder.dir, known)
      end = 'torn'
      if (round % 3 > 0 && round < kills) continue
      await readThrough(folder.dir, known)
      run += 1
      end = 'clean'
    }
  } finally {
    folder.remove()
  }
}

/** From outside, without changing anything. */
function lookAt(dir: string, known: Known): void {
  const look = inspectStore(dir)
  const [replica] = look.replicas
  assert.ok(replica)
  for (const block of new Set([...known.acked.keys(), ...known.begun.keys()])) {
    const wasBegun = known.begun.get(block)
    const before = known.acked.get(block)
    judge(block, replica.readBlocks(block * 4096, 4096), known)
    if (known.acked.get(block) !== before && wasBegun !== undefined) known.written.add(regionOf(block))
    known.begun.delete(block)
  }
  for (const region of known.written) assert.ok(replica.region(region).marked, `region ${region} was written (C1)`)
  look.close()
}

/** Through the store, which holds every block against its checksum; then takes marks off some regions, and ends. */
async function readThrough(dir: string, known: Known): Promise<void> {
  const store = await openStore({ dir, clock: realClock, log: quiet })
  assert.equal(store.previousEnd, 'torn')
  const [replica] = store.replicas()
  assert.ok(replica)
  for (const region of known.written) assert.equal(replica.region(region).grade, 'torn')
  const read = (block: number) =>
    new Promise<void>((resolve, reject) => {
      replica.read(block * 4096, 4096, (failure, data) => {
        if (failure !== null) return reject(new Error(`block ${block} is ${failure}`))
        judge(block, Buffer.from(data), known)
        resolve()
      })
    })
  const all = async () => {
    for (const block of known.acked.keys()) await read(block)
  }
  await all()
  const regions = [...known.written].filter((region) => region % 3 > 0)
  assert.equal(await new Promise((done) => replica.sync(done)), null)
  assert.equal(await new Promise((done) => replica.settled(regions, done)), null)
  assert.equal(await new Promise((done) => replica.unmark(regions, store.run, done)), null)
  for (const region of regions) {
    assert.equal(replica.region(region).marked, false)
    known.written.delete(region)
  }
  await all()
  assert.equal(await new Promise((done) => store.close(done)), null)
}

test('a second opener hears that the folder is in use, from the same and from another process', async () => {
  const folder = temporaryFolder()
  const options = { dir: folder.dir, clock: realClock, log: quiet }
  const victim = startVictim(folder.dir, 1)
  try {
    await once(victim.stdout, 'data')
    victim.stdout.resume()
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
