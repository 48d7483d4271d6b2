import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import type { BlockFailure } from '../../../agent/volume/block-device.ts'
import { ask, errors, read, sizeBytes, write } from './asking.ts'
import { Scripted } from './scripted.ts'
import { type Asked, command, flag, requestBytes } from './wire.ts'

describe('NBD requests', () => {
  test('a write is read back, its flags reach the device, its payload is not copied', () => {
    const scripted = new Scripted().enter()
    const data = Buffer.alloc(70_001, 0x5a)
    assert.equal(ask(scripted, write(4095, data, 7n, flag.fua)).error, 0)
    assert.deepEqual(ask(scripted, read(4095, data.length)).data, data)
    const seen = scripted.device.seen
    assert.deepEqual(seen[0], { kind: 'write', offsetBytes: 4095, lengthBytes: 70_001, fua: true, mayUnmap: false })
  })

  test('every command accepts FUA; trim and zeroes say what they are', () => {
    const scripted = new Scripted().enter()
    const span = { offset: 4096n, length: 8192 }
    assert.equal(ask(scripted, { command: command.flush, flags: flag.fua }).error, 0)
    assert.equal(ask(scripted, { ...read(0, 512), flags: flag.fua }).error, 0)
    assert.equal(ask(scripted, { command: command.trim, flags: flag.fua, ...span }).error, 0)
    assert.equal(ask(scripted, { command: command.zero, flags: flag.fua, ...span }).error, 0)
    assert.equal(ask(scripted, { command: command.zero, flags: flag.noHole, ...span }).error, 0)
    assert.deepEqual(
      scripted.device.seen.map(({ kind, fua, mayUnmap }) => [kind, fua, mayUnmap]),
      [
        ['flush', false, false],
        ['read', false, false],
        ['trim', true, true],
        ['zeroes', true, true],
        ['zeroes', false, false],
      ],
    )
  })

  test('unknown commands and flags are invalid, the device hears nothing of them, the connection goes on', () => {
    const scripted = new Scripted().enter()
    const data = Buffer.alloc(4096, 1)
    const wrong: Asked[] = [
      { command: command.cache, length: 4096 },
      { command: command.status, length: 4096 },
      { command: 8, length: 4096 },
      { command: 0xffff },
      { ...read(0, 4096), flags: flag.dontFragment },
      { ...read(0, 4096), flags: flag.noHole },
      { ...read(0, 4096), flags: 0x8000 },
      write(0, data, 1n, flag.dontFragment),
      write(0, data, 1n, flag.requestOne),
      write(0, data, 1n, 0x4000),
      { command: command.flush, flags: flag.noHole },
      { command: command.flush, length: 1 },
      { command: command.flush, offset: 1n },
      { command: command.trim, flags: flag.noHole, length: 4096 },
      { command: command.zero, flags: flag.fastZero, length: 4096 },
    ]
    for (const asked of wrong) assert.equal(ask(scripted, asked).error, errors.invalid, JSON.stringify(asked, String))
    assert.equal(scripted.device.seen.length, 0)
    assert.deepEqual(ask(scripted, read(0, 4096)).data, Buffer.alloc(4096))
  })

  test('past the end: reads and trims are invalid, writes and zeroes have no space, nothing is changed', () => {
    const scripted = new Scripted({ sizeBytes }).enter()
    const spans = [
      [sizeBytes, 4096],
      [sizeBytes - 4096, 4097],
      [sizeBytes + 4096, 1],
      [2 ** 53, 4096],
    ] as const
    const offsets = [
      ...spans.map(([offset, length]) => [BigInt(offset), length] as const),
      [(1n << 64n) - 4096n, 8192] as const,
    ]
    for (const [offset, length] of offsets) {
      assert.equal(ask(scripted, { command: command.read, offset, length }).error, errors.invalid)
      assert.equal(ask(scripted, { command: command.trim, offset, length }).error, errors.invalid)
      assert.equal(ask(scripted, { command: command.zero, offset, length }).error, errors.noSpace)
      assert.equal(
        ask(scripted, { command: command.write, offset, data: Buffer.alloc(length, 9) }).error,
        errors.noSpace,
      )
    }
    assert.equal(scripted.device.seen.length, 0)
    assert.equal(ask(scripted, { command: command.zero, length: sizeBytes }).error, 0)
  })

  test('nothing of length zero reaches the device, and nothing of it ends the connection', () => {
    for (const structured of [false, true]) {
      const scripted = new Scripted().enter({ structured })
      for (const each of [command.read, command.write, command.trim, command.zero]) {
        assert.equal(ask(scripted, { command: each, offset: 4096n, length: 0 }).error, 0)
      }
      assert.equal(
        ask(scripted, { command: command.read, offset: BigInt(sizeBytes) + 1n, length: 0 }).error,
        errors.invalid,
      )
      assert.equal(scripted.device.seen.length, 0)
    }
  })

  test('too large: a read is invalid, a write is skipped and invalid, one beyond all reason ends the connection', () => {
    const scripted = new Scripted({ sizeBytes: 64 << 20 }).enter()
    assert.equal(ask(scripted, read(0, limits.requestBytes + 1)).error, errors.invalid)
    assert.equal(ask(scripted, read(0, 0xffffffff)).error, errors.invalid)
    assert.equal(ask(scripted, write(0, Buffer.alloc(limits.requestBytes + 1))).error, errors.invalid)
    assert.equal(scripted.device.seen.length, 0)
    assert.equal(ask(scripted, write(0, Buffer.alloc(limits.requestBytes, 3))).error, 0)
    assert.equal(ask(scripted, read(0, limits.requestBytes)).error, 0)
    scripted.say(requestBytes({ command: command.write, length: limits.refusedPayloadBytes + 1 }))
    assert.deepEqual(scripted.ended, { how: 'at-once', reason: 'payload-too-large' })
    assert.equal(scripted.device.attached.size, 0)
  })

  test('wrong magic ends the connection at once; what waits is detached', () => {
    const scripted = new Scripted().enter()
    scripted.device.hold()
    scripted.say(requestBytes(write(0, Buffer.alloc(512, 1))), requestBytes({ command: 0, magic: 0x12345678 }))
    assert.deepEqual(scripted.ended, { how: 'at-once', reason: 'wrong-request-magic' })
    scripted.device.release()
    assert.equal(scripted.settle().length, 0)
    assert.equal(scripted.device.bytes[0], 0)
  })

  test('the engine’s failures become the protocol’s errors', () => {
    const words: [BlockFailure, number][] = [
      ['io', errors.io],
      ['no-space', errors.noSpace],
      ['shutdown', errors.shutdown],
      ['conflict', errors.notPermitted],
    ]
    for (const structured of [false, true]) {
      for (const [failure, error] of words) {
        const scripted = new Scripted().enter({ structured })
        scripted.device.failures.push(failure, failure, failure)
        assert.equal(ask(scripted, write(0, Buffer.alloc(512))).error, error)
        assert.equal(ask(scripted, { command: command.flush }).error, error)
        const reply = ask(scripted, read(0, 512))
        assert.deepEqual([reply.error, reply.data, reply.structured], [error, null, structured])
        assert.equal(ask(scripted, read(0, 512)).error, 0)
      }
    }
  })

  test('an unknown outcome ends the connection without an answer, and detaches the others (W8)', () => {
    const scripted = new Scripted().enter()
    scripted.device.failures.push('unknown-outcome')
    const said = scripted.say(requestBytes(write(0, Buffer.alloc(512))), requestBytes(write(512, Buffer.alloc(512, 1))))
    assert.equal(said.length, 0)
    assert.deepEqual(scripted.ended, { how: 'at-once', reason: 'outcome-unknown' })
    assert.equal(scripted.device.attached.size, 0)
    assert.equal(scripted.device.bytes[512], 0)
  })

  test('structured: reads come as one chunk, errors as error chunks, other commands stay simple', () => {
    const scripted = new Scripted().enter({ structured: true })
    assert.equal(ask(scripted, write(0, Buffer.alloc(4096, 2))).structured, false)
    for (const flags of [0, flag.dontFragment]) {
      const reply = ask(scripted, { ...read(0, 100_000), flags })
      assert.deepEqual(
        [reply.structured, reply.data?.length, reply.data?.[4095], reply.data?.[4096]],
        [true, 100_000, 2, 0],
      )
    }
    const wrong = ask(scripted, { ...read(0, 4096), flags: 0x8000 })
    assert.deepEqual([wrong.structured, wrong.error], [true, errors.invalid])
  })
})

describe('an NBD connection', () => {
  test('a write whose payload never fully came is not executed', () => {
    for (const sent of [0, 1, 27, 28, 29, 4000, 28 + 4095]) {
      const scripted = new Scripted().enter()
      scripted.say(requestBytes(write(0, Buffer.alloc(4096, 1))).subarray(0, sent))
      scripted.session.inputEnded()
      scripted.settle()
      assert.deepEqual(scripted.ended, { how: 'at-once', reason: 'lost' })
      assert.deepEqual([scripted.device.seen.length, scripted.device.attached.size], [0, 0])
    }
  })

  test('a lost connection detaches at once: what waits never starts, nothing is said', () => {
    const scripted = new Scripted().enter()
    scripted.device.hold()
    scripted.say(requestBytes(write(0, Buffer.alloc(512, 1))))
    scripted.session.lost()
    scripted.device.release()
    assert.equal(scripted.settle().length, 0)
    assert.equal(scripted.device.bytes[0], 0)
    scripted.session.lost()
    scripted.session.received(Buffer.from('late'))
    assert.deepEqual(scripted.ended, { how: 'at-once', reason: 'lost' })
  })

  test('DISC: what was asked before is done and answered, what comes after is not, then it closes', () => {
    const scripted = new Scripted().enter()
    scripted.device.hold()
    const before = Array.from({ length: 16 }, (_, index) =>
      requestBytes(write(index * 512, Buffer.alloc(512, 1), BigInt(index))),
    )
    scripted.say(...before, requestBytes({ command: command.disconnect }), requestBytes(write(0, Buffer.alloc(512, 2))))
    assert.equal(scripted.session.state, 'draining')
    scripted.session.inputEnded()
    assert.equal(scripted.ended, null)
    scripted.device.release()
    assert.equal(scripted.replies(scripted.settle()).length, 16)
    assert.deepEqual(scripted.ended, { how: 'after-output', reason: 'finished' })
    assert.deepEqual(scripted.device.bytes.subarray(0, 16 * 512), Buffer.alloc(16 * 512, 1))
    assert.equal(scripted.device.attached.size, 0)
  })

  test('a stopping server finishes what is under way, refuses what is new, then closes', () => {
    const scripted = new Scripted().enter()
    scripted.device.hold()
    scripted.say(requestBytes(write(0, Buffer.alloc(512, 1), 1n)))
    scripted.session.stop()
    const refusedNow = scripted.replies(scripted.say(requestBytes(write(512, Buffer.alloc(512, 1), 2n))))
    assert.deepEqual(
      refusedNow.map(({ cookie, error }) => [cookie, error]),
      [[2n, errors.shutdown]],
    )
    assert.equal(scripted.ended, null)
    scripted.device.release()
    const last = scripted.replies(scripted.settle())
    assert.deepEqual(
      last.map(({ cookie, error }) => [cookie, error]),
      [[1n, 0]],
    )
    assert.deepEqual(scripted.ended, { how: 'after-output', reason: 'server-stops' })
    for (const idle of [new Scripted(), new Scripted().enter()]) {
      idle.session.stop()
      idle.settle()
      assert.equal(idle.ended?.reason, 'server-stops')
    }
  })

  test('all replies of a turn leave in one write', () => {
    const scripted = new Scripted().enter()
    const before = scripted.writes
    const many = Array.from({ length: 100 }, (_, index) =>
      requestBytes(write(index * 512, Buffer.alloc(512, 1), BigInt(index))),
    )
    assert.equal(scripted.replies(scripted.say(Buffer.concat(many))).length, 100)
    assert.equal(scripted.writes - before, 1)
  })

  test('an answer too many stops the agent (N3) instead of answering somebody else’s request', () => {
    const scripted = new Scripted().enter()
    let kept: (() => void) | null = null
    const client = [...scripted.device.attached][0]
    assert.ok(client)
    client.flush = (done) => {
      kept = () => done(null)
    }
    scripted.say(requestBytes({ command: command.flush }))
    const answer = kept as (() => void) | null // assigned inside the double, which the compiler cannot see
    assert.ok(answer)
    answer()
    assert.throws(answer, /N3/)
  })
})
