/** What one server knows of its permissions towards one other server of the session (P5: permission is pairwise). */
import type { ServerId } from '../kit/ids.ts'
import { Asks } from './asks.ts'
import { Holds, rankOf } from './holds.ts'
import type { Use } from './use.ts'

export class Peer {
  readonly id: ServerId
  /** What it granted us and has not asked back. */
  readonly holds = new Holds()
  /** Our asks that are under way there, also those whose use has begun meanwhile by another grant. */
  readonly asked = new Asks()
  /** Its asks that we have not granted yet. */
  readonly deferred = new Asks()
  /** P3: until its first answer nothing is held, whatever `holds` says. */
  hasAnswered = false
  /** Grants in a row between which no use began here. */
  quietGrants = 0

  /** @param beginsWithAll whether this side of the pair is the one that may give away what nobody holds yet */
  constructor(id: ServerId, beginsWithAll: boolean) {
    this.id = id
    this.holds.reset(beginsWithAll ? 2 : 0)
  }

  /** Whether it granted all that this use needs. */
  granted(use: Use): boolean {
    return this.hasAnswered && this.holds.covers(use.firstBlock, use.lastBlock, rankOf(use.mode))
  }
}
