import { Button } from '@mantine/core'
import { formatBytes } from '../../agent/contract/sizes.ts'
import type { SnapshotStatus } from '../../agent/contract/status.ts'
import { whenWords } from '../../agent/contract/times.ts'
import { Confirm } from './confirm.tsx'
import { CopyLine } from './copy-line.tsx'
import css from './snapshot-list.module.css'

/** The snapshots of one shared disk, the newest first: when, what they hold, where to open them. */
export function SnapshotList(props: {
  snapshots: readonly SnapshotStatus[]
  volumeName: string
  nowMs: number
  /** The one that a person wants to delete and is asked about; null: none. */
  asking: string | null
  busy: boolean
  onAsk: (name: string | null) => void
  onDelete: (name: string) => void
}) {
  return (
    <ul className={css.list} aria-label={`Snapshots of ${props.volumeName}`}>
      {[...props.snapshots].reverse().map(({ name, madeMs, allocatedBytes, clients, nbd }) => {
        const address = nbd.tcp ?? nbd.unix
        const readers = clients.length === 0 ? '' : `, read by ${clients.map((client) => client.address).join(', ')}`
        return (
          <li key={name} className={css.row}>
            <div>
              <p className={css.name}>{name}</p>
              <p className={css.note}>
                made {whenWords(madeMs, props.nowMs)}, holds {formatBytes(allocatedBytes)} here{readers}
              </p>
            </div>
            <Button
              variant="default"
              size="compact-md"
              aria-label={`Delete the snapshot ${name}`}
              onClick={() => props.onAsk(name)}
            >
              Delete
            </Button>
            {address !== null && (
              <div className={css.whole}>
                <CopyLine text={address} what={`the address of ${name}`} />
              </div>
            )}
            {props.asking === name && (
              <div className={css.whole}>
                <Confirm
                  title={`Delete the snapshot ${name}`}
                  typed={null}
                  verb={`Delete ${name}`}
                  busy={props.busy}
                  onCancel={() => props.onAsk(null)}
                  onConfirm={() => props.onDelete(name)}
                >
                  <p>
                    The snapshot {name} is removed from every server. The shared disk {props.volumeName} itself is not
                    touched.
                  </p>
                </Confirm>
              </div>
            )}
          </li>
        )
      })}
    </ul>
  )
}
