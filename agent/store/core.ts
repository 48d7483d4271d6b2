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
import { findCounts } from './counts-found.ts'
import { DataFiles } from './data-files.ts'
import { DiskQueue } from './disk-queue.ts'
import { FailureRecord } from './failure-record.ts'
import { StoreFigures } from './figures.ts'
import { FileError, type Files, failureOf } from './files.ts'
import type { SlotHeader } from './format.ts'
import { hiddenIdOf } from './hidden-range.ts'
import { refusalOf } from './image-changes.ts'
import type { Index, IndexContents, IndexOpener } from './index.ts'
import { CountedIndex, mustHaveCommits } from './index-number.ts'
import { doubtHeaders, doubtSums, gradeMarks } from './previous-end.ts'
import { FileRecords } from './records.ts'
import type { ImageDone, Records, ReplicaImage, ReplicaStore, Store, StoreDone, StoreFailure } from './replica.ts'
import type { DiskReplica } from './replica-disk.ts'
import { ReplicaSet } from './replica-set.ts'
import { endOf, type PreviousEnd, readRun, writeRun } from './run.ts'
import { Slots } from './slots.ts'
import { runSteps, type Steps, wait } from './steps.ts'
import { makeStore, openDataFiles, readStoreFile } from './store-folder.ts'
import { Sums, unreadable } from './sums.ts'
import { Syncs } from './syncs.ts'
import { damaged, inUse, openingFailed } from './trouble.ts'
import { Wholes } from './wholes.ts'
import type { WipeProgress } from './wipe.ts'

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
  /** The store that must be there: an empty folder, or another store, is refused and left as it is. */
  readonly expectedId?: string
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
  readonly #replicas: ReplicaSet
  readonly #wholes: Wholes
  readonly #failure: FailureRecord
  #spaceTimer: Timer | null = null
  #closed = false

  private constructor(
    options: CoreOptions,
    start: {
      index: CountedIndex
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
    const { bootId, clock, files, log } = options
    const { count, data, index, run } = start
    const marks = () => this.#replicas.all().map(({ parts }) => parts.marks)
    this.#failure = new FailureRecord({ clock, log, files, run, bootId, count, marks })
    const failed = () => this.#failure.error !== null
    const fail = (error: FileError) => this.#failure.fail(error)
    this.#queue = new DiskQueue(clock)
    const queue = this.#queue
    this.#syncs = new Syncs({ clock, queue, data, index, count, figures: this.figures, fail })
    index.onDurable = () => this.#syncs.tellIndex()
    const wrote = (file: number) => this.#syncs.wrote(file)
    const committed = () => this.#syncs.committed()
    this.#commits = new Commits({ clock, index, queue, data, wrote, committed, fail })
    this.#sums = new Sums({ queue, data, fail, wrote, log, mostPages: options.sumPages ?? limits.sumPages })
    const { commits, sums, syncs } = { commits: this.#commits, sums: this.#sums, syncs: this.#syncs }
    const isElsewhere = (header: SlotHeader) => this.#replicas.isElsewhere(header)
    this.#slots = new Slots({ isElsewhere, queue, data, fail, log, files, commits, sums, failed })
    this.#records = new FileRecords(files, count, () => clock.monotonicMs(), fail)
    this.records = this.#records
    const shared = { clock, log, files, run, index, queue, data, slots: this.#slots, commits, syncs, sums, count }
    const keepCount = (done: StoreDone) => this.#records.put('commit-count', 0, done)
    this.#replicas = new ReplicaSet({ ...shared, keepCount, failed, fail }, start.lastVolume)
    this.#wholes = new Wholes({ replicas: this.#replicas, queue, failed: (error) => this.#failedChange(error) })
  }

  /** Opens the folder, or makes it a store. Throws UserError (in words) or FileError; the lock is free again then. */
  static *open(options: CoreOptions): Steps<CoreStore> {
    const { files, opener } = options
    let known: { storeId: string } | null
    try {
      known = yield* readStoreFile(files, options.expectedId)
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
    const found = yield* findCounts(files, contents.storeId)
    const durable = Math.max(before?.index ?? 0, found.index)
    mustHaveCommits(contents.commits, durable)
    yield* wait((done) => index.begin(done))
    const data = new DataFiles(files, contents.storeId)
    yield* openDataFiles(files, data, contents)
    const run = (before?.run ?? 0) + 1
    const count = new CommitCount({ commits: Math.max(before?.commits ?? 0, found.commits), index: durable })
    const counted = new CountedIndex(index, count, contents.commits)
    const { lastVolume, storeId } = contents
    const store = new CoreStore(options, { index: counted, data, run, previousEnd, lastVolume, storeId, count })
    yield* store.#records.load()
    yield* store.#replicas.load(contents)
    store.#foundCount = count.value
    // First the doubt is durable, then the new run: a crash in between only grades again, and never better.
    // A clean end lost nothing, but the names of writes that were not confirmed died with it (C7): what is still marked
    // is as much in doubt as after a kill, or two copies that differ would both pass for sound (C2).
    if (previousEnd !== 'first') yield* gradeMarks(store.#replicas.all(), previousEnd === 'lossy' ? 'lossy' : 'torn')
    doubtHeaders(store.#replicas.all())
    if (before?.sums !== true) doubtSums(store.#replicas.all())
    const commits = count.next()
    const { bootId } = options
    yield* writeRun(files, { run, bootId, end: 'running', failed: false, sums: false, commits, index: durable })
    count.ended(commits)
    yield* store.#replicas.confirmPast()
    if (previousEnd !== 'clean') store.#countAllDirty()
    yield* wait((done) => store.#slots.measureSpace(() => done(null)))
    store.#slots.begin()
    store.#replicas.begin()
    store.#watchSpace()
    return store
  }

  get failed(): boolean {
    return this.#failure.error !== null
  }

  get foundCommitCount(): number {
    return this.#foundCount
  }

  get commitCount(): number {
    return this.#count.value
  }

  replicas(): readonly ReplicaStore[] {
    return this.#wholes.all()
  }

  createReplica(
    id: VolumeId,
    sizeBytes: number,
    done: (failure: StoreFailure | null, replica?: ReplicaStore) => void,
  ): void {
    const fits = sizeBytes % limits.blockBytes === 0 && sizeBytes > 0 && sizeBytes <= limits.volumeMaxBytes
    invariant(fits, 'S4', `a replica cannot have ${sizeBytes} bytes`)
    invariant(this.#replicas.get(id) === undefined, 'S5', `replica ${id} is there already`)
    runSteps(this.#replicas.create(id, sizeBytes), (error, replica) => {
      if (error) done(this.#failedChange(error))
      else done(null, replica && this.#wholes.of(replica))
    })
  }

  growReplica(id: VolumeId, sizeBytes: number, done: StoreDone): void {
    const replica = this.#there(id)
    const fits =
      sizeBytes % limits.blockBytes === 0 && sizeBytes >= replica.sizeBytes && sizeBytes <= limits.volumeMaxBytes
    invariant(fits, 'S4', `a replica of ${replica.sizeBytes} bytes cannot grow to ${sizeBytes}`)
    runSteps(this.#replicas.grow(replica, sizeBytes), (error) => done(error ? this.#failedChange(error) : null))
  }

  createImage(id: VolumeId, name: string, madeMs: number, done: ImageDone, sizeBytes?: number): void {
    const replica = this.#there(id)
    const size = sizeBytes ?? replica.sizeBytes
    invariant(size > 0 && size <= replica.sizeBytes, 'S4', `an image of ${size} bytes of ${replica.sizeBytes}`)
    const refusal = refusalOf(replica, name)
    invariant(!replica.isChanging, 'S7', 'an image is made while its volume is written')
    if (refusal !== null) return this.#queue.turn(() => done(refusal))
    runSteps(this.#replicas.createImage(replica, name, madeMs, size), (error, image) => {
      if (error) done(this.#failedImage(error))
      else done(null, image)
    })
  }

  prepareImage(id: VolumeId, done: StoreDone): void {
    const replica = this.#there(id)
    runSteps(this.#replicas.prepareImage(replica), (error) => done(error ? this.#failedImage(error) : null))
  }

  images(id: VolumeId): readonly ReplicaImage[] {
    return this.#there(id).parts.images.named
  }

  deleteImage(id: VolumeId, name: string, done: (failure: StoreFailure | 'no-image' | null) => void): void {
    const replica = this.#there(id)
    const image = replica.parts.images.named.find((one) => one.name === name)
    if (image === undefined) return this.#queue.turn(() => done('no-image'))
    runSteps(this.#replicas.deleteImage(replica, image), (error) => done(error ? this.#failedChange(error) : null))
  }

  /** A block whose checksum cannot be known is no failure of the store. */
  #failedImage(error: unknown): StoreFailure {
    return error === unreadable ? 'io' : this.#failedChange(error)
  }

  deleteReplica(id: VolumeId, done: StoreDone): void {
    const replica = this.#there(id)
    const hidden = this.#replicas.get(hiddenIdOf(id))
    const before = hidden && this.#replicas.delete(hidden)
    runSteps(after(before, this.#replicas.delete(replica)), (error) => done(error ? this.#failedChange(error) : null))
  }

  #there(id: VolumeId): DiskReplica {
    const replica = this.#replicas.get(id)
    invariant(replica !== undefined, 'S5', `there is no replica ${id}`)
    return replica
  }

  wipeReplica(id: VolumeId, progress: WipeProgress, done: StoreDone): void {
    const replica = this.#there(id)
    const hidden = this.#replicas.get(hiddenIdOf(id))
    const before = hidden && this.#replicas.wipe(hidden, () => undefined)
    runSteps(after(before, this.#replicas.wipe(replica, progress)), (error) =>
      done(error ? this.#failedChange(error) : null),
    )
  }

  freeBytes(): number | null {
    return this.#slots.freeBytes
  }

  doubtAll(count: number, done: StoreDone): void {
    this.#count.goOnFrom(count)
    let left = 1
    let failed: FileError | null = null
    const one = (error: FileError | null) => {
      failed ??= error
      left -= 1
      if (left > 0) return
      if (failed !== null) this.#failure.fail(failed)
      done(failed === null ? null : 'io')
    }
    this.#wholes.makeHidden((failure) => {
      if (failure !== null) return done(failure)
      for (const replica of this.#replicas.all()) {
        left += 1
        replica.parts.marks.doubtAll(one)
      }
      one(null)
    })
  }

  measureSpace(): void {
    this.#slots.measureSpace(() => undefined)
  }

  /** Age in ms of the oldest record put that the disk has not answered. */
  recordsPendingMs(): number {
    return this.#records.pendingMs()
  }

  /** The agent dies: no callback comes any more. For the simulator only; a real agent just dies. */
  abandon(): void {
    this.#closed = true
    this.#failure.close()
    this.#syncs.stop()
    this.#queue.stop()
    this.#spaceTimer?.cancel()
  }

  close(done: StoreDone): void {
    invariant(!this.#closed, 'S5', 'a store is closed twice')
    this.#closed = true
    this.#failure.close()
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
      answer(error ? this.#failureOf(error) : this.#failure.error === null ? null : 'io'),
    )
  }

  #failureOf(error: unknown): StoreFailure {
    if (error instanceof FileError) return failureOf(error)
    throw error
  }

  /** A commit or sync in the middle of it failed: other people's commits may be lost with it. */
  #failedChange(error: unknown): StoreFailure {
    const failure = this.#failureOf(error)
    if (failure === 'io' && error instanceof FileError) this.#failure.fail(error)
    // A full disk that took a commit with it has failed it.
    return this.failed ? 'io' : failure
  }

  /** What the run before wrote may still be in the page cache only. */
  #countAllDirty(): void {
    for (const number of this.#data.numbers()) this.#syncs.wrote(number)
    for (const replica of this.#replicas.all()) this.#syncs.wroteOther(replica.parts.marks)
    this.#syncs.committed()
  }

  #watchSpace(): void {
    this.#spaceTimer = this.#options.clock.after(limits.freeSpaceMs, () => {
      this.#slots.measureSpace(() => {
        if (!this.#closed) this.#watchSpace()
      })
    })
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
      replicas: this.#replicas.all().map(({ parts }) => parts),
      marksFiles: this.#replicas.marksFiles(),
      whenIdle: (done) => this.#replicas.whenIdle(done),
      failed: () => this.#failure.error,
      fail: (error) => {
        this.#failure.error ??= error
      },
    }
  }
}

/** The hidden range goes first: without its volume nobody would know whose it is. */
function* after(before: Steps<void> | undefined, steps: Steps<void>): Steps<void> {
  if (before !== undefined) yield* before
  yield* steps
}

/** Opens a store over ports; every error is a UserError in words. */
export function openCore(options: CoreOptions, done: (error: Error | null, store?: CoreStore) => void): void {
  runSteps(CoreStore.open(options), (error, store) => {
    if (error instanceof FileError) done(openingFailed(error))
    else if (error instanceof Error) done(error)
    else done(null, store)
  })
}
