import type { ServerId } from '../kit/ids.ts'
import type { Clock } from '../kit/world.ts'
import type { MemberWorld } from '../membership/member-world.ts'
import type { Digest } from '../mirror/copier.ts'
import type { Records, ReplicaStore, StoreDone } from '../store/replica.ts'

/** What people are told about a volume; the engine turns it into the activity list. */
export type VolumeEvent =
  | 'left'
  | 'joined'
  | 'serving'
  | 'waiting'
  | 'hosted'
  | 'split-brain'
  | 'register-alarm'
  | 'older-store'
  | 'resync-started'
  | 'resync-voided'
  | 'repaired'
  | 'scrub-ended'
  | 'resync-paused'
  | 'resync-continued'
  | 'deleted'
  | 'restored'
  | 'purged'
  | 'grown'
  | 'image-made'
  | 'image-deleted'

/** What a volume needs of the agent around it. */
export interface VolumeWorld extends MemberWorld {
  readonly store: ReplicaStore
  readonly records: Records
  /** Makes the replica here larger; durable when done. */
  growStore(sizeBytes: number, done: StoreDone): void
  readonly digest: Digest
  /** Bytes of writes that this volume may execute at once beside the agent's other volumes (limits.ts shareOfLinks). */
  writeShareBytes(): number
  /** A mirror message to a server, this one included (then at the next turn). */
  send(to: ServerId, kind: string, body: Record<string, unknown>): void
  event(kind: VolumeEvent, details: Record<string, string | number>): void
  /** Something in the status changed. */
  changed(): void
}

/** Time for judging what disks and servers owe (E8): a pause of this process is not blamed on them. */
export function turnedClock({ clock, silence }: VolumeWorld): Clock {
  return {
    monotonicMs: () => silence.turnedMs,
    leaseMs: () => clock.leaseMs(),
    wallMs: () => clock.wallMs(),
    after: (delayMs, fire) => clock.after(delayMs, fire),
    nextTurn: (fire) => clock.nextTurn(fire),
  }
}
