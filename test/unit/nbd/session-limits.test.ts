import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { limits } from '../../../agent/limits.ts'
import { read, seed, sizeBytes, write } from './asking.ts'
import { Scripted } from './scripted.ts'
import { command, flag, type Reply, requestBytes } from './wire.ts'

describe('the limits of an NBD connection', () => {
  test('no more requests than allowed are under way; the rest wait unread and are all served', () => {
    const scripted = new Scripted().enter()
    scripted.device.hold()
    const total = limits.clientRequests * 2 + 10
    const all = Array.from({ length: total }, (_, index) =>
      requestBytes(write(0, Buffer.alloc(512, index), BigInt(index))),
    )
    scripted.say(Buffer.concat(all))
    assert.equal(scripted.device.waiting, limits.clientRequests)
    scripted.device.release()
    const said = scripted.replies(scripted.settle())
    assert.deepEqual(
      said.map(({ cookie }) => Number(cookie)),
      all.map((_, index) => index),
    )
  })

  test('a client at its limits is read on, so that its end is noticed (W9), but not without end', () => {
    const scripted = new Scripted({ sizeBytes: limits.requestBytes }).enter()
    scripted.device.hold()
    const one = requestBytes(write(0, Buffer.alloc(limits.requestBytes)))
    let count = 0
    for (; !scripted.paused; count += 1) {
      assert.ok(count < 1000, 'it is read for ever')
      scripted.say(one)
    }
    const most = limits.clientBytes + limits.clientReadAheadBytes
    assert.ok(count * one.length > most && count * one.length < most + 2 * one.length, `${count} requests`)
    scripted.device.release()
    assert.equal(scripted.replies(scripted.settle()).length, count)
    assert.deepEqual([scripted.paused, scripted.device.seen.length], [false, count])
  })

  test('no more payload than allowed is under way, reads counted with what they will return', () => {
    const length = limits.requestBytes / 2
    const fits = limits.clientBytes / length
    for (const kind of ['read', 'write'] as const) {
      const scripted = new Scripted({ sizeBytes: limits.requestBytes }).enter()
      scripted.device.hold()
      const one = kind === 'read' ? requestBytes(read(0, length)) : requestBytes(write(0, Buffer.alloc(length)))
      for (let index = 0; index < fits; index += 1) scripted.say(one)
      assert.deepEqual([scripted.device.waiting, scripted.paused], [fits, false])
      scripted.say(one, requestBytes({ command: command.flush }))
      assert.deepEqual([scripted.device.waiting, scripted.paused], [fits, false])
      scripted.device.release()
      scripted.settle()
      assert.equal(scripted.device.seen.length, fits + 2)
      assert.equal(scripted.paused, false)
    }
  })

  test('a client that does not read its replies is not read either, and gets everything once it reads', () => {
    const scripted = new Scripted({ sizeBytes: 1 << 20 }).enter()
    scripted.reading = false
    const length = 1 << 20
    const reads = new Map<bigint, number>()
    for (let index = 0n; index < 100n; index += 1n) {
      reads.set(index, length)
      scripted.say(requestBytes(read(0, length, index)))
    }
    const mostServed = (limits.clientUnsentBytes + limits.clientBytes) / length + 2
    assert.ok(scripted.device.seen.length <= mostServed, `${scripted.device.seen.length} reads were served`)
    scripted.read()
    const said = scripted.replies(scripted.settle(), reads)
    assert.deepEqual(
      said.map(({ cookie }) => cookie),
      [...reads.keys()],
    )
  })

  test('a payload that dribbles in byte by byte arrives whole and in few pieces', () => {
    const scripted = new Scripted().enter()
    let pieces = 0
    const client = [...scripted.device.attached][0]
    assert.ok(client)
    const plain = client.write.bind(client)
    client.write = (offsetBytes, chunks, lengthBytes, fua, done) => {
      pieces = chunks.length
      plain(offsetBytes, chunks, lengthBytes, fua, done)
    }
    const data = Buffer.from(Array.from({ length: 5000 }, (_, index) => index & 255))
    for (const byte of requestBytes(write(0, data))) scripted.session.received(Buffer.from([byte]))
    assert.equal(scripted.replies(scripted.settle())[0]?.error, 0)
    assert.deepEqual(scripted.device.bytes.subarray(0, 5000), data)
    assert.ok(pieces <= limits.payloadPieces + 1, `${pieces} pieces`)
  })
})

describe('any chunking of the byte stream', () => {
  const span = {
    offset: fc.integer({ min: 0, max: sizeBytes }),
    length: fc.constantFrom(0, 1, 511, 512, 4096, 9000, 70_000),
  }
  const flags = fc.constantFrom(0, 0, 0, flag.fua, flag.noHole, flag.dontFragment, 0x4000)
  const request = fc.oneof(
    fc.record({ command: fc.constantFrom(command.read, command.trim, command.zero), flags, ...span }),
    fc.record({ command: fc.constant(command.write), flags, ...span }),
    fc.record({
      command: fc.constantFrom(command.flush, command.cache, 77),
      flags,
      offset: fc.constant(0),
      length: fc.constant(0),
    }),
  )

  test('gives the same requests to the device and the same replies to the client', () => {
    fc.assert(
      fc.property(
        fc.array(request, { minLength: 1, maxLength: 60 }),
        fc.array(fc.record({ bytes: fc.constantFrom(1, 3, 27, 28, 29, 100, 1460, 4096, 65_536), turn: fc.boolean() }), {
          minLength: 1,
        }),
        fc.boolean(),
        (script, cuts, structured) => {
          const stream = Buffer.concat(
            script.map(({ command: kind, flags: set, offset, length }, index) => {
              const data = kind === command.write ? Buffer.alloc(length, index + 1) : undefined
              const asked = { command: kind, flags: set, cookie: BigInt(index), offset: BigInt(offset), length }
              return requestBytes(data === undefined ? asked : { ...asked, data })
            }),
          )
          const reads = new Map(
            script.flatMap((one, index) =>
              one.command === command.read ? [[BigInt(index), one.length] as const] : [],
            ),
          )
          const whole = new Scripted({ sizeBytes }).enter({ structured })
          const wholeReplies = whole.replies(whole.say(stream), reads)
          const parts = new Scripted({ sizeBytes }).enter({ structured })
          const said: Buffer[] = []
          for (let at = 0, turn = 0; at < stream.length; turn += 1) {
            const cut = cuts[turn % cuts.length]
            assert.ok(cut)
            parts.session.received(Buffer.from(stream.subarray(at, at + cut.bytes)))
            at += cut.bytes
            if (cut.turn) said.push(parts.settle())
          }
          said.push(parts.settle())
          const partReplies = parts.replies(Buffer.concat(said), reads)
          const sorted = (replies: Reply[]) => replies.sort((one, other) => Number(one.cookie - other.cookie))
          assert.equal(wholeReplies.length, script.length)
          assert.deepEqual(sorted(partReplies), sorted(wholeReplies))
          assert.deepEqual(parts.device.seen, whole.device.seen)
          assert.ok(parts.device.bytes.equals(whole.device.bytes))
        },
      ),
      { seed, numRuns: 60 },
    )
  })

  test('of noise never throws, and never disturbs the device', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (noise, entered) => {
        const scripted = new Scripted()
        scripted.settle()
        if (entered) scripted.enter()
        scripted.say(noise)
        assert.deepEqual(scripted.device.seen, [])
      }),
      { seed, numRuns: 300 },
    )
  })
})
