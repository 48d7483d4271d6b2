/** What a person reads about storage folders that cannot be added, removed or opened. */
import { UserError } from '../kit/failure.ts'
import type { StorageFolder } from '../volume/folders.ts'

const untouched = 'Nothing was changed.'

const refusal = (code: string, happened: string, next: string, dataIsSafe = untouched): UserError =>
  new UserError({ code, happened, dataIsSafe, next })

const named = (folder: StorageFolder): string => `${folder.name} (${folder.path})`
const volumesOf = (folder: StorageFolder): string =>
  folder
    .volumes()
    .map(({ name }) => name)
    .join(', ')

export const refusals = {
  /** @param words what is wrong with the name or the path */
  list: (words: string) =>
    refusal('folder-refused', `The storage folder was not added: ${words}.`, 'Name another one.'),
  nameTaken: (name: string) =>
    refusal('folder-exists', `There is already a storage folder named ${name}.`, 'Choose another name.'),
  noSuch: (name: string) =>
    refusal(
      'no-such-folder',
      `This server has no storage folder named ${name}.`,
      'Look at "mirrorbay folder list" for its name.',
    ),
  mainStays: () =>
    refusal(
      'folder-refused',
      'The main folder cannot be removed: the identity of this server is in it.',
      'Remove another one.',
    ),
  notEmpty: (folder: StorageFolder) =>
    refusal(
      'folder-not-empty',
      `The storage folder ${named(folder)} is still used: ${volumesOf(folder) === '' ? 'what decides about a shared disk of this server lies there' : volumesOf(folder)}.`,
      'A storage folder can be removed only while nothing lies in it.',
    ),
  notBack: (folder: StorageFolder) =>
    refusal(
      'folder-away',
      `The storage folder ${named(folder)} cannot be used: ${folder.why ?? 'it is being opened just now.'}`,
      'See to its disk, then try again; it is also looked for every few seconds.',
      'What lies in it stays as it is. The shared disks that lie elsewhere go on.',
    ),
  needsRestart: (folder: StorageFolder) =>
    refusal(
      'folder-needs-restart',
      `The disk of the storage folder ${named(folder)} failed while it was in use.`,
      'Check the disk, then restart Mirrorbay here ("mirrorbay stop", "mirrorbay agent").',
      'What lies in it stays as it is. The shared disks that lie elsewhere go on.',
    ),
  notMade: (path: string, why: string) =>
    refusal('folder-refused', `The folder ${path} cannot be used: ${why}.`, 'Name a folder where Mirrorbay may write.'),
  clone: (other: string) =>
    refusal(
      'folder-clone',
      `The folder holds a copy of the storage folder ${other}, which is in use.`,
      'Never use two copies of one storage folder. Name an empty folder.',
    ),
  elsewhere: (found: string) =>
    refusal(
      'folder-of-another-server',
      `The folder holds data of another server: ${found}.`,
      'Use it with that server (put its disk there, or "mirrorbay init --take-over" for its main folder), or name an empty folder.',
      'It was left as it is, and nothing in it is served here.',
    ),
  /** @param takeOver how to say yes */
  hasData: (found: string, takeOver: string) =>
    refusal(
      'folder-has-data',
      `The folder already holds data: ${found}.`,
      `If that data is to be used here, add --take-over: ${takeOver}. Otherwise name an empty folder.`,
    ),
} as const
