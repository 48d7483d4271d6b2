import type { MemberPhase } from './member-world.ts'

/** What keeps a volume from being served at a server, for people; `none`: it is served. */
export type Waiting = 'none' | 'peers' | 'arbiter' | 'forming' | 'resync' | 'sound-copy' | 'split-brain' | 'disk'

export interface WaitingFacts {
  readonly phase: MemberPhase
  readonly splitBrain: boolean
  /** Open, and with a valid lease. */
  readonly mayAnswerRead: boolean
  /** Some other member is not connected. */
  readonly missing: boolean
  /** Asked only while somebody is missing: it looks at every region. */
  anyLossy(): boolean
  readonly diskFailed: boolean
  readonly arbiterReachable: boolean
}

export function waitingFor(facts: WaitingFacts): Waiting {
  if (facts.splitBrain) return 'split-brain'
  if (facts.phase === 'left') return 'disk'
  if (facts.phase === 'outside') return facts.diskFailed ? 'disk' : 'resync'
  if (facts.phase === 'open' && facts.mayAnswerRead) return 'none'
  if (!facts.missing) return 'forming'
  // C2: this copy may lack what somebody absent holds, so nobody may go on without that one.
  if (facts.anyLossy()) return 'sound-copy'
  return facts.arbiterReachable ? 'peers' : 'arbiter'
}
