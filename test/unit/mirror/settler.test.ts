/** Settling over replicas in memory: the plan carried out by the real copier and target; and what targets refuse. */
import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import type { ServerId } from '../../../agent/kit/ids.ts'
import { limits } from '../../../agent/limits.ts'
import type { CopyMessage, Links } from '../../../agent/link/messages.ts'
import { Copier } from '../../../agent/mirror/copier.ts'
import { CopyTarget } from '../../../agent/mirror/copy-target.ts'
import type { MirrorBody, MirrorSend } from '../../../agent/mirror/messages.ts'
import { regionRanges } from '../../../agent/mirror/region-ranges.ts'
import type { Told } from '../../../agent/mirror/settle-plan.ts'
import { Settler } from '../../../agent/mirror/settler.ts'
import {
  bytes,
  type Disk,
  digest,
  idOf,
  MiB,
  openDisk,
  readAll,
  recordingSend,
  VirtualClock,
  writeAll,
} from './world.ts'

const session = 6
const epoch = 5

interface Side {
  readonly id: ServerId
  readonly disk: Disk
  readonly target: CopyTarget
  readonly copier: Copier
  readonly settler: Settler
}

describe('settling (E9, C2, C7)', () => {
  let clock: VirtualClock
  let sides: Side[]
  let copied: number
  /** Sides that said that they cannot stay. */
  let broken: number[]
  const side = (index: number): Side => {
    const found = sides[index]
    if (found === undefined) throw new Error(`no side ${index}`)
    return found
  }
  const byId = (id: ServerId): Side | undefined => sides.find((each) => each.id === id)

  beforeEach(() => {
    clock = new VirtualClock()
    copied = 0
    broken = []
    sides = []
    for (let index = 0; index < 3; index += 1) {
      const id = idOf(index)
      const disk = openDisk(clock, 20 * MiB, index + 1)
      const send: MirrorSend = (to, kind, body) => {
        clock.after(0.5, () => {
          const there = byId(to)
          // Each body belongs to its kind; TypeScript cannot follow a pair of parameters through a switch.
          if (kind === 'copy.compare') there?.target.onCompare(id, body as MirrorBody<'copy.compare'>)
          else if (kind === 'copy.compared') there?.copier.onCompared(id, body as MirrorBody<'copy.compared'>)
          else if (kind === 'copy.applied') there?.copier.onApplied(id, body as MirrorBody<'copy.applied'>)
          else if (kind === 'settle.done') there?.settler.onDone(id, body as MirrorBody<'settle.done'>)
          else if (kind === 'settle.order') {
            const order = body as MirrorBody<'settle.order'>
            there?.settler.copyOut(session, epoch, order, (failed) =>
              clock.after(0.5, () => byId(id)?.settler.onDone(to, { session, attempt: 0, order: order.order, failed })),
            )
          }
        })
      }
      const links: Links = {
        send: (to, message) => {
          copied += 1
          clock.after(0.5, () => byId(to)?.target.onCopy(id, message as CopyMessage))
          return true
        },
        sendNow: () => false,
        peer: () => undefined,
        unacknowledgedBytes: () => 0,
        acknowledgedBytes: () => 0,
      }
      const store = disk.replica
      const ownReplicaFailed = () => broken.push(index)
      const target = new CopyTarget({ store, digest, send, ownReplicaFailed })
      target.accept(session, 0)
      const copier = new Copier({ volumeKey: 1, links, store, digest, send })
      sides.push({
        id,
        disk,
        target,
        copier,
        settler: new Settler({ self: id, store, sizeBytes: () => store.sizeBytes, copier, send }),
      })
    }
  })
  const settle = (tells: [Told, Told, Told]): boolean | undefined => {
    const outcomes: boolean[] = []
    side(0).settler.settle(session, epoch, new Map(tells.map((told, index) => [idOf(index), told])), (settled) =>
      outcomes.push(settled),
    )
    clock.pass(5_000)
    assert.ok(outcomes.length <= 1, 'answered once')
    return outcomes[0]
  }
  const quiet: Told = { doubts: [], names: [] }
  const lossy: Told = { doubts: [{ first: 0, last: 1, grade: 'lossy' }], names: [] }
  const first = (index: number, offsetBytes = 0) => readAll(clock, side(index).disk.replica, offsetBytes, 1)[0]

  it('copies whole doubtful regions from a sound member, the last short one too, and stamps them (C3)', () => {
    writeAll(clock, side(0).disk.replica, 0, bytes(4096, 1))
    writeAll(clock, side(0).disk.replica, 20 * MiB - 4096, bytes(4096, 2))
    writeAll(clock, side(1).disk.replica, MiB, bytes(4096, 3))
    assert.equal(settle([quiet, lossy, quiet]), true)
    assert.deepEqual([first(1), first(1, 20 * MiB - 4096), first(1, MiB)], [1, 2, 0])
    assert.equal(side(1).disk.replica.region(0).stamp, epoch, 'a marked region counts as changed now')
    assert.equal(first(2), 0, 'the sound one is not touched')
  })

  it('lets another member than the leader give, to all others', () => {
    const origin = idOf(1)
    const name = { origin, run: 1, number: 1, time: 1, offsetBytes: 4096, lengthBytes: 4096 }
    writeAll(clock, side(1).disk.replica, 4096, bytes(4096, 8))
    assert.equal(settle([quiet, { doubts: [], names: [name] }, quiet]), true)
    assert.deepEqual([first(0, 4096), first(2, 4096)], [8, 8])
  })

  it('sends nothing where nothing differs', () => {
    for (const each of sides) writeAll(clock, each.disk.replica, 0, bytes(MiB, 4))
    assert.equal(settle([lossy, quiet, lossy]), true)
    assert.equal(copied, 0)
  })

  it('says so when a member could not: its disk fails to write, or the source to read', () => {
    writeAll(clock, side(0).disk.replica, 0, bytes(4096, 1))
    side(1).disk.disk.fault = 'fail'
    assert.equal(settle([quiet, lossy, quiet]), false)
    assert.deepEqual([...new Set(broken)], [1], 'it leaves (C6)')
    side(1).disk.disk.fault = 'none'
    side(0).disk.disk.fault = 'fail'
    assert.equal(settle([quiet, quiet, lossy]), false)
  })

  it('an attempt that ended is not answered, and its late answers find nothing', () => {
    writeAll(clock, side(1).disk.replica, 0, bytes(4096, 1))
    const outcomes: boolean[] = []
    const tells = new Map([lossy, quiet, lossy].map((told, index) => [idOf(index), told]))
    side(0).settler.settle(session, epoch, tells, (settled) => outcomes.push(settled))
    clock.pass(2)
    side(0).settler.end()
    for (const each of sides) each.copier.end(null)
    clock.pass(5_000)
    assert.deepEqual(outcomes, [])
  })
})

describe('a target of copies', () => {
  let clock: VirtualClock
  let disk: Disk
  let target: CopyTarget
  let sends: ReturnType<typeof recordingSend>
  const from = idOf(0)
  const compare = (changes: Partial<MirrorBody<'copy.compare'>> = {}) =>
    target.onCompare(from, {
      session,
      attempt: 2,
      request: 1,
      offsetBytes: 0,
      lengthBytes: MiB,
      digest: digest(bytes(MiB, 0)),
      stamp: 3,
      ...changes,
    })
  const copy = (changes: Partial<CopyMessage> = {}) =>
    target.onCopy(from, {
      type: 'copy',
      volumeKey: 1,
      session,
      attempt: 2,
      request: 2,
      offsetBytes: 0,
      lengthBytes: 4096,
      zero: false,
      chunks: [bytes(4096, 9)],
      ...changes,
    })
  const answers = () => {
    clock.pass(100)
    return sends.sent.splice(0).map(({ kind, body }) => [kind, 'failed' in body ? body.failed : null])
  }
  beforeEach(() => {
    clock = new VirtualClock()
    disk = openDisk(clock, 20 * MiB)
    sends = recordingSend()
    target = new CopyTarget({ store: disk.replica, digest, send: sends.send, ownReplicaFailed: () => undefined })
    target.accept(session, 2)
  })

  it('answers what is outside the volume, too long, or no whole blocks with a failure', () => {
    compare({ offsetBytes: 20 * MiB })
    compare({ lengthBytes: 2 * limits.copyPieceBytes })
    compare({ offsetBytes: 100 })
    copy({ offsetBytes: 20 * MiB })
    copy({ lengthBytes: 100, chunks: [bytes(100, 1)] })
    assert.deepEqual(answers(), [
      ['copy.compared', true],
      ['copy.compared', true],
      ['copy.compared', true],
      ['copy.applied', true],
      ['copy.applied', true],
    ])
  })

  it('refuses other sessions and attempts, and everything once it drains (C4, E9)', () => {
    compare({ session: 5 })
    copy({ attempt: 1 })
    copy()
    let drained = 0
    target.refuse(() => {
      drained += 1
    })
    assert.equal(drained, 0, 'what began ends first')
    copy({ offsetBytes: 8192 })
    assert.deepEqual(answers(), [])
    assert.equal(drained, 1)
    assert.deepEqual([readAll(clock, disk.replica, 0, 1)[0], readAll(clock, disk.replica, 8192, 1)[0]], [9, 0])
  })

  it('makes holes of zeros', () => {
    writeAll(clock, disk.replica, 0, bytes(512 * 1024, 7))
    const before = disk.replica.allocatedBytes()
    copy({ lengthBytes: 256 * 1024, zero: true, chunks: [] })
    assert.deepEqual(answers(), [['copy.applied', false]])
    clock.pass(1_000)
    assert.ok(disk.replica.allocatedBytes() < before)
  })
})

describe('regions as few ranges', () => {
  const worse = (one: string, other: string) => (one === 'lossy' ? one : other)
  const ranges = (list: [number, string][], most: number) =>
    regionRanges(list, most, worse).map(({ first, last, kind }) => [first, last, kind])

  it('joins neighbours of one kind', () => {
    assert.deepEqual(
      ranges(
        [
          [0, 'torn'],
          [1, 'torn'],
          [2, 'lossy'],
          [9, 'torn'],
        ],
        10,
      ),
      [
        [0, 1, 'torn'],
        [2, 2, 'lossy'],
        [9, 9, 'torn'],
      ],
    )
    assert.deepEqual(ranges([], 10), [])
  })

  it('takes regions between along, the worse kind for all, rather than say more than it may', () => {
    assert.deepEqual(
      ranges(
        [
          [0, 'torn'],
          [2, 'lossy'],
          [40, 'torn'],
        ],
        2,
      ),
      [
        [0, 2, 'lossy'],
        [40, 40, 'torn'],
      ],
    )
    const scattered: [number, string][] = Array.from({ length: 30_000 }, (_, index) => [
      index * 3 + (index % 2),
      'torn',
    ])
    const told = regionRanges(scattered, limits.toldRanges, worse)
    assert.ok(told.length <= limits.toldRanges)
    for (const [region] of scattered.slice(0, 500))
      assert.ok(told.some(({ first, last }) => first <= region && region <= last))
  })
})
