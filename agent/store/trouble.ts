/** What a person reads when a storage folder cannot be opened. */
import { UserError } from '../kit/failure.ts'
import type { FileError } from './files.ts'

const untouched = 'Nothing in the folder was changed.'

/** A file of the store does not hold what it should. */
export const damaged = (path: string, what: string): UserError =>
  new UserError({
    code: 'store-damaged',
    happened: `The storage folder is damaged: ${path}: ${what}.`,
    dataIsSafe: `${untouched} The other servers' copies are not affected.`,
    next: 'Check the disk. If it is sound, start this server with an empty storage folder: it gets its data from the others.',
  })

export const unknownVersion = (path: string): UserError =>
  new UserError({
    code: 'store-version',
    happened: `${path} was written by another version of Mirrorbay, in a form that this version does not know.`,
    dataIsSafe: untouched,
    next: 'Start the version of Mirrorbay that was used with this folder before, or a newer one.',
  })

export const notAStore = (path: string): UserError =>
  new UserError({
    code: 'store-garbage',
    happened: `${path} is there, but it is not what Mirrorbay writes.`,
    dataIsSafe: untouched,
    next: 'Choose another storage folder, or put back the original file.',
  })

/** Where a store was, there is an empty folder: most likely a mount point without its disk. */
export const notThere = (): UserError =>
  new UserError({
    code: 'store-missing',
    happened: 'The storage folder is empty: its disk is not mounted there, or its files were removed.',
    dataIsSafe: untouched,
    next: 'Mount the disk that belongs there.',
  })

/** Neither the store that belongs there, nor nothing. */
export const anotherStore = (): UserError =>
  new UserError({
    code: 'store-other',
    happened: 'The storage folder holds another store than the one that belongs there.',
    dataIsSafe: untouched,
    next: 'Mount the disk that belongs there, or remove this storage folder and add it anew.',
  })

export const inUse = (): UserError =>
  new UserError({
    code: 'store-in-use',
    happened: 'Another Mirrorbay agent is using this storage folder.',
    dataIsSafe: 'Your data is safe: the other agent takes care of it.',
    next: 'Stop the other agent first, or choose another storage folder.',
  })

const sentences: Record<string, { code: string; happened: string; next: string }> = {
  ENOENT: {
    code: 'store-missing',
    happened: 'The storage folder is not there.',
    next: 'Create the folder, or mount its disk, and start again.',
  },
  ENOTDIR: {
    code: 'store-not-a-folder',
    happened: 'The storage folder is not a folder.',
    next: 'Choose a folder for the storage.',
  },
  EACCES: {
    code: 'store-no-permission',
    happened: 'This user may not use the storage folder.',
    next: 'Give the user that runs Mirrorbay the right to read and write there.',
  },
  EROFS: {
    code: 'store-read-only',
    happened: 'The storage folder is on a disk that can only be read.',
    next: 'Mount the disk for writing; if it became read-only by itself, check it first.',
  },
  EINDEX: {
    code: 'store-damaged',
    happened: 'The index of the storage folder (index.db) is missing.',
    next: 'Make it anew from the data files with "mirrorbay store rebuild", then start again; or start this server with an empty storage folder: it gets its data from the others.',
  },
  ECORRUPT: {
    code: 'store-damaged',
    happened: 'The index of the storage folder (index.db or lock.db) is damaged.',
    next: 'Check the disk. If it is sound, make the index anew from the data files with "mirrorbay store rebuild", or start this server with an empty storage folder: it gets its data from the others.',
  },
  EOLDINDEX: {
    code: 'store-damaged',
    happened:
      'The index of the storage folder (index.db) is older than the data beside it: its log (index.db-wal) was lost or removed, or an older copy of it was put there.',
    next: 'Put both files back as they were, if they are still somewhere. Else make the index anew from the data files with "mirrorbay store rebuild", then start again; or start this server with an empty storage folder: it gets its data from the others.',
  },
  EBUSY: {
    code: 'store-index-in-use',
    happened: 'Another program uses the index of the storage folder (index.db).',
    next: 'Close that program, perhaps a backup or a tool for databases, and start again.',
  },
  EVERSION: {
    code: 'store-version',
    happened: 'The index of the storage folder was written by another version of Mirrorbay.',
    next: 'Start the version of Mirrorbay that was used with this folder before, or a newer one.',
  },
  ENOSPC: {
    code: 'store-full',
    happened: 'The disk of the storage folder is full.',
    next: 'Free some space there and start again.',
  },
}
sentences.EPERM = { ...sentences.EACCES } as { code: string; happened: string; next: string } // set just above
sentences.EDQUOT = { ...sentences.ENOSPC } as { code: string; happened: string; next: string } // set just above

/** Turns the operating system's error at opening into words. */
export function openingFailed(error: FileError): UserError {
  const known = sentences[error.code]
  return new UserError({
    code: known?.code ?? 'store-disk-error',
    happened: `${known?.happened ?? 'The disk of the storage folder answered with an error.'} (${error.message})`,
    dataIsSafe: 'What was stored stays as it is; nothing was served from it.',
    next: known?.next ?? 'Check the disk and its cables, then start again.',
  })
}
