/**
 * Who must leave the in-sync set, why, and how long the ones that stay must wait for the leases of those who went
 * (E3, E7, E8).
 */
import type { ServerId } from '../kit/ids.ts'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { Links } from '../link/messages.ts'
import type { Configuration } from './configuration.ts'
import type { Silence } from './lease.ts'

const reasons = ['left', 'restarted', 'silent', 'disk-slow', 'disk-failed', 'disk-full'] as const
export type RemovalReason = (typeof reasons)[number]

export class Removal {
  readonly #clock: Clock
  readonly #silence: Silence
  readonly #owedByMs: (server: ServerId) => number
  /** E3: when this server last answered each other's heartbeat; monotonic ms. */
  readonly #lastAnsweredMs = new Map<ServerId, number>()
  /** Servers whose own word says that they stopped: a leave, or a new run. Nobody waits for their lease. */
  readonly #stopped = new Set<ServerId>()
  /** E3: whoever is wanted out is not answered any more until the arbiter's decision is known. */
  readonly #leavingOut = new Set<ServerId>()
  /** Words to have stopped; each is that of one run and ends with it. */
  readonly #left = new Map<ServerId, { readonly reason: RemovalReason; readonly atMs: number; readonly run: number }>()
  readonly #runOf: (server: ServerId) => number
  readonly #restarted = new Set<ServerId>()
  readonly #reasons = new Map<ServerId, RemovalReason>()

  constructor(
    world: { clock: Clock; silence: Silence; links: Pick<Links, 'peer'> },
    owedByMs: (server: ServerId) => number,
  ) {
    this.#runOf = (server) => world.links.peer(server)?.run ?? 0
    this.#clock = world.clock
    this.#silence = world.silence
    this.#owedByMs = owedByMs
  }

  /** E3: a restart counts as an answer to everybody who was in sync when this server last opened an epoch. */
  startedAt(openedWith: readonly ServerId[]): void {
    for (const server of openedWith) this.#lastAnsweredMs.set(server, this.#clock.monotonicMs())
  }

  answered(server: ServerId): void {
    this.#lastAnsweredMs.set(server, this.#clock.monotonicMs())
  }

  /** It gave its word that it has stopped (E7, E8). */
  left(server: ServerId, itsWord: string): void {
    const reason = reasons.find((known) => known === itsWord) ?? 'left'
    if (this.#word(server) === undefined) {
      this.#left.set(server, { reason, atMs: this.#clock.monotonicMs(), run: this.#runOf(server) })
    }
    this.#stopped.add(server)
  }

  /** E7: whether this server said that it stops as planned. */
  stopsAsPlanned(server: ServerId): boolean {
    return this.#word(server)?.reason === 'left'
  }

  /** E7: one of them stops as planned: what all members must do is answered in this session no more. */
  anyStopsAsPlanned(servers: readonly ServerId[]): boolean {
    return servers.some((server) => this.stopsAsPlanned(server))
  }

  /** Why a server's present run said that it has stopped; null when it did not. */
  wordOf(server: ServerId): RemovalReason | null {
    return this.#word(server)?.reason ?? null
  }

  /** For who is not in the set and decides nothing: a server that said so takes part again. */
  takesPart(server: ServerId): void {
    this.#left.delete(server)
  }

  /** What the server's present run said. */
  #word(server: ServerId): { readonly reason: RemovalReason; readonly atMs: number } | undefined {
    const left = this.#left.get(server)
    return left !== undefined && left.run === this.#runOf(server) ? left : undefined
  }

  /** Its new run is its word that the old one stopped. @param wasOpen whether a session with the old run was open here:
   * then this server is sound, and rather leaves the other out than waits for it (E9). */
  restarted(server: ServerId, wasOpen: boolean): void {
    this.#stopped.add(server)
    // Its word was that of the run that has ended.
    this.#left.delete(server)
    if (wasOpen) this.#restarted.add(server)
  }

  newConfiguration(): void {
    this.#leavingOut.clear()
    this.#left.clear()
    this.#restarted.clear()
  }

  sessionRecorded(configuration: Configuration): void {
    this.#restarted.clear()
    for (const server of configuration.inSync) {
      this.#stopped.delete(server)
      this.#left.delete(server)
    }
  }

  /** @param others the other members; @param openedInThisRun a starting server gives its peers more time */
  whoMustGo(others: readonly ServerId[], openedInThisRun: boolean): ServerId[] {
    const silentMs = openedInThisRun ? limits.leaseMs : limits.startGraceMs
    return others.filter((server) => {
      const reason = this.#reasonNow(server, silentMs)
      if (reason !== null) this.#reasons.set(server, reason)
      return reason !== null
    })
  }

  #reasonNow(server: ServerId, silentMs: number): RemovalReason | null {
    const left = this.#word(server)
    // E7: a planned stop is given a moment, since all may be stopping together; then the set stays.
    const together = left?.reason === 'left' && this.#clock.monotonicMs() - left.atMs < limits.stopTogetherMs
    if (left !== undefined && !together) return left.reason
    if (left !== undefined) return null
    if (this.#restarted.has(server)) return 'restarted'
    if (this.#silence.ofMs(server) > silentMs) return 'silent'
    return this.#owedByMs(server) > limits.memberOverdueMs ? 'disk-slow' : null
  }

  leaveOut(servers: readonly ServerId[]): void {
    for (const server of servers) this.#leavingOut.add(server)
  }
  keepAll(): void {
    this.#leavingOut.clear()
  }
  isBeingLeftOut(server: ServerId): boolean {
    return this.#leavingOut.has(server)
  }
  anyBeingLeftOut(): boolean {
    return this.#leavingOut.size > 0
  }

  reasonOf(server: ServerId): string {
    return this.#reasons.get(server) ?? 'silent'
  }
  reasons(): Record<string, string> {
    return Object.fromEntries(this.#reasons)
  }

  /**
   * E3: milliseconds until this server may serve in `configuration`: L plus 5 % after it itself last answered each
   * server that is not in it any more, unless that server's own word says that it has stopped.
   */
  barrierMs(configuration: Configuration): number {
    let waitMs = 0
    for (const [server, answeredMs] of this.#lastAnsweredMs) {
      if (configuration.inSync.includes(server) || this.#stopped.has(server)) continue
      const untilMs = answeredMs + limits.leaseMs * limits.leaseMargin
      waitMs = Math.max(waitMs, untilMs - this.#clock.monotonicMs())
    }
    return waitMs
  }
}
