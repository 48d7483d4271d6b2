/** The lab as a whole: up, wait, status, down. The command line (main.ts), the demo, tests and benches call this. */
import { readdir, rm, rmdir } from 'node:fs/promises'
import path from 'node:path'
import { headlineOf, headlines } from '../../agent/contract/words.ts'
import { until } from '../kit/until.ts'
import { type Answer, CouldNot, messageOf, no, yes } from './answer.ts'
import { consoleUrl, createVolume, statusOf } from './api.ts'
import { type LabRequest, layOut, tcpUri, unixUri, writeConfigs } from './layout.ts'
import { endAll, launch, pidsOf, runningMembers, waitForAnswer } from './members.ts'
import { lastLines } from './processes.ts'
import { forgetState, type LabState, labExists, type Member, membersOf, saveState } from './state.ts'

/** How long `down` lets each agent hand over before it kills it, milliseconds. */
const gentlyMs = 5_000

/** How often `up` chooses ports before it gives up. */
const attempts = 3

/** What outside programs read. Its form is an interface: keys are never renamed. */
export interface ServerDescription {
  readonly name: string
  readonly pid: number | null
  readonly pids: readonly number[]
  readonly dir: string
  readonly api: string
  readonly console: string | null
  readonly nbd: string
  readonly nbdUnix: string | null
  readonly nbdReadonly: null
  readonly iscsi: null
  readonly iscsiChap: null
}

export interface LabDescription {
  readonly dir: string
  readonly volume: { readonly name: string; readonly sizeBytes: number }
  readonly servers: readonly ServerDescription[]
  readonly witness: {
    readonly pid: number | null
    readonly pids: readonly number[]
    readonly dir: string
    readonly api: string
  } | null
}

export async function describe(state: LabState): Promise<LabDescription> {
  const pidOf = (member: Member) => pidsOf(member)[0] ?? null
  const servers = state.servers.map(async (server) => ({
    name: server.name,
    pid: pidOf(server),
    pids: pidsOf(server),
    dir: server.dir,
    api: server.api,
    // A server that is down, or held, has no console.
    console: pidOf(server) === null ? null : await consoleUrl(server).catch(() => null),
    nbd: state.client === 'unix' ? unixUri(server, state.volume.name) : tcpUri(server, state.volume.name),
    nbdUnix: unixUri(server, state.volume.name),
    nbdReadonly: null,
    iscsi: null,
    iscsiChap: null,
  }))
  const { witness } = state
  return {
    dir: state.dir,
    volume: state.volume,
    servers: await Promise.all(servers),
    witness:
      witness === null ? null : { pid: pidOf(witness), pids: pidsOf(witness), dir: witness.dir, api: witness.api },
  }
}

export interface UpOptions {
  readonly limitMs: number
  /** Aborts, as by Ctrl-C: everything is gone again before `up` throws. */
  readonly giveUp?: AbortSignal
  /** Told before the first agent starts, for whoever must end them should this process have to end at once. */
  readonly begins?: (state: LabState) => void
}

/**
 * Starts everything and waits until the volume is Protected; what it started is gone again when it throws.
 * @throws CouldNot, TookTooLong
 */
export async function up(request: LabRequest, options: UpOptions): Promise<LabState> {
  for (let left = attempts; ; left--) {
    try {
      return await upOnce(request, options)
    } catch (failure) {
      // Between choosing a port and listening there, another lab may have come. With other ports nobody is in the way.
      if (left === 1 || !/already uses port|EADDRINUSE/.test(messageOf(failure))) throw failure
    }
  }
}

async function upOnce(request: LabRequest, options: UpOptions): Promise<LabState> {
  const { limitMs, giveUp } = options
  if (request.servers !== 2 && request.servers !== 3) {
    throw new CouldNot(`--servers ${request.servers}: 2 or 3 servers can mirror each other`)
  }
  if (await labExists(request.dir)) {
    throw new CouldNot(`there is a lab in ${request.dir} already: use start, or down to remove it`)
  }
  const state = await layOut(request)
  options.begins?.(state)
  try {
    await saveState(state)
    await writeConfigs(membersOf(state))
    for (const member of membersOf(state)) await launch(state, member)
    await Promise.all(membersOf(state).map((member) => waitForAnswer(member, limitMs, giveUp)))
    await saveState(state)
    await joinAndCreate(state, request, limitMs, giveUp)
    return state
  } catch (failure) {
    await endAll(state, 0)
    const logs = membersOf(state).map((member) => `--- ${member.name}\n${lastLines(member.log)}`)
    await removeAll(state)
    throw new CouldNot([messageOf(failure), ...logs].join('\n'))
  }
}

async function joinAndCreate(
  state: LabState,
  request: LabRequest,
  limitMs: number,
  giveUp: AbortSignal | undefined,
): Promise<void> {
  const [first] = state.servers
  if (first === undefined) throw new CouldNot('a lab without servers')
  await Promise.all(
    membersOf(state).map((member) =>
      until(
        `${member.name} connected with the others`,
        limitMs,
        async () => {
          return (await statusOf(member)).peers.every((peer) => peer.connected)
        },
        giveUp,
      ),
    ),
  )
  await createVolume(first, { name: request.volume, sizeBytes: request.sizeBytes, witness: request.witness })
  await until(
    'Protected',
    limitMs,
    async () => {
      return (await waitingStateOf(state, 'Protected')).reached
    },
    giveUp,
  )
}

/** Whether a headline is reached, and what is said instead. */
async function waitingStateOf(state: LabState, headline: string): Promise<{ reached: boolean; instead: string }> {
  const servers = runningMembers(state).filter((member) => member.nbdPort !== null)
  const said = await Promise.all(
    servers.map(async (server) => {
      try {
        const volume = (await statusOf(server)).volumes.find((each) => each.name === state.volume.name)
        return volume === undefined ? 'no such volume' : headlineOf(volume)
      } catch (failure) {
        return messageOf(failure)
      }
    }),
  )
  // One server may still believe in what has just ended; that all believe it is better proof for good news.
  const reached = said.length > 0 && (headline === 'Protected' ? said.every(is) : said.some(is))
  return { reached, instead: servers.map((server, index) => `${server.name}: ${said[index]}`).join(', ') }
  function is(words: string): boolean {
    return words === headline
  }
}

export async function wait(state: LabState, headline: string, limitMs: number): Promise<Answer> {
  if (!headlines.some((each) => each === headline)) {
    throw new CouldNot(`"${headline}" is no headline; they are ${headlines.join(', ')}`)
  }
  let instead = ''
  try {
    await until(headline, limitMs, async () => {
      const now = await waitingStateOf(state, headline)
      instead = now.instead
      return now.reached
    })
    return yes(headline)
  } catch {
    // The limit passed: that is the answer "no", told with what is the case instead.
    return no(`not "${headline}" within ${limitMs / 1000} s (${instead === '' ? 'no server is running' : instead})`)
  }
}

/** Everything that each member says, for `status --json`. */
export async function statusReport(state: LabState) {
  const description = await describe(state)
  const statuses: Record<string, unknown> = {}
  const headlinesNow: Record<string, string | null> = {}
  for (const member of membersOf(state)) {
    const status = pidsOf(member).length === 0 ? null : await statusOf(member).catch(() => null)
    statuses[member.name] = status
    const volume = status?.volumes.find((each) => each.name === state.volume.name)
    headlinesNow[member.name] = volume === undefined ? null : headlineOf(volume)
  }
  return { ...description, headlines: headlinesNow, statuses }
}

/** @param how `keep`: folders and logs stay; `atOnce`: agents are killed instead of asked to hand over */
export async function down(state: LabState, how: { keep?: boolean; atOnce?: boolean } = {}): Promise<Answer> {
  await endAll(state, how.atOnce === true ? 0 : gentlyMs)
  if (how.keep === true) {
    await saveState(state)
    return yes(`all agents have ended; everything else is kept in ${state.dir}`)
  }
  await removeAll(state)
  return yes('all agents have ended, their data is removed')
}

/** @param found what stood in the folder before; null: the lab made it */
async function removeMade(dir: string, found: readonly string[] | null): Promise<void> {
  if (found === null) return rm(dir, { recursive: true, force: true })
  for (const entry of await readdir(dir)) {
    if (!found.includes(entry)) await rm(path.join(dir, entry), { recursive: true, force: true })
  }
}

/** Removes what the lab and its agents made, and nothing that stood there before. */
async function removeAll(state: LabState): Promise<void> {
  for (const member of membersOf(state)) {
    await removeMade(member.dir, member.foundEntries)
    for (const folder of member.folders) await removeMade(folder.path, folder.foundEntries)
    for (const file of [member.log, member.api, member.nbdSocket]) if (file !== null) await rm(file, { force: true })
  }
  await forgetState(state.dir)
  if (state.socketDir !== state.dir) await rm(state.socketDir, { recursive: true, force: true })
  if (state.madeDir) {
    // Somebody may have put something of their own beside the servers: then the folder stays.
    await rmdir(state.dir).catch(() => undefined)
  }
}
