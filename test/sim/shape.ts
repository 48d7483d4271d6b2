/** What a cluster is like and how its network is, before anything goes wrong: all from the seed. */
import { blockBytes } from './checker.ts'
import type { NetworkWeather } from './network.ts'
import type { Chance, World } from './world.ts'

const MiB = 1024 * 1024

export interface Shape {
  /** Servers with a replica: 2, 3 or 5. */
  readonly count: number
  readonly arbiter: 'preferred' | 'witness'
  readonly sizeBytes: number
  /** The blocks that clients aim at, ascending. */
  readonly blocks: number[]
  readonly network: NetworkWeather
}

/** What is not left to the seed. */
export interface WantedShape {
  readonly arbiter?: Shape['arbiter']
  readonly sizeBytes?: number
  /** Clients aim at that many blocks at most. */
  readonly blocks?: number
  readonly network?: Partial<NetworkWeather>
}

/** @param count null: the seed's own */
export function shapeOf(world: World, chance: Chance, count: number | null, wanted: WantedShape = {}): Shape {
  const network = { ...networkWeather(chance, world), ...wanted.network }
  const usual = chance.is(0.6) ? 2 : 3
  const drawn = world.chance('five').is(0.04) ? 5 : usual
  const drawnArbiter = chance.is(0.5) ? 'witness' : 'preferred'
  const drawnBytes = chance.pick([1 * MiB, 1 * MiB, 1 * MiB, 17 * MiB])
  const { arbiter = drawnArbiter, sizeBytes = drawnBytes } = wanted
  const blocks = pickBlocks(chance, sizeBytes).slice(0, wanted.blocks)
  return { count: count ?? drawn, arbiter, sizeBytes, blocks, network }
}

function networkWeather(chance: Chance, world: World): NetworkWeather {
  const more = world.chance('weather')
  return {
    minMs: 0.05,
    maxMs: chance.pick([0.5, 0.5, 5, 40]),
    spike: chance.pick([0, 0, 0.002, 0.02]),
    spikeMs: chance.pick([50, 400, 2_500]),
    loss: chance.pick([0, 0.01, 0.1]),
    skewMs: more.pick([0, 0, 2, 60]),
    register: {
      lost: more.pick([0, 0, 0.1, 0.5]),
      late: more.pick([0, 0, 0.1, 0.5]),
      lateMs: more.pick([400, 2_000, 8_000]),
      twice: more.pick([0, 0, 0.2]),
    },
  }
}

/** Few blocks, so that clients meet: at both ends, around an extent's and a region's border. */
function pickBlocks(chance: Chance, sizeBytes: number): number[] {
  const last = sizeBytes / blockBytes - 1
  const places = [0, 1, 2, 3, 62, 63, 64, 65, last - 1, last]
  if (last > 4096) places.push(4094, 4095, 4096, 4097)
  const most = chance.pick([2, 5, places.length])
  const from = chance.whole(0, places.length - most)
  return places.slice(from, from + most)
}
