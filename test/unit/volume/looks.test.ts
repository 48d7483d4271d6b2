/** Writes that look before they write (W6): what they see, when they answer, and that they write at most once. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { StoreReadDone } from '../../../agent/store/replica.ts'
import { Looks } from '../../../agent/volume/looks.ts'
import { type Look, WriteRequest } from '../../../agent/volume/requests.ts'
import { bytes, openDisk, VirtualClock, writeAll } from '../mirror/world.ts'

function looking() {
  const clock = new VirtualClock()
  const { replica } = openDisk(clock)
  const state = {
    session: 5,
    mayAnswer: true,
    rotten: false,
    elsewhere: null as Uint8Array | null,
    endsMeanwhile: false,
  }
  const told: string[] = []
  const looks = new Looks({
    store: {
      read: (offsetBytes, lengthBytes, done: StoreReadDone) => {
        if (state.rotten) clock.nextTurn(() => done('corrupt', new Uint8Array(0)))
        else replica.read(offsetBytes, lengthBytes, done)
      },
    },
    repairs: {
      read: (_offset, _length, done) => {
        if (state.endsMeanwhile) state.session = 0
        clock.nextTurn(() => done(state.elsewhere))
      },
    },
    overdue: { readBegan: () => told.push('began'), readEnded: () => told.push('ended reading') },
    session: () => state.session,
    mayAnswer: () => state.mayAnswer,
    again: () => told.push('again'),
    execute: () => told.push('execute'),
    ended: () => told.push('ended'),
  })
  const never = () => assert.fail('not in this test')
  const host = { mayStart: never, startRead: never, startWrite: never, answered: () => undefined, ended: never }
  const connection = { closed: false }
  const start = (look: Look, offsetBytes = 0, lengthBytes = 1024) => {
    const wish = { kind: 'data', offsetBytes, lengthBytes, chunks: [bytes(lengthBytes, 9)], fua: false, look } as const
    const done = (failure: string | null, at: number | null) => told.push(`answer ${failure} ${at}`)
    const request = new WriteRequest(host, connection, wish, 0, done)
    looks.start(request)
    return request
  }
  const take = () => told.splice(0).filter((word) => word !== 'began' && word !== 'ended reading')
  return { clock, replica, state, looks, start, take, told, connection }
}

describe('a write that looks first (W6)', () => {
  it('is written when what stands there is as expected, and answers nothing by itself then', () => {
    const { clock, replica, start, take } = looking()
    writeAll(clock, replica, 0, bytes(4096, 3))
    start({ expected: bytes(1024, 3) }, 512)
    clock.pass(10)
    assert.deepEqual(take(), ['execute'], 'the mirror answers when it is applied everywhere (W1)')
  })

  it('says where the first byte differs, also behind the edge of a block, and writes nothing', () => {
    const { clock, replica, start, take } = looking()
    writeAll(clock, replica, 0, bytes(8192, 3))
    for (const [differs, offsetBytes] of [
      [0, 0],
      [1023, 0],
      [700, 4096 - 512],
    ] as const) {
      const expected = bytes(1024, 3)
      expected[differs] = 4
      start({ expected }, offsetBytes)
      clock.pass(10)
      assert.deepEqual(take(), [`answer null ${differs}`, 'ended'])
    }
  })

  it('a rotten block is read from another replica first (R3); when nobody has it, that is the answer', () => {
    const { clock, state, start, take } = looking()
    state.rotten = true
    state.elsewhere = bytes(1024, 3)
    start({ expected: bytes(1024, 3) })
    clock.pass(10)
    assert.deepEqual(take(), ['execute'])
    state.elsewhere = null
    start({ expected: bytes(1024, 3) })
    clock.pass(10)
    assert.deepEqual(take(), ['answer io null', 'ended'])
  })

  it('a miscompare is a read (R2): it is answered only while the lease holds, in its session', () => {
    const { clock, state, looks, start, take } = looking()
    state.mayAnswer = false
    start({ expected: bytes(1024, 1) })
    clock.pass(10)
    looks.answerWaiting()
    assert.deepEqual(take(), [])
    state.mayAnswer = true
    looks.answerWaiting()
    assert.deepEqual(take(), ['answer null 0', 'ended'])
    state.mayAnswer = false
    start({ expected: bytes(1024, 1) })
    clock.pass(10)
    state.session = 0
    looks.endSession()
    state.mayAnswer = true
    looks.answerWaiting()
    assert.deepEqual(take(), ['again'], 'what was seen then may be old')
  })

  it('a session that ends while it looks: it looks again in the next one, and is not written in between', () => {
    const { clock, state, start, take } = looking()
    start({ expected: bytes(1024, 0) })
    state.session = 6
    clock.pass(10)
    assert.deepEqual(take(), ['again'])
    state.rotten = true
    state.elsewhere = bytes(1024, 0)
    state.endsMeanwhile = true
    start({ expected: bytes(1024, 0) })
    clock.pass(10)
    assert.deepEqual(take(), ['again'])
  })

  it('a connection that closes while it looks: it has not started, and does not start (W9)', () => {
    const { clock, start, take, connection } = looking()
    start({ expected: bytes(1024, 0) })
    connection.closed = true
    clock.pass(10)
    assert.deepEqual(take(), ['ended'])
  })

  it('one that makes its bytes of what stands there writes them, or nothing', () => {
    const { clock, replica, start, take } = looking()
    writeAll(clock, replica, 0, bytes(1024, 7))
    const seen: number[] = []
    const change = (isWritten: boolean) => (present: Uint8Array) => {
      seen.push(present[0] ?? -1)
      return isWritten
    }
    start({ change: change(true) })
    clock.pass(10)
    assert.deepEqual(take(), ['execute'])
    start({ change: change(false) })
    clock.pass(10)
    assert.deepEqual(
      [take(), seen],
      [
        ['answer null null', 'ended'],
        [7, 7],
      ],
    )
  })

  it('the disk is watched while it looks (E8)', () => {
    const { clock, start, told } = looking()
    start({ expected: bytes(1024, 0) })
    assert.deepEqual(told, ['began'])
    clock.pass(10)
    assert.deepEqual(told.slice(0, 2), ['began', 'ended reading'])
  })
})
