/**
 * How far a grant reaches beyond what was asked for (W7: as far as it can without conflict). Grown is only what the granter
 * itself holds alone, so that of two servers one at most can give a block away; not what it uses, waits for or asks for
 * (P5); and not what it used a moment ago.
 */
import type { Ask } from './asks.ts'
import { rankOf } from './holds.ts'
import type { Peer } from './peer.ts'
import type { Recent } from './recent.ts'
import type { Span, SpanIndex } from './span-index.ts'
import { conflicts, type Use } from './use.ts'

export interface GrowthFacts {
  readonly peer: Peer
  /** Every use of this server that has not ended. */
  readonly uses: SpanIndex<Use>
  /** Null when this server has begun nothing for long. */
  readonly recent: Recent | null
}

export function grown(ask: Ask, { peer, uses, recent }: GrowthFacts): Span {
  // What both hold shared may be given too, but only while nothing is asked from here: the other one, which asks, gives
  // away nothing of it before it is answered, or both could give the same block to each other at the same time.
  const least = peer.asked.size === 0 ? rankOf('shared') : rankOf('exclusive')
  const reach = {
    firstBlock: peer.holds.reachBelow(ask.firstBlock, least),
    lastBlock: peer.holds.reachAbove(ask.lastBlock, least),
  }
  const keep = (firstBlock: number, lastBlock: number) => {
    if (firstBlock < ask.firstBlock)
      reach.firstBlock = Math.max(reach.firstBlock, Math.min(lastBlock + 1, ask.firstBlock))
    if (lastBlock > ask.lastBlock) reach.lastBlock = Math.min(reach.lastBlock, Math.max(firstBlock - 1, ask.lastBlock))
  }
  // First what costs the same whatever is in flight: what is left to look through is short then.
  recent?.eachAgainst(ask.mode, keep)
  for (const other of uses.collect(reach.firstBlock, reach.lastBlock, [])) {
    if (conflicts(other.mode, ask.mode)) keep(other.firstBlock, other.lastBlock)
  }
  for (const own of peer.asked.overlapping(reach.firstBlock, reach.lastBlock)) {
    if (conflicts(own.mode, ask.mode)) keep(own.firstBlock, own.lastBlock)
  }
  return reach
}
