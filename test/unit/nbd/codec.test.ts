import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { ByteQueue } from '../../../agent/frontends/nbd/bytes.ts'
import {
  decodeInfoQuestion,
  decodeRequest,
  encodeExportAnswer,
  encodeGreeting,
  encodeInfoBlockSize,
  encodeInfoExport,
  encodeOptionReply,
  encodeText,
} from '../../../agent/frontends/nbd/codec.ts'
import { Replies, ReplyBlocks, replyBlockBytes } from '../../../agent/frontends/nbd/replies.ts'
import { limits } from '../../../agent/limits.ts'
import { infoData, optionReplies, replies, requestBytes } from './wire.ts'

const seed = 20261122
const blank = () => ({ flags: 0, command: 0, cookieHigh: 0, cookieLow: 0, offsetBytes: 0, lengthBytes: 0 })
const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Cuts bytes at the given places (any numbers; taken modulo the length). */
function cutAt(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b)
  return [...sorted, bytes.length].map((to, index) => bytes.subarray(sorted[index - 1] ?? 0, to))
}

describe('the NBD codec', () => {
  test('reads every request header as it was written, whatever its cookie, offset and length', () => {
    const u16 = fc.nat(0xffff)
    const u32 = fc.nat(0xffffffff)
    const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })
    fc.assert(
      fc.property(u16, u16, u64, u64, u32, fc.nat(7), (flags, command, cookie, offset, length, at) => {
        const bytes = Buffer.concat([Buffer.alloc(at), requestBytes({ flags, command, cookie, offset, length })])
        const into = blank()
        assert.equal(decodeRequest(viewOf(bytes), at, into), true)
        assert.deepEqual([into.flags, into.command, into.lengthBytes], [flags, command, length])
        assert.equal((BigInt(into.cookieHigh) << 32n) | BigInt(into.cookieLow), cookie)
        // Above 2^53 a number is rounded: still beyond every volume, which is all that is asked of it.
        if (offset <= 1n << 53n) assert.equal(BigInt(into.offsetBytes), offset)
        else assert.ok(into.offsetBytes >= 2 ** 53 && into.offsetBytes > limits.volumeMaxBytes)
      }),
      { seed, numRuns: 500 },
    )
  })

  test('refuses a header with any other magic', () => {
    for (const magic of [0, 0x12560953, 0x67446698, 0x25609512, 0x95136025]) {
      assert.equal(decodeRequest(viewOf(requestBytes({ command: 0, magic })), 0, blank()), false)
    }
  })

  test('writes greeting, export answer and option replies byte for byte as the document says', () => {
    assert.equal(Buffer.from(encodeGreeting()).toString('hex'), '4e42444d4147494349484156454f50540003')
    const answer = Buffer.from(encodeExportAnswer(0x1_0000_1000, 0x16d, true))
    assert.equal(answer.length, 134)
    assert.equal(answer.subarray(0, 10).toString('hex'), '0000000100001000016d')
    assert.deepEqual(answer.subarray(10), Buffer.alloc(124))
    assert.equal(encodeExportAnswer(4096, 1, false).length, 10)
    const reply = Buffer.from(encodeOptionReply(7, 0x80000006, encodeText('nö')))
    assert.equal(reply.toString('hex'), '0003e889045565a90000000780000006000000036ec3b6')
    assert.equal(optionReplies(reply)[0]?.data.toString(), 'nö')
    assert.equal(Buffer.from(encodeInfoExport(2 ** 46, 0x16d)).toString('hex'), '00000000400000000000016d')
    const sizes = encodeInfoBlockSize({ minimumBytes: 1, preferredBytes: 4096, maximumBytes: 1 << 25 })
    assert.equal(Buffer.from(sizes).toString('hex'), '0003000000010000100002000000')
  })

  test('reads INFO questions, and calls every inconsistent one malformed', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), fc.array(fc.nat(0xffff)), (name, wanted) => {
        const data = infoData(name, wanted)
        assert.deepEqual(decodeInfoQuestion(data), { name: Buffer.from(name).toString(), wanted })
        assert.equal(decodeInfoQuestion(Buffer.concat([data, Buffer.alloc(1)])), null)
        assert.equal(decodeInfoQuestion(data.subarray(0, data.length - 1)), null)
      }),
      { seed },
    )
    assert.equal(decodeInfoQuestion(infoData(Buffer.from([0xff, 0xfe])))?.name, null)
    assert.equal(decodeInfoQuestion(infoData('x'.repeat(4096)))?.name?.length, 4096)
    assert.equal(decodeInfoQuestion(infoData('x'.repeat(4097))), null)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (noise) => {
        decodeInfoQuestion(noise) // any answer will do, but no exception
      }),
      { seed },
    )
  })
})

describe('the queue of received bytes', () => {
  test('gives back the stream as it came, however it was cut and in whatever portions it is taken', () => {
    const portion = fc.record({
      kind: fc.constantFrom('fixed', 'piece', 'whole', 'skip'),
      bytes: fc.integer({ min: 1, max: 40 }),
    })
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 600 }),
        fc.array(fc.nat(600), { maxLength: 200 }),
        fc.array(portion, { minLength: 1, maxLength: 50 }),
        (bytes, places, portions) => {
          const stream = Buffer.from(bytes)
          const queue = new ByteQueue()
          for (const chunk of cutAt(stream, places)) queue.push(chunk)
          assert.equal(queue.lengthBytes, stream.length)
          let at = 0
          for (let turn = 0; queue.lengthBytes > 0 && turn < 2000; turn += 1) {
            const next = portions[turn % portions.length]
            assert.ok(next)
            const wanted = turn < 1000 ? next.bytes : 1
            const taken = take(queue, next.kind, Math.min(32, wanted), stream.subarray(at))
            at += taken
            assert.equal(queue.lengthBytes, stream.length - at)
          }
          assert.equal(at, stream.length)
        },
      ),
      { seed, numRuns: 300 },
    )
  })

  test('joins dribbled bytes, so that they cost bytes and not objects', () => {
    const queue = new ByteQueue()
    for (let index = 0; index < 10_000; index += 1) queue.push(Buffer.from([index & 255]))
    let pieces = 0
    for (let at = 0; queue.lengthBytes > 0; pieces += 1) {
      const piece = queue.piece(10_000)
      assert.equal(piece[0], at & 255)
      at += piece.length
    }
    assert.ok(pieces <= 16 + 4, `${pieces} pieces`)
  })

  test('copies no payload: a piece is a view of what was received', () => {
    const received = Buffer.from('0123456789')
    const queue = new ByteQueue()
    queue.push(received)
    queue.skip(2)
    const piece = queue.piece(4)
    assert.equal(piece.buffer, received.buffer)
    assert.equal(Buffer.from(piece).toString(), '2345')
  })
})

/** Takes up to `wanted` bytes in one of the ways, and compares them with what is expected. @returns how many */
function take(queue: ByteQueue, kind: string, wanted: number, expected: Buffer): number {
  switch (kind) {
    case 'fixed': {
      if (!queue.fixed(wanted)) return 0
      const got = Array.from({ length: wanted }, (_, index) => queue.view.getUint8(queue.at + index))
      assert.deepEqual(Buffer.from(got), expected.subarray(0, wanted))
      return wanted
    }
    case 'piece': {
      const piece = queue.piece(wanted)
      assert.ok(piece.length >= 1 && piece.length <= wanted)
      assert.deepEqual(Buffer.from(piece), expected.subarray(0, piece.length))
      return piece.length
    }
    case 'whole': {
      const whole = queue.whole(wanted)
      if (whole === null) {
        assert.ok(expected.length < wanted)
        return 0
      }
      assert.deepEqual(Buffer.from(whole), expected.subarray(0, wanted))
      return wanted
    }
    default:
      return queue.skip(wanted)
  }
}

describe('collected replies', () => {
  const sizes = fc.constantFrom(0, 1, 512, 4096, 16 * 1024, 16 * 1024 + 1, 65_536, 100_000)
  const one = fc.record({
    kind: fc.constantFrom('done', 'read', 'error'),
    bytes: sizes,
    cuts: fc.array(fc.nat(100_000), { maxLength: 3 }),
  })
  for (const structured of [false, true]) {
    test(`come out whole and in order, ${structured ? 'structured' : 'simple'}, also when blocks are used again`, () => {
      const pool = new ReplyBlocks()
      fc.assert(
        fc.property(fc.array(one, { minLength: 1, maxLength: 40 }), (script) => {
          const collected = new Replies(pool)
          const reads = new Map<bigint, number>()
          script.forEach(({ kind, bytes, cuts }, index) => {
            const request = { cookieHigh: 0xfedcba98, cookieLow: index, offsetBytes: index * 4096, lengthBytes: bytes }
            if (kind === 'done') collected.simple(request, 0)
            else if (kind === 'error' && structured) collected.structuredError(request, 5)
            else if (kind === 'error') collected.simple(request, 5)
            else {
              reads.set(0xfedcba9800000000n + BigInt(index), bytes)
              const chunks = cutAt(Buffer.alloc(bytes, index), cuts)
              if (structured) collected.structuredRead(request, chunks)
              else collected.simpleRead(request, chunks)
            }
          })
          const batch = collected.take()
          assert.ok(batch)
          const found = replies(Buffer.concat(batch.parts), reads)
          assert.equal(found.length, script.length)
          found.forEach((reply, index) => {
            const asked = script[index]
            assert.ok(asked)
            assert.equal(reply.cookie, 0xfedcba9800000000n + BigInt(index))
            assert.equal(reply.error, asked.kind === 'error' ? 5 : 0)
            if (asked.kind === 'read') assert.deepEqual(reply.data ?? Buffer.alloc(0), Buffer.alloc(asked.bytes, index))
          })
          assert.equal(batch.lengthBytes, Buffer.concat(batch.parts).length)
          assert.equal(collected.take(), null)
          for (const block of batch.blocks) block.bytes.fill(0xee)
          pool.giveBack(batch.blocks)
        }),
        { seed, numRuns: 100 },
      )
    })
  }

  test('pack the headers of a turn into one buffer', () => {
    const collected = new Replies(new ReplyBlocks())
    for (let index = 0; index < 256; index += 1) {
      collected.simple({ cookieHigh: 0, cookieLow: index, offsetBytes: 0, lengthBytes: 0 }, 0)
    }
    const batch = collected.take()
    assert.equal(batch?.parts.length, 1)
    assert.ok(256 * 16 <= replyBlockBytes)
  })

  test('a read answered with too few or too many bytes stops the agent (N1) instead of shifting every later reply', () => {
    const request = { cookieHigh: 0, cookieLow: 1, offsetBytes: 0, lengthBytes: 4096 }
    for (const bytes of [0, 4095, 4097]) {
      const collected = new Replies(new ReplyBlocks())
      assert.throws(() => collected.simpleRead(request, [Buffer.alloc(bytes)]), /N1/)
      assert.throws(() => collected.structuredRead(request, [Buffer.alloc(bytes)]), /N1/)
    }
  })
})
