/** What a history does to whole volumes while all else goes on: they grow, images are made, read and deleted. */
import type { VolumeId } from '../../../agent/kit/ids.ts'
import { limits } from '../../../agent/limits.ts'
import type { ImageJournal, ReplicaJournal } from './journal.ts'
import type { History } from './recorded-history.ts'

const { blockBytes, regionBytes } = limits
const never = Number.POSITIVE_INFINITY

export function growOne(history: History): void {
  const one = [...history.volumes][history.pick(history.volumes.size)]
  if (one !== undefined) grow(history, ...one)
}

/** By a few blocks, or into a region more; other calls may go on meanwhile. */
export function grow(history: History, id: VolumeId, journal: ReplicaJournal): void {
  const { store } = history
  const replica = store?.replicas().find(({ volumeId }) => volumeId === id)
  if (store === null || replica === undefined || journal.deleted !== null || journal.isGrowing) return
  const sizeBytes = replica.sizeBytes + (history.pick(8) === 0 ? 3 * regionBytes : history.pick(70) * blockBytes)
  const size = { begin: history.disk.tick(), end: never, sizeBytes }
  journal.sizes.push(size)
  history.expect(
    'grow',
    (done) => store.growReplica(id, sizeBytes, done),
    () => {
      size.end = history.disk.tick()
      if (replica.sizeBytes !== sizeBytes)
        history.wrong.push(`a replica has ${replica.sizeBytes} bytes, not ${sizeBytes}`)
    },
  )
}

/** Makes one, with all writes held, or deletes one while they go on. */
export async function changeImages(history: History): Promise<void> {
  const one = [...history.volumes][history.pick(history.volumes.size)]
  if (history.store === null || one === undefined || one[1].deleted !== null) return
  const there = one[1].images.filter(({ deleted }) => deleted === null)
  if (there.length < 2 || history.pick(2) === 0) await makeImage(history, ...one)
  else deleteImage(history, ...one, there[history.pick(there.length)])
}

export async function makeImage(history: History, id: VolumeId, journal: ReplicaJournal): Promise<void> {
  const { store } = history
  await history.idle()
  if (store === null || history.open > 0 || store.replicas().every(({ volumeId }) => volumeId !== id)) return
  const created = { begin: history.disk.tick(), end: never }
  const isSure = journal.changes.every(({ failed, end }) => !failed && end !== never)
  const name = `image-${history.disk.now}`
  const image = { name, created, deleted: null, content: isSure ? journal.live(history.disk.now) : null }
  journal.images.push(image)
  history.expect(
    'createImage',
    (done) =>
      store.createImage(id, name, 1, (failure) => {
        // It may be there all the same when the disk failed in the middle.
        if (failure !== null) journal.images.splice(journal.images.indexOf(image), 1)
        done(failure === null || failure === 'no-space' ? failure : 'io')
      }),
    () => {
      created.end = history.disk.tick()
    },
  )
  await history.idle()
}

export function deleteImage(
  history: History,
  id: VolumeId,
  journal: ReplicaJournal,
  image: ImageJournal | undefined,
): void {
  const { store } = history
  if (store === null || image === undefined || journal.deleted !== null) return
  const deleted = { begin: history.disk.tick(), end: never }
  image.deleted = deleted
  history.expect(
    'deleteImage',
    (done) => store.deleteImage(id, image.name, (failure) => done(failure === 'no-image' ? 'io' : failure)),
    () => {
      deleted.end = history.disk.tick()
    },
  )
}

export function readImage(history: History): void {
  const { store } = history
  const [id, journal] = [...history.volumes][history.pick(history.volumes.size)] ?? []
  if (store === null || id === undefined || journal === undefined || journal.deleted !== null) return
  if (store.replicas().every(({ volumeId }) => volumeId !== id)) return
  const image = journal.images.find(({ deleted }) => deleted === null)
  const there = store.images(id).find(({ name }) => name === image?.name)
  if (image === undefined || there === undefined || image.content === null) return
  const blocks = [...image.content]
  const [block, expected] = blocks[history.pick(blocks.length)] ?? []
  if (block === undefined || expected === undefined) return
  history.open += 1
  there.read(block * blockBytes, blockBytes, (failure, data) => {
    history.open -= 1
    if (failure === 'io' && history.options.faults !== undefined) return
    if (failure !== null) history.wrong.push(`a read of block ${block} of an image is ${failure}`)
    else if (!expected.equals(data)) history.wrong.push(`block ${block} of an image has changed`)
  })
}
