/** What people read about shared disks that were deleted and are kept for a while. */
import { limits } from '../limits.ts'
import { formatSize } from './sizes.ts'
import type { DeletedVolumeStatus } from './status.ts'
import { whenWords } from './times.ts'

/** How long a deleted disk is kept, for a sentence. */
const keptDays = limits.deletedKeepMs / (24 * 3_600_000)

/** What deleting means, before it is done. */
export const deleteMeans = `Nobody can use it any more, and who is connected is disconnected. Its data is kept for ${keptDays} days, in which it can be restored; then it is gone.`

/** What removing for good means, before it is done. */
export const purgeMeans = 'Its data and its snapshots are removed from every server at once. Nothing brings them back.'

/** Where snapshots are offered. */
export const snapshotMeans =
  'A snapshot keeps what the disk holds at one moment, read-only. It lies on the same disks: it is no backup.'

/** "deleted on 20 Nov at 14:02, kept until 27 Nov at 14:02". @param nowMs milliseconds since 1970 */
export function deletedWords({ deletedMs, goneMs, wiping }: DeletedVolumeStatus, nowMs: number): string {
  if (wiping !== null) {
    const part = wiping.totalBytes === 0 ? 1 : wiping.doneBytes / wiping.totalBytes
    return `being overwritten and removed: ${Math.min(99, Math.floor(part * 100))} %`
  }
  const until = whenWords(goneMs, nowMs).replace(/^(at|on) /, '')
  return `deleted ${whenWords(deletedMs, nowMs)}, kept until ${until}`
}

/** "office, 1 GiB" */
export const deletedName = ({ name, sizeBytes }: DeletedVolumeStatus): string => `${name}, ${formatSize(sizeBytes)}`
