/** Which servers offer to execute requests of this one, whose replica is not in sync, and which of them is its host. */
import type { ServerId } from '../kit/ids.ts'
import type { Clock } from '../kit/world.ts'
import type { Links } from '../link/messages.ts'
import type { HostBody } from './host-messages.ts'

interface Offer {
  readonly run: number
  readonly session: number
  readonly sizeBytes: number
}

export interface Host extends Offer {
  readonly server: ServerId
}

export interface HostsWorld {
  readonly clock: Clock
  readonly links: Pick<Links, 'peer'>
  /** The volume's size as it is known here. */
  sizeBytes(): number
}

export class Hosts {
  readonly #world: HostsWorld
  readonly #offers = new Map<ServerId, Offer>()
  /** W9: the latest of each server's own times that was heard here, of its run. */
  readonly #heard = new Map<ServerId, { readonly run: number; readonly ms: number }>()
  /** Since when servers are seen disconnected. */
  readonly #awaySince = new Map<ServerId, number>()

  constructor(world: HostsWorld) {
    this.#world = world
  }

  onOffer(from: ServerId, run: number, { session, sizeBytes, sentMs }: HostBody<'host.offer'>): void {
    this.heard(from, run, sentMs)
    if (session === 0) this.#offers.delete(from)
    else this.#offers.set(from, { run, session, sizeBytes })
  }

  heard(from: ServerId, run: number, sentMs: number): void {
    this.#heard.set(from, { run, ms: sentMs })
  }

  /** 0 when nothing was heard of that run. */
  heardMs(server: ServerId, run: number): number {
    const heard = this.#heard.get(server)
    return heard?.run === run ? heard.ms : 0
  }

  /** The lowest id of those that can: who leads the set (E9), if it serves and is connected. */
  pick(): Host | null {
    let best: Host | null = null
    for (const server of this.#offers.keys()) {
      const host = this.#usable(server)
      if (host !== null && (best === null || server < best.server)) best = host
    }
    return best
  }

  /** As it offered; null while it does not serve, or is not connected in that run. */
  offerOf(server: ServerId): Offer | null {
    const offer = this.#offers.get(server)
    const peer = this.#world.links.peer(server)
    return offer !== undefined && peer?.connected === true && peer.run === offer.run ? offer : null
  }

  #usable(server: ServerId): Host | null {
    const offer = this.offerOf(server)
    // Who does not know of a growth yet would refuse what lies behind; it will offer again in the session that knows.
    return offer === null || offer.sizeBytes < this.#world.sizeBytes() ? null : { ...offer, server }
  }

  /** Milliseconds for which this server has been seen disconnected, 0 while it is not; to be asked several times a second. */
  awayMs(server: ServerId): number {
    if (this.#world.links.peer(server)?.connected === true) {
      this.#awaySince.delete(server)
      return 0
    }
    const nowMs = this.#world.clock.monotonicMs()
    const since = this.#awaySince.get(server)
    if (since !== undefined) return nowMs - since
    this.#awaySince.set(server, nowMs)
    return 0
  }
}
