/**
 * The NBD wire format as far as Mirrorbay speaks it: numbers, decoding of what clients send, encoding of what they get.
 * Pure. Source: the NBD protocol document (doc/proto.md of the NetworkBlockDevice project); section names are cited.
 */

// Magic numbers ("Reserved Magic values"); 64-bit ones in two halves, so that no BigInt is made on the request path.
export const greetingMagic = { high: 0x4e42444d, low: 0x41474943 } as const
export const optionMagic = { high: 0x49484156, low: 0x454f5054 } as const
export const optionReplyMagic = { high: 0x0003e889, low: 0x045565a9 } as const
export const requestMagic = 0x25609513
export const simpleReplyMagic = 0x67446698
export const structuredReplyMagic = 0x668e33ef

/** "Handshake flags" and "Client flags" share their two bits. */
export const handshakeFlag = { fixedNewstyle: 1, noZeroes: 2 } as const

/** "Option types". */
export const option = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
} as const

/** "Option reply types". */
export const optionReply = {
  ack: 1,
  server: 2,
  info: 3,
  unsupported: 0x8000_0001,
  policy: 0x8000_0002,
  invalid: 0x8000_0003,
  unknown: 0x8000_0006,
  tooBig: 0x8000_0009,
} as const

/** Information types of NBD_OPT_INFO and NBD_OPT_GO. */
export const information = { export: 0, name: 1, description: 2, blockSize: 3 } as const

/** "Transmission flags". */
export const transmissionFlag = {
  hasFlags: 1 << 0,
  readOnly: 1 << 1,
  sendFlush: 1 << 2,
  sendFua: 1 << 3,
  sendTrim: 1 << 5,
  sendWriteZeroes: 1 << 6,
  sendDontFragment: 1 << 7,
  canMultiConn: 1 << 8,
} as const

/** "Request types". */
export const command = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, writeZeroes: 6 } as const

/** "Command flags". */
export const commandFlag = { fua: 1, noHole: 2, dontFragment: 4 } as const

/** "Error values". */
export const errorValue = { none: 0, notPermitted: 1, io: 5, invalid: 22, noSpace: 28, shutdown: 108 } as const
export type ErrorValue = (typeof errorValue)[keyof typeof errorValue]

/** "Structured reply flags" and "Structured reply types". */
export const chunkDone = 1
export const chunkType = { none: 0, offsetData: 1, error: 0x8001 } as const

/** Bytes of the fixed parts of messages. */
export const wireBytes = {
  clientFlags: 4,
  optionHeader: 16,
  optionReplyHeader: 20,
  /** The answer to NBD_OPT_EXPORT_NAME without its padding, and the padding. */
  exportAnswer: 10,
  exportPadding: 124,
  request: 28,
  simpleReply: 16,
  structuredHeader: 20,
  /** Longest string in the protocol, an export name ("Values"). */
  string: 4096,
} as const

/** One request header. Reused: decoding writes into it. */
export interface RequestHeader {
  flags: number
  command: number
  /** The cookie is opaque (not a number, not a BigInt): two halves that go back as they came. */
  cookieHigh: number
  cookieLow: number
  /** Exact up to 2^53; above it is rounded, and still larger than any volume. */
  offsetBytes: number
  lengthBytes: number
}

/** "Request message". @returns false when the magic is wrong: then nothing of the stream can be trusted any more */
export function decodeRequest(view: DataView, at: number, into: RequestHeader): boolean {
  if (view.getUint32(at) !== requestMagic) return false
  into.flags = view.getUint16(at + 4)
  into.command = view.getUint16(at + 6)
  into.cookieHigh = view.getUint32(at + 8)
  into.cookieLow = view.getUint32(at + 12)
  into.offsetBytes = view.getUint32(at + 16) * 0x1_0000_0000 + view.getUint32(at + 20)
  into.lengthBytes = view.getUint32(at + 24)
  return true
}

/** "Simple reply message". */
export function encodeSimpleReply(view: DataView, at: number, high: number, low: number, error: ErrorValue): void {
  view.setUint32(at, simpleReplyMagic)
  view.setUint32(at + 4, error)
  view.setUint32(at + 8, high)
  view.setUint32(at + 12, low)
}

/** "Structured reply chunk message": the header of a reply's only chunk, hence always with the done flag. */
export function encodeOnlyChunk(
  view: DataView,
  at: number,
  chunk: { type: number; cookieHigh: number; cookieLow: number; payloadBytes: number },
): void {
  view.setUint32(at, structuredReplyMagic)
  view.setUint16(at + 4, chunkDone)
  view.setUint16(at + 6, chunk.type)
  view.setUint32(at + 8, chunk.cookieHigh)
  view.setUint32(at + 12, chunk.cookieLow)
  view.setUint32(at + 16, chunk.payloadBytes)
}

/** Writes an unsigned 64-bit number below 2^53. */
export function putUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 0x1_0000_0000))
  view.setUint32(at + 4, value % 0x1_0000_0000)
}

/** The 18 bytes that the server says first ("Newstyle negotiation"). */
export function encodeGreeting(): Uint8Array {
  const bytes = new Uint8Array(18)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, greetingMagic.high)
  view.setUint32(4, greetingMagic.low)
  view.setUint32(8, optionMagic.high)
  view.setUint32(12, optionMagic.low)
  view.setUint16(16, handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes)
  return bytes
}

/** The answer to NBD_OPT_EXPORT_NAME. @param padded with the 124 zero bytes (the client did not ask for no-zeroes) */
export function encodeExportAnswer(sizeBytes: number, flags: number, padded: boolean): Uint8Array {
  const bytes = new Uint8Array(wireBytes.exportAnswer + (padded ? wireBytes.exportPadding : 0))
  const view = new DataView(bytes.buffer)
  putUint64(view, 0, sizeBytes)
  view.setUint16(8, flags)
  return bytes
}

/** One option reply with its data. */
export function encodeOptionReply(asked: number, type: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(wireBytes.optionReplyHeader + data.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, optionReplyMagic.high)
  view.setUint32(4, optionReplyMagic.low)
  view.setUint32(8, asked)
  view.setUint32(12, type)
  view.setUint32(16, data.length)
  bytes.set(data, wireBytes.optionReplyHeader)
  return bytes
}

const encoder = new TextEncoder()
export const encodeText = (text: string): Uint8Array => encoder.encode(text)

/** Data of NBD_REP_SERVER: the name with its length. */
export function encodeServer(name: string): Uint8Array {
  const text = encodeText(name)
  const bytes = new Uint8Array(4 + text.length)
  new DataView(bytes.buffer).setUint32(0, text.length)
  bytes.set(text, 4)
  return bytes
}

/** Data of NBD_REP_INFO, NBD_INFO_EXPORT. */
export function encodeInfoExport(sizeBytes: number, flags: number): Uint8Array {
  const bytes = new Uint8Array(12)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, information.export)
  putUint64(view, 2, sizeBytes)
  view.setUint16(10, flags)
  return bytes
}

/** Data of NBD_REP_INFO, NBD_INFO_NAME or NBD_INFO_DESCRIPTION. */
export function encodeInfoText(type: number, text: string): Uint8Array {
  const encoded = encodeText(text)
  const bytes = new Uint8Array(2 + encoded.length)
  new DataView(bytes.buffer).setUint16(0, type)
  bytes.set(encoded, 2)
  return bytes
}

/** Data of NBD_REP_INFO, NBD_INFO_BLOCK_SIZE ("Size constraints"). */
export function encodeInfoBlockSize(sizes: {
  minimumBytes: number
  preferredBytes: number
  maximumBytes: number
}): Uint8Array {
  const bytes = new Uint8Array(14)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, information.blockSize)
  view.setUint32(2, sizes.minimumBytes)
  view.setUint32(6, sizes.preferredBytes)
  view.setUint32(10, sizes.maximumBytes)
  return bytes
}

const decoder = new TextDecoder('utf-8', { fatal: true })

/** @returns the text, or null when the bytes are no UTF-8 ("String" in the protocol document) */
export function decodeText(bytes: Uint8Array): string | null {
  try {
    return decoder.decode(bytes)
  } catch {
    return null // fatal: true makes the decoder throw on malformed bytes, the only error it has
  }
}

/** What NBD_OPT_INFO and NBD_OPT_GO ask. `name` is null when it is no UTF-8, hence nobody's name. */
export interface InfoQuestion {
  readonly name: string | null
  readonly wanted: readonly number[]
}

/** @returns null when the data is malformed: lengths that do not agree, or a name longer than the protocol allows */
export function decodeInfoQuestion(data: Uint8Array): InfoQuestion | null {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  if (data.length < 6) return null
  const nameBytes = view.getUint32(0)
  if (nameBytes > wireBytes.string || 4 + nameBytes + 2 > data.length) return null
  const count = view.getUint16(4 + nameBytes)
  const wantedAt = 4 + nameBytes + 2
  if (wantedAt + count * 2 !== data.length) return null
  const wanted = Array.from({ length: count }, (_, index) => view.getUint16(wantedAt + index * 2))
  return { name: decodeText(data.subarray(4, 4 + nameBytes)), wanted }
}
