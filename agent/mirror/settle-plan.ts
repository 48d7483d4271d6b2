/**
 * What must be copied from whom to make in-sync replicas equal where they may differ (C2, C7). Pure.
 *
 * Per region only members of the best grade count. Where all of them are sound, the names of unconfirmed writes decide,
 * block by block: whoever applied the latest write there has all earlier ones too (W3). Where the best grade is torn or
 * lossy, the lowest server id of that grade wins the whole region. What is lossy in an older copy of a store (C12) lacks
 * flushed writes too, and so is worse than what a power cut has left.
 */
import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import type { Grade } from '../store/replica.ts'
import { endOf, regionLength, regionsIn } from './places.ts'

export interface ToldName {
  readonly origin: ServerId
  readonly run: number
  readonly number: number
  readonly time: number
  readonly offsetBytes: number
  readonly lengthBytes: number
}

export interface Told {
  readonly doubts: readonly { readonly first: number; readonly last: number; readonly grade: Exclude<Grade, 'sound'> }[]
  readonly names: readonly ToldName[]
  /** Its store came back older than it was. */
  readonly older?: boolean | undefined
}

type Standing = Grade | 'older'

/** Bytes that `source` gives to all `targets`; within one region, whole blocks. */
export interface SettlePiece {
  readonly source: ServerId
  readonly targets: readonly ServerId[]
  readonly offsetBytes: number
  readonly lengthBytes: number
}

const rank: Record<Standing, number> = { sound: 0, torn: 1, lossy: 2, older: 3 }

/** @param sizeBytes the volume's size: the last region may be short */
export function planSettling(tells: ReadonlyMap<ServerId, Told>, sizeBytes: number): SettlePiece[] {
  const members = [...tells.keys()].sort()
  const grades = gradesByRegion(tells, sizeBytes)
  const pieces: SettlePiece[] = []
  for (const region of [...grades.keys()].sort((one, other) => one - other)) {
    pieces.push(...settleDoubtful(region, members, grades.get(region) ?? new Map(), sizeBytes))
  }
  pieces.push(...settleNamed(tells, members, grades, sizeBytes))
  return pieces
}

type Grades = Map<number, Map<ServerId, Standing>>

function gradesByRegion(tells: ReadonlyMap<ServerId, Told>, sizeBytes: number): Grades {
  const grades: Grades = new Map()
  for (const [server, told] of tells) {
    for (const doubt of told.doubts) {
      for (const region of regionsIn(doubt, sizeBytes)) {
        const ofRegion = grades.get(region) ?? new Map<ServerId, Standing>()
        ofRegion.set(server, doubt.grade === 'lossy' && told.older === true ? 'older' : doubt.grade)
        grades.set(region, ofRegion)
      }
    }
  }
  return grades
}

/** The whole region goes from the first of the best members to all worse ones; equally doubtful ones are equalised. */
function settleDoubtful(
  region: number,
  members: readonly ServerId[],
  grades: ReadonlyMap<ServerId, Standing>,
  sizeBytes: number,
): SettlePiece[] {
  const gradeOf = (server: ServerId): Standing => grades.get(server) ?? 'sound'
  const best = Math.min(...members.map((server) => rank[gradeOf(server)]))
  const source = members.find((server) => rank[gradeOf(server)] === best)
  if (source === undefined) return []
  const targets = members.filter((server) => server !== source && gradeOf(server) !== 'sound')
  if (targets.length === 0) return []
  const offsetBytes = region * limits.regionBytes
  return [{ source, targets, offsetBytes, lengthBytes: regionLength(region, sizeBytes) }]
}

/** Latest first: the first write that covers a block decides it, the earlier ones there are covered by it. */
function settleNamed(
  tells: ReadonlyMap<ServerId, Told>,
  members: readonly ServerId[],
  grades: Grades,
  sizeBytes: number,
): SettlePiece[] {
  const pieces: SettlePiece[] = []
  const decided = new BlockSet()
  for (const { name, appliedBy } of latestFirst(tells)) {
    const first = Math.floor(name.offsetBytes / limits.blockBytes)
    const end = Math.ceil(
      Math.min(name.offsetBytes + name.lengthBytes, endOf(name.offsetBytes, sizeBytes)) / limits.blockBytes,
    )
    for (const [from, to] of decided.add(first, end)) {
      for (const [start, stop] of splitByRegion(from, to)) {
        const ofRegion = grades.get(Math.floor((start * limits.blockBytes) / limits.regionBytes))
        const sound = (server: ServerId) => ofRegion === undefined || !ofRegion.has(server)
        const source = members.find((server) => sound(server) && appliedBy.has(server))
        // A doubtful member first gets the whole region from some sound one, so its own application counts for nothing.
        const targets = members.filter((server) => server !== source && !(appliedBy.has(server) && sound(server)))
        if (source === undefined || targets.length === 0) continue
        const offsetBytes = start * limits.blockBytes
        pieces.push({ source, targets, offsetBytes, lengthBytes: (stop - start) * limits.blockBytes })
      }
    }
  }
  return pieces
}

function latestFirst(tells: ReadonlyMap<ServerId, Told>): { name: ToldName; appliedBy: Set<ServerId> }[] {
  const all = new Map<string, { name: ToldName; appliedBy: Set<ServerId> }>()
  for (const [server, told] of tells) {
    for (const name of told.names) {
      const key = `${name.origin} ${name.run} ${name.number}`
      const entry = all.get(key) ?? { name, appliedBy: new Set<ServerId>() }
      entry.appliedBy.add(server)
      all.set(key, entry)
    }
  }
  // C7: the greatest (time, server id) wins.
  return [...all.values()].sort((one, other) =>
    one.name.time !== other.name.time ? other.name.time - one.name.time : one.name.origin < other.name.origin ? 1 : -1,
  )
}

/** Block ranges [from, to), sorted and apart. */
class BlockSet {
  readonly #ranges: [number, number][] = []

  /** @returns the parts of [from, to) that were not in the set before */
  add(from: number, to: number): [number, number][] {
    const fresh: [number, number][] = []
    const first = this.#firstEndingAtOrAfter(from)
    let next = from
    let index = first
    let start = from
    let end = to
    for (; index < this.#ranges.length; index += 1) {
      const range = this.#ranges[index]
      if (range === undefined || range[0] > to) break
      if (range[0] > next) fresh.push([next, range[0]])
      next = Math.max(next, range[1])
      start = Math.min(start, range[0])
      end = Math.max(end, range[1])
    }
    if (next < to) fresh.push([next, to])
    this.#ranges.splice(first, index - first, [start, end])
    return fresh
  }

  #firstEndingAtOrAfter(block: number): number {
    let low = 0
    let high = this.#ranges.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#ranges[middle]?.[1] ?? 0) < block) low = middle + 1
      else high = middle
    }
    return low
  }
}

const regionBlocks = limits.regionBytes / limits.blockBytes

function splitByRegion(from: number, to: number): [number, number][] {
  const parts: [number, number][] = []
  for (let start = from; start < to; ) {
    const stop = Math.min(to, (Math.floor(start / regionBlocks) + 1) * regionBlocks)
    parts.push([start, stop])
    start = stop
  }
  return parts
}
