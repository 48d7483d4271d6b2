/**
 * The port to the index: which slot holds which extent, and which unused slots may still hold bytes. The store keeps
 * the truth in memory and hands over whole rows; the index only keeps them. Two implementations pass one suite:
 * sqlite-index.ts and memory-index.ts.
 *
 * Commits are atomic and in order. After a killed agent every finished commit is there; after a power cut those that
 * finished before the last finished sync, and of the later ones a prefix.
 */
import type { VolumeId } from '../kit/ids.ts'
import type { FileDone, FileValueDone } from './files.ts'

export interface IndexVolume {
  /** Small number that stands for the volume in rows; never used again. */
  readonly number: number
  readonly id: VolumeId
  readonly sizeBytes: number
}

/** A read-only image of a volume. It has region rows of its own, under its own number. */
export interface IndexImage {
  /** Of the same row of numbers as those of volumes; never used again. */
  readonly number: number
  /** The volume's number. */
  readonly volume: number
  readonly name: string
  /** Wall time at which it was made. */
  readonly madeMs: number
  /** Of the volume at that time. */
  readonly sizeBytes: number
  /** Deleted, but its slots are not all given back yet. */
  readonly leaving: boolean
}

/** What happens to volumes and images as a whole. One a batch, after its rows. */
export type VolumeChange =
  | { readonly kind: 'add'; readonly volume: IndexVolume }
  | { readonly kind: 'grow'; readonly number: number; readonly sizeBytes: number }
  /** Also removes its region rows, and its images with theirs. */
  | { readonly kind: 'remove'; readonly number: number }
  /** The image gets a copy of its volume's region rows. */
  | { readonly kind: 'add-image'; readonly image: IndexImage }
  | { readonly kind: 'leave-images'; readonly numbers: readonly number[] }
  | { readonly kind: 'remove-image'; readonly number: number }

/** The slots of one 16 MiB region: 64 little-endian u32, slot number + 1, 0 = no slot. Null removes the row. */
export interface RegionRow {
  /** Of a volume or an image. */
  readonly volume: number
  readonly region: number
  readonly slots: Uint8Array | null
}

/** 4096 bits, one a slot: set = not mapped, yet may hold bytes of somebody. Null removes the row (all clear). */
export interface GroupRow {
  readonly group: number
  readonly doubtful: Uint8Array | null
}

export interface IndexBatch {
  readonly regions: readonly RegionRow[]
  readonly groups: readonly GroupRow[]
  readonly change?: VolumeChange
  /** Of this commit, one more than that of the one before (index-number.ts); kept in the index with it. */
  readonly number?: number
}

export interface IndexContents {
  readonly storeId: string
  readonly volumes: readonly IndexVolume[]
  readonly images: readonly IndexImage[]
  /** Greatest number of a volume or image ever used. */
  readonly lastVolume: number
  /** May be gone through again and again. */
  readonly regions: Iterable<RegionRow>
  readonly groups: readonly GroupRow[]
  /** The number of the last commit; 0 when none had one. */
  readonly commits: number
}

export interface Index {
  /** Everything, once, at start. Changes nothing. */
  load(done: FileValueDone<IndexContents>): void
  /** It was found sound, and will be used: whether it can be written shows now. */
  begin(done: FileDone): void
  /** Done = committed: a killed agent does not lose it. */
  commit(batch: IndexBatch, done: FileDone): void
  /** Done when every commit that was done before this call is durable. */
  sync(done: FileDone): void
  /** Frees the store's lock as its last act. */
  close(done: FileDone): void
}

/** How the store gets at its lock and index. */
export interface IndexOpener {
  /** Takes the store's lock (E12), kept until `close`, or the death of the process. Error EBUSY: somebody has it. */
  lock(done: FileDone): void
  /** Makes a new index (an older half-made one is replaced) or opens the one that is there (`storeId` null). */
  open(storeId: string | null, done: FileValueDone<Index>): void
  /** Gives up without an index. */
  unlock(done: FileDone): void
}
