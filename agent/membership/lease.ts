/** Leases (E3): a server serves reads only while every other in-sync server has lately answered its heartbeat. */
import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'

/** The lease of one session at one server. Times are Clock.leaseMs (A1: they count sleep too). */
export class Lease {
  /** When the last answered heartbeat was sent, per other member; absent: none was answered in this session. */
  readonly #answeredSentAt = new Map<ServerId, number>()
  #others: readonly ServerId[] = []

  /** A new session: no answer of an older one counts. A lone server needs no lease (E5). */
  start(others: readonly ServerId[]): void {
    this.#others = others
    this.#answeredSentAt.clear()
  }

  /** @param sentAtMs when the answered heartbeat was sent: it counts from then, not from the answer */
  answered(by: ServerId, sentAtMs: number): void {
    const before = this.#answeredSentAt.get(by)
    if (this.#others.includes(by) && (before === undefined || before < sentAtMs)) this.#answeredSentAt.set(by, sentAtMs)
  }

  valid(nowMs: number): boolean {
    for (const other of this.#others) {
      const sentAt = this.#answeredSentAt.get(other)
      if (sentAt === undefined || nowMs - sentAt >= limits.leaseMs) return false
    }
    return true
  }
}

/** For how long a server has not been heard, counting only time in which the own loop turned (E3, E8): a pause of our
 * own is not blamed on others. Monotonic milliseconds. */
export class Silence {
  readonly #since = new Map<ServerId, number>()
  /** Milliseconds in which the own loop turned, as of the last tick: how long others owe something is measured by it. */
  turnedMs = 0

  /** Adds the time since the last tick, but never more than two regular ticks. */
  tick(elapsedMs: number, tickMs: number, servers: Iterable<ServerId>): void {
    const counted = Math.min(elapsedMs, 2 * tickMs)
    this.turnedMs += counted
    for (const server of servers) this.#since.set(server, (this.#since.get(server) ?? 0) + counted)
  }

  heard(server: ServerId): void {
    this.#since.set(server, 0)
  }

  ofMs(server: ServerId): number {
    return this.#since.get(server) ?? 0
  }
}
