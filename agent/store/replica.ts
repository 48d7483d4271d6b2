/**
 * What the engine needs of a disk: one replica of one volume, and the small durable records beside it. Two
 * implementations pass one suite: the real store (files + SQLite) and the in-memory twin of the simulator.
 *
 * Callbacks are called exactly once, never synchronously.
 */
import type { VolumeId } from '../kit/ids.ts'
import type { StoreFigures } from './figures.ts'
import type { Change, SpaceReservation } from './space.ts'

export type { Change, SpaceReservation }

/** A disk's answer. `no-space`: nothing promised about the range; `io`: the disk failed. */
export type StoreFailure = 'io' | 'no-space'
export type StoreDone = (failure: StoreFailure | null) => void
/** `corrupt`: the disk answered, but with bytes that do not fit their checksum (R3). Nobody sees them. */
export type StoreReadFailure = 'io' | 'corrupt'
export type StoreReadDone = (failure: StoreReadFailure | null, data: Uint8Array) => void

/** How far a region's bytes may be trusted (C2), ordered from best to worst. */
export type Grade = 'sound' | 'torn' | 'lossy'

/** One 16 MiB region's durable facts. */
export interface RegionFacts {
  /** C1: may differ from the other replicas, or from its checksums. */
  readonly marked: boolean
  /** `sound` for an unmarked region. */
  readonly grade: Grade
  /** C3: the epoch in which the region last changed, 0 = never. A marked region counts as changed in the current
   * epoch whatever this says. */
  readonly stamp: number
}

export interface ReplicaStore {
  readonly volumeId: VolumeId
  /** Multiple of 4096. Rises when `growReplica` is done. */
  readonly sizeBytes: number
  /** ceil(sizeBytes / 16 MiB). */
  readonly regionCount: number

  /**
   * Writes bytes; done = applied: every later read here sees them, a killed agent does not lose them, a power cut may
   * until the next sync. Marks its regions first and durably where they are not marked (C1). The caller holds the range
   * (W3), rounded out to blocks: no overlapping call is under way. Any byte alignment; a block of which only a part is
   * written is read first (and must fit its checksum, else the write fails with `io`). The chunks must not change until done.
   * @param reservation what was set aside for it; the rest of it is given back when done. Without one, what others have set
   * aside is not touched: `no-space` comes earlier
   */
  write(
    offsetBytes: number,
    chunks: readonly Uint8Array[],
    lengthBytes: number,
    done: StoreDone,
    reservation?: SpaceReservation,
  ): void
  /** The range reads as zeros when done; marks as `write` does. @param mayUnmap whole extents give their slot back */
  zero(
    offsetBytes: number,
    lengthBytes: number,
    mayUnmap: boolean,
    done: StoreDone,
    reservation?: SpaceReservation,
  ): void
  /** Whole extents inside the range read as zeros and give their slot back; the rest is unchanged. Marks as `write`. */
  discard(offsetBytes: number, lengthBytes: number, done: StoreDone): void
  /** Unwritten bytes read as zeros; every block was held against its checksum (R3). The caller holds the range against
   * writes (R4), rounded out to blocks. `data` belongs to the receiver, who may hand it back (kit/slabs.ts). */
  read(offsetBytes: number, lengthBytes: number, done: StoreReadDone): void
  /** Done when every write that was done before this call is durable, with all that its reading needs. A sync that
   * began before this call does not count (W4); callers that wait together share one. */
  sync(done: StoreDone): void

  region(index: number): RegionFacts
  /** Every region for which `marked` or `stamp > 0` holds, ascending; from memory. */
  regions(): IterableIterator<[index: number, facts: RegionFacts]>
  /**
   * Takes marks off and stamps the regions with `epoch`. The caller has made sure of C1: every write there is confirmed
   * and a sync that began after the last of them has returned. A region written again meanwhile keeps its mark.
   */
  unmark(regions: readonly number[], epoch: number, done: StoreDone): void
  /** C3 for copies: raises a region's stamp to at least `epoch`, durable with the next sync; marked regions too. */
  raiseStamp(region: number, epoch: number, done: StoreDone): void
  /** C2: settled from a better copy and synced by the caller: marks stay, their grade becomes sound; durable when done. */
  settled(regions: readonly number[], done: StoreDone): void

  /** C8: sets slots aside for writes to come. @returns null when the disk cannot hold that many more */
  reserve(slots: number): SpaceReservation | null
  /** C8: sets aside what this request needs here and now, which stays enough whatever is discarded before it comes. Its end
   * may be beyond `mostSlots` only by what a discard frees. @returns null when the disk is full for it */
  reserveFor(change: Change, offsetBytes: number, lengthBytes: number): SpaceReservation | null
  /** C8: slots of 256 KiB that the disk can still hold, beside what is set aside. */
  availableSlots(): number

  /** A write, sync or commit of this folder failed: it takes nothing more in this run. */
  readonly failed: boolean
  /** Age in ms of the oldest write, zero, discard, mark or sync that the disk has not answered yet; 0 when none (E8). */
  oldestPendingMs(): number
  /** Calls back when no call is under way; whoever asks begins none any more. */
  whenIdle(done: () => void): void
  /** Bytes allocated in slots for this replica. */
  allocatedBytes(): number
}

/**
 * What a volume held at one moment, read-only (decision 0010). It shares with its volume what neither has changed since; a
 * write to such an extent first copies it, so it may be refused with `no-space` although something is stored there.
 */
export interface ReplicaImage {
  readonly volumeId: VolumeId
  /** 1 to 64 characters of a-z, 0-9, '-'; no two images of a volume have one. */
  readonly name: string
  /** Wall time at which it was made, as its maker said. */
  readonly madeMs: number
  /** Of the volume at that moment. */
  readonly sizeBytes: number
  /** As ReplicaStore.read; nothing has to be held. Not after its deletion was asked for. */
  read(offsetBytes: number, lengthBytes: number, done: StoreReadDone): void
  /** Bytes in slots that it holds and its volume does not; what several images hold is counted by the newest of them. So
   * those of all images together are what their deletion would give back. */
  allocatedBytes(): number
}

/** Why there cannot be such an image. */
export type ImageRefusal = 'name-taken' | 'too-many'
export type ImageDone = (failure: StoreFailure | ImageRefusal | null, image?: ReplicaImage) => void

/** Small durable records (configuration, run, register…), each a JSON value of at most 64 KiB. */
export interface Records {
  /** From memory: what was last put (durable or not yet), or what stood on the disk at start. */
  get(key: string): unknown
  /** Durable and atomic when done: after a crash the old or the new value is there, never a mix. Puts of one key are
   * taken in order. Key: 1 to 80 characters of a-z, 0-9, '-'. */
  put(key: string, value: unknown, done: StoreDone): void
  keys(): readonly string[]
}

export interface Store {
  readonly records: Records
  /** This run's number (E12, W8): one more than ever before in this folder, durable before the store opens. */
  readonly run: number
  /** How the run before ended: `first`, `clean`, `torn` (agent died, machine went on), `lossy` (the rest) (C2). */
  readonly previousEnd: 'first' | 'clean' | 'torn' | 'lossy'
  /** This folder's own name, as long as it lives; made with it (C12, E11). */
  readonly storeId: string
  /** C12: durable commits of this folder, counted durably: greater after each. */
  readonly commitCount: number
  /** C12: the count that stood in the folder when it was opened, before anything of this run. Smaller than one that this
   * folder once told as its `commitCount`: it is an older copy. */
  readonly foundCommitCount: number
  /** A write, sync or commit failed: the folder takes nothing more in this run (C6). */
  readonly failed: boolean
  /** C12: this folder is an older copy of itself: all that lies here is in doubt as after a power cut, and commits are
   * counted on from `count`; durable when done. */
  doubtAll(count: number, done: StoreDone): void
  /** Pauses of this run, and what keeps them short. */
  readonly figures: Readonly<StoreFigures>
  /** All replicas that stand in this folder. */
  replicas(): readonly ReplicaStore[]
  /** Creates an empty replica (all zeros, nothing marked, stamps 0); durable when done. */
  createReplica(
    volumeId: VolumeId,
    sizeBytes: number,
    done: (failure: StoreFailure | null, replica?: ReplicaStore) => void,
  ): void
  /**
   * Makes a replica larger; durable when done, and `sizeBytes` and `regionCount` change then, not before. The new part
   * reads as zeros, unmarked, stamps 0. Reads and writes may go on. A discard or unmapping zero that ends at the old end
   * takes the whole of the last extent where the replica has that size, and zeroes only its part where it has grown
   * already: both read the same. `no-space`: the disk is full, nothing has changed. After a crash in between it has the
   * old size or the new one. The same size is done at once.
   * @param sizeBytes multiple of 4096, at least the replica's, at most limits.volumeMaxBytes; else invariant S4
   */
  growReplica(volumeId: VolumeId, sizeBytes: number, done: StoreDone): void
  /**
   * Makes an image of what the replica holds now; durable when done, and everything that was written before it. The caller
   * holds all writes, zeroes and discards of this replica from before the call until it is done (else invariant S7); reads
   * may go on. At most limits.images of a volume, those that are being deleted included. `io`: the disk failed, or a block
   * cannot be read whose checksum an unclean end left in doubt: then the store goes on, and repairing that block helps.
   * @param sizeBytes of the volume, where that may be less than the replica's: a growth was begun, and not decided
   */
  createImage(volumeId: VolumeId, name: string, madeMs: number, done: ImageDone, sizeBytes?: number): void
  /** Does ahead, while writes go on, what may take long in `createImage`: asked right before the writes are held, it keeps
   * that short. `io` as there. */
  prepareImage(volumeId: VolumeId, done: StoreDone): void
  /** From the oldest to the newest. */
  images(volumeId: VolumeId): readonly ReplicaImage[]
  /** Done when it is durably gone and its slots are given back. Nobody begins to read it any more; reads under way end. */
  deleteImage(volumeId: VolumeId, name: string, done: (failure: StoreFailure | 'no-image' | null) => void): void
  /** Forgets a replica and its images and frees their slots; durable when done. */
  deleteReplica(volumeId: VolumeId, done: StoreDone): void
  /**
   * As deleteReplica, but first every slot that the replica and its images hold is overwritten with zeros, and its header
   * and block checksums, by real writes; all of it durable when done. After a crash in the middle the replica is there
   * again, without images, every region marked lossy: to be wiped again. README says what no overwriting reaches.
   * @param progress after each slot
   */
  wipeReplica(volumeId: VolumeId, progress: (doneBytes: number, totalBytes: number) => void, done: StoreDone): void
  /** Free bytes of the disk under the folder, as last measured; null when unknown. */
  freeBytes(): number | null
  /** Looks at the disk's free space now, and not only some seconds later. */
  measureSpace(): void
  /** Syncs all, records the clean end, frees the lock. No call is under way or comes after. */
  close(done: StoreDone): void
}
