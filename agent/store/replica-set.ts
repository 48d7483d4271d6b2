/** The replicas of one storage folder: how they are put together from their parts, loaded, made and deleted. */
import type { VolumeId } from '../kit/ids.ts'
import type { Clock, Log } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { CommitCount } from './commit-count.ts'
import type { Commits } from './commits.ts'
import type { DataFiles } from './data-files.ts'
import type { DiskQueue } from './disk-queue.ts'
import { ExtentMap } from './extent-map.ts'
import { type BlockFile, FileError, type Files } from './files.ts'
import { marksFilePath, type SlotHeader } from './format.ts'
import {
  createImage,
  deleteImage,
  type ImageChangeParts,
  imageRowBytes,
  releaseImage,
  settleSums,
} from './image-changes.ts'
import { DiskImage, type ImageReadParts, Images } from './images.ts'
import type { Index, IndexContents, IndexVolume } from './index.ts'
import { Marks } from './marks.ts'
import { createMarksFile, findMarksFile, growMarksFile, marksBytes, openMarksFile } from './marks-file.ts'
import type { StoreDone } from './replica.ts'
import { DiskReplica } from './replica-disk.ts'
import type { Slots } from './slots.ts'
import { runSteps, type Steps, wait } from './steps.ts'
import { SumDoubt } from './sum-doubt.ts'
import { sumsAreSaved } from './sum-save.ts'
import type { Sums } from './sums.ts'
import type { Syncs } from './syncs.ts'
import { damaged } from './trouble.ts'
import { type WipeProgress, wipeSlots } from './wipe.ts'

export interface FolderParts {
  readonly clock: Clock
  readonly log: Log
  readonly files: Files
  readonly run: number
  readonly index: Index
  readonly queue: DiskQueue
  readonly data: DataFiles
  readonly slots: Slots
  readonly commits: Commits
  readonly syncs: Syncs
  readonly sums: Sums
  readonly count: CommitCount
  /** Writes the count of commits into a file that stays (C12). */
  readonly keepCount: (done: StoreDone) => void
  readonly failed: () => boolean
  readonly fail: (error: FileError) => void
}

const rottenWords = 'a block does not fit its checksum: the disk changed it'

export class ReplicaSet {
  readonly #parts: FolderParts
  readonly #replicas = new Map<VolumeId, DiskReplica>()
  /** Who waits until a replica may be changed; an entry: it is being changed. At most as many as asked for a growth. */
  readonly #changing = new Map<VolumeId, (() => void)[]>()
  readonly #marksFiles = new Map<VolumeId, BlockFile>()
  #strays: readonly string[] = []
  #lastVolume: number
  #counter = 0
  #isClosing = false

  constructor(parts: FolderParts, lastVolume: number) {
    this.#parts = parts
    this.#lastVolume = lastVolume
  }

  get(id: VolumeId): DiskReplica | undefined {
    return this.#replicas.get(id)
  }

  all(): DiskReplica[] {
    return [...this.#replicas.values()]
  }

  marksFiles(): BlockFile[] {
    return [...this.#marksFiles.values()]
  }

  /** Calls back when no call of any of them is under way. The store is being closed: nobody begins one. */
  whenIdle(done: () => void, replicas = this.all()): void {
    this.#isClosing = true
    const [first, ...others] = replicas
    if (first === undefined) done()
    else first.whenIdle(() => this.whenIdle(done, others))
  }

  /** At opening. @throws UserError */
  *load(contents: IndexContents): Steps<void> {
    const { files, slots } = this.#parts
    const byNumber = new Map<number, DiskReplica>()
    for (const volume of contents.volumes) {
      const file = yield* findMarksFile(files, volume)
      const replica = this.#add(volume, file)
      yield* openMarksFile(file, volume, replica.parts.marks)
      byNumber.set(volume.number, replica)
    }
    const loaders = new Map([...byNumber].map(([number, { parts }]) => [number, { map: parts.map, parts }]))
    for (const row of contents.images) {
      const replica = byNumber.get(row.volume)
      if (replica === undefined) throw damaged('index.db', 'an image has no volume')
      const map = new ExtentMap(Math.ceil(row.sizeBytes / limits.extentBytes))
      replica.parts.images.add(new DiskImage(this.#imageParts(replica, row.name), replica.volumeId, row, map))
      loaders.set(row.number, { map, parts: replica.parts })
    }
    for (const row of contents.regions) {
      const loader = loaders.get(row.volume)
      if (loader === undefined || row.slots === null || row.slots.length !== 256)
        throw damaged('index.db', 'a row names no volume')
      const { map: live, images } = loader.parts
      // A volume and its images may have one slot for one extent; nobody else, and for no other.
      const isHeld = (extent: number, slot: number) => live.get(extent) === slot || images.isHeld(extent, slot)
      const check = (extent: number, slot: number) => {
        if (isHeld(extent, slot) || slots.loadMapped(slot)) return
        throw damaged('index.db', `slot ${slot} is claimed twice`)
      }
      loader.map.loadRow(row.region, row.slots, check, loader.map === live ? null : live)
    }
    for (const { parts } of this.#replicas.values()) parts.images.settle(parts.map)
    for (const row of contents.groups) if (row.doubtful) slots.loadDoubtful(row.group, row.doubtful)
    yield* this.#findStrays()
  }

  /** Durable when the steps end. */
  *create(id: VolumeId, sizeBytes: number): Steps<DiskReplica> {
    this.#lastVolume += 1
    const volume = { number: this.#lastVolume, id, sizeBytes }
    const file = yield* createMarksFile(this.#parts.files, volume, { run: this.#parts.run, counter: this.#counter })
    this.#parts.commits.change({ kind: 'add', volume })
    yield* wait((done) => this.#parts.commits.durable(done))
    return this.#add(volume, file)
  }

  /** The replica has the new size when the steps end, durably; before that the old one. @throws FileError ENOSPC */
  *grow(replica: DiskReplica, sizeBytes: number): Steps<void> {
    const { commits, queue } = this.#parts
    const { number, volumeId } = replica
    yield* wait((done) => queue.turn(() => done(null)))
    yield* this.#alone(volumeId)
    try {
      const fromBytes = replica.sizeBytes
      // Larger already, or deleted meanwhile.
      if (sizeBytes <= fromBytes || this.#replicas.get(volumeId) !== replica) return
      yield* this.#mustHaveRoom(marksBytes(sizeBytes) - marksBytes(fromBytes))
      const file = this.#marksFiles.get(volumeId)
      if (file) yield* growMarksFile(queue, file, fromBytes, sizeBytes)
      commits.change({ kind: 'grow', number, sizeBytes })
      yield* wait((done) => commits.durable(done))
      replica.grow(sizeBytes)
    } finally {
      this.#next(volumeId)
    }
  }

  /** One growth, or the deletion, of a replica at a time. */
  *#alone(id: VolumeId): Steps<void> {
    const waiting = this.#changing.get(id)
    if (waiting === undefined) this.#changing.set(id, [])
    else yield* wait((done) => waiting.push(() => done(null)))
  }

  #next(id: VolumeId): void {
    const next = this.#changing.get(id)?.shift()
    if (next === undefined) this.#changing.delete(id)
    else next()
  }

  /** C8: what is added to marks and index at somebody's wish leaves the room that is kept for what must go on. */
  *#mustHaveRoom(bytes: number): Steps<void> {
    const { failed, slots } = this.#parts
    if (failed()) throw new FileError('EIO', 'the storage folder failed')
    yield* wait((done) => slots.measureSpace(() => done(null)))
    if ((slots.freeBytes ?? 0) - bytes < limits.diskReserveBytes) throw new FileError('ENOSPC', 'the disk is full')
  }

  /** @throws FileError */
  *createImage(replica: DiskReplica, name: string, madeMs: number, sizeBytes: number): Steps<DiskImage> {
    this.#lastVolume += 1
    const number = this.#lastVolume
    const end = replica.watch()
    try {
      yield* this.#mustHaveRoom(imageRowBytes(replica))
    } finally {
      end()
    }
    const of = { number, name, madeMs, sizeBytes }
    return yield* createImage(this.#changeParts(), this.#imageParts(replica, name), replica, of)
  }

  prepareImage(replica: DiskReplica): Steps<void> {
    return settleSums(this.#changeParts(), replica)
  }

  deleteImage(replica: DiskReplica, image: DiskImage): Steps<void> {
    return deleteImage(this.#changeParts(), replica, image)
  }

  /** It is gone for callers at once; overwritten, and then forgotten, durably, when the steps end. */
  wipe(replica: DiskReplica, progress: WipeProgress): Steps<void> {
    this.#replicas.delete(replica.volumeId)
    replica.retire()
    return this.#wipeSteps(replica, progress)
  }

  *#wipeSteps(replica: DiskReplica, progress: WipeProgress): Steps<void> {
    const { data, queue } = this.#parts
    yield* wipeSlots({ ...this.#changeParts(), data, queue }, replica, progress)
    yield* this.#deleteSteps(replica)
  }

  /** After opening: images whose deletion a crash cut short give back their slots. */
  begin(): void {
    for (const replica of this.#replicas.values()) {
      for (const image of replica.parts.images.all) if (image.leaving) this.#release(replica, image)
    }
  }

  #release(replica: DiskReplica, image: DiskImage): void {
    runSteps(releaseImage(this.#changeParts(), replica, image), (error) => {
      if (error instanceof FileError) this.#parts.fail(error)
      else if (error) throw error
    })
  }

  /** Whether another slot holds now what that header says of its own. */
  isElsewhere({ volumeId, extent, slot }: SlotHeader): boolean {
    const now = this.#replicas.get(volumeId)?.parts.map.get(extent) ?? -1
    return now >= 0 && now !== slot
  }

  #changeParts(): ImageChangeParts {
    const { commits, fail, queue, slots, sums, syncs } = this.#parts
    const turn = (fire: () => void) => queue.turn(fire)
    return { commits, slots, sums, syncs, fail, turn, isClosing: () => this.#isClosing }
  }

  #imageParts(replica: DiskReplica, image: string): ImageReadParts {
    const volume = replica.volumeId
    const { data, log, queue, sums } = this.#parts
    const rotten = (offsetBytes: number) => log.error({ volume, image, offsetBytes }, rottenWords)
    return { data, queue, sums, rotten, turn: (fire) => queue.turn(fire), watch: () => replica.watch() }
  }

  /** It is gone for callers at once; durable when the steps end. */
  delete(replica: DiskReplica): Steps<void> {
    this.#replicas.delete(replica.volumeId)
    replica.retire()
    return this.#deleteAlone(replica)
  }

  *#deleteAlone(replica: DiskReplica): Steps<void> {
    yield* this.#alone(replica.volumeId)
    try {
      yield* this.#deleteSteps(replica)
    } finally {
      this.#next(replica.volumeId)
    }
  }

  *#deleteSteps(replica: DiskReplica): Steps<void> {
    const { commits, files, keepCount, slots, sums, syncs } = this.#parts
    const { map, images } = replica.parts
    yield* wait((done) => images.whenReleased(() => done(null)))
    const extents = Math.ceil(replica.sizeBytes / limits.extentBytes)
    const maps = [map, ...images.all.map((image) => image.map)]
    for (const [at, of] of maps.entries()) {
      for (let extent = of.firstMapped(0, extents); extent >= 0; extent = of.firstMapped(extent + 1, extents)) {
        const slot = of.get(extent)
        // What they share is freed once.
        if (maps.some((other, before) => before < at && other.get(extent) === slot)) continue
        sums.forget(slot)
        slots.free(slot)
      }
    }
    commits.change({ kind: 'remove', number: replica.number })
    yield* wait((done) => commits.durable(done))
    const file = this.#marksFiles.get(replica.volumeId)
    this.#marksFiles.delete(replica.volumeId)
    syncs.forget(replica.parts.marks)
    if (file) yield* wait((done) => file.close(done))
    // C12: the greatest count may stand in its marks file alone. Where it finds no other place, the next run removes the file.
    const isKept = yield* wait<boolean>((done) => keepCount((failure) => done(null, failure === null)))
    if (!isKept) return
    yield* wait((done) => files.remove(marksFilePath(replica.volumeId), done))
    yield* wait((done) => files.syncFolder('marks', done))
  }

  #add(volume: IndexVolume, file: BlockFile): DiskReplica {
    const { clock, log, queue, syncs, count, data, slots, commits, sums, failed, fail, run } = this.#parts
    const map = new ExtentMap(Math.ceil(volume.sizeBytes / limits.extentBytes))
    const doubt = new SumDoubt()
    const headerDoubt = new Set<number>()
    const saved = (region: number) => !headerDoubt.has(region) && sumsAreSaved({ map, sums, doubt }, region)
    const marks = new Marks(
      { clock, queue, syncs, file, volumeId: volume.id, sumsAreSaved: saved, count },
      Math.ceil(volume.sizeBytes / limits.regionBytes),
    )
    const nextGeneration = () => {
      this.#counter += 1
      return { run, counter: this.#counter }
    }
    const rotten = (id: VolumeId, offsetBytes: number) => log.error({ volume: id, offsetBytes }, rottenWords)
    const shared = { clock, queue, data, slots, commits, syncs, sums, failed, fail }
    const images = new Images()
    const replica = new DiskReplica(
      { ...shared, doubt, headerDoubt, marks, map, images, nextGeneration, rotten },
      volume,
    )
    this.#replicas.set(volume.id, replica)
    this.#marksFiles.set(volume.id, file)
    return replica
  }

  /** Marks files of volumes that were half made, or deleted, when the agent died. */
  *#findStrays(): Steps<void> {
    const names = yield* wait<string[]>((done) => this.#parts.files.list('marks', done))
    const known = new Set([...this.#replicas.keys()].map((id) => marksFilePath(id)))
    this.#strays = names.map((name) => `marks/${name}`).filter((path) => !known.has(path))
  }

  /** At opening, once the count stands in run.json. */
  *confirmPast(): Steps<void> {
    const { files, index } = this.#parts
    const hasImages = this.all().some(({ parts }) => !parts.images.isEmpty)
    if (this.#strays.length === 0 && !hasImages) return
    // What a killed run committed may stand in the page cache only. After a power cut a deleted volume would be back and
    // need its marks; an image that is leaving would be there again, and its slots must not have been written meanwhile.
    yield* wait((done) => index.sync(done))
    for (const path of this.#strays) yield* wait((done) => files.remove(path, done))
  }
}
