/** Aim: the bytes on disk are those of FORMAT.md; a change of the format cannot slip in unseen. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { volumeId } from '../../../agent/kit/ids.ts'
import * as format from '../../../agent/store/format.ts'

const id = volumeId('0123456789abcdef0123456789abcdef')
const header = { state: 'data', slot: 70_000, volumeId: id, extent: 123_456_789, run: 3, counter: 9 } as const

test('a slot header is what FORMAT.md says, and comes back', () => {
  const bytes = format.encodeSlotHeader(header)
  assert.equal(bytes.length, 512)
  assert.equal(
    bytes.toString('hex', 0, 48),
    '4d42534c4f54303102000100701101000123456789abcdef0123456789abcdef15cd5b070000000003000000090000' + '00',
  )
  assert.deepEqual(format.decodeSlotHeader(bytes), header)
  for (const at of [0, 8, 10, 33, 400, 511]) {
    const torn = Buffer.from(bytes)
    torn[at] = (torn[at] ?? 0) ^ 1
    assert.equal(format.decodeSlotHeader(torn), null)
  }
  assert.equal(format.decodeSlotHeader(Buffer.alloc(512)), null)
})

test('offsets in a data file', () => {
  assert.equal(format.headerOffset(65_537), 4096 + 512)
  assert.equal(format.slotOffset(65_537), 67_112_960 + 262_144)
  assert.equal(format.sumsOffset(65_537), 33_558_528 + 512)
  assert.equal(format.fileOfSlot(65_537), 1)
  assert.equal(format.dataFilePath(1), 'data/00001.slots')
})

test('a mark entry comes back in its own place only; a damaged one is lossy', () => {
  const bytes = Buffer.alloc(32)
  format.encodeMark(bytes, 16, 5, format.markState.torn, 2 ** 40 + 1)
  assert.deepEqual(format.decodeMark(bytes, 16, 5), { state: 2, stamp: 2 ** 40 + 1 })
  assert.deepEqual(format.decodeMark(bytes, 16, 6), { state: 3, stamp: 0 })
  assert.deepEqual(format.decodeMark(Buffer.alloc(16), 0, 0), { state: 3, stamp: 0 })
})

test('a marks file of a volume that has grown says its size in a sector of its own; a damaged one says nothing', () => {
  const born = { run: 4, counter: 7 }
  const header = format.encodeMarksHeader({ volumeId: id, sizeBytes: 1 << 30, born })
  assert.deepEqual(format.decodeMarksHeader(header), { volumeId: id, sizeBytes: 1 << 30, born })
  const grown = format.encodeGrownSize(2 ** 41 + 4096)
  assert.equal(grown.toString('hex', 0, 16), '4d4247524f574e310010000000020000')
  assert.equal(grown.toString('hex', 508), '268fc789')
  grown.copy(header, 1024)
  format.encodeCounts({ commits: 77, index: 5 }).copy(header, 512)
  assert.deepEqual(format.decodeMarksHeader(header), { volumeId: id, sizeBytes: 2 ** 41 + 4096, born })
  assert.deepEqual(format.decodeCounts(header), { commits: 77, index: 5 })
  for (const at of [0, 33, 1024, 1033, 1535, 2000]) {
    const torn = Buffer.from(header)
    torn[at] = (torn[at] ?? 0) ^ 1
    assert.equal(format.decodeMarksHeader(torn), null)
  }
})

test('the sector that counts: durable commits, and those of the index; an older one, without the latter, counts none', () => {
  const sector = format.encodeCounts({ commits: 2 ** 40 + 7, index: 2 ** 33 + 9 })
  assert.equal(sector.length, 512)
  assert.equal(sector.toString('hex', 0, 24), '4d42434f554e5431070000000001090000000200000000000000'.slice(0, 48))
  assert.equal(sector.toString('hex', 508), '7c796858')
  const header = Buffer.alloc(4096)
  assert.deepEqual(format.decodeCounts(header), { commits: 0, index: 0 })
  sector.copy(header, 512)
  assert.deepEqual(format.decodeCounts(header), { commits: 2 ** 40 + 7, index: 2 ** 33 + 9 })
  // As it was written before there was a number of the index: bytes and checksum are the same.
  assert.equal(format.encodeCounts({ commits: 77, index: 0 }).toString('hex', 508), 'f93ae152')
  for (const at of [512, 520, 527, 1000, 1023]) {
    const torn = Buffer.from(header)
    torn[at] = (torn[at] ?? 0) ^ 1
    assert.deepEqual(format.decodeCounts(torn), { commits: 0, index: 0 })
  }
})

test('a record comes back; garbage, half of it and another version are told apart', () => {
  const bytes = format.encodeRecord({ a: [1, 'ü'] })
  assert.deepEqual(format.decodeRecord(bytes), { ok: true, value: { a: [1, 'ü'] }, count: 0 })
  for (let length = 0; length < bytes.length; length++) {
    assert.deepEqual(format.decodeRecord(bytes.subarray(0, length)), { ok: false, why: 'garbage' })
  }
  const other = Buffer.from(bytes.toString().replace('record 2', 'record 3'))
  assert.deepEqual(format.decodeRecord(other), { ok: false, why: 'version' })
})

test('golden bytes of version 2', () => {
  const all = Buffer.concat([
    format.encodeFileHeader('f'.repeat(32), 2),
    format.encodeSlotHeader(header),
    format.encodeMarksHeader({ volumeId: id, sizeBytes: 1 << 30, born: { run: 0, counter: 0 } }),
    format.encodeRecord({ kind: 'mirrorbay-store' }),
  ])
  assert.equal(
    createHash('sha256').update(all).digest('hex'),
    '210a60fc4678034052409bba0c44a4569601786d07fdf2880f5765a2add8e871',
  )
})
