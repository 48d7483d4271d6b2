/**
 * The sending half of the mirror engine: one client's write, executed here and sent to every other replica, acknowledged
 * when all in-sync ones have applied it (W1), ended when nobody that must apply it is left (W3, C4).
 *
 * This is the place that decides when a write is acknowledged: `Outgoing.#applied`.
 */
import { invariant } from '../kit/failure.ts'
import type { ServerId } from '../kit/ids.ts'
import { handBack } from '../kit/slabs.ts'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { Links, WriteKind, WriteMessage } from '../link/messages.ts'
import { Use } from '../policing/use.ts'
import type { ReplicaStore, SpaceReservation, StoreFailure } from '../store/replica.ts'

/** Bit of this server's own replica in a write's masks; the others follow in the order of the targets. */
const ownBit = 1

/** One write of a client of this server, from its first execution until it has ended. */
export abstract class ClientWrite extends Use {
  readonly kind: WriteKind
  readonly offsetBytes: number
  readonly lengthBytes: number
  readonly chunks: readonly Uint8Array[]
  readonly fua: boolean
  /** W8: with this server and its run, the write's name. 0: not executed yet. */
  number = 0
  /** C7: Lamport time at which it began executing. */
  time = 0
  /** W8: the session in which it began executing. */
  startedIn = 0
  startedMs = 0
  /** Replicas that have not applied it yet. */
  missing = 0
  /** The part of them that the acknowledgement waits for: all but a joiner to which no word was given. */
  needed = 0
  acknowledged = false
  /** This server's replica, the only one in sync, could not apply it; the client was told. */
  failedHere = false
  /** Its bytes went to a joiner that was sent away: the link may hold them still. */
  abandonedBytes = false
  /** C8: the session in which space for it is set aside at all, and this store's part until it executes; 0 and null: none. */
  coveredIn = 0
  reservation: SpaceReservation | null = null
  /** Slots of credit that it has taken of each other member, or the request by which it asked them. */
  creditSlots = 0
  spaceRequest = 0

  constructor(kind: WriteKind, offsetBytes: number, lengthBytes: number, chunks: readonly Uint8Array[], fua: boolean) {
    super('exclusive', offsetBytes, lengthBytes)
    this.kind = kind
    this.offsetBytes = offsetBytes
    this.lengthBytes = lengthBytes
    this.chunks = chunks
    this.fua = fua
  }

  /** W1 holds: the client may be told. Called once. */
  abstract acknowledge(failure: StoreFailure | null): void
  /** No replica is left that has to apply it; the range is free. Called once, after `acknowledge`. */
  abstract end(): void
}

export interface Target {
  readonly server: ServerId
  /** 0 for an in-sync member, the attempt's number for a joiner (C4). */
  readonly attempt: number
  /** Whether writes are acknowledged without it: a joiner before the word (C10). */
  optional: boolean
  readonly bit: number
}

export interface OutgoingWorld {
  readonly volumeKey: number
  readonly links: Links
  readonly clock: Clock
  readonly store: ReplicaStore
  tick(): number
  touched(offsetBytes: number, lengthBytes: number, number: number): void
  /** This server's own replica could not apply a write that the others may have applied. */
  ownReplicaFailed(failure: StoreFailure): void
}

export class Outgoing {
  readonly #world: OutgoingWorld
  readonly #inFlight = new Map<number, ClientWrite>()
  #targets: Target[] = []
  #session = 0
  #nextNumber = 1
  #lowWater = 1
  #executingHere = 0
  #drained: (() => void) | null = null
  /** Waits until all writes that were in flight when it was asked for have ended; see `whenEnded`. */
  #endWaits: { readonly below: number; readonly done: () => void }[] = []

  constructor(world: OutgoingWorld) {
    this.#world = world
  }

  /** C1: every write of this server with a smaller number is confirmed. */
  get lowWater(): number {
    while (this.#lowWater < this.#nextNumber && !this.#inFlight.has(this.#lowWater)) this.#lowWater += 1
    return this.#lowWater
  }

  /** Numbers from the oldest write in flight to the newest one: the names that others may remember (C7). */
  get span(): number {
    return this.#nextNumber - this.lowWater
  }

  /** N2: whether every server that a write goes to has taken most of what was sent before. */
  linksHaveRoom(): boolean {
    for (const { server } of this.#targets) {
      if (this.#world.links.unacknowledgedBytes(server) > limits.linkBacklogBytes) return false
    }
    return true
  }

  get inFlight(): ReadonlyMap<number, ClientWrite> {
    return this.#inFlight
  }

  /** C7: those of this server's unconfirmed writes that its own replica has applied. */
  *appliedHere(): IterableIterator<ClientWrite> {
    for (const write of this.#inFlight.values()) if ((write.missing & ownBit) === 0) yield write
  }

  startSession(session: number, others: readonly ServerId[]): void {
    this.#session = session
    this.#targets = others.map((server, index) => ({ server, attempt: 0, optional: false, bit: ownBit << (index + 1) }))
  }

  /** The session is over: confirmations of it count no more. Calls back when this server's own executions have ended. */
  endSession(drained: () => void): void {
    this.#session = 0
    this.#targets = []
    this.#endWaits = []
    this.#drained = drained
    this.#tellDrained()
  }

  /** C4: from now on every write goes to the joiner too. */
  addJoiner(server: ServerId, attempt: number): void {
    const bit = 1 << (this.#targets.length + 1)
    this.#targets.push({ server, attempt, optional: true, bit })
  }

  /** C10: from now on the joiner's application is needed for an acknowledgement. */
  needJoiner(server: ServerId): void {
    for (const target of this.#targets) if (target.server === server) target.optional = false
  }

  /** The attempt is void: nothing waits for the joiner any more. */
  dropJoiner(server: ServerId): void {
    const target = this.#targets.find((candidate) => candidate.server === server && candidate.attempt > 0)
    if (target === undefined) return
    this.#targets = this.#targets.filter((candidate) => candidate !== target)
    for (const write of [...this.#inFlight.values()]) {
      if ((write.missing & target.bit) !== 0) write.abandonedBytes = true
      if (write.failedHere) this.#end(write)
      else this.#applied(write, target.bit)
    }
  }

  /** W2 holds: the write has priority. Sends it to every target, then executes it here. */
  execute(write: ClientWrite): void {
    invariant(this.#session !== 0, 'W1a', 'a write executes inside a session')
    const { clock, store } = this.#world
    write.number = this.#nextNumber
    this.#nextNumber += 1
    write.time = this.#world.tick()
    write.startedIn = this.#session
    write.startedMs = clock.monotonicMs()
    write.missing = ownBit
    write.needed = ownBit
    this.#inFlight.set(write.number, write)
    for (const target of this.#targets) this.#send(write, target)
    this.#world.touched(write.offsetBytes, write.lengthBytes, write.number)
    this.#executingHere += 1
    const reservation = write.reservation ?? undefined
    // From here on the store and the others give back what it does not use.
    write.reservation = null
    write.coveredIn = 0
    applyToStore(store, write, (failure) => this.#appliedHere(write, failure), reservation)
  }

  #send(write: ClientWrite, target: Target): void {
    write.missing |= target.bit
    if (!target.optional) write.needed |= target.bit
    const message: WriteMessage = {
      type: 'write',
      volumeKey: this.#world.volumeKey,
      session: this.#session,
      attempt: target.attempt,
      number: write.number,
      lowWater: this.lowWater,
      time: write.time,
      kind: write.kind,
      fua: write.fua,
      offsetBytes: write.offsetBytes,
      lengthBytes: write.lengthBytes,
      chunks: write.chunks,
    }
    this.#world.links.send(target.server, message)
  }

  /** A replica's confirmation: it has applied these writes (and made them durable where that was asked for). */
  onWritten(from: ServerId, session: number, numbers: readonly number[]): void {
    if (session !== this.#session) return
    const target = this.#targets.find((candidate) => candidate.server === from)
    if (target === undefined) return
    for (const number of numbers) {
      const write = this.#inFlight.get(number)
      if (write !== undefined) this.#applied(write, target.bit)
    }
  }

  #appliedHere(write: ClientWrite, failure: StoreFailure | null): void {
    this.#executingHere -= 1
    const alone = this.#session !== 0 && !this.#targets.some((target) => target.attempt === 0)
    if (failure === null) this.#applied(write, ownBit)
    else if (alone) this.#failedAlone(write, failure)
    else this.#world.ownReplicaFailed(failure)
    if (this.#executingHere === 0) this.#tellDrained()
  }

  /**
   * C6: the last replica failed: the client gets an error, never a promise. A joiner may have applied what this replica
   * has not: then the write stays in flight, so that its name is settled if the joiner joins (C7), and the attempt ends.
   */
  #failedAlone(write: ClientWrite, failure: StoreFailure): void {
    if (!this.#inFlight.has(write.number)) return
    write.acknowledged = true
    write.failedHere = true
    // C8: "no space" says that nothing was done anywhere; a joiner may have done it.
    write.acknowledge(this.#targets.length === 0 ? failure : 'io')
    if (this.#targets.length === 0) this.#end(write)
    else this.#world.ownReplicaFailed(failure)
  }

  #applied(write: ClientWrite, bit: number): void {
    write.missing &= ~bit
    write.needed &= ~bit
    // W1: outside a session nothing is acknowledged; settling decides what became of it (C7).
    if (this.#session === 0) return
    if (write.needed === 0 && !write.acknowledged) {
      write.acknowledged = true
      write.acknowledge(null)
    }
    if (write.missing !== 0) return
    // Every disk has them and every peer said so on the stream, which acknowledged the frame too: nobody needs the bytes.
    if (!write.abandonedBytes) handBack(write.chunks)
    this.#end(write)
  }

  #end(write: ClientWrite): void {
    if (!this.#inFlight.delete(write.number)) return
    write.end()
    if (this.#endWaits.length > 0) this.#checkEndWaits()
  }

  /**
   * C7: a session opened that settled everything: what was applied anywhere is now everywhere.
   * Writes that this server had begun are acknowledged, unless its own replica never applied them.
   */
  settled(): void {
    const alone = this.#targets.length === 0
    for (const write of [...this.#inFlight.values()]) {
      const appliedHere = (write.missing & ownBit) === 0
      invariant(
        appliedHere || alone || write.failedHere,
        'C7a',
        'a member that opens with others has applied what it began',
      )
      if (!write.acknowledged) {
        write.acknowledged = true
        write.acknowledge(appliedHere ? null : 'io')
      }
      this.#end(write)
    }
  }

  /** This server is out of the set: what became of its unconfirmed writes is decided without it (W8). */
  abandon(unknown: (write: ClientWrite) => void): void {
    for (const write of [...this.#inFlight.values()]) {
      this.#inFlight.delete(write.number)
      if (!write.acknowledged) unknown(write)
      write.end()
    }
  }

  /** Calls back when every write that is in flight now has ended in this session. */
  whenEnded(done: () => void): void {
    this.#endWaits.push({ below: this.#nextNumber, done })
    this.#checkEndWaits()
  }

  #checkEndWaits(): void {
    const lowWater = this.lowWater
    const over = this.#endWaits.filter((wait) => wait.below <= lowWater)
    if (over.length === 0) return
    this.#endWaits = this.#endWaits.filter((wait) => wait.below > lowWater)
    for (const wait of over) wait.done()
  }

  /** E8: milliseconds since the oldest write that this server still owes was sent; 0 when it owes none. */
  owedByMs(server: ServerId): number {
    const target = this.#targets.find((candidate) => candidate.server === server)
    if (target === undefined) return 0
    return this.#oldestMs(target.bit)
  }

  /** E8: the same for this server's own disk. */
  ownOverdueMs(): number {
    return this.#oldestMs(ownBit)
  }

  #oldestMs(bit: number): number {
    for (const write of this.#inFlight.values()) {
      if ((write.missing & bit) !== 0) return this.#world.clock.monotonicMs() - write.startedMs
    }
    return 0
  }

  #tellDrained(): void {
    const drained = this.#drained
    if (drained === null || this.#executingHere > 0) return
    this.#drained = null
    drained()
  }
}

/** What the store is asked for a write of each kind; FUA adds a sync before it counts as applied (W4). */
export function applyToStore(
  store: ReplicaStore,
  write: Pick<WriteMessage, 'kind' | 'offsetBytes' | 'lengthBytes' | 'chunks' | 'fua'>,
  done: (failure: StoreFailure | null) => void,
  reservation?: SpaceReservation,
): void {
  const applied = write.fua
    ? (failure: StoreFailure | null) => (failure === null ? store.sync(done) : done(failure))
    : done
  switch (write.kind) {
    case 'data':
      return store.write(write.offsetBytes, write.chunks, write.lengthBytes, applied, reservation)
    case 'zero':
      return store.zero(write.offsetBytes, write.lengthBytes, true, applied, reservation)
    case 'zero-keep':
      return store.zero(write.offsetBytes, write.lengthBytes, false, applied, reservation)
    case 'discard':
      reservation?.release()
      return store.discard(write.offsetBytes, write.lengthBytes, applied)
  }
}
