/**
 * The simulator's disk: files in memory behind the same port as the real ones, with a page cache that a power cut
 * takes away. Every call is answered after a random delay of the handed-in clock.
 *
 * A write is in the cache when it is answered, on the disk when a sync that began later is. At a power cut each
 * 512-byte sector of each unsynced write is on the disk or not, at random; names follow the same way, in order.
 */
import { never } from '../kit/failure.ts'
import type { Clock, RandomSource } from '../kit/world.ts'
import {
  type BlockFile,
  type DiskSpace,
  type FileDone,
  FileError,
  type Files,
  type FileValueDone,
  type ReadFileDone,
} from './files.ts'
import { sectorBytes } from './format.ts'
import { Image, zeros } from './memory-image.ts'

const isZero = (bytes: Uint8Array): boolean =>
  bytes.length <= zeros.length && zeros.compare(bytes, 0, bytes.length, 0, bytes.length) === 0

/** A copy of the chunks that nobody else changes. */
function joined(chunks: readonly Uint8Array[], lengthBytes: number): Uint8Array {
  const [first] = chunks
  if (first !== undefined && chunks.length === 1 && isZero(first)) return zeros.subarray(0, lengthBytes)
  const bytes = new Uint8Array(lengthBytes)
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

interface PendingWrite {
  readonly sequence: number
  readonly bytes: Uint8Array
  readonly offsetBytes: number
}

class Inode {
  cache = new Image()
  disk = new Image()
  /** Writes in the cache that no finished sync covers, oldest first. */
  pending: PendingWrite[] = []
  sequence = 0

  /** A file whose bytes are all on the disk. */
  static of(image: Image): Inode {
    const inode = new Inode()
    inode.cache = image.copy()
    inode.disk = image.copy()
    return inode
  }

  write(bytes: Uint8Array, offsetBytes: number): void {
    this.cache.write(bytes, offsetBytes)
    this.sequence += 1
    this.pending.push({ sequence: this.sequence, bytes, offsetBytes })
  }

  /** Writes up to that one are on the disk. */
  sync(upTo: number): void {
    const covered = this.pending.filter((write) => write.sequence <= upTo)
    this.pending = this.pending.filter((write) => write.sequence > upTo)
    for (const write of covered) this.disk.write(write.bytes, write.offsetBytes)
  }

  /** Each sector of each write on its own: some reach the disk, some do not, a later one perhaps without an earlier. */
  lose(random: RandomSource): void {
    for (const { bytes, offsetBytes } of this.pending) {
      for (let at = 0; at < bytes.length; ) {
        const length = Math.min(sectorBytes - ((offsetBytes + at) % sectorBytes), bytes.length - at)
        if (random.unit() < 0.5) this.disk.write(bytes.subarray(at, at + length), offsetBytes + at)
        at += length
      }
    }
    this.pending = []
    this.cache = this.disk.copy()
  }
}

/** A change of names; durable when its folder was synced. */
type NameChange =
  | { readonly kind: 'add'; readonly path: string; readonly inode: Inode }
  | { readonly kind: 'remove'; readonly path: string }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string }

export interface DiskTuning {
  /** Milliseconds a call takes at least and at most. */
  readonly minMs: number
  readonly maxMs: number
}

/** A disk that takes its time with some calls, so that they overtake each other. */
export interface DiskSlowness {
  /** Of all calls, from 0 to 1. */
  readonly share: number
  /** Milliseconds that such a call takes at most before it does what it does, and as much again until it answers. */
  readonly maxMs: number
}

const endlessBytes = 1024 ** 4

export type DiskFault = 'none' | 'fail' | 'full' | 'hang'

const folderOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')))

export class MemoryFiles implements Files {
  readonly #clock: Clock
  readonly #random: RandomSource
  readonly #tuning: DiskTuning
  #names = new Map<string, Inode>()
  #durableNames = new Map<string, Inode>()
  #folders = new Set<string>([''])
  #changes: NameChange[] = []
  #fault: DiskFault = 'none'
  /** What a hanging disk has not begun. */
  #held: (() => void)[] = []
  /** Counts lives: calls of an earlier one answer nobody. */
  #life = 0
  /** Effects of calls under way: a kill lets some happen, without an answer. */
  #underWay = new Set<() => void>()
  /** Of the disk; what holds zeros takes none of it. */
  sizeBytes = endlessBytes
  wasSmall = false
  slowness: DiskSlowness | null = null

  constructor(clock: Clock, random: RandomSource, tuning: DiskTuning) {
    this.#clock = clock
    this.#random = random
    this.#tuning = tuning
  }

  get fault(): DiskFault {
    return this.#fault
  }

  set fault(fault: DiskFault) {
    this.#fault = fault
    if (fault === 'hang') return
    const held = this.#held
    this.#held = []
    for (const call of held) call()
  }

  /** The agent dies; the page cache stays. Each call under way has happened or not, at random. */
  kill(): void {
    this.#life += 1
    for (const effect of this.#underWay) if (this.#random.unit() < 0.5) effect()
    this.#underWay.clear()
    this.#held = []
  }

  /** The machine loses power: as `kill`, and what was not synced is lost, kept or torn at random. */
  powerCut(): void {
    this.kill()
    const happened = Math.floor(this.#random.unit() * (this.#changes.length + 1))
    for (const change of this.#changes.splice(0, happened)) applyName(this.#durableNames, change)
    this.#changes = []
    const inodes = new Set([...this.#names.values(), ...this.#durableNames.values()])
    this.#names = new Map(this.#durableNames)
    for (const inode of inodes) inode.lose(this.#random)
  }

  /** As MemoryIndexDisk.backup. @param prefix of the paths that are copied, and brought back; those of others stay */
  backup(prefix = ''): () => void {
    const kept = [...this.#names].filter(([path]) => path.startsWith(prefix))
    const copies = kept.map(([path, inode]) => [path, inode.cache.copy()] as const)
    return () => {
      const others = [...this.#names].filter(([path]) => !path.startsWith(prefix))
      this.#names = new Map([...others, ...copies.map(([path, image]) => [path, Inode.of(image)] as const)])
      this.#durableNames = new Map(this.#names)
      this.#changes = []
    }
  }

  /** Runs `effect` after a delay of the disk, then answers; or answers with the fault of the moment. */
  call(fresh: boolean, effect: () => void, answer: (error: FileError | null) => void): void {
    const life = this.#life
    const { minMs, maxMs } = this.#tuning
    const slowMs = this.#slowMs()
    const start = () => {
      this.#underWay.add(effect)
      this.#clock.after(slowMs + minMs + this.#random.unit() * (maxMs - minMs), () => {
        if (life !== this.#life) return
        if (this.#fault === 'hang') {
          this.#held.push(finish)
          return
        }
        finish()
      })
    }
    const finish = () => {
      this.#underWay.delete(effect)
      if (this.#fault === 'fail') answer(new FileError('EIO', 'the simulated disk fails'))
      else if (fresh && this.#isFull()) answer(new FileError('ENOSPC', 'the simulated disk is full'))
      else {
        effect()
        if (slowMs === 0) answer(null)
        else this.#clock.after(this.#random.unit() * slowMs, () => life === this.#life && answer(null))
      }
    }
    if (this.#fault === 'hang') this.#held.push(start)
    else start()
  }

  /** 0 for a call that is not slow. */
  #slowMs(): number {
    const { slowness } = this
    return slowness === null || this.#random.unit() >= slowness.share ? 0 : this.#random.unit() * slowness.maxMs
  }

  /** A disk without a size of its own is never looked through: it would cost each call. */
  #isFull(): boolean {
    return this.#fault === 'full' || (this.sizeBytes < endlessBytes && this.#freeBytes() === 0)
  }

  /** The disk changes what it holds: in every file under that path, pages that begin with these bytes lose a bit. */
  rot(prefix: string, bytes: Uint8Array): number {
    let found = 0
    for (const [path, inode] of this.#names) {
      if (!path.startsWith(prefix)) continue
      found += inode.cache.rot(bytes)
      inode.disk.rot(bytes)
    }
    return found
  }

  /** Files under that path are gone, durably. */
  forget(prefix: string): void {
    this.#names = new Map([...this.#names].filter(([path]) => !path.startsWith(prefix)))
    this.#durableNames = new Map(this.#names)
    this.#changes = []
  }

  /** Pages of a file that hold something: where they begin. */
  pagesAt(path: string): number[] {
    return [...(this.#names.get(path)?.cache.pagesAt() ?? [])]
  }

  /** What stands in a file now. */
  peek(path: string, offsetBytes: number, lengthBytes: number): Buffer {
    const bytes = Buffer.alloc(lengthBytes)
    this.#names.get(path)?.cache.read(bytes, offsetBytes)
    return bytes
  }

  /** The disk changes one bit of what it holds, silently. @returns whether it held anything there */
  flipBit(path: string, offsetBytes: number, bit: number): boolean {
    const inode = this.#names.get(path)
    inode?.disk.flipBit(offsetBytes, bit)
    return inode?.cache.flipBit(offsetBytes, bit) ?? false
  }

  open(path: string, create: boolean, done: FileValueDone<BlockFile>): void {
    let inode: Inode | undefined
    const effect = () => {
      inode = this.#names.get(path)
      if (inode || !create) return
      inode = new Inode()
      this.#name({ kind: 'add', path, inode })
    }
    this.call(create, effect, (error) => {
      if (error) done(error)
      else if (inode) done(null, new MemoryFile(this, inode))
      else done(new FileError('ENOENT', `no such file: ${path}`))
    })
  }

  readAll(path: string, done: FileValueDone<Buffer>): void {
    let bytes: Buffer | null = null
    const effect = () => {
      const inode = this.#names.get(path)
      if (!inode) return
      bytes = Buffer.alloc(inode.cache.sizeBytes)
      inode.cache.read(bytes, 0)
    }
    this.call(false, effect, (error) => {
      if (error) done(error)
      else if (bytes) done(null, bytes)
      else done(new FileError('ENOENT', `no such file: ${path}`))
    })
  }

  list(folder: string, done: FileValueDone<string[]>): void {
    const inside = (path: string) => path !== '' && folderOf(path) === folder
    const names: string[] = []
    const effect = () => {
      for (const path of [...this.#names.keys(), ...this.#folders]) {
        if (inside(path)) names.push(folder === '' ? path : path.slice(folder.length + 1))
      }
    }
    this.call(false, effect, (error) => (error ? done(error) : done(null, names.sort())))
  }

  makeFolder(path: string, done: FileDone): void {
    this.call(true, () => this.#folders.add(path), done)
  }

  rename(from: string, to: string, done: FileDone): void {
    this.call(false, () => this.#name({ kind: 'rename', from, to }), done)
  }

  remove(path: string, done: FileDone): void {
    this.call(false, () => this.#name({ kind: 'remove', path }), done)
  }

  syncFolder(folder: string, done: FileDone): void {
    // Like a journal: all that was named before becomes durable, in order.
    void folder
    const count = this.#changes.length
    const life = this.#life
    let left = count
    this.call(
      false,
      () => {
        if (life !== this.#life) return
        for (; left > 0; left--) {
          const change = this.#changes.shift()
          if (change) applyName(this.#durableNames, change)
        }
      },
      done,
    )
  }

  space(done: FileValueDone<DiskSpace>): void {
    let space: DiskSpace = { freeBytes: 0, usedBytes: 0 }
    const effect = () => {
      space = { freeBytes: this.#fault === 'full' ? 0 : this.#freeBytes(), usedBytes: this.#usedBytes('data/') }
    }
    this.call(false, effect, (error) => (error ? done(error) : done(null, space)))
  }

  /** From now on that much fits beside what is there; null: as much as you like. */
  leave(bytes: number | null): void {
    if (bytes !== null) this.wasSmall = true
    this.sizeBytes = bytes === null ? endlessBytes : this.#usedBytes('') + bytes
  }

  #freeBytes(): number {
    return Math.max(0, this.sizeBytes - this.#usedBytes(''))
  }

  #usedBytes(prefix: string): number {
    let sumBytes = 0
    for (const [path, inode] of this.#names) if (path.startsWith(prefix)) sumBytes += inode.cache.usedBytes
    return sumBytes
  }

  #name(change: NameChange): void {
    applyName(this.#names, change)
    this.#changes.push(change)
  }
}

function applyName(names: Map<string, Inode>, change: NameChange): void {
  switch (change.kind) {
    case 'add':
      names.set(change.path, change.inode)
      return
    case 'remove':
      names.delete(change.path)
      return
    case 'rename': {
      const inode = names.get(change.from)
      names.delete(change.from)
      if (inode) names.set(change.to, inode)
      return
    }
    default:
      never(change, 'applyName')
  }
}

class MemoryFile implements BlockFile {
  readonly #disk: MemoryFiles
  readonly #inode: Inode
  constructor(disk: MemoryFiles, inode: Inode) {
    this.#disk = disk
    this.#inode = inode
  }

  read(into: Uint8Array, start: number, lengthBytes: number, offsetBytes: number, done: ReadFileDone): void {
    let got = 0
    const effect = () => {
      got = this.#inode.cache.read(into.subarray(start, start + lengthBytes), offsetBytes)
    }
    this.#disk.call(false, effect, (error) => done(error, got))
  }

  write(chunks: readonly Uint8Array[], lengthBytes: number, offsetBytes: number, fresh: boolean, done: FileDone): void {
    const bytes = joined(chunks, lengthBytes)
    this.#disk.call(fresh, () => this.#inode.write(bytes, offsetBytes), done)
  }

  sync(done: FileDone): void {
    // Only what is in the cache now: a write that ends while the sync runs may be lost all the same (W4).
    const upTo = this.#inode.sequence
    this.#disk.call(false, () => this.#inode.sync(upTo), done)
  }

  close(done: FileDone): void {
    this.#disk.call(false, () => undefined, done)
  }
}
