/**
 * Aim: what a disk has changed where nobody reads is found and repaired while there is another copy (R3); slowly, beside
 * clients, going on after a restart; and what nobody can give is told.
 */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { limits } from '../../agent/limits.ts'
import { Directed } from './directed.ts'

const MiB = 1024 * 1024
const block = (fill: number) => Buffer.alloc(4096, fill)

async function begin(sizeBytes: number, places: readonly (readonly [number, number])[]): Promise<Directed> {
  const cluster = await new Directed(2).begin(sizeBytes)
  for (const [at, fill] of places) {
    const write = cluster.write(cluster.attach(0), at, fill)
    cluster.until('written', () => write.answer === null)
  }
  return cluster
}

const record = (cluster: Directed, index: number) => cluster.volume(index).scrub.record

it('finds and repairs what nobody reads, at both servers, and says so', async () => {
  const cluster = await begin(40 * MiB, [
    [4096, 7],
    [33 * MiB, 8],
    [39 * MiB, 9],
  ])
  assert.equal(cluster.server(0).disk.rot(block(8)), 1)
  assert.equal(cluster.server(1).disk.rot(block(7)), 1)
  for (const index of [0, 1]) cluster.volume(index).steerScrub('now')
  cluster.until('both ended', () => [0, 1].every((index) => record(cluster, index).startedMs === null))
  for (const index of [0, 1]) {
    const { readBytes, repairedBytes, unreadablePieces } = record(cluster, index)
    assert.equal(repairedBytes, limits.extentBytes, `server ${index}`)
    assert.equal(unreadablePieces, 0)
    assert.equal(readBytes, 24 * MiB, 'the regions in which something was written')
  }
  cluster.server(0).kill()
  cluster.until('b goes on', () => cluster.serves(1) && cluster.inSync(1) === 'b')
  const read = cluster.read(cluster.attach(1), 4096)
  cluster.until('read', () => read.answer !== undefined)
  assert.deepEqual([read.answer, read.first], [null, 7])
  assert.equal(cluster.volume(1).service.counters.reads, 1, "what a scrub reads is no client's")
})

it('tells what no copy can give, and goes on behind it', async () => {
  const cluster = await begin(20 * MiB, [
    [4096, 7],
    [19 * MiB, 9],
  ])
  for (const index of [0, 1]) assert.equal(cluster.server(index).disk.rot(block(7)), 1)
  assert.equal(cluster.server(0).disk.rot(block(9)), 1)
  cluster.volume(0).steerScrub('now')
  cluster.until('ended', () => record(cluster, 0).startedMs === null)
  assert.equal(record(cluster, 0).unreadablePieces, 1)
  assert.equal(record(cluster, 0).repairedBytes, limits.extentBytes)
})

it('keeps to its pace, goes on where it was after a kill, and can be stopped', async () => {
  const size = 20 * limits.regionBytes
  const places = Array.from({ length: 20 }, (_, region) => [region * limits.regionBytes, 1 + region] as const)
  const cluster = await begin(size, places)
  const fromMs = cluster.world.nowMs
  cluster.volume(0).steerScrub('now')
  cluster.until('most of it', () => record(cluster, 0).region >= 17, 120_000)
  const tookMs = cluster.world.nowMs - fromMs
  const leastMs = (16 * limits.regionBytes * 1000) / limits.scrubBytesPerSecond
  assert.ok(tookMs >= leastMs, `${tookMs} ms for what must take ${leastMs}`)
  cluster.server(0).kill()
  cluster.server(0).start()
  cluster.until('whole', () => cluster.isWhole())
  assert.ok(record(cluster, 0).startedMs !== null && record(cluster, 0).region >= 16, 'it goes on')
  cluster.volume(0).steerScrub('stop')
  cluster.pass(5_000)
  assert.equal(record(cluster, 0).startedMs, null)
  assert.equal(record(cluster, 0).readBytes, 0, 'a part of a run says nothing about the disk')
})

it('begins by itself a week after the last one', async () => {
  const cluster = await begin(MiB, [[0, 3]])
  const { scrub } = cluster.volume(0)
  cluster.pass(60_000)
  assert.equal(scrub.record.startedMs, null)
  assert.equal(scrub.record.readBytes, 0)
  // A week of virtual heartbeats would take minutes: the record says when the last one ended.
  const store = cluster.server(0).engine?.world.store
  const id = cluster.volume(0).world.volumeId
  store?.records.put(`scrub-${id}`, { ...scrub.record, endedMs: -limits.scrubEveryMs }, () => undefined)
  cluster.pass(1_000)
  cluster.server(0).kill()
  cluster.server(0).start()
  cluster.until('whole', () => cluster.isWhole())
  cluster.until('read', () => record(cluster, 0).readBytes > 0)
})

it('keeps nobody waiting: on a disk that hangs while only a scrub reads, the server stays (E8)', async () => {
  const cluster = await begin(MiB, [[0, 3]])
  // So that nothing but the scrub wants the disk: marks have come off.
  cluster.pass(10_000)
  cluster.server(0).disk.fault = 'hang'
  cluster.volume(0).steerScrub('now')
  cluster.pass(3 * limits.diskOverdueMs)
  assert.equal(cluster.inSync(1), 'ab')
  cluster.server(0).disk.fault = 'none'
  cluster.until('it ends', () => record(cluster, 0).startedMs === null)
})

it('goes on when its server is back, also where it waited behind its clients as the server fell out', async () => {
  const cluster = await begin(40 * MiB, [
    [4096, 7],
    [33 * MiB, 8],
  ])
  cluster.server(1).disk.fault = 'hang'
  const client = cluster.attach(1)
  const reads = Array.from({ length: 3 }, () => cluster.read(client, 0, limits.requestBytes))
  cluster.volume(1).steerScrub('now')
  cluster.until('out of the set', () => cluster.inSync(0) === 'a')
  cluster.until('its clients are served', () => reads.every(({ answer }) => answer === null))
  cluster.server(1).disk.fault = 'none'
  cluster.until('back in the set', () => cluster.isWhole())
  cluster.until('ended', () => record(cluster, 1).startedMs === null)
  assert.equal(record(cluster, 1).unreadablePieces, 0)
})
