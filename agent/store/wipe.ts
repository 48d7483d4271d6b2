/**
 * Secure delete: every slot of a replica and of its images is overwritten with zeros, and what its header and its block
 * checksums say, by ordinary writes and durably, before the replica is forgotten. What a disk keeps beside the sectors
 * that it shows is out of reach (README).
 */
import { limits } from '../limits.ts'
import type { DataFiles } from './data-files.ts'
import type { DiskQueue } from './disk-queue.ts'
import { FileError } from './files.ts'
import { fileOfSlot, headerOffset, sectorBytes, slotBytes, slotOffset, sumsOffset } from './format.ts'
import { type ImageChangeParts, leaveImages } from './image-changes.ts'
import type { DiskReplica } from './replica-disk.ts'
import { type Steps, wait } from './steps.ts'

export interface WipeParts extends ImageChangeParts {
  readonly queue: DiskQueue
  readonly data: DataFiles
}

export type WipeProgress = (doneBytes: number, totalBytes: number) => void

const zeros = Buffer.alloc(slotBytes)

/**
 * The replica takes no call any more. When the steps end its slots are zeros, durably, and still its own. After an end in
 * the middle it is there, without images, and every region of it is lossy: nobody believes what it holds.
 */
export function* wipeSlots(parts: WipeParts, replica: DiskReplica, progress: WipeProgress): Steps<void> {
  const { queue, slots, sums, syncs } = parts
  const { images, map, marks } = replica.parts
  yield* wait((done) => queue.turn(() => done(null)))
  if (replica.failed) throw new FileError('EIO', 'the storage folder failed')
  yield* wait((done) => replica.whenIdle(() => done(null)))
  // First the doubt: zeros of a half wiped replica fit their checksums.
  yield* wait((done) => marks.doubtAll(done))
  yield* leaveImages(
    parts,
    images.all.filter(({ leaving }) => !leaving),
  )
  for (const image of images.all) yield* wait((done) => image.whenUnread(() => done(null)))
  // What it gave back lately is zeroed in the background.
  yield* wait((done) => slots.whenZeroed(done))
  const maps = [map, ...images.all.map((image) => image.map)]
  const extents = Math.ceil(replica.sizeBytes / limits.extentBytes)
  const totalBytes = (map.mapped + images.all.reduce((sum, { only }) => sum + only, 0)) * slotBytes
  let doneBytes = 0
  for (const [at, of] of maps.entries()) {
    for (let extent = of.firstMapped(0, extents); extent >= 0; extent = of.firstMapped(extent + 1, extents)) {
      const slot = of.get(extent)
      if (maps.some((other, before) => before < at && other.get(extent) === slot)) continue
      sums.forget(slot)
      yield* wait((done) => sums.quiet(slot, done))
      yield* wait((done) => syncs.admit(() => done(null)))
      yield* wipeSlot(parts, slot)
      doneBytes += slotBytes
      progress(doneBytes, totalBytes)
    }
  }
  yield* wait((done) =>
    syncs.request((error) => {
      if (error !== null) parts.fail(error)
      done(replica.failed ? new FileError('EIO', 'the storage folder failed') : error)
    }),
  )
}

/** The three places of a slot side by side. */
function* wipeSlot({ data, queue, syncs }: WipeParts, slot: number): Steps<void> {
  const number = fileOfSlot(slot)
  const file = data.get(number)
  syncs.writing(slot, 0, slotBytes)
  yield* wait((done) => {
    let left = 3
    let failed: FileError | null = null
    const part = {
      diskDone: (error: FileError | null) => {
        failed ??= error
        left -= 1
        if (left > 0) return
        syncs.wrote(number)
        done(failed)
      },
    }
    queue.write(file, [zeros], slotBytes, slotOffset(slot), false, part)
    for (const offset of [headerOffset(slot), sumsOffset(slot)]) {
      queue.write(file, [zeros.subarray(0, sectorBytes)], sectorBytes, offset, false, part)
    }
  })
}
