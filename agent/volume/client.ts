/** One client connection's view of a volume: checks, splits what is large, hands on. */
import { invariant } from '../kit/failure.ts'
import { limits } from '../limits.ts'
import type { WriteKind } from '../link/messages.ts'
import type { BlockClient, BlockFailure, ClientDescription, CompareDone, Done, ReadDone } from './block-device.ts'
import type { Connection, WriteWish } from './requests.ts'

/** What a client needs to know of its volume. */
export interface ClientVolume {
  readonly sizeBytes: number
  /** Whether every write is to be durable before it is acknowledged, whatever its client asked. */
  readonly writeThrough: boolean
  detached(client: VolumeClient, connection: Connection): void
}

/** Where its requests go. */
export interface ClientService {
  submitRead(connection: Connection, offsetBytes: number, lengthBytes: number, done: ReadDone): void
  submitWrite(connection: Connection, write: WriteWish, done: CompareDone): void
  submitFlush(connection: Connection, done: Done): void
}

/** Zeroing and discarding ask for any length; they are executed in parts, each one write of its own. Whole extents. */
const partBytes = limits.requestBytes

export class VolumeClient implements BlockClient {
  readonly description: ClientDescription
  /** Tells the frontend that the volume is offered no more. */
  readonly gone: () => void
  readonly #volume: ClientVolume
  readonly #service: ClientService
  readonly #connection: Connection = { closed: false }

  constructor(volume: ClientVolume, service: ClientService, description: ClientDescription, gone: () => void) {
    this.#volume = volume
    this.#service = service
    this.description = description
    this.gone = gone
  }

  /** The volume was deleted: nothing of this client is started or answered any more. */
  leave(): void {
    if (this.#connection.closed) return
    this.detach()
    this.gone()
  }

  read(offsetBytes: number, lengthBytes: number, done: ReadDone): void {
    this.#check(offsetBytes, lengthBytes, limits.requestBytes)
    this.#service.submitRead(this.#connection, offsetBytes, lengthBytes, done)
  }

  write(offsetBytes: number, chunks: readonly Uint8Array[], lengthBytes: number, fua: boolean, done: Done): void {
    this.#check(offsetBytes, lengthBytes, limits.requestBytes)
    const write = { kind: 'data', offsetBytes, lengthBytes, chunks, fua: fua || this.#volume.writeThrough } as const
    if (lengthBytes <= limits.writePartBytes) this.#service.submitWrite(this.#connection, write, done)
    else this.#writeInParts(write, done)
  }

  compareAndWrite(
    offsetBytes: number,
    expected: Uint8Array,
    replacement: Uint8Array,
    fua: boolean,
    done: CompareDone,
  ): void {
    const lengthBytes = replacement.length
    this.#check(offsetBytes, lengthBytes, limits.compareBytes)
    const isWhole = offsetBytes % 512 === 0 && lengthBytes % 512 === 0 && expected.length === lengthBytes
    invariant(isWhole, 'V1', `a compare-and-write of whole sectors: ${offsetBytes}+${lengthBytes}, ${expected.length}`)
    const isDurable = fua || this.#volume.writeThrough
    const write = { kind: 'data', offsetBytes, lengthBytes, chunks: [replacement], fua: isDurable } as const
    this.#service.submitWrite(this.#connection, { ...write, look: { expected } }, done)
  }

  writeZeroes(offsetBytes: number, lengthBytes: number, mayUnmap: boolean, fua: boolean, done: Done): void {
    this.#inParts(mayUnmap ? 'zero' : 'zero-keep', offsetBytes, lengthBytes, fua, done)
  }

  trim(offsetBytes: number, lengthBytes: number, fua: boolean, done: Done): void {
    this.#inParts('discard', offsetBytes, lengthBytes, fua, done)
  }

  flush(done: Done): void {
    this.#service.submitFlush(this.#connection, done)
  }

  detach(): void {
    if (this.#connection.closed) return
    this.#connection.closed = true
    this.#volume.detached(this, this.#connection)
  }

  /** All parts at once, each a write of its own, cut between blocks (W5). Answered when all of them are, with the first failure. */
  #writeInParts(write: WriteWish, done: Done): void {
    const parts = cutWrite(write)
    let open = parts.length
    let failure: BlockFailure | null = null
    for (const part of parts) {
      this.#service.submitWrite(this.#connection, part, (result) => {
        failure ??= result
        open -= 1
        if (open === 0) done(failure)
      })
    }
  }

  /** One part after the other, so that a large request holds no more than a part's range and credit at a time. */
  #inParts(kind: WriteKind, offsetBytes: number, lengthBytes: number, fua: boolean, done: Done): void {
    this.#check(offsetBytes, lengthBytes, this.#volume.sizeBytes)
    const endBytes = offsetBytes + lengthBytes
    const isDurable = fua || this.#volume.writeThrough
    const step = (fromBytes: number, failure: BlockFailure | null): void => {
      if (failure !== null || fromBytes >= endBytes) return done(failure)
      const untilBytes = Math.min(endBytes, (Math.floor(fromBytes / partBytes) + 1) * partBytes)
      const part = { kind, offsetBytes: fromBytes, lengthBytes: untilBytes - fromBytes, chunks: [], fua: isDurable }
      this.#service.submitWrite(this.#connection, part, (result) => step(untilBytes, result))
    }
    step(offsetBytes, null)
  }

  #check(offsetBytes: number, lengthBytes: number, mostBytes: number): void {
    const inside = offsetBytes >= 0 && lengthBytes >= 1 && offsetBytes + lengthBytes <= this.#volume.sizeBytes
    const whole = Number.isSafeInteger(offsetBytes) && Number.isSafeInteger(lengthBytes)
    invariant(
      whole && inside && lengthBytes <= mostBytes,
      'V1',
      `a request inside the volume: ${offsetBytes}+${lengthBytes}`,
    )
  }
}

/** Parts that end at multiples of limits.writePartBytes; their chunks are views of the whole one's. */
function cutWrite(write: WriteWish): WriteWish[] {
  const parts: WriteWish[] = []
  let chunks: Uint8Array[] = []
  let fromBytes = write.offsetBytes
  let atBytes = fromBytes
  const endPart = () => {
    parts.push({ ...write, offsetBytes: fromBytes, lengthBytes: atBytes - fromBytes, chunks })
    fromBytes = atBytes
    chunks = []
  }
  for (const chunk of write.chunks) {
    for (let taken = 0; taken < chunk.length; ) {
      const roomBytes = limits.writePartBytes - (atBytes % limits.writePartBytes)
      const piece = chunk.subarray(taken, taken + roomBytes)
      chunks.push(piece)
      taken += piece.length
      atBytes += piece.length
      if (atBytes % limits.writePartBytes === 0) endPart()
    }
  }
  if (atBytes > fromBytes) endPart()
  return parts
}
