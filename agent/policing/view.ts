/** What a server may do now without asking anybody, for people: the permissions of all others taken together (P5). */
import { lastOfAllBlocks, type Rank } from './holds.ts'
import type { Peer } from './peer.ts'

export interface HeldPiece {
  readonly firstBlock: number
  readonly lastBlock: number
  readonly rank: Rank
}

/** Whether every other server has answered in this session: before, nothing is held (P3). */
const isHolding = (peers: readonly Peer[]): boolean => peers.every((peer) => peer.hasAnswered)

/** @returns pieces in order that cover all blocks; neighbours may have one rank. Alone, a server holds all */
export function heldPieces(peers: readonly Peer[]): HeldPiece[] {
  if (!isHolding(peers)) return [{ firstBlock: 0, lastBlock: lastOfAllBlocks, rank: 0 }]
  let pieces: HeldPiece[] = [{ firstBlock: 0, lastBlock: lastOfAllBlocks, rank: 2 }]
  for (const peer of peers) pieces = both(pieces, [...peer.holds])
  return pieces
}

/** The smaller rank of two complete lists, block by block. */
function both(one: readonly HeldPiece[], other: readonly HeldPiece[]): HeldPiece[] {
  const pieces: HeldPiece[] = []
  let [atOne, atOther, firstBlock] = [0, 0, 0]
  for (;;) {
    const [mine, its] = [one[atOne], other[atOther]]
    if (mine === undefined || its === undefined) return pieces
    const lastBlock = Math.min(mine.lastBlock, its.lastBlock)
    pieces.push({ firstBlock, lastBlock, rank: mine.rank < its.rank ? mine.rank : its.rank })
    firstBlock = lastBlock + 1
    if (mine.lastBlock === lastBlock) atOne += 1
    if (its.lastBlock === lastBlock) atOther += 1
  }
}

/** How many blocks of each of `count` equal stretches of a volume are held so. */
export interface Stretches {
  readonly blocks: number
  readonly shared: readonly number[]
  readonly exclusive: readonly number[]
}

/** @param blocks of the volume, at least 1 @param most how many stretches at most */
export function stretchesOf(pieces: readonly HeldPiece[], blocks: number, most: number): Stretches {
  const stretchBlocks = Math.ceil(blocks / most)
  const count = Math.ceil(blocks / stretchBlocks)
  const shared = new Array<number>(count).fill(0)
  const exclusive = new Array<number>(count).fill(0)
  for (const { firstBlock, lastBlock, rank } of pieces) {
    if (rank === 0) continue
    const held = rank === 2 ? exclusive : shared
    const end = Math.min(lastBlock + 1, blocks)
    for (let from = firstBlock; from < end; ) {
      const stretch = Math.floor(from / stretchBlocks)
      const to = Math.min(end, (stretch + 1) * stretchBlocks)
      held[stretch] = (held[stretch] ?? 0) + to - from
      from = to
    }
  }
  return { blocks: stretchBlocks, shared, exclusive }
}
