/**
 * A store over the two ports (files and index): opening, replicas, records, closing. The real store and the
 * simulator's run this same code; only the ports differ.
 */
import { invariant } from '../kit/failure.ts'
import type { VolumeId } from '../kit/ids.ts'
import type { Clock, Log, RandomSource, Timer } from '../kit/world.ts'
import { limits } from '../limits.ts'
import { type ClosingParts, closeSteps } from './closing.ts'
import { CommitCount } from './commit-count.ts'
import { Commits } from './commits.ts'
import { DataFiles } from './data-files.ts'
import { DiskQueue } from './disk-queue.ts'
import { ExtentMap } from './extent-map.ts'
import { StoreFigures } from './figures.ts'
import { type BlockFile, FileError, type Files, failureOf } from './files.ts'
import { marksFilePath } from './format.ts'
import type { Index, IndexContents, IndexOpener, IndexVolume } from './index.ts'
import { Marks } from './marks.ts'
import { createMarksFile, openMarksFile } from './marks-file.ts'
import { doubtSums, gradeMarks } from './previous-end.ts'
import { FileRecords } from './records.ts'
import type { Records, ReplicaStore, Store, StoreDone, StoreFailure } from './replica.ts'
import { DiskReplica } from './replica-disk.ts'
import { endOf, type PreviousEnd, readRun, writeRun } from './run.ts'
import { Slots } from './slots.ts'
import { runSteps, type Steps, wait } from './steps.ts'
import { makeStore, openOrForget, readStoreFile, usedFiles } from './store-folder.ts'
import { SumDoubt } from './sum-doubt.ts'
import { sumsAreSaved } from './sum-save.ts'
import { Sums } from './sums.ts'
import { Syncs } from './syncs.ts'
import { damaged, inUse, openingFailed } from './trouble.ts'

export interface CoreOptions {
  readonly files: Files
  readonly opener: IndexOpener
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Log
  /** Of this start of the machine; null = unknown. */
  readonly bootId: string | null
  /** Pages of block checksums in memory; limits.sumPages when not given. */
  readonly sumPages?: number
}

export class CoreStore implements Store {
  readonly records: Records
  readonly run: number
  readonly previousEnd: PreviousEnd
  readonly storeId: string
  readonly figures = new StoreFigures()
  readonly #options: CoreOptions
  readonly #records: FileRecords
  readonly #index: Index
  readonly #queue: DiskQueue
  readonly #data: DataFiles
  readonly #commits: Commits
  readonly #syncs: Syncs
  readonly #slots: Slots
  readonly #sums: Sums
  readonly #count: CommitCount
  #foundCount = 0
  readonly #replicas = new Map<VolumeId, DiskReplica>()
  readonly #marksFiles = new Map<VolumeId, BlockFile>()
  #lastVolume: number
  #counter = 0
  #failed: FileError | null = null
  #spaceTimer: Timer | null = null
  #closed = false
  #toldUnsaved = false

  private constructor(
    options: CoreOptions,
    start: {
      index: Index
      data: DataFiles
      run: number
      previousEnd: PreviousEnd
      lastVolume: number
      storeId: string
      count: CommitCount
    },
  ) {
    this.#options = options
    this.run = start.run
    this.previousEnd = start.previousEnd
    this.storeId = start.storeId
    this.#count = start.count
    this.#index = start.index
    this.#data = start.data
    this.#lastVolume = start.lastVolume
    const { clock, files, log } = options
    const fail = (error: FileError) => this.#fail(error)
    this.#queue = new DiskQueue(clock)
    this.#syncs = new Syncs({
      clock,
      queue: this.#queue,
      data: start.data,
      index: start.index,
      count: start.count,
      figures: this.figures,
      fail,
    })
    this.#commits = new Commits({
      clock,
      index: start.index,
      queue: this.#queue,
      data: start.data,
      wrote: (file) => this.#syncs.wrote(file),
      committed: () => this.#syncs.committed(),
    })
    const wrote = (file: number) => this.#syncs.wrote(file)
    const shared = { queue: this.#queue, data: start.data, fail }
    this.#sums = new Sums({ ...shared, wrote, log, mostPages: options.sumPages ?? limits.sumPages })
    const parts = { log, files, commits: this.#commits, sums: this.#sums, failed: () => this.#failed !== null }
    this.#slots = new Slots({ ...shared, ...parts })
    this.#records = new FileRecords(files, start.count, () => clock.monotonicMs(), fail)
    this.records = this.#records
  }

  /** Opens the folder, or makes it a store. Throws UserError (in words) or FileError; the lock is free again then. */
  static *open(options: CoreOptions): Steps<CoreStore> {
    const { files, opener } = options
    let known: { storeId: string } | null
    try {
      known = yield* readStoreFile(files)
      yield* wait((done) => opener.lock(done))
    } catch (error) {
      yield* wait((done) => opener.unlock(done))
      if (error instanceof FileError && error.code === 'EBUSY') throw inUse()
      throw error
    }
    let index: Index | null = null
    try {
      // Read again: only with the lock held is it sure that nobody else is making it.
      const storeFile = known ?? (yield* readStoreFile(files))
      const storeId = storeFile?.storeId ?? options.random.id()
      if (storeFile === null) index = yield* makeStore(files, opener, storeId)
      else index = yield* wait<Index>((done) => opener.open(null, done))
      const contents = yield* wait<IndexContents>((done) => (index as Index).load(done)) // set two lines above
      if (contents.storeId !== storeId) throw damaged('index.db', 'it belongs to another storage folder')
      return yield* CoreStore.#start(options, index, contents)
    } catch (error) {
      yield* wait((done) => (index === null ? opener.unlock(done) : index.close(done)))
      throw error
    }
  }

  static *#start(options: CoreOptions, index: Index, contents: IndexContents): Steps<CoreStore> {
    const { files } = options
    const before = yield* readRun(files)
    const previousEnd = endOf(before, options.bootId)
    const data = new DataFiles(files, contents.storeId)
    const names = yield* wait<string[]>((done) => files.list('data', done))
    const used = usedFiles(contents)
    for (const name of names) {
      const number = /^(\d{5,9})\.slots$/.exec(name)?.[1]
      if (number !== undefined) yield* openOrForget(data, Number(number), used)
    }
    const run = (before?.run ?? 0) + 1
    const count = new CommitCount(Math.max(before?.commits ?? 0, data.foundCount))
    const { lastVolume, storeId } = contents
    const store = new CoreStore(options, { index, data, run, previousEnd, lastVolume, storeId, count })
    yield* store.#records.load()
    yield* store.#loadReplicas(contents)
    store.#foundCount = count.value
    // First the doubt is durable, then the new run: a crash in between only grades again, and never better.
    // A clean end lost nothing, but the names of writes that were not confirmed died with it (C7): what is still marked
    // is as much in doubt as after a kill, or two copies that differ would both pass for sound (C2).
    if (previousEnd !== 'first')
      yield* gradeMarks([...store.#replicas.values()], previousEnd === 'lossy' ? 'lossy' : 'torn')
    if (before?.sums !== true) doubtSums(store.#replicas.values())
    const commits = count.next()
    yield* writeRun(files, { run, bootId: options.bootId, end: 'running', failed: false, sums: false, commits })
    count.ended(commits)
    if (previousEnd !== 'clean') store.#countAllDirty()
    yield* wait((done) => store.#slots.measureSpace(() => done(null)))
    store.#slots.begin()
    store.#watchSpace()
    return store
  }

  get foundCommitCount(): number {
    return this.#foundCount
  }

  get commitCount(): number {
    return this.#count.value
  }

  replicas(): readonly ReplicaStore[] {
    return [...this.#replicas.values()]
  }

  createReplica(
    id: VolumeId,
    sizeBytes: number,
    done: (failure: StoreFailure | null, replica?: ReplicaStore) => void,
  ): void {
    const fits = sizeBytes % limits.blockBytes === 0 && sizeBytes > 0 && sizeBytes <= limits.volumeMaxBytes
    invariant(fits, 'S4', `a replica cannot have ${sizeBytes} bytes`)
    invariant(!this.#replicas.has(id), 'S5', `replica ${id} is there already`)
    this.#lastVolume += 1
    const volume = { number: this.#lastVolume, id, sizeBytes }
    runSteps(this.#createSteps(volume), (error, replica) => {
      if (error) done(this.#failedChange(error))
      else done(null, replica)
    })
  }

  deleteReplica(id: VolumeId, done: StoreDone): void {
    const replica = this.#replicas.get(id)
    invariant(replica !== undefined, 'S5', `there is no replica ${id}`)
    this.#replicas.delete(id)
    replica.retire()
    runSteps(this.#deleteSteps(replica), (error) => done(error ? this.#failedChange(error) : null))
  }

  freeBytes(): number | null {
    return this.#slots.freeBytes
  }

  /** Age in ms of the oldest record put that the disk has not answered. */
  recordsPendingMs(): number {
    return this.#records.pendingMs()
  }

  /** The agent dies: no callback comes any more. For the simulator only; a real agent just dies. */
  abandon(): void {
    this.#closed = true
    this.#syncs.stop()
    this.#queue.stop()
    this.#spaceTimer?.cancel()
  }

  close(done: StoreDone): void {
    invariant(!this.#closed, 'S5', 'a store is closed twice')
    this.#closed = true
    this.#syncs.stop()
    this.#spaceTimer?.cancel()
    let answered = false
    const answer = (failure: StoreFailure | null) => {
      if (answered) return
      answered = true
      limit.cancel()
      done(failure)
    }
    // A frozen disk must not keep the agent from ending: its marks stay, the next run knows.
    const limit = this.#options.clock.after(limits.storeCloseMs, () => {
      this.#options.log.warn(
        { waitedMs: limits.storeCloseMs },
        'the disk did not answer at closing; its end counts as unclean',
      )
      answer('io')
    })
    runSteps(closeSteps(this.#closing()), (error) =>
      answer(error ? this.#failureOf(error) : this.#failed === null ? null : 'io'),
    )
  }

  #failureOf(error: unknown): StoreFailure {
    if (error instanceof FileError) return failureOf(error)
    throw error
  }

  /** A commit or sync in the middle of it failed: other people's commits may be lost with it. */
  #failedChange(error: unknown): StoreFailure {
    const failure = this.#failureOf(error)
    if (failure === 'io' && error instanceof FileError) this.#fail(error)
    return failure
  }

  /** Once failed, a store takes nothing more in this run; its marked regions count as lossy (C2). */
  #fail(error: FileError): void {
    if (this.#failed !== null) return
    this.#failed = error
    this.#options.log.error({ code: error.code, error: error.message }, 'the storage folder failed')
    // At the end of the store its closing says so (closing.ts).
    if (!this.#closed) this.#recordFailure()
  }

  /** C2: durable as soon as the disk takes it: until then a kill would leave what its marks cover for merely torn. */
  #recordFailure(): void {
    const { bootId, clock, files, log } = this.#options
    let left = this.#replicas.size + 1
    let isSaved = true
    const saved = (failure: FileError | null) => {
      left -= 1
      if (failure !== null) isSaved = false
      if (left > 0 || isSaved || this.#closed) return
      if (!this.#toldUnsaved) log.warn({ error: failure?.message }, 'the failure could not be written down yet')
      this.#toldUnsaved = true
      clock.after(limits.failureRecordMs, () => this.#closed || this.#recordFailure())
    }
    for (const replica of this.#replicas.values()) replica.parts.marks.allLossy(saved)
    const facts = { run: this.run, bootId, commits: this.#count.next() }
    const record = { ...facts, end: 'running', failed: true, sums: false } as const
    runSteps(writeRun(files, record), (failure) => saved(failure instanceof FileError ? failure : null))
  }

  #addReplica(volume: IndexVolume, file: BlockFile): DiskReplica {
    const { clock, log } = this.#options
    const regionCount = Math.ceil(volume.sizeBytes / limits.regionBytes)
    const map = new ExtentMap(Math.ceil(volume.sizeBytes / limits.extentBytes))
    const doubt = new SumDoubt()
    const sums = this.#sums
    const parts = {
      queue: this.#queue,
      data: this.#data,
      slots: this.#slots,
      commits: this.#commits,
      syncs: this.#syncs,
      sums,
      doubt,
    }
    const saved = (region: number) => sumsAreSaved({ map, sums, doubt }, region)
    const marks = new Marks(
      {
        clock,
        queue: this.#queue,
        syncs: this.#syncs,
        file,
        volumeId: volume.id,
        sumsAreSaved: saved,
        count: this.#count,
      },
      regionCount,
    )
    const replica = new DiskReplica(
      {
        ...parts,
        clock,
        marks,
        map,
        nextGeneration: () => {
          this.#counter += 1
          return { run: this.run, counter: this.#counter }
        },
        failed: () => this.#failed !== null,
        fail: (error) => this.#fail(error),
        rotten: (volume, offsetBytes) =>
          log.error({ volume, offsetBytes }, 'a block does not fit its checksum: the disk changed it'),
      },
      volume,
    )
    this.#replicas.set(volume.id, replica)
    this.#marksFiles.set(volume.id, file)
    return replica
  }

  *#loadReplicas(contents: IndexContents): Steps<void> {
    const byNumber = new Map<number, DiskReplica>()
    for (const volume of contents.volumes) {
      const file = yield* wait<BlockFile>((done) => this.#options.files.open(marksFilePath(volume.id), false, done))
      const replica = this.#addReplica(volume, file)
      this.#count.found(yield* openMarksFile(file, volume, replica.parts.marks))
      byNumber.set(volume.number, replica)
    }
    for (const row of contents.regions) {
      const replica = byNumber.get(row.volume)
      if (replica === undefined || row.slots === null || row.slots.length !== 256)
        throw damaged('index.db', 'a row names no volume')
      for (const slot of replica.parts.map.loadRow(row.region, row.slots)) {
        if (!this.#slots.loadMapped(slot)) throw damaged('index.db', `slot ${slot} is claimed twice`)
      }
    }
    for (const row of contents.groups) if (row.doubtful) this.#slots.loadDoubtful(row.group, row.doubtful)
    yield* this.#removeStrayMarks()
  }

  /** Marks files of volumes that were half made, or deleted, when the agent died. */
  *#removeStrayMarks(): Steps<void> {
    const names = yield* wait<string[]>((done) => this.#options.files.list('marks', done))
    const known = new Set([...this.#replicas.keys()].map((id) => marksFilePath(id)))
    const strays = names.map((name) => `marks/${name}`).filter((path) => !known.has(path))
    if (strays.length === 0) return
    // A killed run's deletion may stand in the page cache only: after a power cut the volume is back and needs its marks.
    yield* wait((done) => this.#index.sync(done))
    for (const path of strays) yield* wait((done) => this.#options.files.remove(path, done))
  }

  /** What the run before wrote may still be in the page cache only. */
  #countAllDirty(): void {
    for (const number of this.#data.numbers()) this.#syncs.wrote(number)
    for (const replica of this.#replicas.values()) this.#syncs.wroteOther(replica.parts.marks)
    this.#syncs.committed()
  }

  #watchSpace(): void {
    this.#spaceTimer = this.#options.clock.after(limits.freeSpaceMs, () => {
      this.#slots.measureSpace(() => {
        if (!this.#closed) this.#watchSpace()
      })
    })
  }

  *#createSteps(volume: IndexVolume): Steps<ReplicaStore> {
    const file = yield* createMarksFile(this.#options.files, volume)
    this.#commits.addVolume(volume)
    yield* wait((done) => this.#commits.durable(done))
    return this.#addReplica(volume, file)
  }

  *#deleteSteps(replica: DiskReplica): Steps<void> {
    const { map } = replica.parts
    const extents = Math.ceil(replica.sizeBytes / limits.extentBytes)
    for (let extent = map.firstMapped(0, extents); extent >= 0; extent = map.firstMapped(extent + 1, extents)) {
      this.#sums.forget(map.get(extent))
      this.#slots.free(map.get(extent))
    }
    this.#commits.removeVolume(replica.number)
    yield* wait((done) => this.#commits.durable(done))
    const file = this.#marksFiles.get(replica.volumeId)
    this.#marksFiles.delete(replica.volumeId)
    this.#syncs.forget(replica.parts.marks)
    if (file) yield* wait((done) => file.close(done))
    yield* wait((done) => this.#options.files.remove(marksFilePath(replica.volumeId), done))
    yield* wait((done) => this.#options.files.syncFolder('marks', done))
  }

  #closing(): ClosingParts {
    return {
      ...this.#options,
      run: this.run,
      slots: this.#slots,
      commits: this.#commits,
      sums: this.#sums,
      syncs: this.#syncs,
      count: this.#count,
      data: this.#data,
      index: this.#index,
      replicas: [...this.#replicas.values()].map(({ parts }) => parts),
      marksFiles: [...this.#marksFiles.values()],
      failed: () => this.#failed,
      fail: (error) => {
        this.#failed ??= error
      },
    }
  }
}

/** Opens a store over ports; every error is a UserError in words. */
export function openCore(options: CoreOptions, done: (error: Error | null, store?: CoreStore) => void): void {
  runSteps(CoreStore.open(options), (error, store) => {
    if (error instanceof FileError) done(openingFailed(error))
    else if (error instanceof Error) done(error)
    else done(null, store)
  })
}
