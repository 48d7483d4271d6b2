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
import { decodeCommitCount, marksFilePath, marksStartBytes } from './format.ts'
import type { Index, IndexContents, IndexVolume } from './index.ts'
import { Marks } from './marks.ts'
import { createMarksFile, findMarksFile, growMarksFile, marksBytes, openMarksFile } from './marks-file.ts'
import type { StoreDone } from './replica.ts'
import { DiskReplica } from './replica-disk.ts'
import type { Slots } from './slots.ts'
import { type Steps, wait } from './steps.ts'
import { SumDoubt } from './sum-doubt.ts'
import { sumsAreSaved } from './sum-save.ts'
import type { Sums } from './sums.ts'
import type { Syncs } from './syncs.ts'
import { damaged } from './trouble.ts'

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

export class ReplicaSet {
  readonly #parts: FolderParts
  readonly #replicas = new Map<VolumeId, DiskReplica>()
  readonly #marksFiles = new Map<VolumeId, BlockFile>()
  #strays: readonly string[] = []
  #lastVolume: number
  #counter = 0

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
    const [first, ...others] = replicas
    if (first === undefined) done()
    else first.whenIdle(() => this.whenIdle(done, others))
  }

  /** At opening. @throws UserError */
  *load(contents: IndexContents): Steps<void> {
    const { count, files, slots } = this.#parts
    const byNumber = new Map<number, DiskReplica>()
    for (const volume of contents.volumes) {
      const file = yield* findMarksFile(files, volume)
      const replica = this.#add(volume, file)
      count.found(yield* openMarksFile(file, volume, replica.parts.marks))
      byNumber.set(volume.number, replica)
    }
    for (const row of contents.regions) {
      const replica = byNumber.get(row.volume)
      if (replica === undefined || row.slots === null || row.slots.length !== 256)
        throw damaged('index.db', 'a row names no volume')
      for (const slot of replica.parts.map.loadRow(row.region, row.slots)) {
        if (!slots.loadMapped(slot)) throw damaged('index.db', `slot ${slot} is claimed twice`)
      }
    }
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
    const fromBytes = replica.sizeBytes
    yield* wait((done) => queue.turn(() => done(null)))
    if (sizeBytes === fromBytes) return
    yield* this.#mustHaveRoom(marksBytes(sizeBytes) - marksBytes(fromBytes))
    const file = this.#marksFiles.get(volumeId)
    if (file) yield* growMarksFile(queue, file, fromBytes, sizeBytes)
    commits.change({ kind: 'grow', number, sizeBytes })
    yield* wait((done) => commits.durable(done))
    replica.grow(sizeBytes)
  }

  /** C8: what is added to marks and index at somebody's wish leaves the room that is kept for what must go on. */
  *#mustHaveRoom(bytes: number): Steps<void> {
    const { failed, slots } = this.#parts
    if (failed()) throw new FileError('EIO', 'the storage folder failed')
    yield* wait((done) => slots.measureSpace(() => done(null)))
    if ((slots.freeBytes ?? 0) - bytes < limits.diskReserveBytes) throw new FileError('ENOSPC', 'the disk is full')
  }

  /** It is gone for callers at once; durable when the steps end. */
  delete(replica: DiskReplica): Steps<void> {
    this.#replicas.delete(replica.volumeId)
    replica.retire()
    return this.#deleteSteps(replica)
  }

  *#deleteSteps(replica: DiskReplica): Steps<void> {
    const { commits, files, keepCount, slots, sums, syncs } = this.#parts
    const { map } = replica.parts
    const extents = Math.ceil(replica.sizeBytes / limits.extentBytes)
    for (let extent = map.firstMapped(0, extents); extent >= 0; extent = map.firstMapped(extent + 1, extents)) {
      sums.forget(map.get(extent))
      slots.free(map.get(extent))
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
    const saved = (region: number) => sumsAreSaved({ map, sums, doubt }, region)
    const marks = new Marks(
      { clock, queue, syncs, file, volumeId: volume.id, sumsAreSaved: saved, count },
      Math.ceil(volume.sizeBytes / limits.regionBytes),
    )
    const nextGeneration = () => {
      this.#counter += 1
      return { run, counter: this.#counter }
    }
    const rotten = (id: VolumeId, offsetBytes: number) =>
      log.error({ volume: id, offsetBytes }, 'a block does not fit its checksum: the disk changed it')
    const shared = { clock, queue, data, slots, commits, syncs, sums, failed, fail }
    const replica = new DiskReplica({ ...shared, doubt, marks, map, nextGeneration, rotten }, volume)
    this.#replicas.set(volume.id, replica)
    this.#marksFiles.set(volume.id, file)
    return replica
  }

  /** Marks files of volumes that were half made, or deleted, when the agent died. Their counts hold (C12). */
  *#findStrays(): Steps<void> {
    const { count, files } = this.#parts
    const names = yield* wait<string[]>((done) => files.list('marks', done))
    const known = new Set([...this.#replicas.keys()].map((id) => marksFilePath(id)))
    this.#strays = names.map((name) => `marks/${name}`).filter((path) => !known.has(path))
    for (const path of this.#strays) {
      const file = yield* wait<BlockFile>((done) => files.open(path, false, done))
      const header = Buffer.alloc(marksStartBytes)
      yield* wait<number>((done) => file.read(header, 0, header.length, 0, done))
      yield* wait((done) => file.close(done))
      count.found(decodeCommitCount(header))
    }
  }

  /** At opening, once the count stands in run.json. */
  *removeStrays(): Steps<void> {
    const { files, index } = this.#parts
    if (this.#strays.length === 0) return
    // A killed run's deletion may stand in the page cache only: after a power cut the volume is back and needs its marks.
    yield* wait((done) => index.sync(done))
    for (const path of this.#strays) yield* wait((done) => files.remove(path, done))
  }
}
