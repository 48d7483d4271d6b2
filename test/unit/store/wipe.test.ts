/**
 * Aim: after a wipe nothing of a volume or its images stands in the storage folder's data files; an end in the middle
 * leaves the volume, without images, in the worst doubt, to be wiped again, and never half of it and trusted.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { it } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import type { CoreStore } from '../../../agent/store/core.ts'
import { dataFilePath } from '../../../agent/store/format.ts'
import type { Store } from '../../../agent/store/replica.ts'
import { rounds } from '../../kit/length.ts'
import { imageHolds, mustCreate } from './image-calls.ts'
import { powerCuts } from './image-choices.ts'
import { open, world as plain } from './rebuild-world.ts'
import { RecordedDisk } from './recorded-disk.ts'
import { openRecorded } from './recorded-history.ts'
import { calls, close, create, only, type StoreWorld, volume } from './suite.ts'
import { seeded, temporaryFolder, VirtualClock } from './world.ts'

const { extentBytes } = limits
const secret = 'the price list of 2019'
const MiB = 1024 * 1024
const size = MiB

const wipe = async (world: Pick<StoreWorld, 'settle'>, store: Store): Promise<number[][]> => {
  const told: number[][] = []
  const asked = new Promise((done) => store.wipeReplica(volume, (...progress) => told.push(progress), done))
  assert.equal(await world.settle(asked), null)
  return told
}

/** A volume with secrets in every extent: some only an image has, some both have, some were discarded. */
async function fill(world: Pick<StoreWorld, 'settle'>, store: Store): Promise<{ live: Buffer; image: Buffer }> {
  const replica = await create(world, store, size)
  const bytes = Buffer.alloc(size, secret)
  const { write, discard, sync, unmark } = calls(world, replica)
  await write(0, bytes)
  const image = Buffer.from(bytes)
  await mustCreate(world, store, 'a')
  const more = Buffer.alloc(extentBytes, `${secret}, second edition`)
  await write(0, more)
  more.copy(bytes)
  await discard(extentBytes, extentBytes)
  bytes.fill(0, extentBytes, 2 * extentBytes)
  await sync()
  await unmark([0], 4)
  assert.equal(replica.region(0).marked, false)
  return { live: bytes, image }
}

it('leaves nothing in the data files, neither data nor headers nor checksums, and tells how far it is', async () => {
  const folder = temporaryFolder()
  try {
    let store = await open(folder.dir)
    await fill(plain, store)
    const file = path.join(folder.dir, dataFilePath(0))
    const idBytes = Buffer.from(volume, 'hex')
    assert.ok(fs.readFileSync(file).includes(secret) && fs.readFileSync(file).includes(idBytes))
    const told = await wipe(plain, store)
    assert.deepEqual(told[told.length - 1], [5 * extentBytes, 5 * extentBytes])
    assert.deepEqual(
      told.map(([done]) => done),
      [1, 2, 3, 4, 5].map((count) => count * extentBytes),
    )
    const after = fs.readFileSync(file)
    assert.ok(!after.includes(secret) && !after.includes(idBytes))
    assert.deepEqual(store.replicas(), [])
    await close(plain, store)
    store = await open(folder.dir)
    assert.deepEqual(store.replicas(), [])
    const replica = await create(plain, store, size)
    assert.ok((await calls(plain, replica).read(0, size)).equals(Buffer.alloc(size)))
    await close(plain, store)
  } finally {
    folder.remove()
  }
})

it('an end at any instant leaves all of it, or a volume in the worst doubt, and the next wipe gets it all', async () => {
  const clock = new VirtualClock()
  const disk = new RecordedDisk(clock, seeded(9))
  const world = { settle: <T>(promise: Promise<T>) => clock.settle(promise) }
  const store = await clock.settle(openRecorded(disk, clock, 4))
  const held = await fill(world, store)
  const from = disk.now
  await wipe(world, store)
  const kinds = ['kill', ...Object.keys(powerCuts)]
  const step = rounds({ short: 3, full: 1, long: 1 })
  const seen = { whole: 0, doubtful: 0, gone: 0 }
  for (let at = from; at <= disk.now; at += 1) {
    for (const [index, ending] of kinds.entries()) {
      if ((at + index) % step !== 0) continue
      const random = seeded(at * 100 + index)
      const machine = { clock: new VirtualClock(), settle: <T>(promise: Promise<T>) => machine.clock.settle(promise) }
      const left = disk.fork(at, powerCuts[ending]?.(random.unit) ?? null, machine.clock, random)
      const again = await machine.settle(openRecorded(left, machine.clock, 4))
      const found = await look(machine, again, held, `${ending} at ${at}`)
      seen[found] += 1
      if (found === 'gone' || (at + index) % 7 !== 0) continue
      await wipe(machine, again)
      const bytes = await machine.settle(
        new Promise<Buffer>((resolve, reject) =>
          left.readAll(dataFilePath(0), (error, all) => (all ? resolve(all) : reject(error))),
        ),
      )
      assert.ok(!bytes.includes(secret), `${ending} at ${at}: it is still there`)
    }
  }
  assert.ok(seen.whole > 0 && seen.doubtful > 0 && seen.gone > 0, JSON.stringify(seen))
})

async function look(
  world: Pick<StoreWorld, 'settle'>,
  store: CoreStore,
  held: { readonly live: Buffer; readonly image: Buffer },
  words: string,
): Promise<'whole' | 'doubtful' | 'gone'> {
  if (store.replicas().length === 0) return 'gone'
  const replica = only(store)
  const { marked, grade } = replica.region(0)
  for (const image of store.images(volume)) await imageHolds(world, image, held.image)
  if (marked) {
    assert.equal(grade, 'lossy', words)
    return 'doubtful'
  }
  assert.equal(store.images(volume).length, 1, words)
  assert.ok((await calls(world, replica).read(0, size)).equals(held.live), words)
  return 'whole'
}
