import { folderStateWords, folderTrouble } from '../../agent/contract/folder-words.ts'
import { formatBytes } from '../../agent/contract/sizes.ts'
import type { FolderStatus } from '../../agent/contract/status.ts'
import css from './folder-list.module.css'
import { Chip, folderLook } from './mark.tsx'
import rows from './replica-list.module.css'

/** Free space, and of how much; what is not known is left out. */
function spaceText({ freeBytes, totalBytes }: FolderStatus): string | null {
  if (freeBytes === null) return null
  return totalBytes === null
    ? `${formatBytes(freeBytes)} free`
    : `${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} free`
}

/** The storage folders of this server: where copies lie, how much space is left, and what is wrong with one. */
export function FolderList(props: { folders: readonly FolderStatus[] }) {
  return (
    <ul className={rows.list} aria-label="Storage folders">
      {props.folders.map((folder) => {
        const trouble = folderTrouble(folder)
        const space = spaceText(folder)
        const isFull = folder.state === 'ok' && folder.isLow
        return (
          <li key={folder.name} className={`${rows.row} ${css.row}`}>
            <span className={rows.name}>{folder.name}</span>
            <Chip look={folderLook[isFull ? 'low' : folder.state]}>
              {isFull ? 'nearly full' : folderStateWords[folder.state]}
            </Chip>
            <span className={css.path}>{folder.path}</span>
            {space !== null && <span className={css.space}>{space}</span>}
            {trouble !== null && <p className={css.trouble}>{trouble}</p>}
          </li>
        )
      })}
    </ul>
  )
}
