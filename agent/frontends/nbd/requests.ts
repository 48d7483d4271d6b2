/**
 * What is checked about a request before the engine hears of it, and the pooled record of one that is under way. Pure.
 */
import { limits } from '../../limits.ts'
import type { BlockFailure, Done, ReadDone } from '../../volume/block-device.ts'
import { command, commandFlag, type ErrorValue, errorValue, type RequestHeader } from './codec.ts'

const { fua, noHole, dontFragment } = commandFlag
const pastEnd = (request: RequestHeader, sizeBytes: number): boolean =>
  request.offsetBytes + request.lengthBytes > sizeBytes

/** What a client was told about its export when it chose it. */
export interface ChosenExport {
  readonly sizeBytes: number
  readonly readOnly: boolean
  readonly structured: boolean
}

/**
 * Judges a header ("Request types", "Command flags", "Error values").
 * @returns 0 when it may be executed, an error value, or `end`: its payload is too large even to be skipped
 */
export function judge(request: RequestHeader, { sizeBytes, readOnly, structured }: ChosenExport): ErrorValue | 'end' {
  const { flags, lengthBytes } = request
  if (readOnly && changes(request.command)) {
    return request.command === command.write && lengthBytes > limits.refusedPayloadBytes
      ? 'end'
      : errorValue.notPermitted
  }
  switch (request.command) {
    case command.read:
      if ((flags & ~(structured ? fua | dontFragment : fua)) !== 0) return errorValue.invalid
      return lengthBytes > limits.requestBytes || pastEnd(request, sizeBytes) ? errorValue.invalid : 0
    case command.write:
      if (lengthBytes > limits.refusedPayloadBytes) return 'end'
      if ((flags & ~fua) !== 0 || lengthBytes > limits.requestBytes) return errorValue.invalid
      return pastEnd(request, sizeBytes) ? errorValue.noSpace : 0
    case command.flush:
      if ((flags & ~fua) !== 0) return errorValue.invalid
      return request.offsetBytes !== 0 || lengthBytes !== 0 ? errorValue.invalid : 0
    case command.trim:
      if ((flags & ~fua) !== 0) return errorValue.invalid
      return pastEnd(request, sizeBytes) ? errorValue.invalid : 0
    case command.writeZeroes:
      // The fast-zero flag is not offered, hence unknown here.
      if ((flags & ~(fua | noHole)) !== 0) return errorValue.invalid
      return pastEnd(request, sizeBytes) ? errorValue.noSpace : 0
    case command.disconnect:
      return 0
    default: // a number from the wire: an unknown command
      return errorValue.invalid
  }
}

const changes = (asked: number): boolean =>
  asked === command.write || asked === command.trim || asked === command.writeZeroes

/** The protocol's word for a failure; null where there is none and the connection ends unanswered (W8). */
export const errorOfFailure: { readonly [failure in BlockFailure]: ErrorValue | null } = {
  io: errorValue.io,
  'no-space': errorValue.noSpace,
  shutdown: errorValue.shutdown,
  conflict: errorValue.notPermitted,
  'unknown-outcome': null,
}

export interface RequestOwner {
  finished(request: Request, failure: BlockFailure | null, chunks: readonly Uint8Array[]): void
}

const noChunks: readonly Uint8Array[] = []

/** Bytes of memory that a request needs until it is answered. */
export const payloadBytes = (request: RequestHeader): number =>
  request.command === command.read || request.command === command.write ? request.lengthBytes : 0

/** One request under way. Used again for the next one, so that a request costs no object and no closure. */
export class Request implements RequestHeader {
  flags = 0
  command = 0
  cookieHigh = 0
  cookieLow = 0
  offsetBytes = 0
  lengthBytes = 0
  /** Whether the engine has it. */
  underway = false
  readonly done: Done
  readonly readDone: ReadDone

  constructor(owner: RequestOwner) {
    this.done = (failure) => owner.finished(this, failure, noChunks)
    this.readDone = (failure, chunks) => owner.finished(this, failure, chunks)
  }
}
