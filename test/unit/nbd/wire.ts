/** What NBD clients send and receive, written down a second time for the tests, so that codec.ts cannot confirm itself. */

export const command = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, cache: 5, zero: 6, status: 7 } as const
export const flag = { fua: 1, noHole: 2, dontFragment: 4, requestOne: 8, fastZero: 16 } as const
export const ack = 1
export const refused = {
  unsupported: 0x80000001,
  policy: 0x80000002,
  invalid: 0x80000003,
  unknown: 0x80000006,
  tooBig: 0x80000009,
} as const

export function clientFlags(flags: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(flags)
  return bytes
}

export function optionBytes(option: number, data: Uint8Array = Buffer.alloc(0), announced = data.length): Buffer {
  const header = Buffer.from('49484156454f5054' + '0000000000000000', 'hex')
  header.writeUInt32BE(option, 8)
  header.writeUInt32BE(announced, 12)
  return Buffer.concat([header, data])
}

export function infoData(name: string | Buffer, wanted: readonly number[] = []): Buffer {
  const text = Buffer.from(name)
  const data = Buffer.alloc(6 + text.length + 2 * wanted.length)
  data.writeUInt32BE(text.length, 0)
  text.copy(data, 4)
  data.writeUInt16BE(wanted.length, 4 + text.length)
  wanted.forEach((type, index) => {
    data.writeUInt16BE(type, 6 + text.length + 2 * index)
  })
  return data
}

export interface Asked {
  readonly command: number
  readonly flags?: number
  readonly cookie?: bigint
  readonly offset?: bigint
  readonly length?: number
  readonly data?: Uint8Array
  readonly magic?: number
}

export function requestBytes(asked: Asked): Buffer {
  const header = Buffer.alloc(28)
  header.writeUInt32BE(asked.magic ?? 0x25609513, 0)
  header.writeUInt16BE(asked.flags ?? 0, 4)
  header.writeUInt16BE(asked.command, 6)
  header.writeBigUInt64BE(asked.cookie ?? 1n, 8)
  header.writeBigUInt64BE(asked.offset ?? 0n, 16)
  header.writeUInt32BE(asked.length ?? asked.data?.length ?? 0, 24)
  return Buffer.concat([header, asked.data ?? Buffer.alloc(0)])
}

export interface OptionReply {
  readonly option: number
  readonly type: number
  readonly data: Buffer
}

/** Takes whole option replies off the front; throws on anything else. */
export function optionReplies(bytes: Buffer): OptionReply[] {
  const replies: OptionReply[] = []
  for (let at = 0; at < bytes.length; ) {
    if (bytes.readBigUInt64BE(at) !== 0x3e889045565a9n) throw new Error(`no option reply at ${at}`)
    const length = bytes.readUInt32BE(at + 16)
    const data = bytes.subarray(at + 20, at + 20 + length)
    if (data.length !== length) throw new Error('an option reply is cut short')
    replies.push({ option: bytes.readUInt32BE(at + 8), type: bytes.readUInt32BE(at + 12), data })
    at += 20 + length
  }
  return replies
}

export interface Reply {
  readonly cookie: bigint
  readonly error: number
  readonly data: Buffer | null
  readonly structured: boolean
}

/** Takes whole replies off the front. @param reads how long the payload is for the cookies of successful reads */
export function replies(bytes: Buffer, reads: ReadonlyMap<bigint, number> = new Map()): Reply[] {
  const found: Reply[] = []
  for (let at = 0; at < bytes.length; ) {
    const magic = bytes.readUInt32BE(at)
    if (magic === 0x67446698) {
      const error = bytes.readUInt32BE(at + 4)
      const cookie = bytes.readBigUInt64BE(at + 8)
      at += 16
      const length = error === 0 ? reads.get(cookie) : undefined
      const data = length === undefined ? null : bytes.subarray(at, at + length)
      if (data !== null && data.length !== length) throw new Error('a read reply is cut short')
      at += length ?? 0
      found.push({ cookie, error, data, structured: false })
    } else if (magic === 0x668e33ef) {
      const [done, type] = [bytes.readUInt16BE(at + 4), bytes.readUInt16BE(at + 6)]
      if (done !== 1) throw new Error('a chunk without the done flag')
      const cookie = bytes.readBigUInt64BE(at + 8)
      const payload = bytes.subarray(at + 20, at + 20 + bytes.readUInt32BE(at + 16))
      at += 20 + payload.length
      const error = (type & 0x8000) === 0 ? 0 : payload.readUInt32BE(0)
      found.push({ cookie, error, data: type === 1 ? payload.subarray(8) : null, structured: true })
    } else {
      throw new Error(`no reply at ${at}: ${bytes.subarray(at, at + 16).toString('hex')}`)
    }
  }
  return found
}
