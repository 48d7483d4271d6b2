/** The commands that ask or command a running agent. Each returns its exit code and throws UserErrors. */
import type { Client } from '../contract/client.ts'
import type { Event } from '../contract/events.ts'
import { formatSize, parseSize } from '../contract/sizes.ts'
import type { Status, VolumeStatus } from '../contract/status.ts'
import { type VolumeWords, volumeWords } from '../contract/words.ts'
import { UserError } from '../kit/failure.ts'
import { eventLine, statusScreen, volumeList } from './screens.ts'
import { badUsage, type ExitCode, exitCode, type Terminal } from './terminal.ts'

export interface Asking {
  readonly client: Client
  readonly terminal: Terminal
  readonly json: boolean
}

const line = (value: unknown): string => `${JSON.stringify(value)}\n`

/** @param options.check exit 1 unless every volume is Protected and every storage folder can be used, for monitoring */
export async function status({ client, terminal, json }: Asking, options: { check: boolean }): Promise<ExitCode> {
  const facts = await client.call('status', {})
  terminal.out(json ? line(facts) : statusScreen(facts, terminal.wallMs()))
  const isProtected = facts.volumes.every((volume) => headline(volume, terminal) === 'Protected')
  const well = isProtected && facts.folders.every(({ state }) => state === 'ok')
  return options.check && !well ? exitCode.no : exitCode.yes
}

const headline = (volume: VolumeStatus, terminal: Terminal) => volumeWords(volume, terminal.wallMs()).headline

/** Until Ctrl-C or the agent's end. Repeats nothing that has not changed. */
export async function watch({ client, terminal, json }: Asking): Promise<ExitCode> {
  const clear = terminal.isTerminal && !json ? '\x1b[H\x1b[2J\x1b[3J' : ''
  let last = ''
  for await (const facts of statuses(client, terminal)) {
    const text = json ? line(facts) : statusScreen(facts, terminal.wallMs())
    if (text !== last) terminal.out(clear + text + (clear === '' && !json ? '\n' : ''))
    last = text
  }
  if (terminal.interrupted.aborted) return exitCode.yes
  throw ended()
}

async function* statuses(client: Client, terminal: Terminal, signal = terminal.interrupted): AsyncGenerator<Status> {
  for await (const told of client.stream({}, { signal })) if (told.kind === 'status') yield told.data
}

const ended = (): UserError =>
  new UserError({
    code: 'agent-lost',
    happened: 'Mirrorbay stopped here.',
    dataIsSafe: 'What was saved is kept on the disks.',
    next: 'Start it again with "mirrorbay agent".',
  })

export interface CreateOptions {
  readonly name: string
  /** As typed. */
  readonly size: string
  readonly arbiter: 'preferred' | 'witness'
  readonly preferred?: string | undefined
  readonly folder?: string | undefined
  readonly writeThrough?: boolean | undefined
}

export async function createVolume({ client, terminal, json }: Asking, options: CreateOptions): Promise<ExitCode> {
  const { name, arbiter, preferred, folder, writeThrough = false } = options
  const sizeBytes = parseSize(options.size)
  if (arbiter === 'witness' && preferred !== undefined) {
    throw badUsage(
      'A preferred server is named, but the tiebreaker is to decide.',
      'Leave out --preferred or --arbiter witness.',
    )
  }
  await client.call('createVolume', {
    name,
    sizeBytes,
    writeThrough,
    arbiter,
    ...(preferred === undefined ? {} : { preferredServer: preferred }),
    ...(folder === undefined ? {} : { folder }),
  })
  const facts = await client.call('status', {})
  const made = facts.volumes.find((volume) => volume.name === name)
  if (json) terminal.out(line(made ?? { name, sizeBytes }))
  else {
    terminal.out(`${name}, ${formatSize(sizeBytes)}, was created.\n`)
    if (made !== undefined) terminal.out(volumeList({ ...facts, volumes: [made] }, terminal.wallMs()))
  }
  return exitCode.yes
}

export async function listVolumes({ client, terminal, json }: Asking): Promise<ExitCode> {
  const facts = await client.call('status', {})
  terminal.out(json ? line(facts.volumes) : volumeList(facts, terminal.wallMs()))
  return exitCode.yes
}

export interface ResyncOptions {
  readonly volume: string
  readonly action: 'now' | 'pause' | 'continue'
  /** Stay until every copy is complete. */
  readonly wait: boolean
  /** Seconds to stay at most. */
  readonly timeoutSeconds: number
}

export interface ScrubOptions {
  readonly volume: string
  readonly stop?: boolean | undefined
}

export async function scrub({ client, terminal, json }: Asking, { volume, stop }: ScrubOptions): Promise<ExitCode> {
  const action = stop === true ? 'stop' : 'now'
  await client.call('scrub', { volume, action })
  const words =
    action === 'now'
      ? 'is being read on every server; what is found is told by: mirrorbay events'
      : 'is not read any more'
  terminal.out(json ? line({ volume, action }) : `${volume} ${words}.\n`)
  return exitCode.yes
}

const resyncWords = { now: 'is asked for', pause: 'is paused', continue: 'goes on' } as const

export async function resync(asking: Asking, options: ResyncOptions): Promise<ExitCode> {
  const { client, terminal, json } = asking
  const { volume, action } = options
  await client.call('resync', { volume, action })
  if (options.wait) return waitInSync(asking, options)
  terminal.out(json ? line({ volume, action }) : `Resync of ${volume} ${resyncWords[action]}.\n`)
  return exitCode.yes
}

/** Shows the progress; on a terminal in one line, else a line whenever the whole percent has changed. */
async function waitInSync(asking: Asking, options: ResyncOptions): Promise<ExitCode> {
  const { terminal } = asking
  // Not AbortSignal.timeout: the end of this waiting is an answer, not an agent that does not answer.
  const limit = new AbortController()
  const timer = setTimeout(() => limit.abort(), options.timeoutSeconds * 1000)
  try {
    const code = await followResync(asking, options, AbortSignal.any([terminal.interrupted, limit.signal]))
    if (code !== null) return code
  } finally {
    clearTimeout(timer)
  }
  if (terminal.interrupted.aborted) return exitCode.no
  if (!limit.signal.aborted) throw ended()
  terminal.err(`${options.volume} was not Protected within ${options.timeoutSeconds} s.\n`)
  return exitCode.no
}

/** @returns null when the signal or the agent's end came first */
async function followResync(
  { client, terminal, json }: Asking,
  options: ResyncOptions,
  signal: AbortSignal,
): Promise<ExitCode | null> {
  const progress = progressLine(terminal, json)
  try {
    for await (const facts of statuses(client, terminal, signal)) {
      const volume = facts.volumes.find((one) => one.name === options.volume)
      if (volume === undefined) throw gone(options.volume)
      const words = volumeWords(volume, terminal.wallMs())
      if (words.headline === 'Two versions') throw twoVersions(words)
      if (words.headline === 'Protected') {
        progress.end()
        terminal.out(json ? line(volume) : `${options.volume}: Protected. Every copy is complete.\n`)
        return exitCode.yes
      }
      progress.show(`${words.headline}${words.progress === null ? '' : ` - ${words.progress}`}`)
    }
    return null
  } finally {
    progress.end()
  }
}

const gone = (name: string): UserError => badUsage(`There is no shared disk "${name}".`, 'See "mirrorbay volume list".')

const twoVersions = (words: VolumeWords): UserError =>
  new UserError({
    code: 'two-versions',
    happened: words.trouble ?? 'There are two versions of this disk.',
    dataIsSafe: 'Both versions are kept as they are.',
    next: words.toDo ?? 'See "mirrorbay status".',
  })

function progressLine(terminal: Terminal, json: boolean): { show(text: string): void; end(): void } {
  let last = ''
  // Without a terminal only the percent makes a new line, else a log would fill with seconds left.
  const key = (text: string) => (terminal.isTerminal ? text : text.replace(/(\d+ %).*/, '$1'))
  return {
    show(text) {
      if (json || key(text) === last) return
      last = key(text)
      terminal.out(terminal.isTerminal ? `\r\x1b[2K${text}` : `${text}\n`)
    },
    end() {
      if (terminal.isTerminal && last !== '') terminal.out('\r\x1b[2K')
      last = ''
    },
  }
}

export async function events({ client, terminal, json }: Asking, options: { follow: boolean }): Promise<ExitCode> {
  const print = (event: Event) => terminal.out(json ? line(event) : eventLine(event))
  if (!options.follow) {
    const { events: list } = await client.call('events', {})
    for (const event of list) print(event)
    return exitCode.yes
  }
  for await (const told of client.stream({ after: 0 }, { signal: terminal.interrupted })) {
    if (told.kind === 'event') print(told.data)
  }
  if (terminal.interrupted.aborted) return exitCode.yes
  throw ended()
}

export async function stop({ client, terminal, json }: Asking): Promise<ExitCode> {
  await client.call('stop', {})
  terminal.out(json ? line({ done: true }) : 'Mirrorbay stops here in good order.\n')
  return exitCode.yes
}

export async function consoleAddress({ client, terminal, json }: Asking): Promise<ExitCode> {
  const address = await client.call('console', {})
  terminal.out(json ? line(address) : `${address.url}\n`)
  return exitCode.yes
}
