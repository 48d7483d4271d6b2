/** Reads rows of index.db, each held against its checksum; for the thread that owns it and for a look from outside. */
import type Database from 'better-sqlite3'
import type { GroupRow, IndexImage, IndexVolume } from './index.ts'
import { type ImageRow, imageSum, mustFit, mustFitGroup, mustFitRegion, volumeSum } from './row-sums.ts'

type Summed<T> = T & { readonly sum: number }

/** What is asked for are columns of our own tables. */
const all = <T>(database: Database.Database, sql: string): Summed<T>[] => database.prepare(sql).all() as Summed<T>[]

/** @throws FileError ECORRUPT: a row does not fit its checksum; as all of these */
export function volumeRows(database: Database.Database): IndexVolume[] {
  return all<IndexVolume>(database, 'SELECT * FROM volumes ORDER BY number').map(({ sum, ...volume }) => {
    mustFit(sum, volumeSum(volume), `the row of volume ${volume.number}`)
    return volume
  })
}

export function imageRows(database: Database.Database): IndexImage[] {
  return all<ImageRow>(database, 'SELECT * FROM images ORDER BY number').map(({ sum, ...image }) => {
    mustFit(sum, imageSum(image), `the row of image ${image.number}`)
    return { ...image, leaving: image.leaving !== 0 }
  })
}

export function groupRows(database: Database.Database): GroupRow[] {
  const rows = all<GroupRow>(database, 'SELECT number AS "group", doubtful, sum FROM slotGroups')
  return rows.map(({ group, doubtful, sum }) => ({ group, doubtful: mustFitGroup(group, doubtful, sum) }))
}

/** One after the other, so that not all of them are objects at once. */
export function* regionRows(
  database: Database.Database,
): IterableIterator<[volume: number, region: number, slots: Uint8Array]> {
  const rows = database.prepare('SELECT volume, region, slots, sum FROM regions').raw().iterate()
  for (const [volume, region, slots, sum] of rows as Iterable<[number, number, unknown, unknown]>) {
    yield [volume, region, mustFitRegion(volume, region, slots, sum)]
  }
}
