/**
 * Disk faults as an ordinary filter over the file port, for tests and drills: switched while the agent runs, only
 * when it was started with MIRRORBAY_FAULTS=1 (main.ts decides). The index thread's own calls are not touched.
 */
import type { Clock } from '../kit/world.ts'
import {
  type BlockFile,
  type FileDone,
  FileError,
  type FilePiece,
  type Files,
  type FileValueDone,
  type ReadFileDone,
  writeAndSync,
} from './files.ts'

export interface FaultState {
  /** Every call fails with EIO. */
  readonly diskFail: boolean
  /** Calls that may need new space fail with ENOSPC. */
  readonly diskFull: boolean
  /** Every call is answered this many ms later. */
  readonly slowMs: number
}

const none: FaultState = { diskFail: false, diskFull: false, slowMs: 0 }

/** The switchboard that main.ts holds. */
export class StoreFaults {
  #state: FaultState = none
  /** Who looks at the disk when it has become another one. */
  readonly changed: (() => void)[] = []

  get state(): FaultState {
    return this.#state
  }

  /**
   * @param fault `disk-fail`, `disk-full`, `slow=MS` (0 .. 600000) or `off` (all faults off)
   * @returns false when there is no such fault; nothing changes then
   */
  set(fault: string): boolean {
    const slow = /^slow=(\d{1,6})$/.exec(fault)?.[1]
    if (fault === 'off') this.#state = none
    else if (fault === 'disk-fail') this.#state = { ...this.#state, diskFail: true }
    else if (fault === 'disk-full') this.#state = { ...this.#state, diskFull: true }
    else if (slow !== undefined && Number(slow) <= 600_000) this.#state = { ...this.#state, slowMs: Number(slow) }
    else return false
    for (const tell of this.changed) tell()
    return true
  }
}

class Filter {
  readonly #faults: StoreFaults
  readonly #clock: Clock
  constructor(faults: StoreFaults, clock: Clock) {
    this.#faults = faults
    this.#clock = clock
  }

  get full(): boolean {
    return this.#faults.state.diskFull
  }

  /** Lets the call through, later, or answers it with a fault. */
  pass(fresh: boolean, refuse: (error: FileError) => void, call: () => void): void {
    const { diskFail, diskFull, slowMs } = this.#faults.state
    const go = () => {
      if (diskFail) refuse(new FileError('EIO', 'fault: the disk fails'))
      else if (diskFull && fresh) refuse(new FileError('ENOSPC', 'fault: the disk is full'))
      else call()
    }
    if (slowMs > 0) this.#clock.after(slowMs, go)
    else if (diskFail || (diskFull && fresh)) this.#clock.nextTurn(go)
    else call()
  }
}

class FaultyFile implements BlockFile {
  readonly #file: BlockFile
  readonly #filter: Filter
  constructor(file: BlockFile, filter: Filter) {
    this.#file = file
    this.#filter = filter
  }
  read(into: Uint8Array, start: number, length: number, offset: number, done: ReadFileDone): void {
    const refuse = (error: FileError) => done(error, 0)
    this.#filter.pass(false, refuse, () => this.#file.read(into, start, length, offset, done))
  }
  write(chunks: readonly Uint8Array[], length: number, offset: number, fresh: boolean, done: FileDone): void {
    this.#filter.pass(fresh, done, () => this.#file.write(chunks, length, offset, fresh, done))
  }
  sync(done: FileDone): void {
    this.#filter.pass(false, done, () => this.#file.sync(done))
  }
  writeAndSync(pieces: readonly FilePiece[], done: FileDone): void {
    this.#filter.pass(false, done, () => writeAndSync(this.#file, pieces, done))
  }
  close(done: FileDone): void {
    this.#file.close(done)
  }
}

/** @returns the same port, with the faults of the switchboard. */
export function withFaults(files: Files, faults: StoreFaults, clock: Clock): Files {
  const filter = new Filter(faults, clock)
  const open = (path: string, create: boolean, done: FileValueDone<BlockFile>) =>
    files.open(path, create, (error, file) => (file ? done(null, new FaultyFile(file, filter)) : done(error)))
  return {
    open: (path, create, done) => filter.pass(create, done, () => open(path, create, done)),
    readAll: (path, done) => filter.pass(false, done, () => files.readAll(path, done)),
    list: (folder, done) => filter.pass(false, done, () => files.list(folder, done)),
    makeFolder: (path, done) => filter.pass(true, done, () => files.makeFolder(path, done)),
    rename: (from, to, done) => filter.pass(false, done, () => files.rename(from, to, done)),
    remove: (path, done) => filter.pass(false, done, () => files.remove(path, done)),
    syncFolder: (folder, done) => filter.pass(false, done, () => files.syncFolder(folder, done)),
    space: (done) =>
      filter.pass(false, done, () =>
        files.space((error, space) => done(error, space && filter.full ? { ...space, freeBytes: 0 } : space)),
      ),
  }
}
