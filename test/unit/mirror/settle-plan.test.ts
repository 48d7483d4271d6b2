import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { ServerId } from '../../../agent/kit/ids.ts'
import { limits } from '../../../agent/limits.ts'
import { hiddenRegion } from '../../../agent/mirror/places.ts'
import { planSettling, type SettlePiece, type Told, type ToldName } from '../../../agent/mirror/settle-plan.ts'
import { idOf } from './world.ts'

const block = limits.blockBytes
const regionBlocks = limits.regionBytes / block
/** Two regions, of which only some blocks are looked at, so that a volume is a small array. */
const sizeBytes = 2 * limits.regionBytes
const looked = [0, 1, 2, 3, regionBlocks - 2, regionBlocks - 1, regionBlocks, regionBlocks + 1]

type Copy = Map<number, number>
type Grade = 'sound' | 'torn' | 'lossy'

interface WriteStory {
  readonly first: number
  readonly count: number
  readonly origin: number
  /** How many members had applied it, in an order of their own; all of them: acknowledged. */
  readonly applied: number
  readonly order: number
}

function name(origin: ServerId, number: number, firstBlock: number, blocks: number): ToldName {
  return { origin, run: 1, number, time: number, offsetBytes: firstBlock * block, lengthBytes: blocks * block }
}

function execute(plan: readonly SettlePiece[], copies: ReadonlyMap<ServerId, Copy>): void {
  for (const piece of plan) {
    assert.equal(piece.offsetBytes % block, 0)
    assert.equal(piece.lengthBytes % block, 0)
    const region = Math.floor(piece.offsetBytes / limits.regionBytes)
    assert.equal(Math.floor((piece.offsetBytes + piece.lengthBytes - 1) / limits.regionBytes), region, 'one region')
    const source = copies.get(piece.source)
    for (const at of looked) {
      if (at * block < piece.offsetBytes || at * block >= piece.offsetBytes + piece.lengthBytes) continue
      for (const target of piece.targets) copies.get(target)?.set(at, source?.get(at) ?? 0)
    }
  }
}

const equal = (copies: ReadonlyMap<ServerId, Copy>): boolean => {
  const [first, ...others] = [...copies.values()]
  return looked.every((at) => others.every((other) => (other.get(at) ?? 0) === (first?.get(at) ?? 0)))
}

/** What is there after a history in which the policing let one write at a time into each block (W3). */
function play(members: readonly ServerId[], stories: readonly WriteStory[], grades: readonly (readonly Grade[])[]) {
  const copies = new Map<ServerId, Copy>(members.map((member) => [member, new Map()]))
  const told = new Map<ServerId, Told & { names: ToldName[] }>()
  for (const [index, member] of members.entries()) {
    const doubts = (grades[index] ?? []).flatMap((grade, region) =>
      grade === 'sound' ? [] : [{ first: region, last: region, grade }],
    )
    told.set(member, { doubts, names: [] })
  }
  /** Members at which every write of a block was applied so far: those of a later one are among them (nested sets). */
  const whole = new Map<number, Set<ServerId>>(looked.map((at) => [at, new Set(members)]))
  const acknowledged = new Map<number, number>()
  for (const [index, story] of stories.entries()) {
    const number = index + 1
    const at = looked.slice(story.first, story.first + story.count)
    const contiguous = at.filter((one, position) => one === (at[0] ?? 0) + position)
    const able = members.filter((member) => contiguous.every((one) => whole.get(one)?.has(member)))
    const origin = members[story.origin % members.length]
    const first = contiguous[0]
    if (origin === undefined || first === undefined || able.length === 0) continue
    const rotated = able.map((_, position) => able[(position + story.order) % able.length] ?? origin)
    const appliers = rotated.slice(0, Math.min(story.applied, able.length))
    for (const member of appliers) {
      for (const one of contiguous) copies.get(member)?.set(one, number)
      told.get(member)?.names.push(name(origin, number, first, contiguous.length))
    }
    for (const one of contiguous) {
      whole.set(one, new Set(appliers))
      if (appliers.length === members.length) acknowledged.set(one, number)
    }
  }
  return { copies, told, acknowledged }
}

/** Bytes that a crash took or kept are any bytes; names die with the run. */
function crash(
  members: readonly ServerId[],
  grades: readonly (readonly Grade[])[],
  played: ReturnType<typeof play>,
): void {
  for (const [index, member] of members.entries()) {
    const own = grades[index] ?? []
    if (!own.some((grade) => grade !== 'sound')) continue
    const told = played.told.get(member)
    if (told !== undefined) played.told.set(member, { ...told, names: [] })
    for (const at of looked) {
      const grade = own[Math.floor(at / regionBlocks)]
      if (grade === 'lossy') played.copies.get(member)?.set(at, 0)
    }
  }
}

const story = fc.record({
  first: fc.nat(looked.length - 1),
  count: fc.integer({ min: 1, max: 4 }),
  origin: fc.nat(2),
  applied: fc.integer({ min: 0, max: 3 }),
  order: fc.nat(2),
})
const grade = fc.constantFrom<Grade>('sound', 'sound', 'torn', 'lossy')

describe('what must be copied from whom (C2, C7)', () => {
  for (const count of [2, 3]) {
    const members = Array.from({ length: count }, (_, index) => idOf(index))

    it(`makes ${count} members that kept running equal, and loses no acknowledged write`, () => {
      const property = fc.property(fc.array(story, { maxLength: 30, size: 'max' }), (stories) => {
        const { copies, told, acknowledged } = play(members, stories, [])
        execute(planSettling(told, sizeBytes), copies)
        assert.ok(equal(copies))
        for (const [at, number] of acknowledged) assert.ok((copies.get(idOf(0))?.get(at) ?? 0) >= number)
      })
      fc.assert(property, { numRuns: 400, seed: 11 })
    })

    it(`makes ${count} members equal after crashes, and loses nothing acknowledged where one is sound`, () => {
      const each = fc.array(grade, { minLength: 2, maxLength: 2 })
      const gradesOf = fc.array(each, { minLength: count, maxLength: count })
      const property = fc.property(fc.array(story, { maxLength: 20, size: 'max' }), gradesOf, (stories, grades) => {
        // Sound regions beside doubtful ones belong to an agent that died too: no names, all confirmed there.
        const played = play(members, stories, grades)
        const crashed = members.filter((_, index) => grades[index]?.some((one) => one !== 'sound'))
        const quietHere = (at: number) => {
          const region = Math.floor(at / regionBlocks)
          return crashed.every((member) => grades[members.indexOf(member)]?.[region] !== 'sound')
        }
        crash(members, grades, played)
        execute(planSettling(played.told, sizeBytes), played.copies)
        for (const at of looked) {
          if (!quietHere(at)) continue
          const values = new Set(members.map((member) => played.copies.get(member)?.get(at) ?? 0))
          assert.equal(values.size, 1, `block ${at} differs`)
          const region = Math.floor(at / regionBlocks)
          const kept = grades.some((one) => one[region] !== 'lossy')
          const acknowledged = played.acknowledged.get(at)
          const value = played.copies.get(idOf(0))?.get(at) ?? 0
          if (kept && acknowledged !== undefined) assert.ok(value >= acknowledged, `block ${at} lost ${acknowledged}`)
        }
      })
      fc.assert(property, { numRuns: 400, seed: 12 })
    })
  }

  const [a, b, c] = [idOf(0), idOf(1), idOf(2)]

  it('takes the latest of overlapping writes from whoever applied it', () => {
    const told = new Map<ServerId, Told>([
      [a, { doubts: [], names: [name(a, 1, 0, 1)] }],
      [b, { doubts: [], names: [name(a, 1, 0, 1), name(b, 2, 0, 1)] }],
    ])
    const plan = planSettling(told, sizeBytes)
    assert.deepEqual(plan, [{ source: b, targets: [a], offsetBytes: 0, lengthBytes: block }])
  })

  it('of one time the greater server id is the later one', () => {
    const one = { ...name(a, 1, 0, 1), time: 5 }
    const other = { ...name(b, 1, 0, 1), time: 5 }
    const told = new Map<ServerId, Told>([
      [a, { doubts: [], names: [one] }],
      [b, { doubts: [], names: [other] }],
    ])
    assert.deepEqual(planSettling(told, sizeBytes)[0]?.source, b)
  })

  it('lets a sound member without names give to a torn one, and a torn one to a lossy one', () => {
    const told = new Map<ServerId, Told>([
      [a, { doubts: [{ first: 0, last: 1, grade: 'lossy' }], names: [] }],
      [b, { doubts: [{ first: 0, last: 0, grade: 'torn' }], names: [] }],
      [c, { doubts: [{ first: 0, last: 0, grade: 'lossy' }], names: [] }],
    ])
    assert.deepEqual(
      planSettling(told, sizeBytes).map(({ source, targets, offsetBytes }) => ({ source, targets, offsetBytes })),
      [
        { source: b, targets: [a, c], offsetBytes: 0 },
        { source: b, targets: [a], offsetBytes: limits.regionBytes },
      ],
    )
  })

  it('gives a named block again to a doubtful member that gets the whole region first', () => {
    const doubts = [{ first: 0, last: 0, grade: 'lossy' as const }]
    const names = [name(c, 1, 3, 1)]
    const told = new Map<ServerId, Told>([
      [a, { doubts: [], names: [] }],
      [b, { doubts, names }],
      [c, { doubts: [], names }],
    ])
    assert.deepEqual(
      planSettling(told, sizeBytes).map(({ source, targets }) => ({ source, targets })),
      [
        { source: a, targets: [b] },
        { source: c, targets: [a, b] },
      ],
    )
  })

  it('lets the lowest id win among equally doubtful ones', () => {
    const doubts = [{ first: 0, last: 0, grade: 'torn' as const }]
    const told = new Map<ServerId, Told>([
      [b, { doubts, names: [] }],
      [a, { doubts, names: [] }],
    ])
    assert.equal(planSettling(told, sizeBytes)[0]?.source, a)
  })

  it('copies nothing where nobody doubts and all applied the same', () => {
    const names = [name(a, 1, 0, 8), name(b, 2, 4, 8)]
    const told = new Map<ServerId, Told>([
      [a, { doubts: [], names }],
      [b, { doubts: [], names }],
    ])
    assert.deepEqual(planSettling(told, sizeBytes), [])
  })

  it('splits a write over two regions, and stays inside the volume', () => {
    const told = new Map<ServerId, Told>([
      [a, { doubts: [], names: [name(a, 1, regionBlocks - 1, 2)] }],
      [b, { doubts: [], names: [name(b, 2, 2 * regionBlocks - 1, 4)] }],
    ])
    const plan = planSettling(told, sizeBytes)
    assert.deepEqual(
      plan
        .map(({ offsetBytes, lengthBytes }) => [offsetBytes / block, lengthBytes / block])
        .sort((x, y) => (x[0] ?? 0) - (y[0] ?? 0)),
      [
        [regionBlocks - 1, 1],
        [regionBlocks, 1],
        [2 * regionBlocks - 1, 1],
      ],
    )
  })

  it('is not led astray by doubts beyond the end of the volume', () => {
    const doubts = [{ first: 1, last: hiddenRegion - 1, grade: 'lossy' as const }]
    const told = new Map<ServerId, Told>([
      [a, { doubts, names: [] }],
      [b, { doubts: [], names: [] }],
    ])
    assert.equal(planSettling(told, sizeBytes).length, 1)
  })

  it('the hidden range is settled like the rest, by its doubts and by names, and is no longer than it is', () => {
    const doubts = [{ first: 1, last: 2 ** 47, grade: 'lossy' as const }]
    const { hiddenStartBytes, hiddenBytes } = limits
    const doubtful = new Map<ServerId, Told>([
      [a, { doubts, names: [] }],
      [b, { doubts: [], names: [] }],
    ])
    assert.deepEqual(planSettling(doubtful, sizeBytes).at(-1), {
      source: b,
      targets: [a],
      offsetBytes: hiddenStartBytes,
      lengthBytes: hiddenBytes,
    })
    const page = { ...name(a, 1, 0, 1), offsetBytes: hiddenStartBytes + 4096, lengthBytes: 4096 }
    const named = new Map<ServerId, Told>([
      [a, { doubts: [], names: [page] }],
      [b, { doubts: [], names: [] }],
    ])
    assert.deepEqual(planSettling(named, sizeBytes), [
      { source: a, targets: [b], offsetBytes: hiddenStartBytes + 4096, lengthBytes: 4096 },
    ])
  })

  it('plans 20,000 names in well under a second', () => {
    const names = Array.from({ length: 20_000 }, (_, index) =>
      name(a, index + 1, (index * 7919) % 250_000, 1 + (index % 8)),
    )
    const told = new Map<ServerId, Told>([
      [a, { doubts: [], names }],
      [b, { doubts: [], names: names.filter((_, index) => index % 2 === 0) }],
    ])
    const startedMs = performance.now()
    const plan = planSettling(told, 1024 * limits.regionBytes)
    const tookMs = performance.now() - startedMs
    assert.ok(plan.length > 5_000)
    assert.ok(tookMs < 1_000, `it took ${tookMs} ms`)
  })
})
