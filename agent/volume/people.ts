import type { ServerId } from '../kit/ids.ts'
import type { Volume } from './volume.ts'
import type { VolumeEvent } from './world.ts'

/** What people are told about one volume, and what is remembered for them. */
export class People {
  readonly #volume: Volume
  /** Since when and why servers are out of the set, as this run saw it. */
  readonly absences = new Map<ServerId, { readonly reason: string; readonly sinceMs: number }>()
  /** As they were told last. */
  #waiting = ''

  constructor(volume: Volume) {
    this.#volume = volume
  }

  tell(kind: VolumeEvent, details: Record<string, string | number>): void {
    const { member, resyncView, world } = this.#volume
    const server = member.known.replicas.find((replica) => replica.serverId === details.server)?.serverId
    if (kind === 'left' && server !== undefined) {
      this.absences.set(server, { reason: String(details.reason), sinceMs: world.clock.wallMs() })
    }
    world.event(kind, kind === 'joined' ? { ...details, ...resyncView.howItJoined(details.server) } : details)
    world.changed()
  }

  /** Serving and waiting change also by time alone (leases), so it is looked at again and again. */
  look(): void {
    const { member, world } = this.#volume
    const waiting = member.waiting()
    if (waiting === this.#waiting) return
    this.#waiting = waiting
    if (waiting !== 'none' && waiting !== 'forming') world.event('waiting', { for: waiting })
    world.changed()
  }
}
