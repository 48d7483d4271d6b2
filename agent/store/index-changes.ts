/** Whole batches, and changes of a whole volume or image, as statements of SQLite; each row with its checksum. */
import type Database from 'better-sqlite3'
import { never } from '../kit/failure.ts'
import type { IndexBatch, IndexImage, IndexVolume, VolumeChange } from './index.ts'
import { groupSum, type ImageRow, imageSum, mustFit, regionSum, volumeSum } from './row-sums.ts'

type Run<T> = (of: T) => void

/** @returns what puts the rows of a batch into their tables */
export function rowPutter(database: Database.Database): Run<Pick<IndexBatch, 'regions' | 'groups'>> {
  const putRegion = database.prepare('INSERT OR REPLACE INTO regions VALUES (?, ?, ?, ?)')
  const dropRegion = database.prepare('DELETE FROM regions WHERE volume = ? AND region = ?')
  const putGroup = database.prepare('INSERT OR REPLACE INTO slotGroups VALUES (?, ?, ?)')
  const dropGroup = database.prepare('DELETE FROM slotGroups WHERE number = ?')
  return (batch) => {
    for (const { volume, region, slots } of batch.regions) {
      if (slots) putRegion.run(volume, region, slots, regionSum(volume, region, slots))
      else dropRegion.run(volume, region)
    }
    for (const { group, doubtful } of batch.groups) {
      if (doubtful) putGroup.run(group, doubtful, groupSum(group, doubtful))
      else dropGroup.run(group)
    }
  }
}

/** @returns what applies a batch in one transaction, with its number */
export function batcher(database: Database.Database): Run<IndexBatch> {
  const putRows = rowPutter(database)
  const applyChange = changer(database)
  const count = database.prepare('UPDATE store SET commits = ?')
  return database.transaction((batch: IndexBatch) => {
    putRows(batch)
    if (batch.change !== undefined) applyChange(batch.change)
    if (batch.number !== undefined) count.run(batch.number)
  })
}

export function volumeAdder(database: Database.Database): Run<IndexVolume> {
  const add = database.prepare('INSERT INTO volumes VALUES (?, ?, ?, ?)')
  return (volume) => add.run(volume.number, volume.id, volume.sizeBytes, volumeSum(volume))
}

const imageRow = ({ leaving, ...image }: IndexImage): ImageRow => ({ ...image, leaving: leaving ? 1 : 0 })

/** @returns what makes one change of a whole volume or image, inside of a transaction */
function changer(database: Database.Database): Run<VolumeChange> {
  const prepare = (sql: string) => database.prepare(sql)
  const addVolume = volumeAdder(database)
  const lastVolume = prepare('UPDATE store SET lastVolume = max(lastVolume, ?)')
  const grow = grower(database)
  const dropVolume = prepare('DELETE FROM volumes WHERE number = ?')
  const dropRegions = prepare('DELETE FROM regions WHERE volume = ?')
  const dropImagesRegions = prepare(
    'DELETE FROM regions WHERE volume IN (SELECT number FROM images WHERE images.volume = ?)',
  )
  const dropImages = prepare('DELETE FROM images WHERE volume = ?')
  const addImage = prepare('INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?)')
  // Not a new checksum: of a row that the disk has changed it would make a sound one.
  const copyRegions = prepare(
    'INSERT INTO regions SELECT @to, region, slots, movedSum(sum, @from, @to, region) FROM regions WHERE volume = @from',
  )
  const leave = leaver(database)
  const dropImage = prepare('DELETE FROM images WHERE number = ?')
  return (change) => {
    switch (change.kind) {
      case 'add':
        addVolume(change.volume)
        lastVolume.run(change.volume.number)
        return
      case 'grow':
        grow(change)
        return
      case 'remove':
        dropVolume.run(change.number)
        dropRegions.run(change.number)
        dropImagesRegions.run(change.number)
        dropImages.run(change.number)
        return
      case 'add-image': {
        const row = imageRow(change.image)
        addImage.run(row.number, row.volume, row.name, row.madeMs, row.sizeBytes, row.leaving, imageSum(row))
        copyRegions.run({ from: row.volume, to: row.number })
        lastVolume.run(row.number)
        return
      }
      case 'leave-images':
        for (const number of change.numbers) leave(number)
        return
      case 'remove-image':
        dropImage.run(change.number)
        dropRegions.run(change.number)
        return
      default:
        never(change, 'changer')
    }
  }
}

function grower(database: Database.Database): Run<{ readonly number: number; readonly sizeBytes: number }> {
  const find = database.prepare('SELECT * FROM volumes WHERE number = ?')
  const change = database.prepare('UPDATE volumes SET sizeBytes = ?, sum = ? WHERE number = ?')
  return ({ number, sizeBytes }) => {
    const row = find.get(number) as (IndexVolume & { sum: number }) | undefined // the table's columns
    if (row === undefined) return
    mustFit(row.sum, volumeSum(row), `the row of volume ${number}`)
    change.run(sizeBytes, volumeSum({ ...row, sizeBytes }), number)
  }
}

function leaver(database: Database.Database): Run<number> {
  const find = database.prepare('SELECT * FROM images WHERE number = ?')
  const change = database.prepare('UPDATE images SET leaving = 1, sum = ? WHERE number = ?')
  return (number) => {
    const row = find.get(number) as (ImageRow & { sum: number }) | undefined // the table's columns
    if (row === undefined) return
    mustFit(row.sum, imageSum(row), `the row of image ${number}`)
    change.run(imageSum({ ...row, leaving: 1 }), number)
  }
}
