/**
 * Messages as bytes (PROTOCOL.md, "Frames"): the encoder. Pure; the CRC-32 function is handed in.
 * A payload is never copied: a frame is its head and the caller's chunks.
 */
import { invariant, never } from '../kit/failure.ts'
import { limits } from '../limits.ts'
import type {
  ControlMessage,
  CopyMessage,
  Message,
  PassedMessage,
  PassKind,
  PassMessage,
  PassOutcome,
  WriteKind,
  WriteMessage,
  WrittenMessage,
} from './messages.ts'

/** Of the whole protocol: handshake and frames. Changes together with PROTOCOL.md and the golden test. */
export const protocolVersion = 3

/** CRC-32 (ISO 3309, as zlib's) of the bytes. */
export type Crc32 = (bytes: Uint8Array) => number

/** PROTOCOL.md, "Frames": offsets in bytes from the start of a frame; all numbers big-endian. */
export const at = { crc: 0, bodyBytes: 4, type: 8, flags: 9, number: 10, acknowledged: 16, reserved: 22 } as const
export const headerBytes = 24
export const frameType = { write: 1, written: 2, copy: 3, control: 4, acknowledgement: 5, pass: 6, passed: 7 } as const
export const flag = { fua: 1, zero: 2 } as const
/** Bytes of the body that are covered by the CRC together with the header; the payload follows. */
export const writeFixedBytes = 48
export const copyFixedBytes = 36
export const writtenFixedBytes = 12
export const passFixedBytes = 42
export const passedFixedBytes = 30
export const writtenMax = 1024
export const kindMaxCharacters = 40
export const kindPattern = /^[a-z.-]{1,40}$/
/** Every number in a message is below this. */
export const uint48End = 2 ** 48

export const writeKinds: readonly WriteKind[] = ['data', 'zero', 'zero-keep', 'discard']
export const passKinds: readonly PassKind[] = [...writeKinds, 'read', 'flush', 'compare']
export const passOutcomes: readonly PassOutcome[] = [
  'done',
  'io',
  'no-space',
  'dropped',
  'unknown',
  'differs',
  'conflict',
]

/** A message ready for the socket: the head, then the chunks, as they are. */
export interface EncodedFrame {
  /** 0 outside the stream. */
  readonly number: number
  /** What the head says was received from the other side. */
  readonly acknowledged: number
  readonly head: Uint8Array
  readonly chunks: readonly Uint8Array[]
  /** Head and chunks. */
  readonly bytes: number
}

const noChunks: readonly Uint8Array[] = []
const slabBytes = 64 * 1024

function put48(into: Uint8Array, offset: number, value: number): void {
  if (!(value >= 0 && value < uint48End && Number.isInteger(value))) {
    invariant(false, 'N1', `${value} is not a whole number of 48 bits`)
  }
  const high = Math.floor(value / 4294967296)
  into[offset] = high >>> 8
  into[offset + 1] = high
  put32(into, offset + 2, value)
}

function put32(into: Uint8Array, offset: number, value: number): void {
  into[offset] = value >>> 24
  into[offset + 1] = value >>> 16
  into[offset + 2] = value >>> 8
  into[offset + 3] = value
}

/** Heads are cut from slabs, so that a message costs one small view instead of one allocation of memory. */
export class FrameEncoder {
  readonly #crc32: Crc32
  #slab = Buffer.allocUnsafeSlow(slabBytes)
  #used = 0

  constructor(crc32: Crc32) {
    this.#crc32 = crc32
  }

  /**
   * @param number its place in the stream, 1 or more; 0 outside the stream
   * @param acknowledged the last number received from the other side
   * @throws InvariantBroken N1 when the message breaks a range given in messages.ts (our own bug)
   */
  encode(message: Message, number: number, acknowledged: number): EncodedFrame {
    switch (message.type) {
      case 'write':
        return this.#write(message, number, acknowledged)
      case 'written':
        return this.#written(message, number, acknowledged)
      case 'copy':
        return this.#copy(message, number, acknowledged)
      case 'pass':
        return this.#pass(message, number, acknowledged)
      case 'passed':
        return this.#passed(message, number, acknowledged)
      case 'control':
        return this.#control(message, number, acknowledged)
      default:
        return never(message, 'FrameEncoder')
    }
  }

  /** A frame that says nothing but what was received. */
  acknowledgement(acknowledged: number): EncodedFrame {
    return this.#finish(this.#take(headerBytes), frameType.acknowledgement, 0, 0, acknowledged, noChunks, 0)
  }

  #write(message: WriteMessage, number: number, acknowledged: number): EncodedFrame {
    const head = this.#take(headerBytes + writeFixedBytes)
    put32(head, 24, message.volumeKey)
    put48(head, 28, message.session)
    put48(head, 34, message.attempt)
    put48(head, 40, message.number)
    put48(head, 46, message.lowWater)
    put48(head, 52, message.time)
    put48(head, 58, message.offsetBytes)
    put48(head, 64, message.lengthBytes)
    head[70] = writeKinds.indexOf(message.kind)
    head[71] = 0
    const payload = lengthOf(message.chunks)
    const isData = message.kind === 'data'
    invariant(
      message.lengthBytes > 0 &&
        payload === (isData ? message.lengthBytes : 0) &&
        (!isData || payload <= limits.requestBytes),
      'N1',
      `a ${message.kind} write of ${message.lengthBytes} bytes carries ${payload}`,
    )
    const flags = message.fua ? flag.fua : 0
    return this.#finish(head, frameType.write, flags, number, acknowledged, message.chunks, payload)
  }

  #written(message: WrittenMessage, number: number, acknowledged: number): EncodedFrame {
    const numbers = message.numbers
    const count = numbers.length
    invariant(count > 0 && count <= writtenMax, 'N1', `a written message names ${count} writes`)
    const head = this.#take(headerBytes + writtenFixedBytes + 6 * count)
    put32(head, 24, message.volumeKey)
    put48(head, 28, message.session)
    head[34] = count >>> 8
    head[35] = count
    let offset = 36
    for (const each of numbers) {
      put48(head, offset, each)
      offset += 6
    }
    return this.#finish(head, frameType.written, 0, number, acknowledged, noChunks, 0)
  }

  #copy(message: CopyMessage, number: number, acknowledged: number): EncodedFrame {
    const head = this.#take(headerBytes + copyFixedBytes)
    put32(head, 24, message.volumeKey)
    put48(head, 28, message.session)
    put48(head, 34, message.attempt)
    put48(head, 40, message.request)
    put48(head, 46, message.offsetBytes)
    put48(head, 52, message.lengthBytes)
    head[58] = 0
    head[59] = 0
    const payload = lengthOf(message.chunks)
    const length = message.lengthBytes
    invariant(
      length > 0 &&
        length <= limits.copyPieceBytes &&
        length % limits.blockBytes === 0 &&
        message.offsetBytes % limits.blockBytes === 0,
      'N1',
      `a copy of ${length} bytes at ${message.offsetBytes}`,
    )
    invariant(payload === (message.zero ? 0 : length), 'N1', `a copy of ${length} bytes carries ${payload}`)
    const flags = message.zero ? flag.zero : 0
    return this.#finish(head, frameType.copy, flags, number, acknowledged, message.chunks, payload)
  }

  #pass(message: PassMessage, number: number, acknowledged: number): EncodedFrame {
    const head = this.#take(headerBytes + passFixedBytes)
    put32(head, 24, message.volumeKey)
    put48(head, 28, message.session)
    put48(head, 34, message.request)
    put48(head, 40, message.connection)
    put48(head, 46, message.heardMs)
    put48(head, 52, message.offsetBytes)
    put48(head, 58, message.lengthBytes)
    head[64] = passKinds.indexOf(message.kind)
    head[65] = 0
    const payload = lengthOf(message.chunks)
    const wrong = wrongPass(message.kind, message.offsetBytes, message.lengthBytes, payload)
    invariant(wrong === undefined, 'N1', `${wrong}: ${message.lengthBytes} bytes, carries ${payload}`)
    const flags = message.fua ? flag.fua : 0
    return this.#finish(head, frameType.pass, flags, number, acknowledged, message.chunks, payload)
  }

  #passed(message: PassedMessage, number: number, acknowledged: number): EncodedFrame {
    const head = this.#take(headerBytes + passedFixedBytes)
    put32(head, 24, message.volumeKey)
    put48(head, 28, message.session)
    put48(head, 34, message.request)
    put48(head, 40, message.sentMs)
    put48(head, 46, message.lengthBytes)
    head[52] = passOutcomes.indexOf(message.outcome)
    head[53] = 0
    const payload = lengthOf(message.chunks)
    const wrong = wrongPassed(message.outcome, message.lengthBytes, payload)
    invariant(wrong === undefined, 'N1', `${wrong}: ${message.lengthBytes} bytes, carries ${payload}`)
    return this.#finish(head, frameType.passed, 0, number, acknowledged, message.chunks, payload)
  }

  #control(message: ControlMessage, number: number, acknowledged: number): EncodedFrame {
    invariant(kindPattern.test(message.kind), 'N1', `control kind ${message.kind}`)
    // JSON.stringify answers undefined for what is no JSON value, which its type does not say.
    const json: string | undefined = JSON.stringify(message.body)
    invariant(json !== undefined, 'N1', `the body of ${message.kind} is not a JSON value`)
    const jsonBytes = Buffer.byteLength(json)
    invariant(jsonBytes <= limits.controlBytes, 'N1', `the body of ${message.kind} has ${jsonBytes} bytes`)
    const kindBytes = message.kind.length
    const head = this.#take(headerBytes + 1 + kindBytes + jsonBytes)
    head[24] = kindBytes
    head.write(message.kind, 25, 'latin1')
    head.write(json, 25 + kindBytes, 'utf8')
    return this.#finish(head, frameType.control, 0, number, acknowledged, noChunks, 0)
  }

  /** The header goes in last: the CRC covers everything else in the head. */
  #finish(
    head: Buffer,
    type: number,
    flags: number,
    number: number,
    acknowledged: number,
    chunks: readonly Uint8Array[],
    payloadBytes: number,
  ): EncodedFrame {
    put32(head, at.bodyBytes, head.length - headerBytes + payloadBytes)
    head[at.type] = type
    head[at.flags] = flags
    put48(head, at.number, number)
    put48(head, at.acknowledged, acknowledged)
    head[at.reserved] = 0
    head[at.reserved + 1] = 0
    put32(head, at.crc, this.#crc32(head.subarray(at.bodyBytes)))
    return { number, acknowledged, head, chunks, bytes: head.length + payloadBytes }
  }

  #take(bytes: number): Buffer {
    if (bytes > slabBytes / 4) return Buffer.allocUnsafeSlow(bytes)
    if (this.#used + bytes > slabBytes) {
      this.#slab = Buffer.allocUnsafeSlow(slabBytes)
      this.#used = 0
    }
    const start = this.#used
    this.#used += bytes
    return this.#slab.subarray(start, this.#used)
  }
}

/** @returns what is wrong with a passed request of that kind, if anything */
export function wrongPass(
  kind: PassKind | undefined,
  offsetBytes: number,
  lengthBytes: number,
  payloadBytes: number,
): string | undefined {
  if (kind === undefined) return 'a passed request of unknown kind'
  if (kind === 'compare') return wrongCompare(offsetBytes, lengthBytes, payloadBytes)
  if ((lengthBytes === 0) !== (kind === 'flush')) return 'a passed request of no bytes, or a flush of some'
  if (payloadBytes !== (kind === 'data' ? lengthBytes : 0)) return 'a passed request whose payload has another length'
  const isWhole = kind === 'data' || kind === 'read'
  return isWhole && lengthBytes > limits.writePartBytes ? 'a passed request larger than a part' : undefined
}

function wrongCompare(offsetBytes: number, lengthBytes: number, payloadBytes: number): string | undefined {
  if (offsetBytes % 512 !== 0 || lengthBytes % 512 !== 0 || lengthBytes === 0)
    return 'a compare-and-write of half sectors'
  if (payloadBytes !== 2 * lengthBytes) return 'a passed request whose payload has another length'
  return lengthBytes > limits.compareBytes ? 'a compare-and-write larger than any' : undefined
}

/** @returns what is wrong with an answer to a passed request, if anything */
export function wrongPassed(
  outcome: PassOutcome | undefined,
  lengthBytes: number,
  payloadBytes: number,
): string | undefined {
  if (outcome === undefined) return 'a passed request of unknown outcome'
  if (outcome === 'differs' && payloadBytes === 0 && lengthBytes < limits.compareBytes) return undefined
  if (payloadBytes !== lengthBytes) return 'an answer whose payload has another length'
  if (lengthBytes > 0 && outcome !== 'done') return 'an answer with bytes of what was not done'
  return lengthBytes > limits.writePartBytes ? 'an answer larger than a part' : undefined
}

function lengthOf(chunks: readonly Uint8Array[]): number {
  let bytes = 0
  for (const chunk of chunks) bytes += chunk.length
  return bytes
}
