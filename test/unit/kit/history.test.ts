/** The judge itself must be able to find each kind of wrong, and must not cry over what is allowed. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { blockBytes, History, neverWritten, stampBlocks, stampsIn } from '../../kit/history.ts'

const seen = (history: History, stamp: number, block = 7) => {
  const read = history.beginRead([block])
  history.endRead(read, [stamp])
}

test('a read of the value before an acknowledged write is found', () => {
  const history = new History()
  history.endWrite(history.beginWrite([7]))
  seen(history, neverWritten)
  assert.match(history.check()[0]?.what ?? '', /stood there|came back/)
})

test('an older value that comes back after a newer was read is found, also while the write is under way', () => {
  const history = new History()
  const write = history.beginWrite([7])
  seen(history, write.stamp)
  seen(history, neverWritten)
  history.endWrite(write)
  assert.match(history.check()[0]?.what ?? '', /stood there|came back/)
})

test('a value that nobody wrote there is found', () => {
  const history = new History()
  const write = history.beginWrite([7])
  history.endWrite(write)
  seen(history, write.stamp, 8)
  assert.match(history.check()[0]?.what ?? '', /nobody wrote/)
})

test('two values seen in turns are found', () => {
  const history = new History()
  const one = history.beginWrite([7])
  const two = history.beginWrite([7])
  history.endWrite(one)
  history.endWrite(two)
  for (const stamp of [one.stamp, two.stamp, one.stamp, two.stamp]) seen(history, stamp)
  assert.match(history.check()[0]?.what ?? '', /in turns/)
})

test('a lost acknowledged write is found even when nobody reads but once at the end', () => {
  const history = new History()
  const one = history.beginWrite([7])
  history.endWrite(one)
  const two = history.beginWrite([7])
  history.endWrite(two)
  seen(history, one.stamp)
  assert.match(history.check()[0]?.what ?? '', /stood there/)
})

test('an unanswered write may have happened, much later, or not at all; but not be undone again', () => {
  const history = new History()
  const lost = history.beginWrite([7])
  const other = history.beginWrite([7])
  history.endWrite(other)
  seen(history, other.stamp)
  assert.deepEqual(history.check(), [])
  seen(history, lost.stamp)
  assert.deepEqual(history.check(), [])
  seen(history, other.stamp)
  assert.notDeepEqual(history.check(), [])
})

test('every history of one real register is accepted', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(3), fc.nat(2), fc.boolean()), { maxLength: 200 }), (steps) => {
      // Each of four clients has at most one operation under way: begun, then done at the register, then answered.
      const history = new History()
      const clients = new Map<number, { finish: () => void; act: () => void; acted: boolean }>()
      let register: number = neverWritten
      for (const [client, kind, answered] of steps) {
        const now = clients.get(client)
        if (now === undefined) {
          if (kind === 0) {
            const write = history.beginWrite([7])
            clients.set(client, {
              acted: false,
              act: () => {
                register = write.stamp
              },
              finish: () => history.endWrite(write),
            })
          } else {
            const read = history.beginRead([7])
            let got: number = neverWritten
            clients.set(client, {
              acted: false,
              act: () => {
                got = register
              },
              finish: () => history.endRead(read, [got]),
            })
          }
        } else if (now.acted) {
          if (answered) now.finish()
          clients.delete(client)
        } else {
          now.act()
          now.acted = true
        }
      }
      assert.deepEqual(history.check(), [])
    }),
    { seed: 11, numRuns: 500 },
  )
})

test('a block made of two writes, of another place, or cut short is no write at all', () => {
  const one = stampBlocks([3, 4], 10)
  assert.deepEqual(stampsIn([3, 4], one), [10, 10])
  assert.deepEqual(stampsIn([4, 3], one), [undefined, undefined])
  const two = stampBlocks([3, 4], 11)
  const torn = Uint8Array.from(one)
  torn.set(two.subarray(0, 512))
  assert.deepEqual(stampsIn([3, 4], torn), [undefined, 10])
  assert.deepEqual(stampsIn([3], one.subarray(0, 100)), [undefined])
  assert.deepEqual(stampsIn([9], new Uint8Array(blockBytes)), [neverWritten])
})
