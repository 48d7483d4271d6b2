/**
 * A disk that records everything its store does, with the instant at which each call began and ended, so that every
 * legal image of any instant can be made afterwards: what a killed agent leaves, and what a power cut leaves.
 *
 * Legal after a power cut: every write that ended before a sync began which has returned; of each other write that had
 * begun, any of its 512-byte sectors, in any order among writes. Of the values a name ever had since its folder was
 * last synced, any. Of the index a first part of its commits, not less than what was synced.
 */
import type { Clock, RandomSource } from '../../../agent/kit/world.ts'
import {
  type BlockFile,
  type DiskSpace,
  type FileDone,
  FileError,
  type Files,
  type FileValueDone,
  type ReadFileDone,
} from '../../../agent/store/files.ts'
import { dataStartBytes, fileHeaderBytes, sectorBytes, sumsStartBytes } from '../../../agent/store/format.ts'
import { RecordedIndex } from './recorded-index.ts'
import { SparseBytes } from './sparse-bytes.ts'

/** Instants: every beginning and end of a call counts on by one. An end of infinity has not come. */
export interface Span {
  readonly begin: number
  end: number
}

export const wasThere = (span: Span, at: number): boolean => span.end <= at

/** What a write is about, so that an image may take all of one kind and nothing of another. */
export type Category = 'records' | 'marks' | 'headers' | 'sums' | 'data' | 'names'

interface Write extends Span {
  readonly category: Category
  bytes: Uint8Array
  readonly offsetBytes: number
  /** A failed sync threw it away. */
  lost: number
}

/** Decides what a power cut leaves. */
export interface Choices {
  /** @returns for each of these writes that no sync covers how it went; those kept are applied in this order */
  writes(of: readonly Write[]): readonly { readonly write: Write; readonly sectors: (at: number) => boolean }[]
  /** @returns which of `count` values a name has, 0 the durable one */
  name(count: number): number
  /** @returns how many of `count` unsynced commits are there */
  commits(count: number): number
}

/** What goes wrong with a call. `half`: a part of it happened all the same. `drop`: a failed sync forgets what it should have kept. */
export type Fault =
  | { readonly kind: 'error'; readonly code: string; readonly effect?: 'none' | 'half' | 'all' | 'drop' }
  | { readonly kind: 'slow'; readonly ms: number }
  | { readonly kind: 'hang' }

/** @param number of the call on this disk, from 1 */
export type FaultPlan = (number: number, what: string, path: string, fresh: boolean) => Fault | null

class Inode {
  readonly path: string
  readonly base: SparseBytes
  readonly cache: SparseBytes
  writes: Write[] = []
  syncs: Span[] = []
  isSyncing = false

  constructor(path: string, base = new SparseBytes()) {
    this.path = path
    this.base = base
    this.cache = new SparseBytes(base)
  }

  category(offsetBytes: number): Category {
    if (this.path.startsWith('marks/')) return 'marks'
    if (!this.path.startsWith('data/')) return 'records'
    if (offsetBytes >= dataStartBytes) return 'data'
    return offsetBytes >= sumsStartBytes ? 'sums' : offsetBytes >= fileHeaderBytes ? 'headers' : 'records'
  }

  fork(at: number, choices: Choices | null, unit: () => number): Inode {
    const begun = this.writes.filter(({ begin }) => begin <= at).sort((a, b) => a.end - b.end)
    if (choices === null) return this.#killed(begun, at, unit)
    const covered = Math.max(-1, ...this.syncs.filter(({ end }) => end <= at).map(({ begin }) => begin))
    const isDurable = (write: Write) => write.end <= covered && write.lost > covered
    const base = new SparseBytes(this.base)
    for (const { bytes, offsetBytes } of begun.filter(isDurable)) base.write(bytes, offsetBytes)
    for (const { write, sectors } of choices.writes(begun.filter((write) => !isDurable(write)))) {
      eachSector(write, (part, offset) => {
        if (sectors(offset)) base.write(part, offset)
      })
    }
    return new Inode(this.path, base)
  }

  /** All that ended is there; what was under way in part. */
  #killed(begun: readonly Write[], at: number, unit: () => number): Inode {
    const fork = new Inode(this.path, this.base)
    fork.syncs = this.syncs.filter(({ end }) => end <= at)
    for (const write of begun) {
      if (write.lost <= at) continue
      if (wasThere(write, at)) fork.add(write)
      else {
        const share = Math.floor(unit() * 3) / 2
        eachSector(write, (bytes, offsetBytes) => {
          if (unit() < share) fork.add({ ...write, bytes, offsetBytes, end: at })
        })
      }
    }
    return fork
  }

  add(write: Write): void {
    this.writes.push(write)
    this.cache.write(write.bytes, write.offsetBytes)
  }
}

function eachSector({ bytes, offsetBytes }: Write, each: (bytes: Uint8Array, offsetBytes: number) => void): void {
  for (let at = 0; at < bytes.length; ) {
    const length = Math.min(sectorBytes - ((offsetBytes + at) % sectorBytes), bytes.length - at)
    each(bytes.subarray(at, at + length), offsetBytes + at)
    at += length
  }
}

interface NameChange extends Span {
  readonly inode: Inode | 'folder' | null
}

interface Name {
  base: Inode | 'folder' | null
  changes: NameChange[]
}

/** Starts of machines, in all tests of this process: no two are alike. */
let boots = 0

const folderOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')))

export class RecordedDisk implements Files {
  readonly clock: Clock
  readonly #random: RandomSource
  readonly bootId: string
  index: RecordedIndex
  faults: FaultPlan = () => null
  readonly #names = new Map<string, Name>()
  readonly #folderSyncs = new Map<string, Span[]>()
  #now = 0
  #calls = 0
  freeSpaceBytes = 1024 ** 4

  constructor(clock: Clock, random: RandomSource) {
    this.clock = clock
    this.#random = random
    boots += 1
    this.bootId = `boot ${boots}`
    this.index = new RecordedIndex(this)
  }

  get now(): number {
    return this.#now
  }

  /** Calls until now, faults included. */
  get calls(): number {
    return this.#calls
  }

  tick(): number {
    this.#now += 1
    return this.#now
  }

  unit(): number {
    return this.#random.unit()
  }

  /** The disk as a new agent finds it. @param choices null: the agent was killed at that instant, the machine went on */
  fork(at: number, choices: Choices | null, clock: Clock, random: RandomSource): RecordedDisk {
    const fork = new RecordedDisk(clock, random)
    if (choices === null) Object.assign(fork, { bootId: this.bootId })
    fork.#now = at
    fork.index = this.index.fork(fork, at, choices)
    const forked = new Map<Inode, Inode>()
    const of = (inode: Inode | 'folder' | null) => {
      if (inode === null || inode === 'folder') return inode
      const known = forked.get(inode) ?? inode.fork(at, choices, () => random.unit())
      forked.set(inode, known)
      return known
    }
    for (const [path, { base, changes }] of this.#names) {
      const begun = changes.filter(({ begin }) => begin <= at)
      if (choices === null) {
        const ended = begun.filter((change) => wasThere(change, at))
        fork.#names.set(path, { base: of(base), changes: ended.map((c) => ({ ...c, inode: of(c.inode) })) })
        continue
      }
      const syncs = this.#folderSyncs.get(folderOf(path)) ?? []
      const covered = Math.max(-1, ...syncs.filter(({ end }) => end <= at).map(({ begin }) => begin))
      const durable = begun.filter(({ end }) => end <= covered)
      const values = [durable[durable.length - 1]?.inode ?? (durable.length > 0 ? null : base)]
      for (const change of begun) if (!durable.includes(change)) values.push(change.inode)
      fork.#names.set(path, { base: of(values[choices.name(values.length)] ?? null), changes: [] })
    }
    if (choices === null) {
      for (const [folder, syncs] of this.#folderSyncs) {
        fork.#folderSyncs.set(
          folder,
          syncs.filter(({ end }) => end <= at),
        )
      }
    }
    return fork
  }

  /** Runs `effect` after a delay of the disk, then answers; or what the plan of faults says. */
  call(
    path: string,
    what: string,
    fresh: boolean,
    effect: (how: 'half' | 'all' | 'drop') => void,
    done: FileDone,
  ): void {
    this.#calls += 1
    const fault = this.faults(this.#calls, what, path, fresh)
    if (fault?.kind === 'hang') return
    const delayMs = fault?.kind === 'slow' ? fault.ms : 0.05 + this.unit() * 2
    this.clock.after(delayMs, () => {
      if (fault?.kind !== 'error') {
        effect('all')
        return done(null)
      }
      if (fault.effect !== undefined && fault.effect !== 'none') effect(fault.effect)
      done(new FileError(fault.code, `fault: ${what} of ${path}`))
    })
  }

  #current(path: string): Inode | 'folder' | null {
    const name = this.#names.get(path)
    if (name === undefined) return path === '' ? 'folder' : null
    const ended = name.changes.filter(({ end }) => end <= this.#now)
    return ended.length > 0 ? (ended[ended.length - 1]?.inode ?? null) : name.base
  }

  #change(path: string, inode: NameChange['inode']): NameChange {
    const change: NameChange = { begin: this.tick(), end: Number.POSITIVE_INFINITY, inode }
    const name = this.#names.get(path) ?? { base: null, changes: [] }
    name.changes.push(change)
    this.#names.set(path, name)
    return change
  }

  /** What a call that failed would have named. */
  #forgetFailed(path: string, error: FileError | null): void {
    const name = this.#names.get(path)
    if (error !== null && name !== undefined) name.changes = name.changes.filter(({ end }) => end <= this.#now)
  }

  #orForget(paths: readonly string[], done: FileDone): FileDone {
    return (error) => {
      for (const path of paths) this.#forgetFailed(path, error)
      done(error)
    }
  }

  open(path: string, create: boolean, done: FileValueDone<BlockFile>): void {
    const made = create && this.#current(path) === null ? this.#change(path, new Inode(path)) : null
    const effect = () => {
      if (made !== null) made.end = this.tick()
    }
    this.call(path, 'open', create, effect, (error) => {
      this.#forgetFailed(path, error)
      const inode = this.#current(path)
      if (error !== null) done(error)
      else if (inode === null || inode === 'folder') done(new FileError('ENOENT', `no such file: ${path}`))
      else done(null, new RecordedFile(this, inode))
    })
  }

  readAll(path: string, done: FileValueDone<Buffer>): void {
    this.call(
      path,
      'read',
      false,
      () => undefined,
      (error) => {
        const inode = this.#current(path)
        if (error !== null) return done(error)
        if (inode === null || inode === 'folder') return done(new FileError('ENOENT', `no such file: ${path}`))
        const bytes = Buffer.alloc(inode.cache.sizeBytes)
        inode.cache.read(bytes, 0)
        done(null, bytes)
      },
    )
  }

  list(folder: string, done: FileValueDone<string[]>): void {
    this.call(
      folder,
      'list',
      false,
      () => undefined,
      (error) => {
        if (error !== null) return done(error)
        if (this.#current(folder) !== 'folder') return done(new FileError('ENOENT', `no such folder: ${folder}`))
        const there = [...this.#names.keys()].filter(
          (path) => folderOf(path) === folder && this.#current(path) !== null,
        )
        done(null, there.map((path) => (folder === '' ? path : path.slice(folder.length + 1))).sort())
      },
    )
  }

  makeFolder(path: string, done: FileDone): void {
    const change = this.#current(path) === null ? this.#change(path, 'folder') : null
    const effect = () => {
      if (change !== null) change.end = this.tick()
    }
    this.call(path, 'makeFolder', true, effect, this.#orForget([path], done))
  }

  rename(from: string, to: string, done: FileDone): void {
    const changes = [this.#change(to, this.#current(from)), this.#change(from, null)]
    const effect = () => {
      const end = this.tick()
      for (const change of changes) change.end = end
    }
    this.call(from, 'rename', false, effect, this.#orForget([from, to], done))
  }

  remove(path: string, done: FileDone): void {
    const change = this.#current(path) === null ? null : this.#change(path, null)
    const effect = () => {
      if (change !== null) change.end = this.tick()
    }
    this.call(path, 'remove', false, effect, this.#orForget([path], done))
  }

  syncFolder(folder: string, done: FileDone): void {
    const begin = this.tick()
    const effect = () => {
      const spans = this.#folderSyncs.get(folder) ?? []
      spans.push({ begin, end: this.tick() })
      this.#folderSyncs.set(folder, spans)
    }
    this.call(folder, 'syncFolder', false, effect, done)
  }

  space(done: FileValueDone<DiskSpace>): void {
    this.call(
      '',
      'space',
      false,
      () => undefined,
      (error) => (error === null ? done(null, { freeBytes: this.freeSpaceBytes, usedBytes: 0 }) : done(error)),
    )
  }
}

function joined(chunks: readonly Uint8Array[], lengthBytes: number): Uint8Array {
  const bytes = Buffer.concat(chunks)
  if (bytes.length !== lengthBytes) throw new Error(`${bytes.length} bytes are written as ${lengthBytes}`)
  return bytes
}

class RecordedFile implements BlockFile {
  readonly #disk: RecordedDisk
  readonly #inode: Inode
  constructor(disk: RecordedDisk, inode: Inode) {
    this.#disk = disk
    this.#inode = inode
  }

  read(into: Uint8Array, start: number, lengthBytes: number, offsetBytes: number, done: ReadFileDone): void {
    let got = 0
    const effect = () => {
      got = this.#inode.cache.read(into.subarray(start, start + lengthBytes), offsetBytes)
    }
    this.#disk.call(this.#inode.path, 'read', false, effect, (error) => done(error, error === null ? got : 0))
  }

  write(chunks: readonly Uint8Array[], lengthBytes: number, offsetBytes: number, fresh: boolean, done: FileDone): void {
    const write: Write = {
      begin: this.#disk.tick(),
      end: Number.POSITIVE_INFINITY,
      lost: Number.POSITIVE_INFINITY,
      category: this.#inode.category(offsetBytes),
      bytes: joined(chunks, lengthBytes),
      offsetBytes,
    }
    const meets = (other: Write) =>
      other.end === Number.POSITIVE_INFINITY &&
      other.offsetBytes < offsetBytes + lengthBytes &&
      offsetBytes < other.offsetBytes + other.bytes.length
    const { path, writes, cache } = this.#inode
    if (writes.some(meets)) throw new Error(`two writes meet at ${offsetBytes} of ${path}: their order is chance`)
    writes.push(write)
    const effect = (how: 'half' | 'all' | 'drop') => {
      if (how === 'half') write.bytes = write.bytes.subarray(0, sectorBytes)
      write.end = this.#disk.tick()
      cache.write(write.bytes, offsetBytes)
    }
    this.#disk.call(path, 'write', fresh, effect, (error) => {
      if (write.end === Number.POSITIVE_INFINITY) writes.splice(writes.indexOf(write), 1)
      done(error)
    })
  }

  sync(done: FileDone): void {
    // Linux tells a lost write to one of them only, and the other one says that all is well.
    if (this.#inode.isSyncing) throw new Error(`two syncs of ${this.#inode.path} at once`)
    this.#inode.isSyncing = true
    const begin = this.#disk.tick()
    const effect = (how: 'half' | 'all' | 'drop') => {
      const end = this.#disk.tick()
      if (how !== 'drop') this.#inode.syncs.push({ begin, end })
      else this.#drop(end)
    }
    this.#disk.call(this.#inode.path, 'sync', false, effect, (error) => {
      this.#inode.isSyncing = false
      done(error)
    })
  }

  /** What Linux may do when the disk refuses a page: it is clean from now on, and some day the old one is read again. */
  #drop(now: number): void {
    const { syncs, writes } = this.#inode
    const covered = Math.max(-1, ...syncs.map(({ begin }) => begin))
    for (const write of writes) if (write.end > covered && write.lost > now) write.lost = now
  }

  close(done: FileDone): void {
    this.#disk.call(this.#inode.path, 'close', false, () => undefined, done)
  }
}
