/** One client's requests on their way through policing and the mirror. Each object is its own entry in both. */
import type { WriteKind } from '../link/messages.ts'
import { ClientWrite } from '../mirror/outgoing.ts'
import { Use } from '../policing/use.ts'
import type { StoreFailure } from '../store/replica.ts'
import type { BlockFailure, CompareDone, Done, ReadDone } from './block-device.ts'
import type { StandingUse } from './right-to-write.ts'

/** What a request needs of its volume. */
export interface RequestHost {
  /** W9: begins it now, or, after a long wait, once a turn of the event loop still shows its connection open. */
  mayStart(request: ReadRequest | WriteRequest, start: () => void): void
  startRead(request: ReadRequest): void
  startWrite(request: WriteRequest): void
  answered(request: ReadRequest | WriteRequest, failure: BlockFailure | null): void
  ended(request: ReadRequest | WriteRequest): void
}

/** What one write of a client asks for. */
export interface WriteWish {
  readonly kind: WriteKind
  readonly offsetBytes: number
  readonly lengthBytes: number
  readonly chunks: readonly Uint8Array[]
  readonly fua: boolean
  /** Null: it writes whatever stands there. */
  readonly look?: Look
}

/**
 * A write that first looks at what stands there, under the same `exclusive` (W6): it compares, or makes its bytes of it.
 * `change` puts them into the request's chunks; false: nothing is written.
 */
export type Look = { readonly expected: Uint8Array } | { readonly change: (present: Uint8Array) => boolean }

/** A client's connection, as far as its requests need it. */
export interface Connection {
  /** W9: known closed; nothing of it is started or answered any more. */
  closed: boolean
  /** No client: what the agent itself reads. */
  readonly isInternal?: boolean
  /** No client: a page of the hidden range is read or changed. It is never passed to a host (pages.ts). */
  readonly isOfPages?: boolean
  /**
   * Of another server's client (W9): calls `start` once that server says that it is still there, or `end` when it is not.
   * Each at most once, perhaps inside the call; what is started has permission until then.
   */
  mayStart?(start: () => void, end: () => void): void
}

/** What is left here of a request that is served elsewhere: it never starts, and nobody is answered. */
const nobody: Connection = { closed: true }

export class ReadRequest extends Use {
  connection: Connection
  readonly offsetBytes: number
  readonly lengthBytes: number
  readonly done: ReadDone
  readonly arrivedMs: number
  readonly #host: RequestHost

  constructor(
    host: RequestHost,
    connection: Connection,
    offsetBytes: number,
    lengthBytes: number,
    arrivedMs: number,
    done: ReadDone,
  ) {
    super('shared', offsetBytes, lengthBytes)
    this.#host = host
    this.connection = connection
    this.offsetBytes = offsetBytes
    this.lengthBytes = lengthBytes
    this.arrivedMs = arrivedMs
    this.done = done
  }

  override begin(): void {
    this.#host.mayStart(this, () => this.#host.startRead(this))
  }

  /** Its client is served elsewhere. */
  moveAway(): void {
    this.connection = nobody
  }

  answer(failure: BlockFailure | null, chunks: readonly Uint8Array[]): void {
    this.#host.answered(this, failure)
    if (!this.connection.closed) this.done(failure, chunks)
    this.#host.ended(this)
  }
}

export class WriteRequest extends ClientWrite {
  connection: Connection
  readonly done: CompareDone
  readonly arrivedMs: number
  readonly look: Look | null
  /** Whoever changes a page is bound to no reservation (W10). */
  readonly isPage: boolean
  /** W10: what covers it while it is in flight. */
  right: StandingUse | null = null
  /** Where what it compared is not as expected. */
  differsAtBytes: number | null = null
  readonly #host: RequestHost

  constructor(host: RequestHost, connection: Connection, write: WriteWish, arrivedMs: number, done: CompareDone) {
    super(write.kind, write.offsetBytes, write.lengthBytes, write.chunks, write.fua)
    this.#host = host
    this.connection = connection
    this.look = write.look ?? null
    this.isPage = connection.isOfPages === true
    this.arrivedMs = arrivedMs
    this.done = done
  }

  override begin(): void {
    this.#host.mayStart(this, () => this.#host.startWrite(this))
  }

  /** Under `exclusive`: what stands in its range. @returns whether it is to be written */
  decide(present: Uint8Array): boolean {
    if (this.look === null) return true
    if ('change' in this.look) return this.look.change(present)
    this.differsAtBytes = firstDifference(present, this.look.expected)
    return this.differsAtBytes === null
  }

  /** Its client is served elsewhere; only before it executes. */
  moveAway(): void {
    this.connection = nobody
  }

  override acknowledge(failure: StoreFailure | null): void {
    this.answer(failure)
  }

  /** W8: nobody can say here whether it was done. */
  answer(failure: BlockFailure | null): void {
    this.#host.answered(this, failure)
    if (!this.connection.closed) this.done(failure, failure === null ? this.differsAtBytes : null)
  }

  override end(): void {
    this.#host.ended(this)
  }
}

/** Both have one length. @returns null when they are equal */
function firstDifference(one: Uint8Array, other: Uint8Array): number | null {
  if (Buffer.compare(one, other) === 0) return null
  const at = one.findIndex((byte, index) => byte !== other[index])
  return at < 0 ? null : at
}

/** W4: a client's flush. */
export class FlushRequest {
  connection: Connection
  readonly arrivedMs: number
  readonly done: Done

  constructor(connection: Connection, arrivedMs: number, done: Done) {
    this.connection = connection
    this.arrivedMs = arrivedMs
    this.done = done
  }

  moveAway(): void {
    this.connection = nobody
  }
}
