/** One shared disk over its life: its size, its snapshots, its end. */
import { Button, NativeSelect, TextInput } from '@mantine/core'
import { type FormEvent, useState } from 'react'
import { snapshotName } from '../../agent/contract/config.ts'
import { deleteMeans, snapshotMeans } from '../../agent/contract/deleted-words.ts'
import type { ErrorBody } from '../../agent/contract/errors.ts'
import { formatBytes, formatSize, parseSize } from '../../agent/contract/sizes.ts'
import type { Status, VolumeStatus } from '../../agent/contract/status.ts'
import { Confirm } from '../parts/confirm.tsx'
import { ErrorNote } from '../parts/error-note.tsx'
import { Panel } from '../parts/panel.tsx'
import { SnapshotList } from '../parts/snapshot-list.tsx'
import type { Command } from '../use-agent.ts'
import { go, hrefs } from '../use-route.ts'
import css from './pages.module.css'

interface PartProps {
  volume: VolumeStatus
  status: Status
  command: Command
}

/** A command of this page: whether it is under way, and what it was refused with. */
function useAsked() {
  const [busy, setBusy] = useState(false)
  const [refused, setRefused] = useState<ErrorBody | null>(null)
  const ask = async (asked: Promise<ErrorBody | null>): Promise<boolean> => {
    setBusy(true)
    const error = await asked
    setBusy(false)
    setRefused(error)
    return error === null
  }
  return { busy, refused, ask }
}

const unitBytes = { M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 } as const
type Unit = keyof typeof unitBytes

/** The largest unit in which the size is a whole number. */
const unitOf = (sizeBytes: number): Unit =>
  sizeBytes % unitBytes.T === 0 ? 'T' : sizeBytes % unitBytes.G === 0 ? 'G' : 'M'

function Grow({ volume, status, command }: PartProps) {
  const [unit, setUnit] = useState<Unit>(unitOf(volume.sizeBytes))
  const [amount, setAmount] = useState(String(volume.sizeBytes / unitBytes[unitOf(volume.sizeBytes)]))
  const [problem, setProblem] = useState<string | null>(null)
  const { busy, refused, ask } = useAsked()
  const free = status.folders.find((folder) => folder.name === volume.folder)?.freeBytes ?? null
  const submit = async (event: FormEvent) => {
    event.preventDefault()
    const size = sizeOf(amount, unit)
    const wrong = typeof size === 'string' ? size : size <= volume.sizeBytes ? 'A shared disk can only grow.' : null
    setProblem(wrong)
    if (wrong === null && typeof size === 'number') {
      await ask(command('growVolume', { volume: volume.name, sizeBytes: size }))
    }
  }
  return (
    <Panel title="Size">
      <p>
        {volume.name} has {formatSize(volume.sizeBytes)}. It can grow while it is used; computers see the new size when
        they connect again, and then their file system has to be enlarged too.
      </p>
      <form className={css.line} onSubmit={(event) => void submit(event)} noValidate>
        <div className={css.size}>
          <TextInput
            label="New size"
            inputMode="decimal"
            value={amount}
            error={problem !== null}
            aria-describedby="grow-note"
            onChange={(event) => setAmount(event.currentTarget.value)}
          />
          <NativeSelect
            aria-label="Unit of the new size"
            value={unit}
            onChange={(event) => setUnit(isUnit(event.currentTarget.value) ? event.currentTarget.value : unit)}
            data={[
              { value: 'M', label: 'MiB' },
              { value: 'G', label: 'GiB' },
              { value: 'T', label: 'TiB' },
            ]}
          />
        </div>
        <Button type="submit" variant="default" loading={busy}>
          Grow {volume.name}
        </Button>
      </form>
      <p id="grow-note" className={css.small}>
        {problem ??
          `Space is taken as it is used, on every server that has a copy.${free === null ? '' : ` Free on ${status.server.name}: ${formatBytes(free)}.`}`}
      </p>
      {refused !== null && <ErrorNote error={refused} />}
    </Panel>
  )
}

const isUnit = (text: string): text is Unit => Object.hasOwn(unitBytes, text)

/** @returns the bytes, or the sentence that says what is wrong with them */
function sizeOf(amount: string, unit: Unit): number | string {
  try {
    return parseSize(`${amount}${unit}`)
  } catch (error) {
    return error instanceof Error ? error.message : 'This is not a size.'
  }
}

function Snapshots({ volume, command, nowMs }: PartProps & { nowMs: number }) {
  const [name, setName] = useState('')
  const [problem, setProblem] = useState<string | null>(null)
  const [asking, setAsking] = useState<string | null>(null)
  const { busy, refused, ask } = useAsked()
  const make = async (event: FormEvent) => {
    event.preventDefault()
    const isName = snapshotName.safeParse(name).success
    setProblem(isName ? null : 'Use 1 to 63 of: a-z 0-9 - (a letter or digit first).')
    if (isName && (await ask(command('makeSnapshot', { volume: volume.name, name })))) setName('')
  }
  const remove = async (snapshot: string) => {
    if (await ask(command('deleteSnapshot', { volume: volume.name, snapshot }))) setAsking(null)
  }
  return (
    <Panel title="Snapshots">
      <p>{snapshotMeans} Open one as a network block device at its address below.</p>
      <form className={css.line} onSubmit={(event) => void make(event)} noValidate>
        <TextInput
          label="Name of a new snapshot"
          placeholder="before-update"
          value={name}
          error={problem}
          onChange={(event) => setName(event.currentTarget.value.toLowerCase())}
          autoComplete="off"
          spellCheck={false}
        />
        <Button type="submit" variant="default" loading={busy && asking === null}>
          Make snapshot
        </Button>
      </form>
      {refused !== null && <ErrorNote error={refused} />}
      {volume.snapshots.length === 0 ? (
        <p className={css.small}>No snapshots yet.</p>
      ) : (
        <SnapshotList
          snapshots={volume.snapshots}
          volumeName={volume.name}
          nowMs={nowMs}
          asking={asking}
          busy={busy}
          onAsk={setAsking}
          onDelete={(snapshot) => void remove(snapshot)}
        />
      )}
    </Panel>
  )
}

function Delete({ volume, command }: PartProps) {
  const [isAsking, setAsking] = useState(false)
  const { busy, refused, ask } = useAsked()
  const connected = volume.clients.map((client) => client.address)
  const remove = async () => {
    if (await ask(command('deleteVolume', { volume: volume.name }))) go(hrefs.overview)
  }
  return (
    <Panel title="Delete">
      <p>{deleteMeans}</p>
      {!isAsking && (
        <div className={css.line}>
          <Button variant="default" onClick={() => setAsking(true)}>
            Delete {volume.name}…
          </Button>
        </div>
      )}
      {isAsking && (
        <Confirm
          title={`Delete ${volume.name}`}
          typed={volume.name}
          verb={`Delete ${volume.name}`}
          busy={busy}
          onCancel={() => setAsking(false)}
          onConfirm={() => void remove()}
        >
          <p>
            Delete the shared disk {volume.name}?
            {connected.length > 0 && ` Connected to it here now, and disconnected then: ${connected.join(', ')}.`}
          </p>
        </Confirm>
      )}
      {refused !== null && <ErrorNote error={refused} />}
    </Panel>
  )
}

export function Manage(props: { status: Status; name: string | null; nowMs: number; command: Command }) {
  const { status, name, nowMs, command } = props
  const volume = status.volumes.find((candidate) => candidate.name === name)
  if (volume === undefined) {
    return (
      <div className={css.narrow}>
        <h1 className={css.title}>There is no such shared disk</h1>
        <p className={css.lead}>{name ?? 'It'} is not offered by this server. If it was deleted, see the overview.</p>
      </div>
    )
  }
  const parts = { volume, status, command }
  return (
    // Of another disk nothing that was typed or refused may stay.
    <div className={css.narrow} key={volume.id}>
      <div>
        <h1 className={css.title}>{volume.name}</h1>
        <p className={css.lead}>Size, snapshots, and the end of this shared disk.</p>
      </div>
      <Grow {...parts} />
      <Snapshots {...parts} nowMs={nowMs} />
      <Delete {...parts} />
    </div>
  )
}
