/**
 * Marks and stamps of one replica (C1, C2, C3): what is in memory, and the preallocated file it stands in. One mark
 * is one small write and one fdatasync; all that ask while one is under way share the next (group commit).
 *
 * Batches go one after the other, so the file never gets an older state of a region after a newer one.
 */
import type { VolumeId } from '../kit/ids.ts'
import type { Clock } from '../kit/world.ts'
import type { CommitCount } from './commit-count.ts'
import type { DiskQueue } from './disk-queue.ts'
import type { BlockFile, FileError, FilePiece } from './files.ts'
import {
  commitCountOffset,
  encodeMark,
  gradeOf,
  markEntryBytes,
  markState,
  marksPerSector,
  marksStartBytes,
  sectorBytes,
} from './format.ts'
import type { RegionFacts } from './replica.ts'
import type { Syncable, Syncs } from './syncs.ts'

export type MarksDone = (error: FileError | null) => void

export interface MarksParts {
  readonly clock: Clock
  readonly queue: DiskQueue
  readonly syncs: Syncs
  readonly file: BlockFile
  readonly volumeId: VolumeId
  /** C1: whether the region's block checksums are on the disk as they are. */
  readonly sumsAreSaved: (region: number) => boolean
  /** C12: a batch that is synced at once is a durable commit. */
  readonly count: CommitCount
}

export class Marks implements Syncable {
  readonly #parts: MarksParts
  /** What is true for callers: a mark counts from when it is durable, its taking off from when it is decided. */
  #state: Uint8Array
  #stamps: Float64Array
  /** Writes under way in the region. */
  #inFlight: Int32Array
  /** Writes of the region's checksums under way. */
  #sumsInFlight: Int32Array
  /** Changes of the region that have begun, counted. */
  #writes: Int32Array
  /** syncs.started when the latest write there ended: only a sync with a greater number covers it. */
  #dirty: Int32Array
  #wanted = new Set<number>()
  #changed = new Set<number>()
  #unmarks: { regions: readonly number[]; changes: readonly number[]; epoch: number }[] = []
  #mustSync = false
  #waiters: MarksDone[] = []
  #running = false
  /** What the batch under way marks, and who waits for it. */
  #runningWanted = new Set<number>()
  #runningWaiters: MarksDone[] = []
  #scheduled = false

  constructor(parts: MarksParts, regionCount: number) {
    this.#parts = parts
    this.#state = new Uint8Array(regionCount)
    this.#stamps = new Float64Array(regionCount)
    this.#inFlight = new Int32Array(regionCount)
    this.#dirty = new Int32Array(regionCount)
    this.#writes = new Int32Array(regionCount)
    this.#sumsInFlight = new Int32Array(regionCount)
  }

  get regionCount(): number {
    return this.#state.length
  }

  /** The volume has more regions, without marks: the file has room for them. */
  grow(regionCount: number): void {
    const longer = <T extends Uint8Array | Float64Array | Int32Array>(of: T, made: T): T => {
      made.set(of)
      return made
    }
    this.#state = longer(this.#state, new Uint8Array(regionCount))
    this.#stamps = longer(this.#stamps, new Float64Array(regionCount))
    this.#inFlight = longer(this.#inFlight, new Int32Array(regionCount))
    this.#dirty = longer(this.#dirty, new Int32Array(regionCount))
    this.#writes = longer(this.#writes, new Int32Array(regionCount))
    this.#sumsInFlight = longer(this.#sumsInFlight, new Int32Array(regionCount))
  }

  /** At opening. */
  load(region: number, state: number, stamp: number): void {
    this.#state[region] = state
    this.#stamps[region] = stamp
  }

  /** At opening after an unclean end: the region's grade becomes at least that bad (C2). @returns whether it changed */
  worsen(region: number, state: number): boolean {
    const before = this.#state[region] ?? 0
    if (before === markState.clean || before >= state) return false
    this.#state[region] = state
    this.#changed.add(region)
    return true
  }

  facts(region: number): RegionFacts {
    const state = this.#state[region] ?? 0
    return { marked: state !== 0, grade: gradeOf(state), stamp: this.#stamps[region] ?? 0 }
  }

  /** Whether the region has a mark or a stamp. */
  told(region: number): boolean {
    return this.#state[region] !== 0 || (this.#stamps[region] ?? 0) > 0
  }

  stamp(region: number): number {
    return this.#stamps[region] ?? 0
  }

  /** A change of these regions begins. @returns whether all are marked already */
  begin(first: number, last: number): boolean {
    let marked = true
    for (let region = first; region <= last; region++) {
      this.#inFlight[region] = (this.#inFlight[region] ?? 0) + 1
      this.#writes[region] = (this.#writes[region] ?? 0) + 1
      if (this.#state[region] === 0) marked = false
    }
    return marked
  }

  /** A write of the region's checksums begins: no change of it, but to be durable before its mark comes off. */
  beginSums(region: number): void {
    this.#sumsInFlight[region] = (this.#sumsInFlight[region] ?? 0) + 1
  }

  endSums(region: number): void {
    this.#sumsInFlight[region] = (this.#sumsInFlight[region] ?? 0) - 1
    this.#dirty[region] = this.#parts.syncs.started
  }

  /** How many changes of each of these regions have begun: tells later whether one was changed since. -1: one is under way. */
  changesOf(regions: readonly number[]): number[] {
    return regions.map((region) => ((this.#inFlight[region] ?? 0) > 0 ? -1 : (this.#writes[region] ?? 0)))
  }

  /** It ended, well or not. */
  end(first: number, last: number): void {
    for (let region = first; region <= last; region++) {
      this.#inFlight[region] = (this.#inFlight[region] ?? 0) - 1
      this.#dirty[region] = this.#parts.syncs.started
    }
  }

  /** Marks the regions, durable when done (C1). */
  mark(first: number, last: number, done: MarksDone): void {
    let underWay = this.#running
    for (let region = first; underWay && region <= last; region++) {
      underWay = this.#state[region] !== 0 || this.#runningWanted.has(region)
    }
    if (underWay) {
      this.#runningWaiters.push(done)
      return
    }
    for (let region = first; region <= last; region++) if (this.#state[region] === 0) this.#wanted.add(region)
    this.#mustSync = true
    this.#wait(done)
  }

  /**
   * Takes marks off where no change began since `changes` was counted, and a whole sync has ended since; the others keep
   * theirs: the caller knows nothing of newer changes being confirmed (C1).
   */
  unmark(regions: readonly number[], changes: readonly number[], epoch: number, done: MarksDone): void {
    this.#unmarks.push({ regions, changes, epoch })
    this.#wait(done)
  }

  raiseStamp(region: number, epoch: number, done: MarksDone): void {
    if ((this.#stamps[region] ?? 0) < epoch) {
      this.#stamps[region] = epoch
      this.#changed.add(region)
    }
    this.#wait(done)
  }

  /** Marks stay, their grade becomes sound, durably (C2). */
  settled(regions: readonly number[], done: MarksDone): void {
    for (const region of regions) {
      if ((this.#state[region] ?? 0) <= markState.marked) continue
      this.#state[region] = markState.marked
      this.#changed.add(region)
    }
    this.#mustSync = true
    this.#wait(done)
  }

  /** Every marked region becomes lossy (a sync failed, C2); durable when done. */
  allLossy(done: MarksDone): void {
    for (let region = 0; region < this.regionCount; region++) this.worsen(region, markState.lossy)
    this.#mustSync = true
    this.#wait(done)
  }

  /** C12: every region is lossy, whatever it was; durable when done. */
  doubtAll(done: MarksDone): void {
    for (let region = 0; region < this.regionCount; region++) {
      this.#state[region] = markState.lossy
      this.#changed.add(region)
      // Who counted changes before knows nothing of this one.
      this.#writes[region] = (this.#writes[region] ?? 0) + 1
    }
    this.#mustSync = true
    this.#wait(done)
  }

  /** Writes what `worsen` changed; durable when done. */
  save(done: MarksDone): void {
    this.#mustSync = true
    this.#wait(done)
  }

  sync(done: MarksDone): void {
    this.#parts.queue.sync(this.#parts.file, { diskDone: done })
  }

  #wait(done: MarksDone): void {
    this.#waiters.push(done)
    if (this.#scheduled || this.#running) return
    this.#scheduled = true
    this.#parts.queue.turn(() => {
      this.#scheduled = false
      this.#write()
    })
  }

  #takeOff(): void {
    for (const { regions, changes, epoch } of this.#unmarks) {
      for (const [index, region] of regions.entries()) {
        if (this.#writes[region] !== changes[index]) continue
        if ((this.#inFlight[region] ?? 0) > 0 || (this.#sumsInFlight[region] ?? 0) > 0) continue
        if ((this.#dirty[region] ?? 0) >= this.#parts.syncs.completed) continue
        if (this.#wanted.has(region) || !this.#parts.sumsAreSaved(region)) continue
        this.#state[region] = markState.clean
        this.#stamps[region] = Math.max(this.#stamps[region] ?? 0, epoch)
        this.#changed.add(region)
      }
    }
    this.#unmarks = []
  }

  #write(): void {
    this.#takeOff()
    const wanted = this.#wanted
    const waiters = this.#waiters
    const mustSync = this.#mustSync
    const sectors = new Set<number>()
    for (const region of wanted) sectors.add(Math.floor(region / marksPerSector))
    const changed = this.#changed
    for (const region of changed) sectors.add(Math.floor(region / marksPerSector))
    this.#wanted = new Set()
    this.#changed = new Set()
    this.#waiters = []
    this.#mustSync = false
    this.#running = true
    this.#runningWanted = wanted
    this.#runningWaiters = waiters
    const commit = mustSync ? this.#parts.count.next() : 0
    const finished = (error: FileError | null) => {
      this.#running = false
      if (error === null) this.#parts.count.ended(commit)
      if (error !== null) for (const region of changed) this.#changed.add(region)
      else {
        for (const region of wanted) if (this.#state[region] === 0) this.#state[region] = markState.marked
      }
      for (const waiter of waiters) waiter(error)
      if (this.#waiters.length > 0 && !this.#scheduled && !this.#running) this.#write()
    }
    const pieces = runsOf(sectors).map(([first, count]) => ({
      bytes: this.#encode(first, count, wanted),
      offsetBytes: marksStartBytes + first * sectorBytes,
    }))
    if (!mustSync) return this.#writeOnly(pieces, finished)
    pieces.push({ bytes: this.#parts.count.sector(commit), offsetBytes: commitCountOffset })
    this.#parts.queue.sync(this.#parts.file, { diskDone: finished }, pieces)
  }

  /** Durable with the next sync of the store. */
  #writeOnly(pieces: readonly FilePiece[], done: MarksDone): void {
    const { queue, file, syncs } = this.#parts
    let left = pieces.length + 1
    let failed: FileError | null = null
    const written = (error: FileError | null) => {
      failed ??= error
      left -= 1
      if (left > 0) return
      syncs.wroteOther(this)
      done(failed)
    }
    for (const { bytes, offsetBytes } of pieces) {
      queue.write(file, [bytes], bytes.length, offsetBytes, false, { diskDone: written })
    }
    queue.turn(() => written(null))
  }

  #encode(firstSector: number, sectorCount: number, wanted: ReadonlySet<number>): Buffer {
    const bytes = Buffer.alloc(sectorCount * sectorBytes)
    const first = firstSector * marksPerSector
    for (let at = 0; at < sectorCount * marksPerSector; at++) {
      const region = first + at
      const state = this.#state[region] ?? 0
      const coming = state === 0 && wanted.has(region) ? markState.marked : state
      encodeMark(bytes, at * markEntryBytes, region, coming, this.#stamps[region] ?? 0)
    }
    return bytes
  }
}

/** Sorted numbers as runs of neighbours. */
function runsOf(numbers: ReadonlySet<number>): [first: number, count: number][] {
  const runs: [number, number][] = []
  for (const number of [...numbers].sort((a, b) => a - b)) {
    const last = runs[runs.length - 1]
    if (last && last[0] + last[1] === number) last[1] += 1
    else runs.push([number, 1])
  }
  return runs
}
