/** What membership needs of the agent around it, and of the volume that it decides for. */
import type { ServerId, VolumeId } from '../kit/ids.ts'
import type { Clock, Log, RandomSource } from '../kit/world.ts'
import type { Links } from '../link/messages.ts'
import type { SettledPieces } from './forming.ts'
import type { Silence } from './lease.ts'
import type { Tell } from './messages.ts'
import type { ArbiterPort } from './proposer.ts'
import type { RecordFile } from './record.ts'
import type { Session } from './session.ts'
import type { OwnStore } from './stores.ts'

export type MemberPhase = 'outside' | 'stopping' | 'gathering' | 'settling' | 'recorded' | 'open' | 'left'

/** What membership needs of the volume that it decides for. */
export interface MemberHost {
  /** Serve nothing of any session any more, refuse its messages, let executions that began end; then `drained`. */
  stopServing(drained: () => void): void
  /** Doubts, names and clock as they stand after draining (E9). */
  tell(): Tell
  /** Copies of this session's settling are accepted from now on. */
  beginSettling(session: Session): void
  /** At the leader: see FormingWorld.settle. */
  settle(session: Session, tells: ReadonlyMap<ServerId, Tell>, done: (settled: boolean) => void): SettledPieces
  /** Everything settled becomes durable here and its grades sound (C2). */
  makeSettledDurable(done: (failed: boolean) => void): void
  /** The session's messages are executed from now on; nothing is served yet. */
  sessionRecorded(session: Session, time: number): void
  sessionOpened(session: Session): void
  /** Drained and not in the in-sync set: a candidate for resync (E5). */
  outside(): void
  anyLossy(): boolean
  /** The disk here failed and takes nothing more in this run. */
  diskFailed(): boolean
  /** Milliseconds since the oldest write or flush still owed by that member was sent to it; 0 when none (E8). */
  owedByMs(member: ServerId): number
  /** A word for the activity list; `server`: an id. */
  tellPeople(
    kind: 'left' | 'joined' | 'serving' | 'split-brain' | 'register-alarm' | 'older-store',
    details: Record<string, string>,
  ): void
}

export interface MemberWorld {
  readonly self: ServerId
  readonly selfRun: number
  readonly volumeId: VolumeId
  readonly links: Links
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Log
  readonly silence: Silence
  readonly arbiter: ArbiterPort
  readonly record: RecordFile
  readonly ownStore: OwnStore
}
