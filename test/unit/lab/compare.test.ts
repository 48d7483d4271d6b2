/** `equal` is the judge of judges: it must see one bit, whoever holds it, and not be fooled by holes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Copy, compareCopies, extentBytes } from '../../lab/compare.ts'

const never = () => false

function copyOf(server: string, bytes: Uint8Array, holes: readonly number[] = [], rotten = -1): Copy {
  return {
    server,
    sizeBytes: bytes.length,
    holds: (extent) => !holes.includes(extent),
    rotten: (extent) => (Math.floor(rotten / extentBytes) === extent ? rotten : null),
    read: async (offset, length) => {
      assert.ok(!holes.includes(Math.floor(offset / extentBytes)), 'a hole was read')
      return bytes.subarray(offset, offset + length)
    },
  }
}

const content = (extents: number, moreBytes = 0): Uint8Array =>
  Uint8Array.from({ length: extents * extentBytes + moreBytes }, (_none, index) => index * 7)

test('equal copies are equal, also with a last extent that is cut short', async () => {
  const bytes = content(3, 4096)
  assert.deepEqual(await compareCopies([copyOf('a', bytes), copyOf('b', bytes.slice())], 0, never), { kind: 'equal' })
})

test('one bit anywhere is found, also in the last bytes and in a third copy', async () => {
  const bytes = content(2, 4096)
  for (const at of [0, extentBytes - 1, extentBytes, bytes.length - 1]) {
    const other = bytes.slice()
    other[at] = (other[at] ?? 0) ^ 1
    const copies = [copyOf('a', bytes), copyOf('b', bytes.slice()), copyOf('c', other)]
    const expected = { kind: 'differ', atByte: at, first: 'a', second: 'c' }
    assert.deepEqual(await compareCopies(copies, 0, never), expected)
  }
})

test('a hole equals zeros and nothing else', async () => {
  const zeros = new Uint8Array(2 * extentBytes)
  assert.deepEqual(await compareCopies([copyOf('a', zeros, [1]), copyOf('b', zeros)], 0, never), { kind: 'equal' })
  assert.deepEqual(await compareCopies([copyOf('a', zeros, [0, 1]), copyOf('b', zeros, [0, 1])], 0, never), {
    kind: 'equal',
  })
  const some = zeros.slice()
  some[extentBytes + 5] = 1
  const found = await compareCopies([copyOf('a', zeros, [1]), copyOf('b', some)], 0, never)
  assert.deepEqual(found, { kind: 'differ', atByte: extentBytes + 5, first: 'a', second: 'b' })
})

test('a block that does not fit its checksum is found, in any copy, also where all agree', async () => {
  const bytes = content(3)
  const copies = [copyOf('a', bytes), copyOf('b', bytes.slice(), [], extentBytes + 8192)]
  assert.deepEqual(await compareCopies(copies, 0, never), { kind: 'rotten', atByte: extentBytes + 8192, server: 'b' })
  assert.deepEqual(await compareCopies(copies, 2, never), { kind: 'equal' })
})

test('copies of different sizes differ', async () => {
  const bytes = content(1)
  const found = await compareCopies([copyOf('a', bytes), copyOf('b', bytes.subarray(0, 4096))], 0, never)
  assert.equal(found.kind, 'differ')
})

test('when time is up it says where to go on, and a difference behind that is found later', async () => {
  const bytes = content(3)
  const other = bytes.slice()
  other[2 * extentBytes] = 0xff
  const copies = [copyOf('a', bytes), copyOf('b', other)]
  assert.deepEqual(await compareCopies(copies, 0, () => true), { kind: 'unfinished', nextExtent: 1 })
  assert.equal((await compareCopies(copies, 1, never)).kind, 'differ')
})
