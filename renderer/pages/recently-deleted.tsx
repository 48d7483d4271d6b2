/** The shared disks that were deleted and are still kept: back again, or gone for good. */
import { Button, Checkbox, TextInput } from '@mantine/core'
import { useState } from 'react'
import { nameText } from '../../agent/contract/config.ts'
import { deletedName, deletedWords, purgeMeans } from '../../agent/contract/deleted-words.ts'
import type { ErrorBody } from '../../agent/contract/errors.ts'
import type { DeletedVolumeStatus } from '../../agent/contract/status.ts'
import { Confirm } from '../parts/confirm.tsx'
import { ErrorNote } from '../parts/error-note.tsx'
import { Panel } from '../parts/panel.tsx'
import type { Command } from '../use-agent.ts'
import css from './pages.module.css'

export function RecentlyDeleted(props: {
  deleted: readonly DeletedVolumeStatus[]
  /** Names that shared disks in use have: who is restored needs another one. */
  taken: readonly string[]
  nowMs: number
  command: Command
}) {
  return (
    <Panel title="Recently deleted">
      <ul className={css.plainList} aria-label="Recently deleted shared disks">
        {props.deleted.map((volume) => (
          <li key={volume.id}>
            <Deleted
              volume={volume}
              isTaken={props.taken.includes(volume.name)}
              nowMs={props.nowMs}
              command={props.command}
            />
          </li>
        ))}
      </ul>
    </Panel>
  )
}

function Deleted(props: { volume: DeletedVolumeStatus; isTaken: boolean; nowMs: number; command: Command }) {
  const { volume, isTaken, command } = props
  const [busy, setBusy] = useState<'restore' | 'purge' | null>(null)
  const [isAsking, setAsking] = useState(false)
  const [wipe, setWipe] = useState(false)
  const [newName, setNewName] = useState(`${volume.name.slice(0, 59)}-old`)
  const [refused, setRefused] = useState<ErrorBody | null>(null)
  const ask = async (what: 'restore' | 'purge', asked: Promise<ErrorBody | null>) => {
    setBusy(what)
    const error = await asked
    setRefused(error)
    setBusy(null)
    if (error === null) setAsking(false)
  }
  const restore = () => ask('restore', command('restoreVolume', { id: volume.id, as: isTaken ? newName : null }))
  const purge = () => ask('purge', command('purgeVolume', { id: volume.id, wipe }))
  return (
    <>
      <p>
        <strong>{deletedName(volume)}</strong>
      </p>
      <p className={css.small}>{deletedWords(volume, props.nowMs)}</p>
      {volume.wiping === null && (
        <div className={css.line}>
          {isTaken && (
            <TextInput
              label={`There is another ${volume.name} now. Restore this one as`}
              value={newName}
              error={nameText.safeParse(newName).success ? null : 'Use 1 to 63 of: a-z 0-9 . _ -'}
              onChange={(event) => setNewName(event.currentTarget.value.toLowerCase())}
              autoComplete="off"
              spellCheck={false}
            />
          )}
          <Button
            variant="default"
            loading={busy === 'restore'}
            disabled={isTaken && !nameText.safeParse(newName).success}
            onClick={() => void restore()}
          >
            Restore {volume.name}
          </Button>
          {!isAsking && (
            <Button variant="default" onClick={() => setAsking(true)}>
              Delete for good…
            </Button>
          )}
        </div>
      )}
      {isAsking && volume.wiping === null && (
        <Confirm
          title={`Delete ${volume.name} for good`}
          typed={volume.name}
          verb={`Delete ${volume.name} for good`}
          busy={busy === 'purge'}
          onCancel={() => setAsking(false)}
          onConfirm={() => void purge()}
        >
          <p>{purgeMeans}</p>
          <Checkbox
            size="sm"
            checked={wipe}
            onChange={(event) => setWipe(event.currentTarget.checked)}
            label="Overwrite every byte first (slow)"
          />
        </Confirm>
      )}
      {refused !== null && <ErrorNote error={refused} />}
    </>
  )
}
