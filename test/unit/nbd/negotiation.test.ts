import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import { MemoryDevice } from '../../kit/memory-device.ts'
import { Scripted } from './scripted.ts'
import { ack, clientFlags, command, infoData, optionBytes, optionReplies, refused, requestBytes } from './wire.ts'

const types = (bytes: Buffer) => optionReplies(bytes).map((reply) => reply.type)
const greeted = (flags = 3) => {
  const scripted = new Scripted()
  assert.equal(scripted.settle().toString('hex'), '4e42444d4147494349484156454f50540003')
  scripted.say(clientFlags(flags))
  return scripted
}
/** A second volume beside `disk`. */
const two = (first: MemoryDevice) => [
  first,
  new MemoryDevice({ name: 'archive', sizeBytes: 8192, nextTurn: (fire) => setImmediate(fire) }),
]

describe('NBD negotiation', () => {
  test('EXPORT_NAME answers size, flags and the padding that the client did not decline', () => {
    for (const [flags, padding] of [
      [0, 124],
      [1, 124],
      [2, 0],
      [3, 0],
    ] as const) {
      const scripted = greeted(flags)
      const said = scripted.say(optionBytes(1, Buffer.from('disk')))
      assert.equal(said.toString('hex'), `0000000000100000016d${'00'.repeat(padding)}`)
      assert.equal(scripted.session.state, 'serving')
      assert.equal(scripted.device.attached.size, 1)
    }
  })

  test('EXPORT_NAME on an unknown export ends the connection without a word', () => {
    for (const name of ['nope', 'x'.repeat(4097)]) {
      const scripted = greeted()
      assert.equal(scripted.say(optionBytes(1, Buffer.from(name))).length, 0)
      assert.deepEqual(scripted.ended, { how: 'at-once', reason: 'negotiation-refused' })
    }
  })

  test('GO and INFO tell the same; INFO goes on negotiating, GO serves', () => {
    const scripted = greeted()
    const info = optionReplies(scripted.say(optionBytes(6, infoData('disk', [1, 2, 3, 0x7777]))))
    assert.equal(scripted.session.state, 'negotiating')
    const go = optionReplies(scripted.say(optionBytes(7, infoData('disk', [1, 2, 3, 0x7777]))))
    assert.equal(scripted.session.state, 'serving')
    assert.deepEqual(
      go.map(({ type, data }) => [type, data.toString('hex')]),
      info.map(({ type, data }) => [type, data.toString('hex')]),
    )
    assert.deepEqual(
      go.map(({ data }) => (data.length === 0 ? 'ack' : data.readUInt16BE(0))),
      [0, 1, 2, 3, 'ack'],
    )
    assert.equal(go[1]?.data.subarray(2).toString(), 'disk')
    assert.equal(go[3]?.data.subarray(2).toString('hex'), '000000010000100002000000')
  })

  test('only what was asked for is told', () => {
    const go = optionReplies(greeted().say(optionBytes(7, infoData('disk'))))
    assert.deepEqual(
      go.map(({ type }) => type),
      [3, ack],
    )
  })

  test('an unknown export is refused and negotiation goes on', () => {
    const scripted = greeted()
    for (const name of ['nope', 'disk ', 'DISK', '../disk', Buffer.from([0xff])]) {
      assert.deepEqual(types(scripted.say(optionBytes(7, infoData(name)))), [refused.unknown])
    }
    assert.deepEqual(types(scripted.say(optionBytes(7, infoData('disk')))), [3, ack])
  })

  test('the empty name is the only volume, and nothing when there are two', () => {
    const only = greeted()
    const said = optionReplies(only.say(optionBytes(7, infoData('', [1]))))
    assert.equal(said[1]?.data.subarray(2).toString(), 'disk')
    const scripted = new Scripted({ devices: two })
    scripted.settle()
    scripted.say(clientFlags(3))
    assert.deepEqual(types(scripted.say(optionBytes(7, infoData('')))), [refused.unknown])
    const none = new Scripted({ devices: () => [] })
    none.settle()
    none.say(clientFlags(3))
    assert.deepEqual(types(none.say(optionBytes(7, infoData('')))), [refused.unknown])
    assert.deepEqual(types(none.say(optionBytes(3))), [ack])
  })

  test('LIST names every volume; with data it is invalid', () => {
    const scripted = new Scripted({ devices: two })
    scripted.settle()
    scripted.say(clientFlags(3))
    const said = optionReplies(scripted.say(optionBytes(3)))
    assert.deepEqual(
      said.map(({ type, data }) => [type, data.subarray(4).toString()]),
      [
        [2, 'disk'],
        [2, 'archive'],
        [ack, ''],
      ],
    )
    assert.deepEqual(types(scripted.say(optionBytes(3, Buffer.from('x')))), [refused.invalid])
  })

  test('unknown options, TLS and metadata contexts are refused, each with its own reply, and negotiation goes on', () => {
    const scripted = greeted()
    for (const option of [4, 9, 10, 11, 99, 0x6e6f7065]) {
      assert.deepEqual(types(scripted.say(optionBytes(option, Buffer.alloc(37)))), [refused.unsupported])
    }
    assert.deepEqual(types(scripted.say(optionBytes(5))), [refused.policy])
    assert.deepEqual(types(scripted.say(optionBytes(8, Buffer.alloc(1)))), [refused.invalid])
    assert.deepEqual(types(scripted.say(optionBytes(7, Buffer.alloc(3)))), [refused.invalid])
    assert.deepEqual(types(scripted.say(optionBytes(7, infoData('disk')))), [3, ack])
  })

  test('DF is offered exactly when structured replies were agreed on', () => {
    const plain = optionReplies(greeted().say(optionBytes(7, infoData('disk'))))
    const scripted = greeted()
    assert.deepEqual(types(scripted.say(optionBytes(8))), [ack])
    const structured = optionReplies(scripted.say(optionBytes(7, infoData('disk'))))
    assert.equal(plain[0]?.data.readUInt16BE(10), 0x16d)
    assert.equal(structured[0]?.data.readUInt16BE(10), 0x16d | 0x80)
  })

  test('ABORT is acknowledged before the connection ends', () => {
    for (const data of [Buffer.alloc(0), Buffer.from('bye')]) {
      const scripted = greeted()
      assert.deepEqual(types(scripted.say(optionBytes(2, data))), [ack])
      assert.deepEqual(scripted.ended, { how: 'after-output', reason: 'finished' })
      assert.equal(scripted.clock.timers, 0)
    }
  })

  test('what is no NBD ends the connection: unknown flags, wrong magic, options before fixed newstyle', () => {
    const wrongMagic = optionBytes(3)
    wrongMagic.writeUInt8(0, 0)
    const openings = [
      [clientFlags(4)],
      [clientFlags(0x80000003)],
      [clientFlags(3), wrongMagic],
      [clientFlags(0), optionBytes(7, infoData('disk'))],
      [Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ]
    for (const opening of openings) {
      const scripted = new Scripted()
      scripted.say(...opening)
      assert.deepEqual(scripted.ended, { how: 'at-once', reason: 'negotiation-refused' })
      assert.equal(scripted.clock.timers, 0)
    }
  })

  test('an option too large to read is refused from its header, before its data is kept', () => {
    const scripted = greeted()
    const said = scripted.say(optionBytes(99, Buffer.alloc(10), 0xffffffff))
    assert.deepEqual(types(said), [refused.tooBig])
    assert.deepEqual(scripted.ended, { how: 'after-output', reason: 'finished' })
    assert.deepEqual(types(greeted().say(optionBytes(99, Buffer.alloc(limits.optionBytes)))), [refused.unsupported])
  })

  test('a negotiation that does not finish in time is ended; one that did is left alone', () => {
    for (const opening of [[], [clientFlags(3)], [clientFlags(3), optionBytes(7, Buffer.alloc(2), 100)]]) {
      const scripted = new Scripted()
      scripted.say(...opening)
      scripted.clock.pass(limits.negotiationMs - 1)
      assert.equal(scripted.ended, null)
      scripted.clock.pass(1)
      assert.deepEqual(scripted.ended, { how: 'at-once', reason: 'negotiation-overdue' })
    }
    const serving = new Scripted().enter()
    serving.clock.pass(limits.negotiationMs * 10)
    assert.equal(serving.ended, null)
  })

  test('a client that asks and asks and never reads is not listened to any further', () => {
    const scripted = greeted()
    scripted.reading = false
    const lists = Buffer.concat(Array.from({ length: 1000 }, () => optionBytes(3)))
    for (let index = 0; !scripted.paused; index += 1) {
      assert.ok(index < 10_000, 'it is listened to for ever')
      scripted.say(lists)
    }
    scripted.read()
    const said = types(scripted.settle())
    assert.equal(scripted.paused, false)
    assert.equal(said.filter((type) => type === ack).length % 1000, 0)
  })

  test('requests may follow GO in the same packet', () => {
    const scripted = new Scripted()
    scripted.settle()
    const said = scripted.say(
      Buffer.concat([
        clientFlags(3),
        optionBytes(7, infoData('disk')),
        requestBytes({ command: command.flush, cookie: 9n }),
      ]),
    )
    assert.equal(said.subarray(-16).toString('hex'), `67446698${'00000000'}0000000000000009`)
  })
})
