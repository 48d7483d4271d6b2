/** What people read about storage folders and the space in them. */
import { never } from '../kit/failure.ts'
import { formatBytes } from './sizes.ts'
import type { FolderState, FolderStatus } from './status.ts'

/** One word or two for a list. */
export const folderStateWords: Readonly<Record<FolderState, string>> = {
  ok: 'ok',
  missing: 'missing',
  failed: 'failed',
  'in-use': 'in use by another agent',
  damaged: 'damaged',
  foreign: 'holds something else',
}

/** @param freeBytes null where not known */
export function spaceLowWords(path: string, freeBytes: number | null): string {
  const left = freeBytes === null ? '' : `: ${formatBytes(freeBytes)} left`
  return `The disk under ${path} is nearly full${left}. New data will be refused when it is full; nothing that is stored is in danger.`
}

/** @returns what a person should know of one folder; null where all is well */
export function folderTrouble(folder: FolderStatus): string | null {
  const { name, path, state, why, isLow, freeBytes, volumes } = folder
  const held = volumes.length === 0 ? '' : ` It holds the copies of ${volumes.join(', ')}.`
  switch (state) {
    case 'ok':
      return isLow ? spaceLowWords(path, freeBytes) : null
    case 'missing':
      return `The storage folder ${name} is missing.${held} Mount its disk at ${path}: it is taken into use by itself.`
    case 'failed':
      return `The disk of the storage folder ${name} failed (${path}).${held} Check it, then restart Mirrorbay here.`
    case 'in-use':
      return `Another agent uses the storage folder ${name} (${path}).${held} Stop that one.`
    case 'damaged':
      return `The storage folder ${name} cannot be read (${path}).${held} ${why ?? ''}`.trimEnd()
    case 'foreign':
      return `At ${path} is not what belongs to the storage folder ${name}.${held} ${why ?? ''}`.trimEnd()
    default:
      return never(state, 'folderTrouble')
  }
}
