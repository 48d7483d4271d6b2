/** A volume's resync as people see and steer it: at the leader as measured, elsewhere as the leader told it lately. */

import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import { leaderOf } from '../membership/session.ts'
import type { MirrorBody } from '../mirror/messages.ts'
import type { ResyncProgress } from '../mirror/resync.ts'
import type { Volume } from './volume.ts'

export class ResyncView {
  readonly #volume: Volume
  #heard: { readonly atMs: number; readonly progress: ResyncProgress } | null = null

  constructor(volume: Volume) {
    this.#volume = volume
  }

  /** Null when nothing is known to be resyncing. */
  progress(): ResyncProgress | null {
    const own = this.#volume.resync.progress()
    if (own !== null) return own
    const heard = this.#heard
    if (heard === null || this.#volume.world.clock.monotonicMs() - heard.atMs > limits.leaseMs) return null
    return this.#volume.member.known.inSync.includes(heard.progress.joiner) ? null : heard.progress
  }

  hear(from: ServerId, body: MirrorBody<'join.progress'>): void {
    if (from !== leaderOf(this.#volume.member.known)) return
    this.#heard = { atMs: this.#volume.world.clock.monotonicMs(), progress: body }
    this.#volume.world.changed()
  }

  /** Somebody pressed Resync now, Pause or Continue, here or at another server. */
  steer(action: 'now' | 'pause' | 'continue'): void {
    const { resync, joiner, member } = this.#volume
    if (action === 'pause') resync.pause()
    else resync.continue()
    if (action === 'now' && member.phase === 'outside') joiner.hurry()
    this.tell()
  }

  /** The leader's progress, to every other server with a replica. */
  tell(): void {
    const { resync, member, world } = this.#volume
    const progress = resync.progress()
    if (progress === null) return
    const body = { ...resync.scope(), ...progress }
    for (const replica of member.known.replicas) {
      if (replica.serverId !== world.self) this.#volume.sendMirror(replica.serverId, 'join.progress', body)
    }
    world.changed()
  }

  /** What the resync that ended so well moved and took, where this server knows it. */
  howItJoined(server: string | number | undefined): Record<string, number> {
    const progress = this.#volume.resync.lastProgress ?? this.#heard?.progress
    if (progress === undefined || progress.joiner !== server) return {}
    return { movedBytes: progress.movedBytes, durationMs: this.#volume.world.clock.wallMs() - progress.startedMs }
  }
}
