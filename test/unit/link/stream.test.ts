import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { InvariantBroken } from '../../../agent/kit/failure.ts'
import { limits } from '../../../agent/limits.ts'
import { FrameEncoder } from '../../../agent/link/codec.ts'
import type { ControlMessage, Message } from '../../../agent/link/messages.ts'
import { FrameParser } from '../../../agent/link/parser.ts'
import { Stream } from '../../../agent/link/stream.ts'
import { anyMessage, flat } from './messages.ts'

const note = (number: number): ControlMessage => ({ type: 'control', kind: 'test.note', body: number })

/** One end: a stream, and the bytes on their way to the other end by the present connection. */
class End {
  readonly stream = new Stream(new FrameEncoder(crc32))
  readonly delivered: Message[] = []
  wire = Buffer.alloc(0)
  parser = this.#newParser()

  #newParser() {
    return new FrameParser({
      crc32,
      onFrame: (message, number, acknowledged, bytes) => {
        const verdict = this.stream.received(number, acknowledged, bytes, message === undefined)
        assert.ok(verdict === 'deliver' || verdict === 'repeated' || verdict === 'outside', verdict)
        if (verdict === 'deliver' && message) this.delivered.push(message)
        return true
      },
    })
  }

  put(budgetBytes: number) {
    const out: Uint8Array[] = []
    const bytes = this.stream.take(budgetBytes, out)
    assert.equal(
      bytes,
      out.reduce((sum, each) => sum + each.length, 0),
    )
    this.wire = Buffer.concat([this.wire, ...out])
  }

  reconnect(peerReceived: number) {
    this.wire = Buffer.alloc(0)
    this.parser = this.#newParser()
    assert.equal(this.stream.attach(peerReceived), true)
  }
}

/** The other end reads some of what is on the wire. */
function flow(from: End, to: End, bytes: number) {
  const piece = from.wire.subarray(0, bytes)
  from.wire = from.wire.subarray(bytes)
  assert.equal(to.parser.push(Buffer.from(piece)), undefined)
}

type Step =
  | { readonly do: 'send'; readonly who: 0 | 1; readonly message: Message }
  | { readonly do: 'put'; readonly who: 0 | 1; readonly budgetBytes: number }
  | { readonly do: 'flow'; readonly who: 0 | 1; readonly bytes: number }
  | { readonly do: 'lose'; readonly staleBy: number }

const who = fc.constantFrom<0 | 1>(0, 1)
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('send' as const), who, message: anyMessage }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('put' as const), who, budgetBytes: fc.nat(9000) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('flow' as const), who, bytes: fc.nat(9000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lose' as const), staleBy: fc.nat(2) }) },
)

describe('link stream', () => {
  it('delivers what was sent exactly once and in order, with connections lost at any byte (E10) (counterexample 33)', () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 80 }), (steps) => {
        const ends: [End, End] = [new End(), new End()]
        const sent: [Message[], Message[]] = [[], []]
        // What an end tells may be older than what it has received since, by a connection that is replaced.
        const lose = (staleBy: number) => {
          const [one, other] = [ends[0].stream.lastReceived, ends[1].stream.lastReceived]
          ends[0].reconnect(Math.max(0, other - staleBy))
          ends[1].reconnect(Math.max(0, one - staleBy))
        }
        lose(0)
        for (const step of steps) {
          if (step.do === 'lose') lose(step.staleBy)
          else if (step.do === 'put') ends[step.who].put(step.budgetBytes)
          else if (step.do === 'flow') flow(ends[step.who], ends[step.who === 0 ? 1 : 0], step.bytes)
          else {
            ends[step.who].stream.send(step.message)
            sent[step.who].push(step.message)
          }
        }
        for (const [from, to] of [ends, [ends[1], ends[0]] as const]) {
          from.put(Number.POSITIVE_INFINITY)
          flow(from, to, from.wire.length)
        }
        for (const [from, to] of [ends, [ends[1], ends[0]] as const]) {
          const out: Uint8Array[] = []
          from.stream.tick(out)
          from.wire = Buffer.concat(out)
          flow(from, to, from.wire.length)
        }
        assert.deepEqual(
          ends.map((each) => each.stream.unacknowledgedBytes),
          [0, 0],
          'a heartbeat later nothing is kept any more',
        )
        assert.deepEqual(ends[1].delivered.map(flat), sent[0].map(flat))
        assert.deepEqual(ends[0].delivered.map(flat), sent[1].map(flat))
      }),
      { seed: 3, numRuns: 500 },
    )
  })

  it('forgets what was acknowledged, by any frame of the other side or by an acknowledgement alone', () => {
    const [one, other] = [new End(), new End()]
    for (let number = 1; number < limits.linkAcknowledgeFrames; number += 1) one.stream.send(note(number))
    one.put(Number.POSITIVE_INFINITY)
    flow(one, other, one.wire.length)
    other.put(Number.POSITIVE_INFINITY)
    assert.equal(other.wire.length, 0, 'few frames are not worth an acknowledgement of their own')
    assert.ok(one.stream.unacknowledgedBytes > 0)
    other.stream.send(note(0))
    other.put(Number.POSITIVE_INFINITY)
    flow(other, one, other.wire.length)
    assert.equal(one.stream.unacknowledgedBytes, 0)
    for (let number = 0; number < limits.linkAcknowledgeFrames; number += 1) one.stream.send(note(number))
    one.put(Number.POSITIVE_INFINITY)
    flow(one, other, one.wire.length)
    other.put(Number.POSITIVE_INFINITY)
    flow(other, one, other.wire.length)
    assert.equal(one.stream.unacknowledgedBytes, 0)
    assert.equal(one.delivered.length, 1)
  })

  it('a heartbeat acknowledges what is left, once, and an acknowledgement is not acknowledged', () => {
    const [one, other] = [new End(), new End()]
    const out: Uint8Array[] = []
    one.stream.send(note(1))
    one.put(Number.POSITIVE_INFINITY)
    flow(one, other, one.wire.length)
    assert.ok(other.stream.tick(out) > 0)
    assert.equal(other.stream.tick(out), 0)
    other.wire = Buffer.concat(out)
    flow(other, one, other.wire.length)
    assert.equal(one.stream.unacknowledgedBytes, 0)
    assert.equal(one.stream.tick(out), 0)
  })

  it('what is outside the stream overtakes what waits, and is lost with the connection', () => {
    const [one, other] = [new End(), new End()]
    one.stream.send(note(1))
    assert.equal(one.stream.sendNow(note(2)), true)
    const out: Uint8Array[] = []
    one.stream.take(Number.POSITIVE_INFINITY, out)
    assert.match(Buffer.from(out[0] ?? []).toString('latin1'), /test\.note2$/)
    one.stream.sendNow(note(3))
    one.reconnect(0)
    one.put(Number.POSITIVE_INFINITY)
    flow(one, other, one.wire.length)
    assert.deepEqual(other.delivered, [note(1)])
  })

  it('sends only a window of the stream, so that a heartbeat does not wait behind a backlog', () => {
    const one = new End()
    for (let number = 0; number < 100; number += 1) one.stream.send(note(number))
    one.put(200)
    assert.ok(one.wire.length >= 200 && one.wire.length < 300, `${one.wire.length}`)
    one.stream.sendNow(note(1000))
    const before = one.wire.length
    one.put(0)
    assert.ok(one.wire.length > before && one.stream.hasMessages())
  })

  it('gives a connection up whose numbers cannot be: a gap, or an acknowledgement of what was never sent', () => {
    const stream = new Stream(new FrameEncoder(crc32))
    assert.equal(stream.received(2, 0, 100, false), 'gap')
    assert.equal(stream.received(1, 1, 100, false), 'impossible-acknowledgement')
    assert.equal(stream.received(1, 0, 100, false), 'deliver')
    assert.equal(stream.received(1, 0, 100, false), 'repeated')
    assert.equal(stream.attach(1), false)
  })

  it('N2: a backlog beyond all credit stops the agent instead of growing', () => {
    const stream = new Stream(new FrameEncoder(crc32))
    const chunks = [Buffer.alloc(limits.requestBytes)]
    const big: Message = {
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
      lengthBytes: limits.requestBytes,
      chunks,
    }
    assert.throws(() => {
      for (let index = 0; index < 100; index += 1) stream.send(big)
    }, InvariantBroken)
    assert.equal(stream.sendNow({ type: 'control', kind: 'a', body: 1 }), true)
    const large: ControlMessage = { type: 'control', kind: 'a', body: 'x'.repeat(limits.controlBytes / 2) }
    let taken = 0
    while (stream.sendNow(large)) taken += 1
    assert.ok(taken > 0 && stream.urgentBytes <= limits.linkUrgentBytes)
  })
})
