/** One client's requests on their way through policing and the mirror. Each object is its own entry in both. */
import type { WriteKind } from '../link/messages.ts'
import { ClientWrite } from '../mirror/outgoing.ts'
import { Use } from '../policing/use.ts'
import type { StoreFailure } from '../store/replica.ts'
import type { BlockFailure, Done, ReadDone } from './block-device.ts'

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
}

/** A client's connection, as far as its requests need it. */
export interface Connection {
  /** W9: known closed; nothing of it is started or answered any more. */
  closed: boolean
  /** No client: what the agent itself reads. */
  readonly isInternal?: boolean
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
  readonly done: Done
  readonly arrivedMs: number
  readonly #host: RequestHost

  constructor(host: RequestHost, connection: Connection, write: WriteWish, arrivedMs: number, done: Done) {
    super(write.kind, write.offsetBytes, write.lengthBytes, write.chunks, write.fua)
    this.#host = host
    this.connection = connection
    this.arrivedMs = arrivedMs
    this.done = done
  }

  override begin(): void {
    this.#host.mayStart(this, () => this.#host.startWrite(this))
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
    if (!this.connection.closed) this.done(failure)
  }

  override end(): void {
    this.#host.ended(this)
  }
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
