/**
 * One server is lost for good, at an awkward instant: the others go on by themselves within seconds, with nobody's help and
 * before it comes back (E3, E8, C10). What the long simulator does not see: there every fault ends before it looks.
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../agent/limits.ts'
import { rounds } from '../kit/length.ts'
import { Directed } from './directed.ts'
import type { SimServer } from './server.ts'
import { type Chance, World } from './world.ts'

const MiB = 1024 * 1024
/** Two disks that hang one after the other, and what must be decided and settled. */
const limitMs = 2 * limits.diskOverdueMs + 10_000

type Instant = 'any' | 'gathering' | 'settling' | 'recorded' | 'joining' | 'word'

const has = (cluster: Directed, instant: Instant): boolean =>
  cluster.servers.some(({ volume }) => {
    if (volume === undefined) return false
    if (instant === 'joining') return volume.resync.joiner !== null
    if (instant === 'word') return volume.world.record.value.word !== null
    return instant === 'any' || volume.member.phase === instant
  })

/** Clients that write, flush and read at every server. */
function load(cluster: Directed, chance: Chance, index: number): void {
  const { state, volume, clock } = cluster.server(index)
  if (state === 'up' && volume !== undefined && !clock.stopped) {
    const client = cluster.attach(index)
    cluster.write(client, chance.whole(0, 60) * 4096, chance.whole(1, 200))
    if (chance.is(0.2)) cluster.flush(client)
    if (chance.is(0.3)) cluster.read(client, chance.whole(0, 60) * 4096)
  }
  cluster.world.after(chance.between(5, 100), () => load(cluster, chance, index))
}

/** A first mishap, from which the server comes back. */
function mishap(cluster: Directed, chance: Chance): string {
  const server = chance.pick(cluster.servers)
  const how = chance.pick(['kill', 'kill', 'power', 'leave', 'hang'] as const)
  const backMs = chance.pick([5, 100, 600, 2_600, 4_000])
  const back = () => cluster.world.after(backMs, () => server.start())
  if (how === 'kill') server.kill()
  if (how === 'power') server.powerCut()
  if (how === 'leave') server.leave(back)
  else if (how !== 'hang') back()
  else {
    server.disk.fault = 'hang'
    cluster.world.after(5 * backMs, () => {
      server.disk.fault = 'none'
    })
  }
  return `${how} ${server.name}, back in ${backMs} ms`
}

/** It never comes back. */
function lose(cluster: Directed, server: SimServer, chance: Chance): string {
  const how = chance.pick(['kill', 'isolate', 'pause'] as const)
  if (how === 'kill') {
    server.kill()
    server.start = () => undefined
  } else if (how === 'pause') server.clock.stop()
  else {
    for (const other of cluster.all) {
      cluster.network.block(server.id, other.id)
      cluster.network.block(other.id, server.id)
    }
  }
  return `${how} ${server.name} for good`
}

/** Those in sync by the register, without the lost one: nobody else may go on. */
function mayGoOn(cluster: Directed, lost: SimServer): boolean {
  const records = cluster.witness.engine?.world.store.records
  const key = records?.keys().find((name) => name.startsWith('register-')) ?? ''
  // As the register wrote it.
  const register = records?.get(key) as { current: { inSync: readonly string[] } } | undefined
  const inSync = register?.current.inSync ?? []
  // C2: whoever lost power may not go on alone.
  return cluster.servers.some(({ id, volume }) => id !== lost.id && inSync.includes(id) && volume?.anyLossy() === false)
}

async function history(seed: number): Promise<{ words: string; tookMs: number | null; excused: boolean }> {
  const chance = new World(seed).chance('failover')
  const cluster = new Directed(chance.pick([2, 3, 3]), seed)
  await cluster.begin(chance.pick([MiB, MiB, 17 * MiB]))
  cluster.servers.forEach((_, index) => {
    load(cluster, chance, index)
  })
  cluster.pass(chance.between(0, 1_000))
  const first = mishap(cluster, chance)
  const instant = chance.pick(['any', 'gathering', 'settling', 'recorded', 'joining', 'word'] as const)
  const untilMs = cluster.world.nowMs + 12_000
  cluster.until(instant, () => has(cluster, instant) || cluster.world.nowMs > untilMs)
  cluster.pass(chance.between(0, instant === 'any' ? 4_000 : chance.pick([0.2, 3, 30])))
  const lost = chance.pick(cluster.servers)
  const words = `${first}; at ${instant}: ${lose(cluster, lost, chance)}`
  const startMs = cluster.world.nowMs
  let probe = { answer: undefined as unknown }
  while (cluster.world.nowMs - startMs < limitMs && probe.answer !== null) {
    cluster.pass(250)
    const index = cluster.servers.findIndex((server, at) => server !== lost && cluster.serves(at))
    if (index >= 0 && probe.answer !== null) probe = cluster.write(cluster.attach(index), 0, 3)
    cluster.pass(50)
  }
  assert.deepEqual(cluster.problems, [], words)
  if (probe.answer === null) return { words, tookMs: cluster.world.nowMs - startMs, excused: false }
  return { words, tookMs: null, excused: !mayGoOn(cluster, lost) }
}

describe('a server is lost for good', () => {
  const count = rounds({ short: 12, full: 1_000, long: 20_000 })
  it(`the others go on by themselves, in ${count} histories`, async (context) => {
    let excused = 0
    let slowestMs = 0
    for (let seed = 1; seed <= count; seed += 1) {
      const result = await history(seed)
      if (result.excused) excused += 1
      else assert.notEqual(result.tookMs, null, `seed ${seed}: ${result.words}: nobody serves`)
      slowestMs = Math.max(slowestMs, result.tookMs ?? 0)
    }
    assert.ok(excused < count / 3, `${excused} histories say nothing`)
    context.diagnostic(`slowest ${slowestMs.toFixed(0)} ms; in ${excused} nobody in sync was left`)
  })
})
