/** How images come and go (decision 0010). */
import { invariant } from '../kit/failure.ts'
import { limits } from '../limits.ts'
import type { Commits } from './commits.ts'
import { FileError } from './files.ts'
import { regionExtents } from './format.ts'
import { DiskImage, type ImageReadParts } from './images.ts'
import type { ImageRefusal } from './replica.ts'
import type { DiskReplica } from './replica-disk.ts'
import type { Slots } from './slots.ts'
import { type Steps, wait } from './steps.ts'
import type { Sums } from './sums.ts'
import type { Syncs } from './syncs.ts'

export interface ImageChangeParts {
  readonly commits: Commits
  readonly slots: Slots
  readonly sums: Sums
  readonly syncs: Syncs
  readonly fail: (error: FileError) => void
  /** Calls back after this turn. */
  readonly turn: (fire: () => void) => void
  /** The store is being closed: what can wait for its next run does. */
  readonly isClosing: () => boolean
}

const nameShape = /^[a-z0-9-]{1,64}$/
/** About what a region's row takes in the index and in its log. */
const rowBytes = 1024

/** @returns why there cannot be one of that name */
export function refusalOf(replica: DiskReplica, name: string): ImageRefusal | null {
  invariant(nameShape.test(name), 'S3', `"${name}" is not the name of an image`)
  const { all, named } = replica.parts.images
  if (named.some((image) => image.name === name)) return 'name-taken'
  return all.length >= limits.images ? 'too-many' : null
}

/** Bytes that the rows of an image need. */
export const imageRowBytes = (replica: DiskReplica): number =>
  rowBytes * (1 + Math.min(replica.regionCount, replica.parts.map.mapped))

/**
 * Everything written is durable, and all block checksums are, with no doubt about any, when the steps end; of what is
 * written meanwhile perhaps not. @throws FileError EUNREADABLE: a block's checksum cannot be known
 */
export function* settleSums({ sums, syncs, fail, turn }: ImageChangeParts, replica: DiskReplica): Steps<void> {
  const { doubt, map } = replica.parts
  const extents = [...new Set([...doubt.extents(), ...sums.changedOf(replica)])]
  yield* wait((done) => {
    let open = 1
    let failed: FileError | null = null
    const part = (error: FileError | null) => {
      failed ??= error
      open -= 1
      while (open < limits.sumsAtOnce && extents.length > 0 && failed === null) {
        const extent = extents.pop() ?? 0
        const slot = map.get(extent)
        if (slot < 0) continue
        open += 1
        const page = sums.page(slot, replica, extent)
        page.pins += 1
        const end = replica.watch()
        const ended = (wrong: FileError | null) => {
          end()
          page.pins -= 1
          // Many may be answered at once: not one inside of the other.
          turn(() => part(page.slot === slot ? wrong : null))
        }
        sums.load(page, (wrong) => (wrong === null ? sums.clean(page, ended) : ended(wrong)))
      }
      if (open === 0) done(failed)
    }
    part(null)
  })
  const end = replica.watch()
  yield* wait((done) =>
    syncs.request((error) => {
      end()
      if (error !== null) fail(error)
      // Also when another sync failed meanwhile: what that one forgot may be what this one was to cover.
      done(replica.failed ? new FileError('EIO', 'the storage folder failed') : error)
    }),
  )
}

/** The caller holds all writes of the replica. @throws FileError */
export function* createImage(
  parts: ImageChangeParts,
  readParts: ImageReadParts,
  replica: DiskReplica,
  of: { readonly number: number; readonly name: string; readonly madeMs: number; readonly sizeBytes: number },
): Steps<DiskImage> {
  yield* settleSums(parts, replica)
  const { doubt, images, map } = replica.parts
  invariant(!replica.isChanging && doubt.isEmpty, 'S7', 'a volume was written while an image of it was made')
  const { number: volume, volumeId } = replica
  const row = { ...of, volume, leaving: false }
  const image = new DiskImage(readParts, volumeId, row, map.snapshot())
  parts.commits.change({ kind: 'add-image', image: row })
  const end = replica.watch()
  try {
    yield* wait((done) => parts.commits.durable(done))
  } finally {
    end()
  }
  images.add(image)
  return image
}

/** It is gone for good when that is durable; then its slots are given back. @throws FileError */
export function* deleteImage(parts: ImageChangeParts, replica: DiskReplica, image: DiskImage): Steps<void> {
  yield* leaveImages(parts, [image])
  yield* releaseImage(parts, replica, image)
}

/** Nobody reads them any more, and a crash does not bring them back; their slots are still held. */
export function* leaveImages({ commits }: ImageChangeParts, images: readonly DiskImage[]): Steps<void> {
  if (images.length === 0) return
  commits.change({ kind: 'leave-images', numbers: images.map(({ number }) => number) })
  yield* wait((done) => commits.durable(done))
  // Not before: until then a power cut brings them back, and their bytes must be what they were.
  for (const image of images) image.leaving = true
}

/** Gives back what only an image that is leaving holds, some regions at a time; ends early with its replica, or the store. */
export function* releaseImage(parts: ImageChangeParts, replica: DiskReplica, image: DiskImage): Steps<void> {
  const { images } = replica.parts
  images.beginRelease()
  try {
    yield* releaseSteps(parts, replica, image)
  } finally {
    images.endRelease()
  }
}

function* releaseSteps(parts: ImageChangeParts, replica: DiskReplica, image: DiskImage): Steps<void> {
  const { commits } = parts
  const isOver = () => parts.isClosing() || replica.isGone
  yield* wait((done) => image.whenUnread(() => done(null)))
  // A read of the volume that began before an extent moved on still reads the slot that it left to this image.
  yield* wait((done) => replica.afterThese(() => done(null)))
  if (isOver()) return
  const end = Math.ceil(image.sizeBytes / limits.extentBytes)
  let extent = image.map.firstMapped(0, end)
  while (extent >= 0) {
    for (let regions = 0; extent >= 0 && regions < limits.imageRegionsFreed; regions += 1) {
      const region = Math.floor(extent / regionExtents)
      for (; extent >= 0 && Math.floor(extent / regionExtents) === region; ) {
        releaseExtent(parts, replica, image, extent)
        extent = image.map.firstMapped(extent + 1, end)
      }
      commits.touchRegion(image.number, image.map, region)
    }
    yield* wait((done) => commits.wait(done))
    if (isOver()) return
  }
  commits.change({ kind: 'remove-image', number: image.number })
  yield* wait((done) => commits.durable(done))
  replica.parts.images.remove(image)
}

function releaseExtent(
  { slots, sums }: ImageChangeParts,
  replica: DiskReplica,
  image: DiskImage,
  extent: number,
): void {
  const { images, map } = replica.parts
  const slot = image.map.get(extent)
  image.map.set(extent, -1)
  if (map.get(extent) === slot) return
  const others = images.all.filter((other) => other.map.get(extent) === slot)
  const newest = others[others.length - 1]
  if (newest === undefined) {
    sums.forget(slot)
    slots.free(slot)
    image.only -= 1
  } else if (newest.number < image.number) {
    // The next one counts it now.
    newest.only += 1
    image.only -= 1
  }
}
