/**
 * At opening and rebuilding: the greatest counts that any file of the folder shows (C12), also one of which every slot was
 * given back, or the marks file of a volume that was deleted.
 */
import type { BlockFile, Files } from './files.ts'
import { type Counts, dataFilePath, decodeCounts, decodeFileHeader, fileHeaderBytes } from './format.ts'
import { type Steps, wait } from './steps.ts'

/** @returns the number of the data file of that name in `data`; null when it is none */
export function dataFileNumber(name: string): number | null {
  const number = Number(/^(\d{5,9})\.slots$/.exec(name)?.[1] ?? Number.NaN)
  return dataFilePath(number) === `data/${name}` ? number : null
}

/** What is not this store's counts nothing. */
export function* findCounts(files: Files, storeId: string): Steps<Counts> {
  let commits = 0
  let index = 0
  const take = (found: Counts) => {
    commits = Math.max(commits, found.commits)
    index = Math.max(index, found.index)
  }
  for (const name of yield* wait<string[]>((done) => files.list('data', done))) {
    if (dataFileNumber(name) === null) continue
    const header = yield* readStart(files, `data/${name}`)
    // A damaged one may still count: that has a checksum of its own.
    if ((decodeFileHeader(header)?.storeId ?? storeId) === storeId) take(decodeCounts(header))
  }
  for (const name of yield* wait<string[]>((done) => files.list('marks', done))) {
    if (name.endsWith('.marks')) take(decodeCounts(yield* readStart(files, `marks/${name}`)))
  }
  return { commits, index }
}

function* readStart(files: Files, path: string): Steps<Buffer> {
  const file = yield* wait<BlockFile>((done) => files.open(path, false, done))
  try {
    const header = Buffer.alloc(fileHeaderBytes)
    yield* wait<number>((done) => file.read(header, 0, header.length, 0, done))
    return header
  } finally {
    yield* wait((done) => file.close(done))
  }
}
