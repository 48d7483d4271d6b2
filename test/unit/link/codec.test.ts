import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { InvariantBroken } from '../../../agent/kit/failure.ts'
import { limits } from '../../../agent/limits.ts'
import { type EncodedFrame, FrameEncoder, protocolVersion } from '../../../agent/link/codec.ts'
import type { Message } from '../../../agent/link/messages.ts'
import { FrameParser } from '../../../agent/link/parser.ts'
import { anyMessage, cutAt, flat } from './messages.ts'

const bytesOf = (frame: EncodedFrame): Buffer => Buffer.concat([frame.head, ...frame.chunks])

interface Parsed {
  readonly message: Message | undefined
  readonly number: number
  readonly acknowledged: number
  readonly bytes: number
}

/** Parses the pieces; every message with its numbers, and what went wrong. */
function parse(pieces: readonly Buffer[]): { parsed: Parsed[]; wrong: string | undefined } {
  const parsed: Parsed[] = []
  const onFrame = (message: Message | undefined, number: number, acknowledged: number, bytes: number) => {
    parsed.push({ message, number, acknowledged, bytes })
    return true
  }
  const parser = new FrameParser({ crc32, onFrame })
  let wrong: string | undefined
  for (const piece of pieces) wrong = parser.push(piece)
  return { parsed, wrong }
}

const golden: readonly { message: Message; hex: string }[] = [
  {
    message: {
      type: 'write',
      volumeKey: 0x01020304,
      session: 0x0a0b0c0d0e0f,
      attempt: 1,
      number: 2,
      lowWater: 3,
      time: 4,
      kind: 'data',
      fua: true,
      offsetBytes: 0x100000000000,
      lengthBytes: 3,
      chunks: [Buffer.from('ab'), Buffer.from('c')],
    },
    hex: '2cca12360000003301011122334455660000000000090000010203040a0b0c0d0e0f0000000000010000000000020000000000030000000000041000000000000000000000030000616263',
  },
  {
    message: {
      type: 'write',
      volumeKey: 1,
      session: 2,
      attempt: 0,
      number: 3,
      lowWater: 0,
      time: 5,
      kind: 'discard',
      fua: false,
      offsetBytes: 4096,
      lengthBytes: 2 ** 48 - 1,
      chunks: [],
    },
    hex: 'e9b6247c000000300100112233445566000000000009000000000001000000000002000000000000000000000003000000000000000000000005000000001000ffffffffffff0300',
  },
  {
    message: { type: 'written', volumeKey: 0xffffffff, session: 2, numbers: [7, 2 ** 40] },
    hex: '9b24fab80000001802001122334455660000000000090000ffffffff0000000000020002000000000007010000000000',
  },
  {
    message: {
      type: 'copy',
      volumeKey: 1,
      session: 2,
      attempt: 3,
      request: 4,
      offsetBytes: 8192,
      lengthBytes: 4096,
      zero: true,
      chunks: [],
    },
    hex: '09eea9ed0000002403021122334455660000000000090000000000010000000000020000000000030000000000040000000020000000000010000000',
  },
  {
    message: {
      type: 'pass',
      volumeKey: 0x01020304,
      session: 0x0a0b0c0d0e0f,
      request: 1,
      connection: 2,
      heardMs: 3,
      kind: 'data',
      fua: true,
      offsetBytes: 0x100000000000,
      lengthBytes: 3,
      chunks: [Buffer.from('ab'), Buffer.from('c')],
    },
    hex: '893b8d990000002d06011122334455660000000000090000010203040a0b0c0d0e0f0000000000010000000000020000000000031000000000000000000000030000616263',
  },
  {
    message: {
      type: 'pass',
      volumeKey: 1,
      session: 2,
      request: 3,
      connection: 4,
      heardMs: 0,
      kind: 'flush',
      fua: false,
      offsetBytes: 0,
      lengthBytes: 0,
      chunks: [],
    },
    hex: 'c91cfd770000002a06001122334455660000000000090000000000010000000000020000000000030000000000040000000000000000000000000000000000000500',
  },
  {
    message: {
      type: 'passed',
      volumeKey: 1,
      session: 2,
      request: 3,
      sentMs: 4,
      outcome: 'done',
      lengthBytes: 2,
      chunks: [Buffer.from('de')],
    },
    hex: '121331e200000020070011223344556600000000000900000000000100000000000200000000000300000000000400000000000200006465',
  },
  {
    message: {
      type: 'passed',
      volumeKey: 1,
      session: 2,
      request: 3,
      sentMs: 4,
      outcome: 'dropped',
      lengthBytes: 0,
      chunks: [],
    },
    hex: '089927c50000001e07001122334455660000000000090000000000010000000000020000000000030000000000040000000000000300',
  },
  {
    message: {
      type: 'pass',
      volumeKey: 1,
      session: 2,
      request: 3,
      connection: 4,
      heardMs: 5,
      kind: 'compare',
      fua: true,
      offsetBytes: 1536,
      lengthBytes: 512,
      chunks: [Buffer.alloc(512, 0xe1), Buffer.alloc(512, 0xf2)],
    },
    hex: `f3a74c290000042a06011122334455660000000000090000000000010000000000020000000000030000000000040000000000050000000006000000000002000600${'e1'.repeat(512)}${'f2'.repeat(512)}`,
  },
  {
    message: {
      type: 'passed',
      volumeKey: 1,
      session: 2,
      request: 3,
      sentMs: 4,
      outcome: 'differs',
      lengthBytes: 511,
      chunks: [],
    },
    hex: '58e7d3cb0000001e07001122334455660000000000090000000000010000000000020000000000030000000000040000000001ff0500',
  },
  {
    message: { type: 'control', kind: 'police.ask', body: { word: 'ä' } },
    hex: '0202c6e300000018040011223344556600000000000900000a706f6c6963652e61736b7b22776f7264223a22c3a4227d',
  },
]

describe('link codec', () => {
  it('writes the golden bytes of protocol version 3 and reads them back', () => {
    assert.equal(protocolVersion, 3)
    const encoder = new FrameEncoder(crc32)
    for (const { message, hex } of golden) {
      const bytes = bytesOf(encoder.encode(message, 0x112233445566, 9))
      assert.equal(bytes.toString('hex'), hex)
      const { parsed, wrong } = parse([Buffer.from(hex, 'hex')])
      assert.equal(wrong, undefined)
      assert.deepEqual(
        parsed.map((each) => [flat(each.message), each.number, each.acknowledged, each.bytes]),
        [[flat(message), 0x112233445566, 9, bytes.length]],
      )
    }
    assert.equal(
      bytesOf(encoder.acknowledgement(77)).toString('hex'),
      '0dce580800000000050000000000000000000000004d0000',
    )
  })

  it('reads back every message, whatever the cuts of the bytes', () => {
    const encoder = new FrameEncoder(crc32)
    fc.assert(
      fc.property(
        fc.array(anyMessage, { minLength: 1, maxLength: 8 }),
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 40 }),
        (messages, fractions) => {
          const bytes = Buffer.concat(messages.map((message, index) => bytesOf(encoder.encode(message, index + 1, 5))))
          const { parsed, wrong } = parse(cutAt(bytes, fractions))
          assert.equal(wrong, undefined)
          assert.deepEqual(
            parsed.map((each) => flat(each.message)),
            messages.map(flat),
          )
          assert.deepEqual(
            parsed.map((each) => each.number),
            messages.map((_, index) => index + 1),
          )
        },
      ),
      { seed: 1, numRuns: 300 },
    )
  })

  it('never copies a payload: chunks are handed on as they are and received as views', () => {
    const chunk = Buffer.alloc(4096, 1)
    const message: Message = {
      type: 'write',
      volumeKey: 1,
      session: 2,
      attempt: 0,
      number: 3,
      lowWater: 0,
      time: 5,
      kind: 'data',
      fua: false,
      offsetBytes: 0,
      lengthBytes: 4096,
      chunks: [chunk],
    }
    const frame = new FrameEncoder(crc32).encode(message, 1, 0)
    assert.equal(frame.chunks[0], chunk)
    const received = bytesOf(frame)
    const [first] = parse([received]).parsed
    assert.ok(first?.message?.type === 'write')
    assert.equal(first.message.chunks[0]?.buffer, received.buffer)
  })

  it('finds a changed bit anywhere in the head, and any garbage, without waiting for more', () => {
    const encoder = new FrameEncoder(crc32)
    const anyHead = anyMessage.map((message) => encoder.encode(message, 3, 2))
    fc.assert(
      fc.property(anyHead, fc.nat(), (frame, place) => {
        const bytes = bytesOf(frame)
        const bit = place % (frame.head.length * 8)
        bytes.writeUInt8((bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7)), bit >> 3)
        // A length that grew within the frame's limits is found once that many bytes came.
        const { parsed, wrong } = parse([bytes, Buffer.alloc(2 * limits.controlBytes)])
        assert.deepEqual(parsed, [])
        assert.notEqual(wrong, undefined)
      }),
      { seed: 2, numRuns: 300 },
    )
    assert.match(parse([Buffer.from('GET / HTTP/1.1\r\nHost: example\r\n\r\n')]).wrong ?? '', /no frame/)
    assert.match(parse([Buffer.alloc(24, 255)]).wrong ?? '', /no frame/)
  })

  it('refuses heads that are sound but say what cannot be', () => {
    const good = bytesOf(new FrameEncoder(crc32).encode(golden[0]?.message ?? assert.fail(), 1, 0))
    const changed = (change: (bytes: Buffer) => void) => {
      const bytes = Buffer.from(good)
      change(bytes)
      bytes.writeUInt32BE(crc32(bytes.subarray(4, 72)), 0)
      return parse([bytes]).wrong ?? ''
    }
    assert.equal(
      changed(() => undefined),
      '',
    )
    assert.match(
      changed((bytes) => bytes.writeUInt8(9, 70)),
      /unknown kind/,
    )
    assert.match(
      changed((bytes) => bytes.writeUInt8(1, 70)),
      /another length/,
    )
    assert.match(
      changed((bytes) => bytes.writeUIntBE(0, 64, 6)),
      /no bytes/,
    )
    assert.match(
      changed((bytes) => bytes.writeUIntBE(4, 64, 6)),
      /another length/,
    )
    assert.match(
      changed((bytes) => bytes.writeUInt8(8, 8)),
      /no frame/,
    )
    assert.match(
      changed((bytes) => bytes.writeUInt32BE(limits.frameBytes, 4)),
      /no frame/,
    )
    const control = bytesOf(new FrameEncoder(crc32).encode({ type: 'control', kind: 'ab', body: 12 }, 1, 0))
    const broken = (change: (bytes: Buffer) => void) => {
      const bytes = Buffer.from(control)
      change(bytes)
      bytes.writeUInt32BE(crc32(bytes.subarray(4)), 0)
      return parse([bytes]).wrong ?? ''
    }
    assert.match(
      broken((bytes) => bytes.write('A', 25)),
      /no proper kind/,
    )
    assert.match(
      broken((bytes) => bytes.write('{', 27)),
      /not JSON/,
    )
    assert.match(
      broken((bytes) => bytes.writeUInt8(200, 24)),
      /without a body/,
    )
  })

  it('refuses passed requests and answers that cannot be, before their payload has come', () => {
    const [data, , read, , compared, different] = golden.filter(
      ({ message }) => message.type === 'pass' || message.type === 'passed',
    )
    const changed = (hex: string | undefined, fixedBytes: number, change: (bytes: Buffer) => void) => {
      const head = Buffer.from(hex ?? '', 'hex').subarray(0, 24 + fixedBytes)
      change(head)
      head.writeUInt32BE(crc32(head.subarray(4)), 0)
      return parse([head]).wrong ?? ''
    }
    const pass = (change: (bytes: Buffer) => void) => changed(data?.hex, 42, change)
    const passed = (change: (bytes: Buffer) => void) => changed(read?.hex, 30, change)
    const none = () => undefined
    const tooLong = (at: number) => (bytes: Buffer) => {
      const fixedBytes = bytes.length - 24
      bytes.writeUIntBE(limits.writePartBytes + 1, at, 6)
      bytes.writeUInt32BE(fixedBytes + limits.writePartBytes + 1, 4)
    }
    const compare = (change: (bytes: Buffer) => void) => changed(compared?.hex, 42, change)
    const differs = (change: (bytes: Buffer) => void) => changed(different?.hex, 30, change)
    const tooLarge = (bytes: Buffer) => {
      bytes.writeUIntBE(limits.compareBytes + 512, 58, 6)
      bytes.writeUInt32BE(42 + 2 * (limits.compareBytes + 512), 4)
    }
    assert.deepEqual([pass(none), passed(none), compare(none), differs(none)], ['', '', '', ''])
    const cases: readonly [string, RegExp][] = [
      [pass((bytes) => bytes.writeUInt8(7, 64)), /unknown kind/],
      [pass((bytes) => bytes.writeUInt8(6, 64)), /half sectors/],
      [compare((bytes) => bytes.writeUIntBE(1537, 52, 6)), /half sectors/],
      [compare((bytes) => bytes.writeUIntBE(0, 58, 6)), /half sectors/],
      [compare((bytes) => bytes.writeUIntBE(1024, 58, 6)), /another length/],
      [compare(tooLarge), /larger than any/],
      [pass((bytes) => bytes.writeUInt8(4, 64)), /another length/],
      [pass((bytes) => bytes.writeUInt8(5, 64)), /flush of some/],
      [pass((bytes) => bytes.writeUIntBE(0, 58, 6)), /no bytes/],
      [pass((bytes) => bytes.writeUIntBE(4, 58, 6)), /another length/],
      [pass(tooLong(58)), /no frame/],
      [passed((bytes) => bytes.writeUInt8(7, 52)), /unknown outcome/],
      [passed((bytes) => bytes.writeUInt8(5, 52)), /not done/],
      [differs((bytes) => bytes.writeUIntBE(limits.compareBytes, 46, 6)), /another length/],
      [passed((bytes) => bytes.writeUInt8(3, 52)), /not done/],
      [passed((bytes) => bytes.writeUIntBE(1, 46, 6)), /another length/],
      [passed(tooLong(46)), /no frame/],
    ]
    for (const [wrong, expected] of cases) assert.match(wrong, expected)
    const long = pass((bytes) => {
      bytes.writeUInt8(4, 64)
      bytes.writeUIntBE(limits.writePartBytes + 1, 58, 6)
      bytes.writeUInt32BE(42, 4)
    })
    assert.match(long, /larger than a part/, 'a read whose answer would not fit')
  })

  it('asserts its own side: a message out of range is a bug of the caller, not a frame', () => {
    const encoder = new FrameEncoder(crc32)
    const refuses = (message: Message) => assert.throws(() => encoder.encode(message, 1, 0), InvariantBroken)
    const note: Message = { type: 'control', kind: 'a', body: 0 }
    refuses({ ...note, kind: 'Not allowed' })
    refuses({ ...note, body: undefined })
    refuses({ ...note, body: 'x'.repeat(limits.controlBytes) })
    refuses({ type: 'written', volumeKey: 1, session: 2, numbers: [] })
    refuses({ type: 'written', volumeKey: 1, session: 2, numbers: new Array<number>(1025).fill(1) })
    refuses({ type: 'written', volumeKey: 1, session: 2 ** 48, numbers: [1] })
    refuses({ type: 'written', volumeKey: 1, session: 2, numbers: [0.5] })
    const copy: Message = {
      type: 'copy',
      volumeKey: 1,
      session: 2,
      attempt: 3,
      request: 4,
      offsetBytes: 0,
      lengthBytes: 4096,
      zero: true,
      chunks: [],
    }
    refuses({ ...copy, offsetBytes: 512 })
    refuses({ ...copy, lengthBytes: limits.copyPieceBytes + 4096 })
    refuses({ ...copy, zero: false })
    const pass = golden.find(({ message }) => message.type === 'pass')?.message
    assert.ok(pass?.type === 'pass')
    refuses({ ...pass, lengthBytes: 4 })
    refuses({ ...pass, kind: 'read' })
    refuses({ ...pass, kind: 'flush', chunks: [] })
    const passed = golden.find(({ message }) => message.type === 'passed')?.message
    assert.ok(passed?.type === 'passed')
    refuses({ ...passed, outcome: 'io' })
    refuses({ ...passed, lengthBytes: 1 })
  })
})
