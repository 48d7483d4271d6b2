/** Sizes as people type and read them, the words of events, and moments. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { eventWords } from '../../../agent/contract/event-words.ts'
import { eventKind } from '../../../agent/contract/events.ts'
import { volumeSize } from '../../../agent/contract/operations.ts'
import { formatBytes, formatDuration, formatSize, formatSpeed, parseSize } from '../../../agent/contract/sizes.ts'
import { whenWords } from '../../../agent/contract/times.ts'
import { limits } from '../../../agent/limits.ts'

test('sizes are binary, in any usual spelling', () => {
  const gib = 1024 ** 3
  for (const text of ['1G', '1g', '1GB', '1GiB', ' 1 G ', '1.0G', '1024M', '1073741824', '1073741824B']) {
    assert.equal(parseSize(text), gib, text)
  }
  assert.equal(parseSize('1.5T'), 1.5 * 1024 * gib)
  assert.equal(parseSize('500M'), 500 * 1024 ** 2)
  assert.equal(parseSize('64T'), limits.volumeMaxBytes)
  assert.equal(parseSize('1M'), limits.volumeMinBytes)
})

test('nonsense is refused with an example', () => {
  for (const text of [
    '',
    ' ',
    'G',
    '-1G',
    '+1G',
    '1Q',
    '1GG',
    '1,5G',
    '1e9',
    '0x10',
    '1.2.3G',
    '.5G',
    'NaN',
    'Infinity',
    '1G 2G',
    '0',
    '0G',
    '1k',
    '65T',
    '9999999999999999T',
    '1.5',
    '1048577',
    '１G',
    'x'.repeat(100_000),
  ]) {
    assert.throws(
      () => parseSize(text),
      (error: Error & { code?: string; next?: string }) => {
        assert.equal(error.code, 'bad-size', text)
        assert.match(error.next ?? '', /20G/)
        assert.ok(error.message.length < 200)
        return true
      },
    )
  }
})

test('whatever is accepted can be created, and whatever text comes either parses or is refused', () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 70_000, noNaN: true }), fc.constantFrom('M', 'G', 'T'), (value, unit) => {
      const text = `${value.toFixed(3)}${unit}`
      let bytes: number
      try {
        bytes = parseSize(text)
      } catch (error) {
        assert.ok(error instanceof Error && 'code' in error && error.code === 'bad-size', String(error))
        return
      }
      assert.equal(volumeSize.parse(bytes), bytes)
    }),
    { seed: 11, numRuns: 1_000 },
  )
})

test('amounts are shown in units people know', () => {
  assert.deepEqual([0, 999, 1000, 999_949, 999_999, 3.1e9, 412e9, 1e12].map(formatBytes), [
    '0 B',
    '999 B',
    '1 kB',
    '1 MB',
    '1 MB',
    '3.1 GB',
    '412 GB',
    '1 TB',
  ])
  assert.equal(formatSpeed(380e6), '380 MB/s')
  assert.deepEqual([1024 ** 3, 1.5 * 1024 ** 4, 20 * 1024 ** 2].map(formatSize), ['1 GiB', '1.5 TiB', '20 MiB'])
  assert.deepEqual([0, 9, 45, 100, 1084, 18_000, 200_000, Number.NaN].map(formatDuration), [
    'a few seconds',
    'a few seconds',
    'about 45 s',
    'about 2 min',
    'about 18 min',
    'about 5 h',
    'about 2 days',
    'a few seconds',
  ])
})

test('moments of today have the time, others their day', () => {
  const at = new Date(2026, 10, 20, 9, 5).getTime()
  assert.equal(whenWords(at, at + 3_600_000), 'at 09:05')
  assert.equal(whenWords(at, at + 48 * 3_600_000), 'on 20 Nov at 09:05')
})

test('every kind of event has a sentence, with and without its details', () => {
  for (const kind of eventKind.options) {
    for (const [volume, server, details] of [
      [
        'office',
        'nas-2',
        { reason: 'disk-full', movedBytes: 3.1e9, durationMs: 61_000, why: 'the link was lost', through: 'nas-1' },
      ],
      [null, null, {}],
      ['office', null, { reason: 7, movedBytes: 'x', durationMs: '', why: 1 }],
    ] as const) {
      const { text } = eventWords({ number: 1, atMs: 0, kind, volume, server, details })
      assert.match(text, /^[A-Za-z].*\.$/, kind)
      assert.doesNotMatch(text, /undefined|null|NaN|\[object|epoch|quorum|session/)
    }
  }
})
