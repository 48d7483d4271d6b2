/** What the state machine does with images of volumes, and the wipe that takes them along (machine.test.ts). */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { VolumeId } from '../../../agent/kit/ids.ts'
import { limits } from '../../../agent/limits.ts'
import { Command } from './machine-command.ts'
import { bytesOf, type ImageModel } from './machine-images.ts'
import type { VolumeModel } from './machine-model.ts'
import { beginChange, idOf, type Plan, reopen, spaceIsRight, there } from './machine-plan.ts'
import type { MachineWorld } from './machine-worlds.ts'

const { extentBytes } = limits
const mostImages = 3
/** Most is done to one, as in machine-commands.ts. */
const volumes = fc.constantFrom(0, 0, 0, 0, 1, 2)

interface Made {
  readonly volume: number
  readonly events: number
  /** Checksums are settled ahead, while writes go on. */
  readonly isPrepared: boolean
}

async function make(plan: Plan, world: MachineWorld, id: VolumeId, model: VolumeModel, isPrepared: boolean) {
  if (isPrepared) {
    await world.settle(world.ask({ kind: 'prepare', id })).then(({ failure }) => assert.equal(failure, null, 'prepare'))
  }
  // S7: its caller holds all writes. Reads, syncs, growing and what is said of marks go on.
  if ([...model.busy].some(({ isRead }) => !isRead)) await plan.idle(world)
  if (model.state !== 'there') return
  plan.images += 1
  const image = model.images.begin(`image-${plan.images}`, model)
  plan.begin(world, { kind: 'image', id, name: image.name }, model, ({ failure, shown }, begun) => {
    if (failure === null) {
      image.state = 'there'
      image.sizeBytes = shown.volumes.get(id)?.images.find(({ name }) => name === image.name)?.sizeBytes ?? -1
      const sizes = [image.sizeBefore, model.growing, model.sizeBytes]
      assert.ok(sizes.includes(image.sizeBytes), `an image has ${image.sizeBytes} bytes, its volume one of ${sizes}`)
      // Durable, and everything that was written before it.
      return model.synced(begun)
    }
    assert.ok(failure === 'no-space' && (world.isTight || plan.isFull), `image: ${failure}`)
    model.images.remove(image)
  })
}

const makes = fc
  .record<Made>({ volume: volumes, events: fc.oneof(fc.nat(12), fc.nat(80)), isPrepared: fc.boolean() })
  .map(
    ({ volume, events, isPrepared }) =>
      new Command(
        `image(volume ${volume}; ${isPrepared ? 'prepared; ' : ''}${events} events)`,
        (plan) => (there(plan, idOf(volume))?.images.all.length ?? mostImages) < mostImages,
        async (plan, world) => {
          const id = idOf(volume)
          const model = plan.volumes.get(id)
          assert.ok(model)
          await make(plan, world, id, model, isPrepared)
          await world.pass(events)
        },
      ),
  )

interface OfImage {
  readonly volume: number
  readonly which: number
  readonly events: number
}

const ofImage = (
  name: string,
  run: (plan: Plan, world: MachineWorld, of: { id: VolumeId; model: VolumeModel; image: ImageModel }) => Promise<void>,
) =>
  fc.record<OfImage>({ volume: volumes, which: fc.nat(mostImages - 1), events: fc.nat(60) }).map(
    ({ volume, which, events }) =>
      new Command(
        `${name}(volume ${volume}, image ${which}; ${events} events)`,
        (plan) => there(plan, idOf(volume))?.images.there[which] !== undefined,
        async (plan, world) => {
          const id = idOf(volume)
          const model = plan.volumes.get(id)
          const image = model?.images.there[which]
          assert.ok(model && image)
          await run(plan, world, { id, model, image })
          await world.pass(events)
        },
      ),
  )

const reads = ofImage('readImage', async (plan, world, { id, model, image }) => {
  plan.value += 1
  // Over a border of extents, from place to place.
  const extent = [...image.bytes.keys()][plan.value % Math.max(1, image.bytes.size)] ?? 0
  const from = Math.max(0, extent * extentBytes - (plan.value % 3) * 700)
  const to = Math.min(image.sizeBytes, from + extentBytes + (plan.value % 5) * 5000)
  plan.begin(
    world,
    { kind: 'readImage', id, name: image.name, from, length: to - from },
    model,
    ({ failure, data }) => {
      assert.equal(failure, null, `a read of ${image.name}`)
      assert.ok(bytesOf(image, from, to).equals(data), `${image.name} has changed between ${from} and ${to}`)
    },
  )
})

const begunDeletion = (
  plan: Plan,
  world: MachineWorld,
  { id, model, image }: { id: VolumeId; model: VolumeModel; image: ImageModel },
) => {
  image.state = 'going'
  plan.begin(world, { kind: 'deleteImage', id, name: image.name }, model, ({ failure }) => {
    assert.equal(failure, null, 'deleteImage')
    model.images.remove(image)
  })
}

const deletions = ofImage('deleteImage', async (plan, world, of) => begunDeletion(plan, world, of))

/** With nothing else under way, what it gives back is known exactly. */
const exactDeletions = ofImage('deleteImageAlone', async (plan, world, of) => {
  const { id, image } = of
  await plan.idle(world)
  const before = await spaceIsRight(plan, world)
  begunDeletion(plan, world, of)
  await plan.idle(world)
  const after = await spaceIsRight(plan, world)
  const took = before.images(id).get(image.name) ?? assert.fail(`${image.name} is gone`)
  let passedOn = 0
  for (const [name, bytes] of after.images(id)) passedOn += bytes - (before.images(id).get(name) ?? 0)
  const fell = (before.slots - after.slots) * extentBytes
  assert.equal(fell, took - passedOn, `${fell} bytes came back; it took ${took}, of which others take ${passedOn} now`)
  assert.equal(after.leaving, 0, 'slots of a deleted image are still held')
  // A full disk was measured at another moment.
  if (!world.canCut || plan.isFull) return
  const risen = (after.availableSlots - before.availableSlots) * extentBytes
  assert.equal(risen, fell, 'what came back can be used again')
})

interface Ends {
  readonly volume: number
  readonly extent: number
  readonly events: number
  readonly ending: 'kill' | 'cut'
  readonly more: number
}

/** An end in the middle of a deletion; what the image shared is written; the power goes before anything is synced. */
const endsInDeletion = fc
  .record<Ends>({
    volume: fc.constantFrom(0, 0, 1),
    extent: fc.nat(20),
    events: fc.nat(25),
    ending: fc.constantFrom('kill', 'cut'),
    more: fc.nat(25),
  })
  .map(
    ({ volume, extent, events, ending, more }) =>
      new Command(
        `endInDeletion(volume ${volume}, extent ${extent}; ${events} events, ${ending}, ${more} events, cut)`,
        (plan) => there(plan, idOf(volume))?.images.there[0] !== undefined,
        async (plan, world) => {
          const id = idOf(volume)
          const write = () => {
            const model = plan.volumes.get(id)
            const held = [...(model?.images.all[0]?.slots.keys() ?? shared)]
            const at = (held[extent % Math.max(1, held.length)] ?? 0) * extentBytes
            const to = Math.min(at + 20_000, model?.sizeBytes ?? 0)
            if (model?.isFree(at, to, false)) beginChange(plan, world, { id, model, kind: 'write', from: at, to })
          }
          const model = plan.volumes.get(id)
          const image = model?.images.there[0]
          assert.ok(model && image)
          const shared = [...image.slots.keys()]
          begunDeletion(plan, world, { id, model, image })
          await world.pass(events)
          plan.mustBeRight()
          if (ending === 'kill') {
            await world.kill()
            await reopen(plan, world, 'kill')
          }
          write()
          await world.pass(more)
          plan.mustBeRight()
          await world.cut()
          await reopen(plan, world, 'cut')
        },
      ),
  )

const wipes = fc.tuple(fc.nat(2), fc.nat(120)).map(
  ([volume, events]) =>
    new Command(
      `wipe(volume ${volume}; ${events} events)`,
      (plan) => there(plan, idOf(volume))?.open === 0,
      async (plan, world) => {
        const id = idOf(volume)
        const model = plan.volumes.get(id)
        assert.ok(model)
        model.state = 'wiping'
        plan.begin(world, { kind: 'wipe', id }, model, ({ failure }) => {
          assert.equal(failure, null, 'wipe')
          plan.volumes.delete(id)
        })
        await world.pass(events)
      },
    ),
)

export const imageCommands = (canCut: boolean): fc.Arbitrary<fc.AsyncCommand<Plan, MachineWorld>>[] => [
  ...Array.from({ length: 4 }, () => makes),
  reads,
  reads,
  deletions,
  exactDeletions,
  exactDeletions,
  wipes,
  ...(canCut ? [endsInDeletion] : []),
]
