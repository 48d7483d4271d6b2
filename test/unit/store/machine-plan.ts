/** What is known of a store while the state machine works on it (machine.test.ts), and holding the store against it. */
import assert from 'node:assert/strict'
import { type VolumeId, volumeId } from '../../../agent/kit/ids.ts'
import { limits } from '../../../agent/limits.ts'
import { type Change, fill } from './machine-change.ts'
import { bytesOf, type ImageModel } from './machine-images.ts'
import type { Ending, VolumeModel } from './machine-model.ts'
import type { Answer, Call, HeldSlots, MachineWorld, Shown } from './machine-worlds.ts'

const { extentBytes } = limits
export const idOf = (number: number): VolumeId => volumeId(`${number + 1}`.repeat(32))

/** All that is known of one store. */
export class Plan {
  readonly volumes = new Map<VolumeId, VolumeModel>()
  readonly #pending = new Set<Promise<void>>()
  readonly #wrong: unknown[] = []
  now = 0
  epoch = 0
  value = 0
  /** Made so far: each has a name of its own. */
  images = 0
  run = 0
  isFull = false
  /** The greatest count of commits that the store told (C12). */
  toldCount = 0
  record = { durable: 0, last: 0 }

  /** Begins a call; what is known changes when it is answered. */
  begin(
    world: MachineWorld,
    call: Call,
    model: VolumeModel | null,
    then: (answer: Answer, begun: number) => Promise<void> | void,
  ) {
    this.now += 1
    const begun = this.now
    if (model !== null) model.open += 1
    const heard = world.ask(call).then(async (answer) => {
      this.now += 1
      this.toldCount = Math.max(this.toldCount, answer.shown.commitCount)
      // What is found out about it counts as part of it.
      await then(answer, begun)
      if (model !== null) model.open -= 1
    })
    const over = heard
      .catch((error: unknown) => void this.#wrong.push(error))
      .then(() => void this.#pending.delete(over))
    this.#pending.add(over)
  }

  mustBeRight(): void {
    if (this.#wrong.length > 0) throw this.#wrong[0]
  }

  async idle(world: MachineWorld): Promise<void> {
    while (this.#pending.size > 0) await world.settle(Promise.all(this.#pending))
    this.mustBeRight()
  }

  /** Nobody answers what was under way. */
  dropAll(): void {
    this.#pending.clear()
  }

  known(shown: Shown): void {
    assert.ok(
      shown.commitCount >= this.toldCount,
      `the count of commits fell from ${this.toldCount} to ${shown.commitCount} (C12)`,
    )
    this.toldCount = shown.commitCount
  }
}

export const there = (plan: Plan, id: VolumeId): VolumeModel | null => {
  const model = plan.volumes.get(id)
  return model?.state === 'there' ? model : null
}

export async function ok(world: MachineWorld, call: Call): Promise<Answer> {
  const answer = await world.settle(world.ask(call))
  assert.equal(answer.failure, null, call.kind)
  return answer
}

/** Nothing under way overlaps it (W3). */
export function beginChange(
  plan: Plan,
  world: MachineWorld,
  of: Pick<Change, 'kind' | 'from' | 'to'> & { readonly id: VolumeId; readonly model: VolumeModel },
): void {
  const { id, model, kind, from, to } = of
  if (kind === 'write') plan.value += 1
  const value = kind === 'write' ? plan.value : 0
  const change = { kind, from, to, value, isRead: false, sizeBytes: model.sizeBytes }
  model.busy.add(change)
  model.began(change, plan.now)
  const call: Call =
    kind === 'write' ? { kind, id, from, bytes: fill(value, from, to) } : { kind, id, from, length: to - from }
  const isFull = plan.isFull
  plan.begin(world, call, model, async ({ failure }) => {
    if (failure === null) {
      model.busy.delete(change)
      return model.apply(change, plan.now)
    }
    assert.ok(failure === 'no-space' && (world.isTight || isFull || plan.isFull), `${kind} failed: ${failure}`)
    const { failure: unreadable, data } = await world.ask({ kind: 'read', id, from, length: to - from })
    assert.equal(unreadable, null)
    model.busy.delete(change)
    model.refused(change, Buffer.from(data), plan.now)
  })
}

const read = (world: MachineWorld, id: VolumeId, from: number, length: number): Promise<Answer> =>
  world.settle(world.ask({ kind: 'read', id, from, length }))

/** With nothing under way: everything is as it is known to be. */
export async function verify(plan: Plan, world: MachineWorld): Promise<void> {
  await plan.idle(world)
  const { shown } = await ok(world, { kind: 'look' })
  plan.known(shown)
  assert.deepEqual([...shown.volumes.keys()].sort(), [...plan.volumes.keys()].sort())
  for (const [id, model] of plan.volumes) {
    const facts = shown.volumes.get(id)
    assert.ok(facts)
    model.agree(facts)
    for (const extent of model.touched) {
      const from = extent * extentBytes
      const length = Math.min(extentBytes, model.sizeBytes - from)
      const { failure, data } = await read(world, id, from, length)
      assert.equal(failure, null, `a read of extent ${extent}`)
      assert.ok(
        model.bytes.subarray(from, from + length).equals(data),
        `extent ${extent} reads otherwise than it was written`,
      )
    }
    for (const image of model.images.all) await imageHolds(world, id, image)
  }
}

async function imageHolds(world: MachineWorld, id: VolumeId, { name, sizeBytes, bytes }: ImageModel): Promise<void> {
  for (const extent of bytes.keys()) {
    const from = extent * extentBytes
    const to = Math.min(sizeBytes, from + extentBytes)
    const { data } = await ok(world, { kind: 'readImage', id, name, from, length: to - from })
    assert.ok(bytesOf({ bytes }, from, to).equals(data), `extent ${extent} of ${name} has changed`)
  }
}

interface Space {
  /** In use by volumes and images, each counted once. */
  readonly slots: number
  /** Of deleted images, not given back yet. */
  readonly leaving: number
  readonly availableSlots: number
  /** What each image of a volume takes, in bytes. */
  images(id: VolumeId): ReadonlyMap<string, number>
}

const passes = 2_000

/** The law of space (machine-images.ts), with nothing under way, and when what was deleted before is given back. */
export async function spaceIsRight(plan: Plan, world: MachineWorld): Promise<Space> {
  await plan.idle(world)
  let held = world.slots()
  for (let pass = 0; held.leaving.size > 0; pass += 1) {
    assert.ok(pass < passes, `${held.leaving.size} slots of deleted images are never given back`)
    await world.pass(20)
    held = world.slots()
  }
  const { shown } = await ok(world, { kind: 'look' })
  told(shown, held)
  const images = (id: VolumeId) =>
    new Map((shown.volumes.get(id)?.images ?? []).map(({ name, allocatedBytes }) => [name, allocatedBytes]))
  return { slots: held.mapped.size, leaving: held.leaving.size, availableSlots: shown.availableSlots, images }
}

/** The slots in use are those that volumes and images say they take. */
function told(shown: Shown, { mapped, leaving, doubtful }: HeldSlots): void {
  let bytes = 0
  for (const { allocatedBytes, images } of shown.volumes.values()) {
    bytes += images.reduce((sum, image) => sum + image.allocatedBytes, allocatedBytes)
  }
  assert.equal(mapped.size * extentBytes, bytes, 'slots in use, and what volumes and images say they take')
  const both = doubtful.filter((slot) => mapped.has(slot) || leaving.has(slot))
  assert.deepEqual(both, [], 'slots that are held and in doubt')
}

const endNames = { clean: 'clean', kill: 'torn', cut: 'lossy' } as const

export async function reopen(plan: Plan, world: MachineWorld, ending: Ending): Promise<void> {
  plan.dropAll()
  const shown = await world.open()
  plan.isFull = false
  plan.run += 1
  assert.deepEqual([shown.run, shown.previousEnd], [plan.run, endNames[ending]])
  assert.ok(
    shown.foundCommitCount >= plan.toldCount,
    `commits: ${plan.toldCount} were told, ${shown.foundCommitCount} found (C12)`,
  )
  plan.known(shown)
  const record = Number(shown.record ?? 0)
  assert.ok(
    record >= plan.record.durable && record <= plan.record.last,
    `the record is ${record}, put was ${plan.record.durable}`,
  )
  plan.record.durable = record
  for (const [id, model] of plan.volumes) {
    const facts = shown.volumes.get(id)
    if (model.state === 'there') assert.ok(facts || (ending === 'cut' && model.unsure !== null), `volume ${id} is gone`)
    if (facts === undefined) {
      plan.volumes.delete(id)
      continue
    }
    if (model.state === 'making') model.unsure = ending === 'kill' ? plan.now : null
    if (ending === 'cut') model.unsure = null
    model.ended(ending, facts, plan.now)
    for (const extent of model.touched) {
      const from = extent * extentBytes
      const { failure, data } = await read(world, id, from, Math.min(extentBytes, model.sizeBytes - from))
      assert.equal(failure, null, `after ${ending} a read of extent ${extent}`)
      plan.now += 1
      model.found(extent, Buffer.from(data), ending, facts, plan.now)
    }
    model.state = 'there'
    model.busy.clear()
  }
  await verify(plan, world)
}

export async function closeAndOpen(plan: Plan, world: MachineWorld): Promise<void> {
  await plan.idle(world)
  await ok(world, { kind: 'full', isFull: false })
  const { shown } = await ok(world, { kind: 'close' })
  plan.known(shown)
  told(shown, world.slots())
  await world.kill()
  await reopen(plan, world, 'clean')
}
