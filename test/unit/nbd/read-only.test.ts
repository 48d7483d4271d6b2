import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { limits } from '../../../agent/limits.ts'
import { MemoryDevice } from '../../kit/memory-device.ts'
import { ask, errors, read, write } from './asking.ts'
import { Scripted } from './scripted.ts'
import { clientFlags, command, flag, infoData, optionBytes, optionReplies, requestBytes } from './wire.ts'

const notPermitted = 1

/** A volume and a snapshot of it, which the session may choose. */
function withSnapshot(): { scripted: Scripted; snapshot: MemoryDevice } {
  let snapshot: MemoryDevice | undefined
  const scripted = new Scripted({
    devices: (volume) => {
      // The turn is the scripted clock's, which the volume has; the snapshot's answers are not looked at before a turn.
      const nextTurn = (fire: () => void) => scripted.clock.nextTurn(fire)
      snapshot = new MemoryDevice({ name: 'disk@monday', sizeBytes: 1 << 20, nextTurn, readOnly: true })
      snapshot.recording = true
      return [volume, snapshot]
    },
  })
  scripted.settle()
  assert.ok(snapshot)
  return { scripted, snapshot }
}

describe('NBD read-only exports', () => {
  test('their flags say read-only and flush, and offer neither FUA nor TRIM nor WRITE_ZEROES', () => {
    for (const [structured, flags] of [
      [false, 0b1_0000_0111],
      [true, 0b1_1000_0111],
    ] as const) {
      const { scripted } = withSnapshot()
      scripted.say(clientFlags(3))
      if (structured) scripted.say(optionBytes(8))
      const told = optionReplies(scripted.say(optionBytes(7, infoData('disk@monday', [2]))))
      assert.equal(told[0]?.data.readUInt16BE(10), flags)
      assert.equal(told[1]?.data.subarray(2).toString(), 'Mirrorbay snapshot disk@monday')
    }
    const { scripted } = withSnapshot()
    scripted.say(clientFlags(3))
    assert.equal(scripted.say(optionBytes(1, Buffer.from('disk@monday'))).readUInt16BE(8), 0b1_0000_0111)
  })

  test('the volume beside them stays writable, and stays the one that the empty name means', () => {
    const { scripted } = withSnapshot()
    scripted.say(clientFlags(3))
    const told = optionReplies(scripted.say(optionBytes(7, infoData('', [1]))))
    assert.equal(told[1]?.data.subarray(2).toString(), 'disk')
    assert.equal(told[0]?.data.readUInt16BE(10), 0x16d)
  })

  test('what would change them is not permitted, its payload is skipped, and the device hears nothing of it', () => {
    const { scripted, snapshot } = withSnapshot()
    scripted.enter({ name: 'disk@monday' })
    const data = Buffer.alloc(70_000, 1)
    const wrong = [
      write(0, data),
      write(0, data, 2n, flag.fua),
      write(1 << 20, data, 3n),
      { command: command.trim, length: 4096 },
      { command: command.zero, length: 4096 },
    ]
    for (const asked of wrong) assert.equal(ask(scripted, asked).error, notPermitted, JSON.stringify(asked, String))
    assert.equal(snapshot.seen.length, 0)
    assert.equal(ask(scripted, { command: command.flush }).error, 0)
    assert.deepEqual(ask(scripted, read(4096, 4096)).data, Buffer.alloc(4096))
    assert.equal(ask(scripted, read(1 << 20, 1)).error, errors.invalid)
  })

  test('a write too large even to be skipped ends the connection, as at a volume', () => {
    const { scripted } = withSnapshot()
    scripted.enter({ name: 'disk@monday' })
    scripted.say(requestBytes({ command: command.write, length: limits.refusedPayloadBytes + 1 }))
    assert.deepEqual(scripted.ended, { how: 'at-once', reason: 'payload-too-large' })
  })
})

describe('an NBD export that ceases, and one that grows', () => {
  test('its connection ends; what was under way gets no answer, least of all a good one', () => {
    const scripted = new Scripted().enter()
    scripted.device.hold()
    scripted.say(requestBytes(write(0, Buffer.alloc(4096, 7))), requestBytes(read(0, 4096, 2n)))
    assert.equal(scripted.device.waiting, 2)
    scripted.device.cease()
    assert.deepEqual(scripted.ended, { how: 'at-once', reason: 'device-gone' })
    assert.equal(scripted.session.state, 'closed')
    assert.equal(scripted.device.attached.size, 0)
    scripted.device.release()
    assert.equal(scripted.settle().length, 0)
    assert.equal(scripted.device.bytes[0], 0)
  })

  test('it may cease in any state of its connection: also while the client has said its last word', () => {
    const scripted = new Scripted().enter()
    scripted.device.hold()
    scripted.say(requestBytes(write(0, Buffer.alloc(512, 7))), requestBytes({ command: command.disconnect }))
    assert.equal(scripted.session.state, 'draining')
    scripted.device.cease()
    assert.equal(scripted.ended?.reason, 'device-gone')
  })

  test('who came before it grew keeps the size it was told, who comes later gets the new one', () => {
    const before = new Scripted().enter()
    before.device.grow(2 << 20)
    assert.equal(ask(before, read(1 << 20, 4096)).error, errors.invalid)
    assert.equal(ask(before, write(1 << 20, Buffer.alloc(512))).error, errors.noSpace)
    const later = new Scripted()
    later.device.grow(2 << 20)
    later.settle()
    later.say(clientFlags(3))
    const told = optionReplies(later.say(optionBytes(7, infoData('disk'))))
    assert.equal(told[0]?.data.readBigUInt64BE(2), BigInt(2 << 20))
    assert.deepEqual(ask(later, write(1 << 20, Buffer.alloc(512))).error, errors.none)
  })
})
