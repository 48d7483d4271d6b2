/**
 * What was asked of a store and when, and what a disk may show afterwards. Bytes are told apart in cells of 128: each
 * holds the number of the write that wrote it, over and over; numbers are never used again, in no volume.
 */
import { limits } from '../../../agent/limits.ts'
import type { Span } from './recorded-disk.ts'

export const cellBytes = 128
const { blockBytes, extentBytes, regionBytes } = limits

export interface Change extends Span {
  readonly kind: 'write' | 'zero' | 'keep' | 'discard'
  /** As asked; multiples of `cellBytes`. */
  readonly fromBytes: number
  readonly toBytes: number
  /** 0 for zeros. */
  readonly value: number
  /** It ended where the volume ended then: its last extent counts as whole. */
  readonly isEnd: boolean
  /** It was refused: any part of it may have happened. */
  failed: boolean
}

export interface Unmark extends Span {
  readonly regions: readonly number[]
  readonly epoch: number
}

export interface Raise extends Span {
  readonly region: number
  readonly epoch: number
}

/** A read-only image; nothing was under way when it was made. */
export interface ImageJournal {
  readonly name: string
  readonly created: Span
  deleted: Span | null
  /** Of the touched blocks at that moment. Null: a change had failed before, so nobody knows. */
  readonly content: ReadonlyMap<number, Buffer> | null
}

/** All that was asked of one replica. */
export class ReplicaJournal {
  /** The first is that of its creation. */
  readonly sizes: (Span & { readonly sizeBytes: number })[]
  readonly created: Span
  deleted: Span | null = null
  readonly changes: Change[] = []
  readonly syncs: Span[] = []
  readonly unmarks: Unmark[] = []
  readonly raises: Raise[] = []
  readonly images: ImageJournal[] = []

  constructor(sizeBytes: number, created: Span) {
    this.sizes = [{ begin: created.begin, end: created.begin, sizeBytes }]
    this.created = created
  }

  /** The part of a change that really changes: a discard takes whole extents only. */
  range(change: Pick<Change, 'kind' | 'fromBytes' | 'toBytes' | 'isEnd'>): readonly [from: number, to: number] {
    if (change.kind !== 'discard') return [change.fromBytes, change.toBytes]
    const from = Math.ceil(change.fromBytes / extentBytes) * extentBytes
    const to = change.isEnd ? change.toBytes : Math.floor(change.toBytes / extentBytes) * extentBytes
    return [from, Math.max(from, to)]
  }

  get isGrowing(): boolean {
    return this.sizes.some(({ end }) => end === Number.POSITIVE_INFINITY)
  }

  /** The least and the greatest size that an image of that instant may have. */
  sizesAt(at: number): readonly [least: number, most: number] {
    const of = (isThere: (span: Span) => boolean) => this.sizes.filter(isThere).map(({ sizeBytes }) => sizeBytes)
    return [Math.max(...of(({ end }) => end <= at)), Math.max(...of(({ begin }) => begin <= at))]
  }

  /** The begin of the last sync that had ended by then: what ended before is durable. */
  syncedAt(at: number): number {
    return Math.max(-1, ...this.syncs.filter(({ end }) => end <= at).map(({ begin }) => begin))
  }

  /** Blocks that were ever changed by then. */
  touched(at: number): Set<number> {
    const blocks = new Set<number>()
    for (const change of this.changes) {
      if (change.begin > at) continue
      const [from, to] = this.range(change)
      const isLong = to - from > 4 * extentBytes
      for (let block = Math.floor(from / blockBytes); !isLong && block * blockBytes < to; block += 1) blocks.add(block)
    }
    return blocks
  }

  /** What each of the touched blocks holds when all that ended by then is there and nothing else. */
  live(at: number): Map<number, Buffer> {
    const blocks = new Map<number, Buffer>()
    for (const block of this.touched(at)) blocks.set(block, Buffer.alloc(blockBytes))
    for (const change of this.changes) {
      if (change.end > at || change.failed) continue
      const [from, to] = this.range(change)
      const put = (block: number, bytes: Buffer) => {
        const start = Math.max(from, block * blockBytes) - block * blockBytes
        const end = Math.min(to, (block + 1) * blockBytes) - block * blockBytes
        if (start < end) bytes.fill(valueBytes(change.value), start, end)
      }
      if (to - from > 4 * extentBytes) for (const [block, bytes] of blocks) put(block, bytes)
      else {
        for (let block = Math.floor(from / blockBytes); block * blockBytes < to; block += 1) {
          const bytes = blocks.get(block)
          if (bytes !== undefined) put(block, bytes)
        }
      }
    }
    return blocks
  }

  /** Every value that a cell may hold in an image of that instant. @param isCut the machine lost power */
  allowed(offsetBytes: number, at: number, isCut: boolean): Set<number> {
    const synced = isCut ? this.syncedAt(at) : at
    const values = new Set([0])
    for (const change of this.changes) {
      if (change.begin > at) continue
      const [from, to] = this.range(change)
      if (offsetBytes < from || offsetBytes >= to) continue
      if (change.end <= synced && !change.failed) values.clear()
      values.add(change.value)
    }
    return values
  }

  /** Whether a mark of the region may be missing in an image of that instant (C1); its stamp is at least that then. */
  unmarkedFrom(region: number, at: number): number | null {
    const inRegion = ({ kind, fromBytes, toBytes }: Change) =>
      kind === 'write' && fromBytes < (region + 1) * regionBytes && toBytes > region * regionBytes
    // A write that has not ended may not have begun to change anything.
    const last = this.changes.filter((change) => change.end <= at && inRegion(change) && !change.failed)
    if (last.length === 0) return 0
    const end = Math.max(...last.map((change) => change.end))
    const off = this.unmarks.find(
      (unmark) => unmark.begin >= end && unmark.begin <= at && unmark.regions.includes(region),
    )
    return off === undefined ? null : off.epoch
  }

  /** Least stamp that must be durable then (C3). */
  stampedFrom(region: number, at: number, isCut: boolean): number {
    const synced = isCut ? this.syncedAt(at) : at
    const told = this.raises.filter((raise) => raise.region === region && raise.end <= synced)
    return Math.max(0, ...told.map(({ epoch }) => epoch))
  }
}

export function valueBytes(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

/** @returns null when the cell is no whole value */
export function cellValue(bytes: Buffer, offset: number): number | null {
  const value = bytes.readUInt32LE(offset)
  for (let at = 4; at < cellBytes; at += 4) if (bytes.readUInt32LE(offset + at) !== value) return null
  return value
}
