/**
 * The policing module of one volume at one server: a use begins when no earlier use of this server excludes it (ranges)
 * and no other server does (permission). The first wait is always for the ranges, the second for the permission: a use
 * that waits for permission holds only its range, one that waits for its range holds nothing, so the two never wait for
 * each other.
 */
import type { ServerId } from '../kit/ids.ts'
import type { Ask, Grant } from './asks.ts'
import { lastOfAllBlocks } from './holds.ts'
import type { Peer } from './peer.ts'
import { Permission, type PermissionCounters, type PermissionWorld } from './permission.ts'
import { Ranges } from './ranges.ts'
import type { Use } from './use.ts'

export class Policing {
  readonly #ranges: Ranges
  readonly #permission: Permission

  constructor(world: PermissionWorld) {
    this.#ranges = new Ranges((use) => this.#permission.use(use))
    this.#permission = new Permission(world, this.#ranges.index)
  }

  /** Begins the use when it has priority over every other pending one for its range (W2), perhaps at once. */
  acquire(use: Use): void {
    this.#ranges.enter(use)
  }

  /** The use has ended (W3: its write is confirmed or settled; R4: its read is answered). */
  release(use: Use): void {
    this.#permission.release(use)
    this.#ranges.leave(use)
  }

  /** A read whose session ended before it was answered asks again; it keeps its place among its own server's uses. */
  again(use: Use): void {
    this.#permission.release(use)
    this.#permission.use(use)
  }

  /** Whether the use has begun, in the present session, and has not ended. */
  isHeld(use: Use): boolean {
    return this.#permission.isHeld(use)
  }

  startSession(others: readonly ServerId[]): void {
    this.#permission.startSession(others)
  }

  openSession(): void {
    this.#permission.openSession()
  }

  endSession(): void {
    this.#permission.endSession()
  }

  onAsk(from: ServerId, ask: Ask): void {
    this.#permission.onAsk(from, ask)
  }

  onGrant(from: ServerId, grant: Grant): void {
    this.#permission.onGrant(from, grant)
  }

  get counters(): Readonly<PermissionCounters> {
    return this.#permission.counters
  }

  /** What this server knows of its permissions towards each other server of the session. */
  get peers(): readonly Peer[] {
    return this.#permission.peers
  }

  /** Uses that have not begun, in no order. */
  queued(): Use[] {
    return this.#ranges.index.collect(0, lastOfAllBlocks, []).filter((use) => use.phase !== 'active')
  }

  /** Those of them that wait for other servers, in no order. */
  get waiting(): ReadonlySet<Use> {
    return this.#permission.waiting
  }
}
