/**
 * Bytes as messages (PROTOCOL.md, "Frames"): the incremental parser. Pure. It takes what a socket read gave, whatever
 * the cuts, and hands out whole messages; payloads are views of the received chunks, never put together. What ends here
 * is handed back here (kit/slabs.ts), payloads by whoever takes the message.
 */
import { handBackBytes } from '../kit/slabs.ts'
import { limits } from '../limits.ts'
import {
  at,
  type Crc32,
  copyFixedBytes,
  flag,
  frameType,
  headerBytes,
  kindMaxCharacters,
  kindPattern,
  passedFixedBytes,
  passFixedBytes,
  passKinds,
  passOutcomes,
  writeFixedBytes,
  writeKinds,
  writtenFixedBytes,
  writtenMax,
  wrongPass,
  wrongPassed,
} from './codec.ts'
import type { Message } from './messages.ts'

/**
 * @param message undefined: a frame that only acknowledges
 * @param number its place in the stream; 0 outside the stream
 * @param acknowledged the last number the other side has received from here
 * @param bytes the whole frame
 * @returns false to stop parsing for good
 */
export type OnFrame = (message: Message | undefined, number: number, acknowledged: number, bytes: number) => boolean

const noChunks: readonly Uint8Array[] = []
const controlMaxBytes = 1 + kindMaxCharacters + limits.controlBytes
const writtenMaxBytes = writtenFixedBytes + 6 * writtenMax

function get32(from: Uint8Array, offset: number): number {
  const high = ((from[offset] ?? 0) << 8) | (from[offset + 1] ?? 0)
  return high * 65536 + (((from[offset + 2] ?? 0) << 8) | (from[offset + 3] ?? 0))
}

function get48(from: Uint8Array, offset: number): number {
  return (((from[offset] ?? 0) << 8) | (from[offset + 1] ?? 0)) * 4294967296 + get32(from, offset + 2)
}

/**
 * Bytes that are covered by the CRC: the header and the fixed part of the body.
 * @returns -1 when the length cannot belong to such a frame. Judged before the CRC, so that garbage does not make us
 * wait for bytes that never come.
 */
function coveredBytes(type: number, bodyBytes: number): number {
  switch (type) {
    case frameType.write:
      return bodyBytes >= writeFixedBytes && bodyBytes <= limits.frameBytes - headerBytes
        ? headerBytes + writeFixedBytes
        : -1
    case frameType.written:
      return bodyBytes > writtenFixedBytes && bodyBytes <= writtenMaxBytes ? headerBytes + bodyBytes : -1
    case frameType.copy:
      return bodyBytes >= copyFixedBytes && bodyBytes <= copyFixedBytes + limits.copyPieceBytes
        ? headerBytes + copyFixedBytes
        : -1
    case frameType.pass:
      return bodyBytes >= passFixedBytes && bodyBytes <= passFixedBytes + limits.writePartBytes
        ? headerBytes + passFixedBytes
        : -1
    case frameType.passed:
      return bodyBytes >= passedFixedBytes && bodyBytes <= passedFixedBytes + limits.writePartBytes
        ? headerBytes + passedFixedBytes
        : -1
    case frameType.control:
      return bodyBytes >= 3 && bodyBytes <= controlMaxBytes ? headerBytes + bodyBytes : -1
    case frameType.acknowledgement:
      return bodyBytes === 0 ? headerBytes : -1
    default:
      return -1
  }
}

export class FrameParser {
  readonly #crc32: Crc32
  readonly #onFrame: OnFrame
  /** The beginning of a head that was cut by the end of a chunk; empty between heads. */
  #carry: Buffer = Buffer.alloc(0)
  /** Copy of the head whose payload is being received, and that payload. */
  #head: Buffer | undefined
  #payload: Uint8Array[] = []
  #missingBytes = 0
  #failed: string | undefined

  constructor(options: { crc32: Crc32; onFrame: OnFrame }) {
    this.#crc32 = options.crc32
    this.#onFrame = options.onFrame
  }

  /**
   * Hands out every frame that is complete with this chunk, in order. Keeps views of the chunk.
   * @returns undefined, or why the bytes are not this protocol: then nothing more is parsed, the connection is closed
   */
  push(chunk: Buffer): string | undefined {
    let offset = 0
    while (this.#failed === undefined) {
      if (this.#head !== undefined) {
        offset = this.#receivePayload(this.#head, chunk, offset)
        if (this.#head !== undefined) return this.#failed
        continue
      }
      if (offset >= chunk.length) return undefined
      offset = this.#carry.length > 0 ? this.#fromCarry(chunk, offset) : this.#fromChunk(chunk, offset)
    }
    return this.#failed
  }

  /** Ends parsing: what is still in the chunk being parsed is not handed out. */
  stop(why: string): void {
    this.#failed ??= why
  }

  #fromChunk(chunk: Buffer, offset: number): number {
    const available = chunk.length - offset
    const covered = available >= headerBytes ? this.#covered(chunk, offset) : headerBytes
    if (covered < 0) return offset
    if (available < covered) {
      this.#carry = Buffer.from(chunk.subarray(offset))
      handBackBytes(chunk, available)
      return chunk.length
    }
    this.#begin(chunk.subarray(offset, offset + covered))
    return offset + covered
  }

  /** Rare (once for each socket read): completes a head that came in pieces. */
  #fromCarry(chunk: Buffer, offset: number): number {
    const have = this.#carry.length
    const wanted = have >= headerBytes ? this.#covered(this.#carry, 0) : headerBytes
    if (wanted < 0) return offset
    const end = Math.min(chunk.length, offset + wanted - have)
    this.#carry = Buffer.concat([this.#carry, chunk.subarray(offset, end)])
    handBackBytes(chunk, end - offset)
    if (this.#carry.length < wanted) return end
    const covered = this.#covered(this.#carry, 0)
    if (covered < 0 || covered > this.#carry.length) return end
    const head = this.#carry
    this.#carry = Buffer.alloc(0)
    this.#begin(head)
    return end
  }

  #covered(from: Uint8Array, offset: number): number {
    const covered = coveredBytes(from[offset + at.type] ?? 0, get32(from, offset + at.bodyBytes))
    if (covered < 0) this.#failed = 'bytes that are no frame'
    return covered
  }

  #begin(head: Buffer): void {
    if (get32(head, at.crc) !== this.#crc32(head.subarray(at.bodyBytes))) {
      this.#failed = 'a frame head with a wrong checksum'
      return
    }
    if (!mayHavePayload(head[at.type])) return this.#deliver(head, noChunks)
    this.#missingBytes = get32(head, at.bodyBytes) + headerBytes - head.length
    this.#head = head
    this.#payload = []
    const wrong = wrongFrame(head, this.#missingBytes)
    if (wrong) this.#failed = wrong
  }

  #receivePayload(head: Buffer, chunk: Buffer, offset: number): number {
    const end = Math.min(chunk.length, offset + this.#missingBytes)
    if (end > offset) {
      this.#payload.push(chunk.subarray(offset, end))
      this.#missingBytes -= end - offset
    }
    if (this.#missingBytes === 0) {
      this.#head = undefined
      this.#deliver(head, this.#payload)
    }
    return end
  }

  #deliver(head: Buffer, chunks: readonly Uint8Array[]): void {
    const message = messageFrom(head, chunks)
    if (typeof message === 'string') {
      this.#failed = message
      return
    }
    const bytes = get32(head, at.bodyBytes) + headerBytes
    const number = get48(head, at.number)
    const acknowledged = get48(head, at.acknowledged)
    handBackBytes(head, head.length)
    const goOn = this.#onFrame(message, number, acknowledged, bytes)
    if (!goOn) this.#failed ??= 'stopped'
  }
}

/** @returns the message, undefined for a mere acknowledgement, or what is wrong */
function messageFrom(head: Buffer, chunks: readonly Uint8Array[]): Message | undefined | string {
  switch (head[at.type]) {
    case frameType.write:
      return {
        type: 'write',
        volumeKey: get32(head, 24),
        session: get48(head, 28),
        attempt: get48(head, 34),
        number: get48(head, 40),
        lowWater: get48(head, 46),
        time: get48(head, 52),
        kind: writeKinds[head[70] ?? 0] ?? 'data', // wrongWrite() has refused any other byte
        fua: ((head[at.flags] ?? 0) & flag.fua) !== 0,
        offsetBytes: get48(head, 58),
        lengthBytes: get48(head, 64),
        chunks,
      }
    case frameType.written:
      return writtenFrom(head)
    case frameType.copy:
      return {
        type: 'copy',
        volumeKey: get32(head, 24),
        session: get48(head, 28),
        attempt: get48(head, 34),
        request: get48(head, 40),
        offsetBytes: get48(head, 46),
        lengthBytes: get48(head, 52),
        zero: ((head[at.flags] ?? 0) & flag.zero) !== 0,
        chunks,
      }
    case frameType.pass:
      return passFrom(head, chunks)
    case frameType.passed:
      return passedFrom(head, chunks)
    case frameType.control:
      return controlFrom(head)
    default:
      return undefined
  }
}

function passFrom(head: Buffer, chunks: readonly Uint8Array[]): Message {
  return {
    type: 'pass',
    volumeKey: get32(head, 24),
    session: get48(head, 28),
    request: get48(head, 34),
    connection: get48(head, 40),
    heardMs: get48(head, 46),
    offsetBytes: get48(head, 52),
    lengthBytes: get48(head, 58),
    kind: passKinds[head[64] ?? 0] ?? 'flush', // wrongPass() has refused any other byte
    fua: ((head[at.flags] ?? 0) & flag.fua) !== 0,
    chunks,
  }
}

function passedFrom(head: Buffer, chunks: readonly Uint8Array[]): Message {
  return {
    type: 'passed',
    volumeKey: get32(head, 24),
    session: get48(head, 28),
    request: get48(head, 34),
    sentMs: get48(head, 40),
    lengthBytes: get48(head, 46),
    outcome: passOutcomes[head[52] ?? 0] ?? 'unknown', // wrongPassed() has refused any other byte
    chunks,
  }
}

function mayHavePayload(type: number | undefined): boolean {
  return type === frameType.write || type === frameType.copy || type === frameType.pass || type === frameType.passed
}

/** @returns what is wrong with a frame that may have payload, if anything: judged before the payload is received */
function wrongFrame(head: Buffer, payloadBytes: number): string | undefined {
  switch (head[at.type]) {
    case frameType.write:
      return wrongWrite(head, payloadBytes)
    case frameType.copy:
      return wrongCopy(head, payloadBytes)
    case frameType.pass:
      return wrongPass(passKinds[head[64] ?? 255], get48(head, 52), get48(head, 58), payloadBytes)
    default:
      return wrongPassed(passOutcomes[head[52] ?? 255], get48(head, 46), payloadBytes)
  }
}

function wrongWrite(head: Buffer, payloadBytes: number): string | undefined {
  const kind = writeKinds[head[70] ?? 255]
  if (kind === undefined) return 'a write of unknown kind'
  const lengthBytes = get48(head, 64)
  if (lengthBytes === 0) return 'a write of no bytes'
  if (payloadBytes !== (kind === 'data' ? lengthBytes : 0)) return 'a write whose payload has another length'
  return payloadBytes > limits.requestBytes ? 'a write larger than any request' : undefined
}

function wrongCopy(head: Buffer, payloadBytes: number): string | undefined {
  const lengthBytes = get48(head, 52)
  if (lengthBytes === 0 || lengthBytes > limits.copyPieceBytes) return 'a copy larger than a piece'
  if (lengthBytes % limits.blockBytes !== 0 || get48(head, 46) % limits.blockBytes !== 0) return 'a copy of half blocks'
  const zero = ((head[at.flags] ?? 0) & flag.zero) !== 0
  return payloadBytes !== (zero ? 0 : lengthBytes) ? 'a copy whose payload has another length' : undefined
}

function writtenFrom(head: Buffer): Message | string {
  const count = head.readUInt16BE(34)
  if (head.length !== headerBytes + writtenFixedBytes + 6 * count) return 'an answer whose count does not fit'
  const numbers = new Array<number>(count)
  for (let index = 0; index < count; index += 1) numbers[index] = get48(head, 36 + 6 * index)
  return { type: 'written', volumeKey: get32(head, 24), session: get48(head, 28), numbers }
}

function controlFrom(head: Buffer): Message | string {
  const kindEnd = 25 + (head[24] ?? 0)
  if (kindEnd >= head.length) return 'a control message without a body'
  const kind = head.toString('latin1', 25, kindEnd)
  if (!kindPattern.test(kind)) return 'a control message of no proper kind'
  try {
    const body: unknown = JSON.parse(head.toString('utf8', kindEnd))
    return { type: 'control', kind, body }
  } catch {
    return `a control message ${kind} whose body is not JSON`
  }
}
