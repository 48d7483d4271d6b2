import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import type { Volume } from './volume.ts'
import type { VolumeEvent } from './world.ts'

/** What people are told about one volume, and what is remembered for them. */
export class People {
  readonly #volume: Volume
  /** Since when and why servers are out of the set, as this run saw it. */
  readonly absences = new Map<ServerId, { readonly reason: string; readonly sinceMs: number }>()
  /** As they were told last. */
  #waiting = ''
  /** Since when it waits without a host, monotonic; null: it does not. */
  #unhostedMs: number | null = null

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
    const { world } = this.#volume
    const waiting = this.#waitsFor()
    if (waiting === this.#waiting) return
    const host = this.#volume.service.passing.via
    this.#waiting = waiting
    if (host !== null) world.event('hosted', { server: world.self, through: host })
    else if (waiting !== 'none' && waiting !== 'forming') world.event('waiting', { for: waiting })
    world.changed()
  }

  /** What its clients wait for: whoever finds a host within a lease has not waited for anything that people need to know. */
  #waitsFor(): string {
    const { member, service, world } = this.#volume
    const { isOn, via } = service.passing
    if (!isOn || via !== null) {
      this.#unhostedMs = null
      return via === null ? member.waiting() : `through ${via}`
    }
    const nowMs = world.clock.monotonicMs()
    this.#unhostedMs ??= nowMs
    return nowMs - this.#unhostedMs > limits.leaseMs ? member.waiting() : 'forming'
  }
}
