/** The tables of index.db (FORMAT.md), and how those of older versions become these. */
import type Database from 'better-sqlite3'
import { FileError } from './files.ts'
import { groupSum, type ImageRow, imageSum, movedSum, regionSum, volumeSum } from './row-sums.ts'

/** 1: without images. 2: without checksums of rows and the count of commits. */
export const tablesVersion = 3

const imagesTable = `
  CREATE TABLE images (number INTEGER PRIMARY KEY, volume INTEGER NOT NULL, name TEXT NOT NULL, madeMs INTEGER NOT NULL,
    sizeBytes INTEGER NOT NULL, leaving INTEGER NOT NULL, sum INTEGER NOT NULL DEFAULT 0);
`
const tables = `
  CREATE TABLE store (version INTEGER NOT NULL, storeId TEXT NOT NULL, lastVolume INTEGER NOT NULL, opened INTEGER NOT NULL,
    commits INTEGER NOT NULL DEFAULT 0);
  CREATE TABLE volumes (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sizeBytes INTEGER NOT NULL,
    sum INTEGER NOT NULL DEFAULT 0);
  CREATE TABLE regions (volume INTEGER NOT NULL, region INTEGER NOT NULL, slots BLOB NOT NULL,
    sum INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (volume, region)) WITHOUT ROWID;
  CREATE TABLE slotGroups (number INTEGER PRIMARY KEY, doubtful BLOB NOT NULL, sum INTEGER NOT NULL DEFAULT 0);
  ${imagesTable}
`

/** Checksums inside of statements. */
export function addFunctions(database: Database.Database): void {
  const sure = { deterministic: true }
  database.function('regionSum', sure, (volume, region, slots) =>
    regionSum(Number(volume), Number(region), slots as Uint8Array),
  ) // a blob column
  database.function('groupSum', sure, (group, doubtful) => groupSum(Number(group), doubtful as Uint8Array)) // as above
  database.function('volumeSum', sure, (number, id, sizeBytes) =>
    volumeSum({ number: Number(number), id: String(id), sizeBytes: Number(sizeBytes) }),
  )
  database.function('imageSum', sure, (number, volume, name, madeMs, sizeBytes, leaving) =>
    imageSum({ number, volume, name, madeMs, sizeBytes, leaving } as ImageRow),
  ) // the columns of images
  database.function('movedSum', sure, (sum, from, to, region) =>
    movedSum(Number(sum), Number(from), Number(to), Number(region)),
  )
}

/** Inside of the caller's transaction, or as one of its own. */
export function makeTables(database: Database.Database, storeId: string, lastVolume: number, commits: number): void {
  database.exec(tables)
  database.prepare('INSERT INTO store VALUES (?, ?, ?, 0, ?)').run(tablesVersion, storeId, lastVolume, commits)
}

/** Brings an older index up to this version, in one transaction; from now on an older agent refuses it. @throws FileError EVERSION */
export function upgrade(database: Database.Database): void {
  const version = database.prepare('SELECT version FROM store').pluck().get()
  if (version === tablesVersion) return
  if (version !== 1 && version !== 2) throw new FileError('EVERSION', `index.db has version ${String(version)}`)
  const addSum = (table: string) => `ALTER TABLE ${table} ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;`
  database.exec(`BEGIN;
    ${version === 1 ? imagesTable : addSum('images')}
    ${['volumes', 'regions', 'slotGroups'].map(addSum).join('\n')}
    ALTER TABLE store ADD COLUMN commits INTEGER NOT NULL DEFAULT 0;
    UPDATE volumes SET sum = volumeSum(number, id, sizeBytes);
    UPDATE images SET sum = imageSum(number, volume, name, madeMs, sizeBytes, leaving);
    UPDATE regions SET sum = regionSum(volume, region, slots);
    UPDATE slotGroups SET sum = groupSum(number, doubtful);
    UPDATE store SET version = ${tablesVersion};
    COMMIT`)
}
