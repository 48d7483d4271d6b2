/** What people read about storage folders: which, where, what lies there, and that the rest goes on. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventWords } from '../../../agent/contract/event-words.ts'
import type { EventKind } from '../../../agent/contract/events.ts'
import { folderTrouble } from '../../../agent/contract/folder-words.ts'
import { type FolderStatus, folderState } from '../../../agent/contract/status.ts'
import { statusWords } from '../../../agent/contract/words.ts'
import { statusOf, volume } from '../control/recording-port.ts'

const folder = (over: Partial<FolderStatus> = {}): FolderStatus => ({
  name: 'disk2',
  path: '/mnt/disk2',
  state: 'ok',
  why: null,
  freeBytes: 5e11,
  totalBytes: 1e12,
  isLow: false,
  volumes: ['archive'],
  damaged: [],
  ...over,
})

test('a sound folder needs no words; every other state names the folder, its place and what lies there', () => {
  assert.equal(folderTrouble(folder()), null)
  for (const state of folderState.options) {
    if (state === 'ok') continue
    const words = folderTrouble(folder({ state })) ?? ''
    for (const part of ['disk2', '/mnt/disk2', 'archive']) assert.ok(words.includes(part), `${state}: ${words}`)
    assert.doesNotMatch(folderTrouble(folder({ state, volumes: [] })) ?? '', /copies of/)
  }
  assert.equal(
    folderTrouble(folder({ isLow: true, freeBytes: 1.2e9 })),
    'The disk under /mnt/disk2 is nearly full: 1.2 GB left. New data will be refused when it is full; nothing that is stored is in danger.',
  )
})

test('the events of folders are sentences, and only trouble weighs as such', () => {
  const details = { folder: 'disk2', path: '/mnt/disk2', state: 'in-use', freeBytes: 1.2e9 }
  const words = (kind: EventKind) => {
    const { text, weight } = eventWords({ number: 1, atMs: 0, kind, volume: null, server: 'nas-1', details })
    return `${weight}: ${text}`
  }
  const where = 'The storage folder disk2 (/mnt/disk2) of nas-1'
  assert.equal(
    words('folder-away'),
    `trouble: ${where} cannot be used (in use by another agent). What lies elsewhere goes on.`,
  )
  assert.equal(words('folder-back'), `good: ${where} is in use again.`)
  assert.match(words('space-low'), /^trouble: The disk under \/mnt\/disk2 is nearly full: 1\.2 GB left\./)
  assert.equal(words('space-ok'), `good: ${where} has enough free space again.`)
  assert.equal(words('disk-failed'), 'trouble: A disk of nas-1 failed: the storage folder disk2 (/mnt/disk2).')
})

test('"Protected" is not said of a server while a copy lies in a folder that is away', () => {
  const status = statusOf([volume()])
  const held = { ...status, folders: [...status.folders, folder({ state: 'missing' })] }
  const { headline, second } = statusWords(held, 0)
  assert.equal(headline, 'One copy')
  assert.match(second, /^The storage folder disk2 is missing\. It holds the copies of archive\./)
  const empty = { ...status, folders: [...status.folders, folder({ state: 'missing', volumes: [] })] }
  assert.equal(statusWords(empty, 0).headline, 'Protected')
  assert.match(statusWords(empty, 0).second, /disk2 is missing/)
})
