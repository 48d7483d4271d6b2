/** What `npm run bench -- store` measures, one run at a time. */
import { mkdir } from 'node:fs/promises'
import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { limits } from '../../agent/limits.ts'
import { sumOf } from '../../agent/store/checksum.ts'
import { blocksPerSlot } from '../../agent/store/format.ts'
import type { Index } from '../../agent/store/index.ts'
import { SqliteOpener } from '../../agent/store/sqlite-index.ts'
import { seeded } from '../unit/store/world.ts'
import type { BenchJob } from './jobs.ts'
import { answered, makeReplica, PlainSide, type Side, StoreSide } from './store-sides.ts'

const KiB = 1024
const MiB = 1024 * KiB

export interface StoreJob extends Omit<BenchJob, 'unit' | 'rw' | 'blockSize' | 'more'> {
  readonly unit: 'IOPS' | 'MB/s' | 'ms'
  readonly kind: 'read' | 'write' | 'first' | 'flush' | 'flush-new' | 'mark' | 'marks'
  readonly order: 'random' | 'sequential'
  readonly bytes: number
  /** Issue 3's figure for store over plain; null where it names none. */
  readonly aim: string | null
}

const job = (
  name: string,
  words: string,
  kind: StoreJob['kind'],
  [order, bytes, depth]: readonly [StoreJob['order'], number, number],
  unit: StoreJob['unit'],
  aim: string | null,
): StoreJob => ({ name, words, kind, order, bytes, depth, unit, aim })

export const storeJobs: readonly StoreJob[] = [
  job('sr128k-q8', '128k sequential read QD8', 'read', ['sequential', 128 * KiB, 8], 'MB/s', '>= 0.35'),
  job('sw128k-q8', '128k sequential overwrite QD8', 'write', ['sequential', 128 * KiB, 8], 'MB/s', '>= 0.35'),
  job('rw4k-q32', '4k random overwrite QD32', 'write', ['random', 4 * KiB, 32], 'IOPS', '>= 0.6'),
  job('rw4k-q1', '4k random overwrite QD1', 'write', ['random', 4 * KiB, 1], 'IOPS', '>= 0.6'),
  job('rr4k-q32', '4k random read QD32', 'read', ['random', 4 * KiB, 32], 'IOPS', null),
  job('fw128k-q8', '128k first write QD8', 'first', ['sequential', 128 * KiB, 8], 'MB/s', '>= 0.35'),
  job('flush', 'flush of a 4k overwrite', 'flush', ['random', 4 * KiB, 1], 'ms', '<= 1.3'),
  job('flush-new', 'flush of a 4k first write', 'flush-new', ['sequential', 4 * KiB, 1], 'ms', '<= 2.3'),
  job('mark', '4k into a clean region', 'mark', ['sequential', 4 * KiB, 1], 'ms', '< 2'),
  job('marks', '16 at once into clean regions', 'marks', ['sequential', 4 * KiB, 16], 'ms', '< 2'),
]

export interface StoreRun {
  readonly job: string
  readonly target: string
  readonly repetition: number
  readonly value: number
  readonly meanMs: number
  readonly p99Ms: number
  readonly operations: number
  /** Of this whole process while the run lasted. */
  readonly serverCpuSeconds: number
  readonly longestStallMs: number
}

export interface Bench {
  readonly dir: string
  readonly sizeBytes: number
  readonly runtimeSeconds: number
  readonly ours: StoreSide
  readonly plain: PlainSide
}

/** 64 pieces that differ, so that neither the processor's cache nor a clever disk is what is measured. */
const payload = Buffer.alloc(64 * 128 * KiB)
const random = seeded(20)
for (let at = 0; at < payload.length; at += 4) payload.writeUInt32LE(Math.floor(random.unit() * 2 ** 32), at)
const piece = (number: number, bytes: number): Buffer =>
  payload.subarray((number % 64) * bytes, ((number % 64) + 1) * bytes)

/** Keeps `depth` calls under way until `more` says no. @returns how many there were */
function drive(depth: number, more: () => boolean, call: (number: number, place: number, done: () => void) => void) {
  return new Promise<number>((resolve, reject) => {
    let number = 0
    let open = 0
    const next = (place: number) => {
      if (!more()) {
        if (open === 0) resolve(number)
        return
      }
      open += 1
      number += 1
      call(number, place, () => {
        open -= 1
        next(place)
      })
    }
    try {
      for (let place = 0; place < depth; place += 1) next(place)
    } catch (error) {
      reject(error)
    }
  })
}

interface Timed {
  readonly operations: number
  /** Milliseconds that count: of the whole run, or of the measured calls only. */
  readonly ms: number
}

async function streamed(bench: Bench, side: Side, of: StoreJob, seed: number): Promise<Timed> {
  const chance = seeded(seed)
  const blocks = bench.sizeBytes / of.bytes
  const busy = new Set<number>()
  const startMs = performance.now()
  const endMs = startMs + bench.runtimeSeconds * 1000
  const pick = (number: number): number => {
    if (of.order === 'sequential') return number % blocks
    for (;;) {
      const block = Math.floor(chance.unit() * blocks)
      if (!busy.has(block)) return block
    }
  }
  const operations = await drive(
    of.depth,
    () => performance.now() < endMs,
    (number, place, done) => {
      const block = pick(number)
      busy.add(block)
      const ended = (error: unknown) => {
        if (error !== null) throw new Error(`${side.name}: ${of.words}: ${String(error)}`)
        busy.delete(block)
        done()
      }
      if (of.kind === 'read') side.read(block * of.bytes, of.bytes, place, ended)
      else side.write(block * of.bytes, piece(number, of.bytes), ended)
    },
  )
  return { operations, ms: performance.now() - startMs }
}

let made = 1

/** Into a volume or a file that holds nothing yet. */
async function first(bench: Bench, side: Side, of: StoreJob): Promise<Timed> {
  made += 1
  const total = Math.min(bench.sizeBytes, 256 * MiB) / of.bytes
  const fresh: Side =
    side.name === 'plain'
      ? await PlainSide.open(bench.dir, `first-${made}`)
      : new StoreSide(bench.ours.store, await makeReplica(bench.ours.store, String(made), bench.sizeBytes))
  const startMs = performance.now()
  let left = total
  const operations = await drive(
    of.depth,
    () => left-- > 0,
    (number, _place, done) =>
      fresh.write((number - 1) * of.bytes, piece(number, of.bytes), (error) => {
        if (error !== null) throw new Error(`${side.name}: ${of.words}: ${String(error)}`)
        done()
      }),
  )
  const ms = performance.now() - startMs
  // Not deleted: zeroing its slots would go on in the background of the next run.
  await answered((done) => fresh.flush(done))
  if (fresh instanceof PlainSide) fresh.close()
  return { operations, ms }
}

/** Only the flushes count. Plain: always of an overwrite, which is what the aims compare with. */
async function flushes(bench: Bench, side: Side, of: StoreJob, seed: number): Promise<Timed> {
  const chance = seeded(seed)
  let target: Side = side
  const isNew = of.kind === 'flush-new' && side.name === 'store'
  made += 1
  if (isNew)
    target = new StoreSide(bench.ours.store, await makeReplica(bench.ours.store, String(made), bench.sizeBytes))
  // The region's mark is another job's figure.
  if (isNew) await answered((done) => target.write(0, piece(0, 4 * KiB), done))
  if (isNew) await answered((done) => target.flush(done))
  let ms = 0
  let operations = 0
  const endMs = performance.now() + bench.runtimeSeconds * 1000
  const mostNew = limits.regionBytes / limits.extentBytes - 1
  while (performance.now() < endMs && !(isNew && operations >= mostNew)) {
    const offset = isNew
      ? (operations + 1) * limits.extentBytes
      : Math.floor(chance.unit() * (bench.sizeBytes / of.bytes)) * of.bytes
    await answered((done) => target.write(offset, piece(operations, of.bytes), done))
    const startMs = performance.now()
    await answered((done) => target.flush(done))
    ms += performance.now() - startMs
    operations += 1
  }
  return { operations, ms }
}

/** First writes into clean regions, one by one or 16 at once. Plain: an fdatasync of an overwrite. */
async function marks(bench: Bench, side: Side, of: StoreJob, seed: number): Promise<Timed> {
  if (side.name === 'plain') return flushes(bench, side, of, seed)
  const { replica } = bench.ours
  const regions = Array.from({ length: Math.min(replica.regionCount, 64) }, (_, region) => region)
  await answered((done) => replica.sync(done))
  await answered((done) => replica.unmark(regions, 1, done))
  if (regions.some((region) => replica.region(region).marked)) throw new Error('a mark did not come off')
  let ms = 0
  let operations = 0
  for (let at = 0; at < regions.length; at += of.depth) {
    const some = regions.slice(at, at + of.depth)
    const startMs = performance.now()
    const write = (region: number) =>
      answered((done) => side.write(region * limits.regionBytes, piece(region, of.bytes), done))
    await Promise.all(some.map(write))
    ms += performance.now() - startMs
    operations += 1
  }
  return { operations, ms }
}

function timed(bench: Bench, side: Side, of: StoreJob, seed: number): Promise<Timed> {
  if (of.kind === 'read' || of.kind === 'write') return streamed(bench, side, of, seed)
  if (of.kind === 'first') return first(bench, side, of)
  if (of.kind === 'mark' || of.kind === 'marks') return marks(bench, side, of, seed)
  return flushes(bench, side, of, seed)
}

/** Nothing dirty before it, so that nobody pays for a neighbour's pages. */
export async function measureStore(bench: Bench, side: Side, of: StoreJob, repetition: number): Promise<StoreRun> {
  for (const one of [bench.ours, bench.plain]) await answered((done) => one.flush(done))
  const stalls = monitorEventLoopDelay({ resolution: 1 })
  stalls.enable()
  const before = process.cpuUsage()
  const { operations, ms } = await timed(bench, side, of, repetition)
  const used = process.cpuUsage(before)
  stalls.disable()
  const meanMs = ms / operations
  const perSecond = operations / (ms / 1000)
  const value = of.unit === 'ms' ? meanMs : of.unit === 'IOPS' ? perSecond : (perSecond * of.bytes) / 1e6
  return {
    job: of.name,
    target: side.name,
    repetition,
    value,
    meanMs,
    p99Ms: meanMs,
    operations,
    serverCpuSeconds: (used.user + used.system) / 1e6,
    longestStallMs: stalls.max / 1e6,
  }
}

/** Writes all of it once on both sides, durably. */
export async function fillBoth(bench: Bench): Promise<void> {
  for (const side of [bench.ours, bench.plain] as const) {
    let left = bench.sizeBytes / (128 * KiB)
    await drive(
      8,
      () => left-- > 0,
      (number, _place, done) =>
        side.write((number - 1) * 128 * KiB, piece(number, 128 * KiB), (error) => {
          if (error !== null) throw new Error(`${side.name} could not be filled: ${String(error)}`)
          done()
        }),
    )
    await answered((done) => side.flush(done))
  }
}

/**
 * ns of processor time for 4 KiB of a first write in the index alone: commits of one region's row and one group's each,
 * as a stream of 128 KiB writes makes them, for every four extents.
 */
export async function indexNs(dir: string): Promise<number> {
  await mkdir(dir)
  const opener = new SqliteOpener(dir, new URL('../../agent/store/index-thread.ts', import.meta.url))
  const commits = 1000
  try {
    const index = await new Promise<Index>((resolve, reject) => {
      opener.open('0'.repeat(32), (error, value) => (value ? resolve(value) : reject(error)))
    })
    const before = process.cpuUsage()
    for (let at = 0; at < commits; at += 1) {
      const slots = Buffer.alloc(256, at + 1)
      const batch = {
        regions: [{ volume: 1, region: Math.floor(at / 16), slots }],
        groups: [{ group: Math.floor(at / 1024), doubtful: Buffer.alloc(512, at + 1) }],
      }
      await answered((done) => index.commit(batch, done))
    }
    const used = process.cpuUsage(before)
    return ((used.user + used.system) * 1000) / (commits * 4 * blocksPerSlot)
  } finally {
    await answered((done) => opener.close(done))
  }
}

/** ns of processor time for one block's checksum: out of the processor's cache and in it. */
export function checksumNs(): { cold: number; hot: number } {
  const time = (rounds: number, blockOf: (at: number) => Uint8Array): number => {
    const before = process.cpuUsage()
    for (let at = 0; at < rounds; at += 1) sumOf(blockOf(at))
    const used = process.cpuUsage(before)
    return ((used.user + used.system) * 1000) / rounds
  }
  const large = Buffer.alloc(256 * MiB, payload)
  const blocks = large.length / limits.blockBytes
  const blockOf = (at: number) => large.subarray(at * limits.blockBytes, (at + 1) * limits.blockBytes)
  const hot = large.subarray(0, limits.blockBytes)
  time(5_000, () => hot)
  return { cold: time(blocks, blockOf), hot: time(100_000, () => hot) }
}
