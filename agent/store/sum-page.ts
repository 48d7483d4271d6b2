/** The block checksums of one slot, as far as memory knows them, and whose they are. */
import type { FileError } from './files.ts'

type SumsDone = (error: FileError | null) => void

/** The replica that a slot belongs to, as far as its checksums need it. */
export interface SumOwner {
  /** Whether what the disk says about this extent's checksums is worth nothing. */
  isDoubtful(extent: number): boolean
  /** They were computed anew. */
  resolved(extent: number): void
  /** A write of checksums begins, and has ended: the region's mark stays on until a sync has covered it (C1). */
  sumsBegin(extent: number): void
  sumsEnd(extent: number): void
}

/** Of a slot that only images hold: true for ever, and on the disk. */
export const heldByImage: SumOwner = {
  isDoubtful: () => false,
  resolved: () => undefined,
  sumsBegin: () => undefined,
  sumsEnd: () => undefined,
}

/** The checksums of one slot. The fields belong to Sums; others read `sums` while they have it pinned. */
export class SumPage {
  readonly sums: BigUint64Array
  slot = -1
  extent = -1
  owner: SumOwner | null = null
  /** Bits of the entries that are known, blocks 0-31 and 32-63. */
  low = 0
  high = 0
  /** Holds what the disk does not. */
  changed = false
  /** Looked at since the hand that pushes out came by. */
  used = false
  pins = 0
  loading: SumsDone[] | null = null
  writing = false
  /** What is being loaded is not to be believed: a change failed meanwhile. */
  stale = false
  /** Who waits until it is written. */
  cleaning: SumsDone[] = []

  constructor(sums: BigUint64Array) {
    this.sums = sums
  }

  get isWhole(): boolean {
    return (this.low & this.high) === -1
  }

  knows(block: number): boolean {
    return block < 32 ? ((this.low >>> block) & 1) === 1 : ((this.high >>> (block - 32)) & 1) === 1
  }

  /** A block is being written: the caller holds it, so nobody compares it before the write is done. */
  set(block: number, sum: bigint): void {
    this.learn(block, sum)
    this.changed = true
  }

  unknow(block: number): void {
    if (this.loading !== null) this.stale = true
    if (block < 32) this.low &= ~(1 << block)
    else this.high &= ~(1 << (block - 32))
  }

  learn(block: number, sum: bigint): void {
    this.sums[block] = sum
    if (block < 32) this.low |= 1 << block
    else this.high |= 1 << (block - 32)
  }
}
