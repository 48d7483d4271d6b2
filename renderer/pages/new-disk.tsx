/** A new shared disk: name, size, and who decides when the servers lose sight of each other. */
import { Button, Checkbox, NativeSelect, Radio, TextInput } from '@mantine/core'
import { type FormEvent, useState } from 'react'
import { nameText } from '../../agent/contract/config.ts'
import type { ErrorBody } from '../../agent/contract/errors.ts'
import { formatBytes, formatSize, parseSize } from '../../agent/contract/sizes.ts'
import type { Status } from '../../agent/contract/status.ts'
import { list } from '../../agent/contract/words.ts'
import { ErrorNote } from '../parts/error-note.tsx'
import { Panel } from '../parts/panel.tsx'
import type { Command } from '../use-agent.ts'
import { go, hrefs } from '../use-route.ts'
import css from './pages.module.css'

/** `witness`, or the name of the preferred server. */
type Decider = { kind: 'witness' } | { kind: 'preferred'; server: string }

const sameDecider = (a: Decider, b: Decider): boolean =>
  a.kind === 'witness' ? b.kind === 'witness' : b.kind === 'preferred' && a.server === b.server

interface Option {
  decider: Decider
  label: string
  explains: string
  /** Null: it can be chosen. */
  unavailable: string | null
}

/** What can decide in a dispute, given the servers there are; what cannot be chosen says why. */
function decidersOf({ server, peers }: Status): Option[] {
  const storage = [server, ...peers].filter((candidate) => candidate.role === 'storage')
  const tiebreaker = peers.find((peer) => peer.role === 'tiebreaker')
  const names = storage.map((candidate) => candidate.name)
  const witness: Option = {
    decider: { kind: 'witness' },
    label: tiebreaker === undefined ? 'A tiebreaker' : `The tiebreaker ${tiebreaker.name}`,
    explains: 'A small third machine confirms who goes on. Any one server may stop, and work goes on at the others.',
    unavailable:
      tiebreaker === undefined
        ? 'None is named in the configuration.'
        : tiebreaker.connected
          ? null
          : `${tiebreaker.name} does not answer now.`,
  }
  if (storage.length < 2) {
    // Nothing to choose: the form says it in a sentence instead.
    return [
      { decider: { kind: 'preferred', server: server.name }, label: server.name, explains: '', unavailable: null },
    ]
  }
  const preferred = names.map((name): Option => {
    const others = list(names.filter((other) => other !== name))
    return {
      decider: { kind: 'preferred', server: name },
      label: `${name} is preferred`,
      explains: `If ${others} stops, work goes on at ${name}. If ${name} stops, work waits until it is back.`,
      unavailable: null,
    }
  })
  return [witness, ...preferred]
}

/** The person's wish while it can be had, else the first that can: servers come and go while the form is open. */
function chosenOf(options: readonly Option[], wished: Decider | null): Decider {
  const open = options.filter((option) => option.unavailable === null)
  const found = open.find((option) => wished !== null && sameDecider(option.decider, wished)) ?? open[0]
  return found?.decider ?? { kind: 'witness' }
}

interface Problems {
  name: string | null
  size: string | null
}

/** @returns the bytes, or the sentence that says what is wrong with them */
function readSize(amount: string, unit: string): number | string {
  try {
    return parseSize(`${amount}${unit}`)
  } catch (error) {
    return error instanceof Error ? error.message : 'This is not a size.'
  }
}

export function NewDisk(props: { status: Status; command: Command; lead: string }) {
  const { status } = props
  const options = decidersOf(status)
  const [name, setName] = useState('')
  const [amount, setAmount] = useState('10')
  const [unit, setUnit] = useState('G')
  const [wished, setWished] = useState<Decider | null>(null)
  const [problems, setProblems] = useState<Problems>({ name: null, size: null })
  const [writeThrough, setWriteThrough] = useState(false)
  const [creating, setCreating] = useState(false)
  const [refused, setRefused] = useState<ErrorBody | null>(null)
  const size = readSize(amount, unit)
  const chosen = chosenOf(options, wished)
  const free = status.server.freeBytes

  const submit = async (event: FormEvent) => {
    event.preventDefault()
    const parsedName = nameText.safeParse(name)
    const nameProblem = parsedName.success ? null : 'Use 1 to 63 of: a-z 0-9 . _ - (a letter or digit first).'
    setProblems({ name: nameProblem, size: typeof size === 'string' ? size : null })
    if (nameProblem !== null || typeof size === 'string') return
    setCreating(true)
    const arbiter =
      chosen.kind === 'witness'
        ? ({ arbiter: 'witness' } as const)
        : ({ arbiter: 'preferred', preferredServer: chosen.server } as const)
    const error = await props.command('createVolume', { name, sizeBytes: size, writeThrough, ...arbiter })
    setCreating(false)
    setRefused(error)
    if (error === null) go(hrefs.connect(name))
  }

  return (
    <Panel label="New shared disk">
      <h1 className={css.title}>New shared disk</h1>
      <p className={css.lead}>{props.lead}</p>
      <form className={css.form} onSubmit={(event) => void submit(event)} noValidate>
        <div className={css.pair}>
          <TextInput
            label="Name"
            placeholder="fileserver"
            value={name}
            error={problems.name}
            onChange={(event) => setName(event.currentTarget.value.toLowerCase())}
            autoComplete="off"
            spellCheck={false}
            required
            withAsterisk={false}
          />
          <div className={css.size}>
            <TextInput
              label="Size"
              inputMode="decimal"
              value={amount}
              error={problems.size !== null}
              aria-describedby="size-note"
              onChange={(event) => setAmount(event.currentTarget.value)}
            />
            <NativeSelect
              aria-label="Unit of the size"
              value={unit}
              onChange={(event) => setUnit(event.currentTarget.value)}
              data={[
                { value: 'M', label: 'MiB' },
                { value: 'G', label: 'GiB' },
                { value: 'T', label: 'TiB' },
              ]}
            />
          </div>
        </div>
        <p id="size-note" className={css.small} style={{ marginTop: -12 }}>
          {problems.size ?? `Space is taken as it is used.${free === null ? '' : ` Free here: ${formatBytes(free)}.`}`}
        </p>
        {options.length === 1 ? (
          <p className={css.small}>
            There is one server, so there will be one copy, and nothing protects against the loss of{' '}
            {status.server.name}.
          </p>
        ) : (
          <Deciders options={options} chosen={chosen} onChoose={setWished} />
        )}
        <Checkbox
          size="sm"
          checked={writeThrough}
          onChange={(event) => setWriteThrough(event.currentTarget.checked)}
          label="Put every write on the disks at once"
          description="For programs that never ask for it themselves, as some virtual machines do. Slower."
          classNames={{ description: css.explains ?? '' }}
        />
        {refused !== null && <ErrorNote error={refused} />}
        <div className={css.review}>
          <p>{typeof size === 'string' ? 'Choose a name and a size.' : review(name, size, status)}</p>
          <Button type="submit" loading={creating}>
            {name === '' ? 'Create' : `Create ${name}`}
          </Button>
        </div>
      </form>
    </Panel>
  )
}

/** Who decides in a dispute, each explained in a sentence; what cannot be chosen says why. */
function Deciders(props: { options: readonly Option[]; chosen: Decider; onChoose: (decider: Decider) => void }) {
  return (
    <Radio.Group
      label="Who decides when the servers lose sight of each other"
      value={JSON.stringify(props.chosen)}
      onChange={(value) => {
        const option = props.options.find((candidate) => JSON.stringify(candidate.decider) === value)
        if (option !== undefined) props.onChoose(option.decider)
      }}
    >
      <div className={css.choices}>
        {props.options.map((option) => (
          <Radio
            key={option.label}
            value={JSON.stringify(option.decider)}
            checked={sameDecider(props.chosen, option.decider)}
            size="sm"
            classNames={{ description: css.explains ?? '' }}
            disabled={option.unavailable !== null}
            label={option.label}
            description={option.unavailable === null ? option.explains : `${option.explains} ${option.unavailable}`}
          />
        ))}
      </div>
    </Radio.Group>
  )
}

/** The sentence before the button: what will be made, and where its copies will be. */
function review(name: string, sizeBytes: number, { server, peers }: Status): string {
  const storage = peers.filter((peer) => peer.role === 'storage')
  const here = [server.name, ...storage.filter((peer) => peer.connected).map((peer) => peer.name)]
  const away = storage.filter((peer) => !peer.connected).map((peer) => peer.name)
  const kept = `${name === '' ? 'The disk' : name}, ${formatSize(sizeBytes)}, kept on ${list(here)}.`
  return away.length === 0 ? kept : `${kept} Not on ${list(away)}: no answer from there now.`
}
