/**
 * The requests of one connection: parsed out of the received bytes, judged, handed to the device, answered. Pure.
 *
 *   header ──► payload ──► header     (a write: its data is collected as it came, then the device gets it)
 *     │  └───► room ─────► header     (limits reached: nothing more is read until something was answered)
 *     └──────► discard ──► header     (a refused write: its data is skipped, then the error is said)
 */
import { invariant, never } from '../../kit/failure.ts'
import { handBackBytes } from '../../kit/slabs.ts'
import { limits } from '../../limits.ts'
import type { BlockClient, BlockFailure } from '../../volume/block-device.ts'
import type { ByteQueue } from './bytes.ts'
import { command, commandFlag, decodeRequest, type ErrorValue, errorValue, wireBytes } from './codec.ts'
import type { Replies } from './replies.ts'
import { type ChosenExport, errorOfFailure, judge, payloadBytes, Request, type RequestOwner } from './requests.ts'

/** What one step came to. */
export type Step =
  /** Something was handled; there may be more. */
  | 'again'
  /** More bytes are needed. */
  | 'hungry'
  /** A limit is reached; try again when something was answered or sent. */
  | 'full'
  /** The client said DISC. */
  | 'disconnect'
  /** Wrong magic: where the next request begins is not known any more. */
  | 'garbage'
  /** A payload too large even to be skipped. */
  | 'payload-too-large'

export interface TransmissionOwner {
  /** A reply was collected. */
  answered(): void
  /** A request may or may not have been done: the connection must end without an answer (W8). */
  outcomeUnknown(): void
}

export class Transmission implements RequestOwner {
  /** Requests that the engine has and has not answered. */
  underway = 0
  /** Set when the server stops: what is new is refused. */
  refusing = false

  readonly #client: BlockClient
  /** What this client was told; another size later (a volume grows) would be news that NBD cannot carry. */
  readonly #chosen: ChosenExport
  readonly #replies: Replies
  readonly #owner: TransmissionOwner
  #expecting: 'header' | 'room' | 'payload' | 'discard' = 'header'
  #current: Request = new Request(this)
  #refusal: ErrorValue = errorValue.none
  /** Bytes still to come, in `payload` and `discard`. */
  #payloadLeft = 0
  #chunks: Uint8Array[] = []
  /** The tail of a payload that came in too many pieces, and how much of it is filled. */
  #tail: Uint8Array | null = null
  #tailFilled = 0
  /** Bytes of payload that requests under way hold, the one being received included. */
  #underwayBytes = 0
  readonly #idle: Request[] = []

  constructor(options: {
    client: BlockClient
    chosen: ChosenExport
    replies: Replies
    owner: TransmissionOwner
  }) {
    this.#client = options.client
    this.#chosen = options.chosen
    this.#replies = options.replies
    this.#owner = options.owner
  }

  /** @param unsentBytes replies that wait for the client to read them */
  step(queue: ByteQueue, unsentBytes: number): Step {
    switch (this.#expecting) {
      case 'header':
        if (this.underway >= limits.clientRequests || unsentBytes > limits.clientUnsentBytes) return 'full'
        if (!queue.fixed(wireBytes.request)) return 'hungry'
        return decodeRequest(queue.view, queue.at, this.#current) ? this.#judged() : 'garbage'
      case 'room':
        return this.#hasRoom() ? this.#admit() : 'full'
      case 'payload':
        return this.#collect(queue)
      case 'discard':
        this.#payloadLeft -= queue.skip(this.#payloadLeft)
        if (this.#payloadLeft > 0) return 'hungry'
        this.#expecting = 'header'
        this.#refuse(this.#current, this.#refusal)
        return 'again'
      default:
        return never(this.#expecting, 'Transmission.step')
    }
  }

  /** The engine answered (RequestOwner). */
  finished(request: Request, failure: BlockFailure | null, chunks: readonly Uint8Array[]): void {
    invariant(request.underway, 'N3', 'a request was answered twice')
    request.underway = false
    this.underway -= 1
    this.#underwayBytes -= payloadBytes(request)
    const error = failure === null ? errorValue.none : errorOfFailure[failure]
    if (error === null) {
      this.#owner.outcomeUnknown()
      return
    }
    if (error === errorValue.none) this.#succeed(request, chunks)
    else this.#refuse(request, error)
    this.#idle.push(request)
  }

  #judged(): Step {
    const request = this.#current
    if (request.command === command.disconnect) return 'disconnect'
    const verdict = judge(request, this.#chosen)
    if (verdict === 'end') return 'payload-too-large'
    const error = verdict === errorValue.none && this.refusing ? errorValue.shutdown : verdict
    if (error !== errorValue.none) {
      if (request.command === command.write) {
        this.#refusal = error
        this.#payloadLeft = request.lengthBytes
        this.#expecting = 'discard'
      } else {
        this.#refuse(request, error)
      }
      return 'again'
    }
    if (request.lengthBytes === 0 && request.command !== command.flush) {
      this.#succeed(request, []) // nothing to do; the protocol leaves the answer open but for not disconnecting
      return 'again'
    }
    if (this.#hasRoom()) return this.#admit()
    this.#expecting = 'room'
    return 'full'
  }

  /** One request always fits, however large: limits.clientBytes is at least limits.requestBytes (L1). */
  #hasRoom(): boolean {
    return this.#underwayBytes + payloadBytes(this.#current) <= limits.clientBytes
  }

  #admit(): Step {
    const request = this.#current
    this.#underwayBytes += payloadBytes(request)
    if (request.command === command.write) {
      this.#payloadLeft = request.lengthBytes
      this.#chunks = []
      this.#expecting = 'payload'
      return 'again'
    }
    this.#expecting = 'header'
    this.#issue([])
    return 'again'
  }

  #collect(queue: ByteQueue): Step {
    while (this.#payloadLeft > 0 && queue.lengthBytes > 0) {
      const piece = queue.piece(this.#payloadLeft)
      this.#payloadLeft -= piece.length
      if (this.#chunks.length < limits.payloadPieces) this.#chunks.push(piece)
      else this.#collectTail(piece)
    }
    if (this.#payloadLeft > 0) return 'hungry'
    if (this.#tail !== null) this.#chunks.push(this.#tail)
    this.#tail = null
    this.#expecting = 'header'
    this.#issue(this.#chunks)
    return 'again'
  }

  /** Payload that dribbles in: from here on it is copied, so that it costs its bytes and not an object for each. */
  #collectTail(piece: Uint8Array): void {
    if (this.#tail === null) {
      this.#tail = new Uint8Array(piece.length + this.#payloadLeft)
      this.#tailFilled = 0
    }
    this.#tail.set(piece, this.#tailFilled)
    this.#tailFilled += piece.length
    handBackBytes(piece, piece.length)
  }

  #issue(chunks: readonly Uint8Array[]): void {
    const request = this.#current
    this.#current = this.#idle.pop() ?? new Request(this)
    request.underway = true
    this.underway += 1
    const fua = (request.flags & commandFlag.fua) !== 0
    const { offsetBytes, lengthBytes } = request
    switch (request.command) {
      case command.read:
        this.#client.read(offsetBytes, lengthBytes, request.readDone)
        return
      case command.write:
        this.#client.write(offsetBytes, chunks, lengthBytes, fua, request.done)
        return
      case command.flush:
        this.#client.flush(request.done)
        return
      case command.trim:
        this.#client.trim(offsetBytes, lengthBytes, fua, request.done)
        return
      case command.writeZeroes: {
        const mayUnmap = (request.flags & commandFlag.noHole) === 0
        this.#client.writeZeroes(offsetBytes, lengthBytes, mayUnmap, fua, request.done)
        return
      }
      default:
        invariant(false, 'N4', `command ${request.command} passed the judge and nobody executes it`)
    }
  }

  #succeed(request: Request, chunks: readonly Uint8Array[]): void {
    if (request.command !== command.read) this.#replies.simple(request, errorValue.none)
    else if (this.#chosen.structured) this.#replies.structuredRead(request, chunks)
    else this.#replies.simpleRead(request, chunks)
    this.#owner.answered()
  }

  /** Once negotiated, a read is answered by structured replies only; the others may go on with simple ones. */
  #refuse(request: Request, error: ErrorValue): void {
    if (this.#chosen.structured && request.command === command.read) this.#replies.structuredError(request, error)
    else this.#replies.simple(request, error)
    this.#owner.answered()
  }
}
