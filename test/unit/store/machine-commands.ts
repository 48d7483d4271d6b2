/** What the state machine does to a store (machine.test.ts). */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { VolumeId } from '../../../agent/kit/ids.ts'
import { limits } from '../../../agent/limits.ts'
import type { ChangeKind } from './machine-change.ts'
import { Command } from './machine-command.ts'
import { imageCommands } from './machine-image-commands.ts'
import { VolumeModel } from './machine-model.ts'
import { beginChange, closeAndOpen, idOf, ok, type Plan, reopen, there, verify } from './machine-plan.ts'
import type { MachineWorld } from './machine-worlds.ts'

const { blockBytes, extentBytes, regionBytes } = limits
/** A second region with a last extent that is cut short; and a small volume. */
const sizes = [regionBytes + extentBytes + 3 * blockBytes, 3 * extentBytes]

// --- changes and reads ----------------------------------------------------------------------------------------------

interface Place {
  readonly volume: number
  /** The volume's beginning, both sides of the border of regions, its end: few, so that changes meet. */
  readonly extent: number
  readonly offset: number
  readonly length: number
  readonly events: number
}

const extents = [0, 1, 2, 62, 63, 64, 65]
/** Most is done to one, so that changes meet. */
const volumes = fc.constantFrom(0, 0, 0, 1, 2)
const place = fc.record<Place>({
  volume: volumes,
  extent: fc.constantFrom(...extents),
  offset: fc.oneof(
    fc.nat(extentBytes / blockBytes - 1).map((block) => block * blockBytes),
    fc.nat(8 * blockBytes),
    fc.nat(8 * blockBytes).map((back) => extentBytes - 1 - back),
    fc.constant(0),
  ),
  length: fc.oneof(
    { weight: 4, arbitrary: fc.integer({ min: 1, max: 3 * blockBytes }) },
    { weight: 3, arbitrary: fc.integer({ min: 1, max: 8 }).map((blocks) => blocks * blockBytes) },
    { weight: 2, arbitrary: fc.constantFrom(extentBytes, 2 * extentBytes, 2 * extentBytes + 5000) },
  ),
  events: fc.oneof(fc.constant(0), fc.nat(12), fc.nat(80)),
})

function rangeOf(model: VolumeModel, { extent, offset, length }: Place): [from: number, to: number] {
  const from = (extent * extentBytes + offset) % model.sizeBytes
  return [from, Math.min(model.sizeBytes, from + length)]
}

const saysPlace = ({ volume, extent, offset, length, events }: Place) =>
  `volume ${volume}, extent ${extent} + ${offset}, ${length} bytes; ${events} events`

function freePlace(plan: Plan, at: Place, isRead: boolean): boolean {
  const model = there(plan, idOf(at.volume))
  return model?.isFree(...rangeOf(model, at), isRead) === true
}

const changes = fc
  .tuple(fc.constantFrom<ChangeKind>('write', 'write', 'write', 'write', 'write', 'zero', 'keep', 'discard'), place)
  .map(
    ([kind, at]) =>
      new Command(
        `${kind}(${saysPlace(at)})`,
        (plan) => freePlace(plan, at, false),
        async (plan, world) => {
          const id = idOf(at.volume)
          const model = plan.volumes.get(id)
          assert.ok(model)
          const [from, to] = rangeOf(model, at)
          beginChange(plan, world, { id, model, kind, from, to })
          await world.pass(at.events)
        },
      ),
  )

const reads = place.map(
  (at) =>
    new Command(
      `read(${saysPlace(at)})`,
      (plan) => freePlace(plan, at, true),
      async (plan, world) => {
        const id = idOf(at.volume)
        const model = plan.volumes.get(id)
        assert.ok(model)
        const [from, to] = rangeOf(model, at)
        const reading = { kind: 'write' as const, from, to, value: 0, isRead: true, sizeBytes: model.sizeBytes }
        model.busy.add(reading)
        const expected = Buffer.from(model.bytes.subarray(from, to))
        plan.begin(world, { kind: 'read', id, from, length: to - from }, model, ({ failure, data }) => {
          model.busy.delete(reading)
          assert.equal(failure, null, `a read of ${from}`)
          assert.ok(expected.equals(data), `a read of ${from} to ${to} gives other bytes than were written`)
        })
        await world.pass(at.events)
      },
    ),
)

// --- syncs, marks, stamps, records ----------------------------------------------------------------------------------

/** A call of one volume that is there. @param start begins it */
const ofVolume = (
  name: string,
  start: (
    plan: Plan,
    world: MachineWorld,
    at: { id: VolumeId; model: VolumeModel; region: number },
  ) => Promise<void> | void,
) =>
  fc.record({ volume: volumes, region: fc.nat(1), events: fc.nat(40) }).map(
    ({ volume, region, events }) =>
      new Command(
        `${name}(volume ${volume}, region ${region}; ${events} events)`,
        (plan) => there(plan, idOf(volume)) !== null,
        async (plan, world) => {
          const id = idOf(volume)
          const model = plan.volumes.get(id)
          assert.ok(model)
          await start(plan, world, { id, model, region: Math.min(region, model.regions.length - 1) })
          await world.pass(events)
        },
      ),
  )

const begunSync = (plan: Plan, world: MachineWorld, id: VolumeId, model: VolumeModel) =>
  plan.begin(world, { kind: 'sync', id }, model, ({ failure }, begun) => {
    assert.equal(failure, null, 'sync')
    // One folder is synced as a whole.
    for (const each of plan.volumes.values()) each.synced(begun)
  })

const syncs = ofVolume('sync', (plan, world, { id, model }) => begunSync(plan, world, id, model))

/** As the mirror does it (C1): all is quiet and synced; what comes then may come at any moment. */
const unmarks = ofVolume('unmark', async (plan, world, { id, model, region }) => {
  await plan.idle(world)
  begunSync(plan, world, id, model)
  await plan.idle(world)
  plan.epoch += 1
  const epoch = plan.epoch
  const regions = region === 0 ? [...model.regions.keys()] : [region]
  const unmarking = { regions, epoch, begun: plan.now }
  model.unmarking.add(unmarking)
  plan.begin(world, { kind: 'unmark', id, regions, epoch }, model, ({ failure, shown }) => {
    model.unmarking.delete(unmarking)
    assert.equal(failure, null, 'unmark')
    const facts = shown.volumes.get(id)
    if (facts !== undefined) model.unmarked(regions, epoch, facts, plan.now)
  })
})

const raises = ofVolume('raiseStamp', (plan, world, { id, model, region }) => {
  plan.epoch += 1
  const epoch = plan.epoch
  plan.begin(world, { kind: 'raise', id, region, epoch }, model, ({ failure }) => {
    assert.equal(failure, null, 'raiseStamp')
    model.stamped(region, epoch, plan.now)
  })
})

const settles = ofVolume('settled', async (plan, world, { id, model, region }) => {
  await plan.idle(world)
  begunSync(plan, world, id, model)
  await plan.idle(world)
  for (const each of model.regions) each.grade = each === model.regions[region] ? 'any' : each.grade
  plan.begin(world, { kind: 'settled', id, regions: [region] }, model, ({ failure }) => {
    assert.equal(failure, null, 'settled')
    const settled = model.regions[region]
    if (settled !== undefined) settled.grade = 'sound'
  })
})

const puts = fc.nat(20).map(
  (events) =>
    new Command(
      `put(${events} events)`,
      () => true,
      async (plan, world) => {
        plan.record.last += 1
        const value = plan.record.last
        plan.begin(world, { kind: 'put', value }, null, ({ failure }) => {
          if (failure === null) plan.record.durable = Math.max(plan.record.durable, value)
          else assert.ok(failure === 'no-space', `put: ${failure}`)
        })
        await world.pass(events)
      },
    ),
)

// --- volumes, ends --------------------------------------------------------------------------------------------------

export async function create(plan: Plan, world: MachineWorld, volume: number, size: number): Promise<void> {
  const id = idOf(volume)
  const model = new VolumeModel(sizes[size] ?? 0)
  plan.volumes.set(id, model)
  plan.begin(world, { kind: 'create', id, sizeBytes: model.sizeBytes }, model, ({ failure }) => {
    assert.equal(failure, null, 'create')
    model.state = 'there'
  })
}

const creations = fc.tuple(fc.nat(2), fc.nat(1), fc.nat(60)).map(
  ([volume, size, events]) =>
    new Command(
      `create(volume ${volume}, size ${size}; ${events} events)`,
      (plan) => !plan.volumes.has(idOf(volume)) && !plan.isFull,
      async (plan, world) => {
        await create(plan, world, volume, size)
        await world.pass(events)
      },
    ),
)

/** To sizes that end in the middle of an extent, of a region, and in the next one. */
const growth = fc.tuple(volumes, fc.constantFrom(1, 3, 64, 70, 2000, 4099), fc.nat(60)).map(
  ([volume, blocks, events]) =>
    new Command(
      `grow(volume ${volume}, ${blocks} blocks; ${events} events)`,
      (plan) => {
        const model = there(plan, idOf(volume))
        return model !== null && model.growing === null && model.sizeBytes < 3 * regionBytes
      },
      async (plan, world) => {
        const id = idOf(volume)
        const model = plan.volumes.get(id)
        assert.ok(model)
        const sizeBytes = model.sizeBytes + blocks * blockBytes
        model.growing = sizeBytes
        plan.begin(world, { kind: 'grow', id, sizeBytes }, model, ({ failure }) => {
          model.growing = null
          assert.ok(failure === null || (failure === 'no-space' && (world.isTight || plan.isFull)), `grow: ${failure}`)
          if (failure === null) model.resize(sizeBytes)
        })
        await world.pass(events)
      },
    ),
)

const deletions = fc.tuple(fc.nat(2), fc.nat(60)).map(
  ([volume, events]) =>
    new Command(
      `delete(volume ${volume}; ${events} events)`,
      (plan) => there(plan, idOf(volume))?.open === 0,
      async (plan, world) => {
        const id = idOf(volume)
        const model = plan.volumes.get(id)
        assert.ok(model)
        model.state = 'going'
        plan.begin(world, { kind: 'delete', id }, model, ({ failure }) => {
          assert.equal(failure, null, 'delete')
          plan.volumes.delete(id)
        })
        await world.pass(events)
      },
    ),
)

const full = fc.boolean().map(
  (isFull) =>
    new Command(
      `full(${isFull})`,
      (plan) => [...plan.volumes.values()].every(({ state }) => state === 'there'),
      async (plan, world) => {
        // Whether what is under way is refused could not be told.
        await plan.idle(world)
        plan.isFull = isFull
        await ok(world, { kind: 'full', isFull })
      },
    ),
)

const plain = (name: string, run: (plan: Plan, world: MachineWorld) => Promise<void>) =>
  fc.constant(0).map(() => new Command(`${name}()`, () => true, run))

export function commands(canCut: boolean) {
  const kill = plain('kill', async (plan, world) => {
    await world.kill()
    await reopen(plan, world, 'kill')
  })
  const cut = plain('cut', async (plan, world) => {
    await world.cut()
    await reopen(plan, world, 'cut')
  })
  const all: fc.Arbitrary<fc.AsyncCommand<Plan, MachineWorld>>[] = [
    ...Array.from({ length: 16 }, () => changes),
    reads,
    reads,
    syncs,
    syncs,
    unmarks,
    unmarks,
    raises,
    settles,
    puts,
    creations,
    creations,
    deletions,
    growth,
    growth,
    full,
    ...imageCommands(canCut),
    plain('verify', verify),
    plain('closeAndOpen', closeAndOpen),
    kill,
    ...(canCut ? [cut, cut] : []),
  ]
  return all
}
