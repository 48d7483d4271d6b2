/** What makes a folder a store: its first file, its data files. */
import { UserError } from '../kit/failure.ts'
import type { DataFiles } from './data-files.ts'
import type { Files } from './files.ts'
import { dataFilePath, encodeRecord, formatVersion, parseStoreFile, slotsPerFile, slotsPerGroup } from './format.ts'
import type { Index, IndexContents, IndexOpener } from './index.ts'
import { readRecordFile, replaceFile } from './records.ts'
import { type Steps, wait } from './steps.ts'
import { anotherStore, damaged, notAStore, notThere, unknownVersion } from './trouble.ts'

/**
 * @param expectedId of the store that must be there: an empty folder is none then
 * @returns null when the folder is no store yet. @throws UserError for what is not ours or not readable
 */
export function* readStoreFile(files: Files, expectedId?: string): Steps<{ storeId: string } | null> {
  const names = yield* wait<string[]>((done) => files.list('', done))
  if (!names.includes('store.json') && expectedId !== undefined) throw notThere()
  if (!names.includes('store.json')) return null
  let value: unknown
  try {
    value = yield* readRecordFile(files, 'store.json')
  } catch (error) {
    if (error instanceof UserError && error.code === 'store-damaged') throw notAStore('store.json')
    throw error
  }
  const parsed = parseStoreFile(value)
  if (parsed === null) throw notAStore('store.json')
  if (parsed.version !== formatVersion) throw unknownVersion('store.json')
  if (expectedId !== undefined && parsed.storeId !== expectedId) throw anotherStore()
  return parsed
}

/** Makes the folder a store. store.json comes last: without it the rest is a half-made store, made again. */
export function* makeStore(files: Files, opener: IndexOpener, storeId: string): Steps<Index> {
  for (const folder of ['data', 'marks', 'meta']) yield* wait((done) => files.makeFolder(folder, done))
  const found = yield* wait<string[]>((done) => files.list('data', done))
  if (found.length > 0) throw damaged('store.json', 'it is missing, but there are data files')
  const index = yield* wait<Index>((done) => opener.open(storeId, done))
  try {
    yield* wait((done) => index.sync(done))
    // The names of all that belongs to a store are durable before store.json says that it is one.
    yield* wait((done) => files.syncFolder('', done))
    const storeFile = { kind: 'mirrorbay-store', version: formatVersion, storeId }
    yield* replaceFile(files, '', 'store.json', encodeRecord(storeFile))
    return index
  } catch (error) {
    yield* wait((done) => index.close(done))
    throw error
  }
}

/**
 * Opens every data file in which slots were handed out: one that is missing is damage. One in which nothing was ever
 * handed out may lack its header, or have it in the page cache only (its maker was killed): it is made anew when it is
 * needed, so that no slot in it is used before header and name are durable.
 */
export function* openDataFiles(files: Files, data: DataFiles, contents: IndexContents): Steps<void> {
  const names = new Set(yield* wait<string[]>((done) => files.list('data', done)))
  for (const number of [...usedFiles(contents)].sort((a, b) => a - b)) {
    if (!names.has(dataFilePath(number).slice('data/'.length))) throw damaged(dataFilePath(number), 'it is missing')
    yield* data.openExisting(number)
  }
}

/** @returns the data files in which slots were handed out; goes through the whole index */
function usedFiles(contents: IndexContents): Set<number> {
  const used = new Set<number>()
  // Neighbours are in one file: most need no look into the set.
  let last = -1
  for (const row of contents.groups) if (row.doubtful) used.add(Math.floor((row.group * slotsPerGroup) / slotsPerFile))
  for (const row of contents.regions) {
    if (row.slots === null) continue
    const bytes = Buffer.from(row.slots.buffer, row.slots.byteOffset, row.slots.byteLength)
    for (let at = 0; at + 4 <= bytes.length; at += 4) {
      const slot = bytes.readUInt32LE(at) - 1
      const file = Math.floor(slot / slotsPerFile)
      if (slot < 0 || file === last) continue
      used.add(file)
      last = file
    }
  }
  return used
}
