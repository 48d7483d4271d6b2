/**
 * The facts of status.ts in people's words (UX.md): for each volume exactly one of six headlines, what happens if a
 * server stops, what is missing since when, and what to do. Window, command line, API and tray all say what stands
 * here, and a translation would begin here. Pure: the time is handed in.
 *
 * The promise: never more than the facts. "Protected" only when every replica is in sync, connected and no resync is
 * under way; "may stop" only for servers that `survives` names and that the arbiter's kind allows.
 */
import { never } from '../kit/failure.ts'
import { folderTrouble } from './folder-words.ts'
import { formatBytes, formatDuration, formatSpeed } from './sizes.ts'
import type { ReplicaStatus, ResyncStatus, Status, VolumeStatus } from './status.ts'
import { whenWords } from './times.ts'
import { list, waitingToDo, waitingWords } from './waiting.ts'

export { list } from './waiting.ts'

/** From the most urgent to the least. */
export const headlines = [
  'Two versions',
  'Waiting',
  'One copy',
  'Catching up',
  'Protected, catching up',
  'Protected',
] as const
export type Headline = (typeof headlines)[number]

export interface VolumeWords {
  readonly name: string
  readonly headline: Headline
  /** What happens if a server stops now; null where nothing works that could stop. */
  readonly ifAServerStops: string | null
  /** "43 % - 412 GB left - 380 MB/s - about 18 min", when a copy is being made. */
  readonly progress: string | null
  /** Which copies are missing, since when and why; or why work waits. */
  readonly trouble: string | null
  /** What a person should do; null: nothing. */
  readonly toDo: string | null
  /** The second line: all of it, in the order in which it matters under this headline. */
  readonly second: string
}

export interface StatusWords {
  /** The most urgent headline of all volumes; null when there is no volume. */
  readonly headline: Headline | null
  /** What it is about and how many others need attention; without volumes, what to do next. */
  readonly second: string
  readonly volumes: readonly VolumeWords[]
}

/** Replicas by what they protect, seen with suspicion: whoever is not heard protects nothing. */
interface Replicas {
  readonly good: readonly ReplicaStatus[]
  readonly missing: readonly ReplicaStatus[]
}

function sorted(volume: VolumeStatus): Replicas {
  const counts = (replica: ReplicaStatus) =>
    replica.state === 'in-sync' && replica.connected && replica.serverId !== volume.resync?.serverId
  return {
    good: volume.replicas.filter(counts),
    missing: volume.replicas.filter((replica) => !counts(replica)),
  }
}

/** The one headline of a volume. */
export function headlineOf(volume: VolumeStatus): Headline {
  if (volume.waiting === 'split-brain') return 'Two versions'
  const { good, missing } = sorted(volume)
  // A server whose own copy is behind does not serve, but the volume works elsewhere: its copies tell the headline.
  const worksElsewhere = (volume.waiting === 'resync' || volume.via !== null) && good.length > 0
  if (!worksElsewhere && (volume.waiting !== 'none' || !volume.serving || good.length === 0)) return 'Waiting'
  const copying = isCopying(volume)
  if (good.length === 1) return copying ? 'Catching up' : 'One copy'
  return missing.length > 0 || volume.resync !== null || worksElsewhere ? 'Protected, catching up' : 'Protected'
}

/** A paused resync brings no second copy nearer, so it does not count. */
const isCopying = (volume: VolumeStatus): boolean =>
  volume.resync !== null
    ? volume.resync.phase !== 'paused'
    : volume.replicas.some((replica) => replica.state === 'joining' && replica.connected)

/**
 * The servers with a good copy of which any one may stop without stopping work at the others: `survives`, narrowed by
 * what the arbiter's kind can hold, should the facts contradict each other.
 */
export function mayStop(volume: VolumeStatus): readonly string[] {
  const { good } = sorted(volume)
  const { arbiter } = volume
  if (good.length < 2 || headlineOf(volume) === 'Waiting' || headlineOf(volume) === 'Two versions') return []
  if (arbiter.kind === 'witness' && !arbiter.reachable) return []
  return good
    .map((replica) => replica.serverName)
    .filter((name) => volume.survives.includes(name))
    .filter((name) => arbiter.kind !== 'preferred' || name !== arbiter.serverName)
}

function ifAServerStops(volume: VolumeStatus, headline: Headline): string | null {
  if (headline === 'Waiting' || headline === 'Two versions') return null
  const { good, missing } = sorted(volume)
  const names = good.map((replica) => replica.serverName)
  if (names.length === 1) {
    return `If ${names[0]} stops, work waits for it: it has the only complete copy.`
  }
  const free = mayStop(volume)
  const bound = names.filter((name) => !free.includes(name))
  if (bound.length === 0 && missing.length === 0) return 'Any one server may stop: work goes on.'
  if (bound.length === 0) return `Any one of ${list(names)} may stop: work goes on.`
  const goesOn = free.map((name) => `If ${name} stops, work goes on.`)
  const waits = `If ${list(bound, 'or')} stops, work waits for ${bound.length === 1 ? 'it' : 'that server'}${hint(volume)}.`
  return [...goesOn, waits].join(' ')
}

function hint({ arbiter }: VolumeStatus): string {
  switch (arbiter.kind) {
    case 'preferred':
      return '; a tiebreaker would change that'
    case 'witness':
      return arbiter.reachable ? '' : `, because the tiebreaker ${arbiter.serverName} does not answer`
    default:
      return never(arbiter.kind, 'hint')
  }
}

/** @returns "43 % - 412 GB left - 380 MB/s - about 18 min"; what is not known is left out, never guessed */
export function progressWords(resync: ResyncStatus): string {
  const parts: string[] = []
  // 100 % is said by the headline, when it is true.
  if (resync.totalBytes > 0) {
    parts.push(`${Math.min(99, Math.floor((resync.doneBytes / resync.totalBytes) * 100))} %`)
    parts.push(`${formatBytes(resync.totalBytes - resync.doneBytes)} left`)
  }
  if (resync.phase === 'paused') return [...parts, 'paused'].join(' - ')
  if (resync.bytesPerSecond !== null && resync.bytesPerSecond > 0) parts.push(formatSpeed(resync.bytesPerSecond))
  if (resync.remainingSeconds !== null) parts.push(formatDuration(resync.remainingSeconds))
  if (resync.phase === 'joining') return ['taking its place'].concat(parts.slice(0, 1)).join(' - ')
  return parts.length === 0 ? 'just begun' : parts.join(' - ')
}

/** Which copy is missing, since when, and why: "nas-2 stopped answering at 14:02." */
function missingWords(replica: ReplicaStatus, volume: VolumeStatus, nowMs: number): string {
  const { serverName: name } = replica
  if (volume.resync?.serverId === replica.serverId) {
    return volume.resync.phase === 'paused'
      ? `Copying to ${name} is paused: new data is not mirrored there.`
      : `${name} is being brought up to date.`
  }
  if (replica.state === 'joining') return `${name} is being brought up to date.`
  const since = replica.sinceMs === null ? '' : ` ${whenWords(replica.sinceMs, nowMs)}`
  if (replica.state === 'unknown') return `It is not known whether the copy on ${name} is complete.`
  return `${name} ${reasonWords(replica)}${since}: new data is not mirrored there.`
}

/** The stable words of replicaStatus.reason; an unknown one is told without a guess. */
function reasonWords(replica: ReplicaStatus): string {
  switch (replica.reason) {
    case 'silent':
      return 'stopped answering'
    case 'restarted':
      return 'restarted'
    case 'left':
      return 'left in good order'
    case 'disk-failed':
      return 'lost its copy to a failed disk'
    case 'disk-full':
      return 'ran out of disk space'
    case 'disk-slow':
      return 'left because its disk stopped answering'
    default:
      return replica.connected ? 'has no complete copy' : 'does not answer'
  }
}

function missingToDo(replica: ReplicaStatus, volume: VolumeStatus): string | null {
  const { serverName: name } = replica
  if (volume.resync?.serverId === replica.serverId) {
    return volume.resync.phase === 'paused' ? `Choose Continue to go on copying to ${name}.` : null
  }
  if (replica.reason === 'disk-failed') return `Replace the failed disk of ${name}.`
  if (replica.reason === 'disk-full') return `Free some space in the storage folder of ${name}.`
  if (!replica.connected) {
    return `Check that ${name} has power and network and that Mirrorbay runs there; it catches up by itself.`
  }
  if (replica.state === 'joining') return null
  if (replica.reason === 'disk-slow') return `Check the disk of ${name}; it catches up by itself once the disk answers.`
  return `${name} catches up by itself; Resync now starts it at once.`
}

/** The tiebreaker's absence is a worry only where it decides and nothing waits for it yet. */
function tiebreakerToDo(volume: VolumeStatus): string | null {
  if (volume.arbiter.kind !== 'witness' || volume.arbiter.reachable) return null
  return `Bring the tiebreaker ${volume.arbiter.serverName} back.`
}

/** Everything a person needs to know about one volume. @param nowMs milliseconds since 1970, to name days */
export function volumeWords(volume: VolumeStatus, nowMs: number): VolumeWords {
  const headline = headlineOf(volume)
  const stops = ifAServerStops(volume, headline)
  const progress = volume.resync === null ? null : progressWords(volume.resync)
  const { missing } = sorted(volume)
  const waits = headline === 'Waiting' || headline === 'Two versions'
  const trouble = waits
    ? waitingWords(volume)
    : join([...missing.map((replica) => missingWords(replica, volume, nowMs)), ownClients(volume)])
  const toDo = waits
    ? waitingToDo(volume)
    : join([...missing.map((replica) => missingToDo(replica, volume)), tiebreakerToDo(volume)])
  const progressLine = progress === null ? null : `${progress}.`
  const second = join([progressLine, trouble, stops, toDo]) ?? ''
  return { name: volume.name, headline, ifAServerStops: stops, progress, trouble, toDo, second }
}

/** Said where the volume works elsewhere: what becomes of this server's own clients. */
function ownClients({ via, waiting }: VolumeStatus): string | null {
  if (via !== null) return `Computers connected to this server work through ${via}.`
  return waiting === 'resync' ? 'Computers connected to this server wait until its copy is complete.' : null
}

/** Who is connected here, in a list; null: nobody. */
export function clientsWords({ clients, via }: VolumeStatus): string | null {
  if (clients.length === 0) return null
  const named = clients.map(({ address, protocol }) => `${address} (${protocol.toUpperCase()})`).join(', ')
  return via === null ? named : `${named}, served through ${via}`
}

/** All of it for one server: the most urgent headline first, the others counted. */
export function statusWords(status: Status, nowMs: number): StatusWords {
  const volumes = status.volumes
    .map((volume) => volumeWords(volume, nowMs))
    .sort((a, b) => headlines.indexOf(a.headline) - headlines.indexOf(b.headline) || (a.name < b.name ? -1 : 1))
  const first = volumes[0]
  const folders = status.folders.map(folderTrouble)
  if (first === undefined) {
    const headline = isAnyAway(status) ? 'One copy' : null
    return { headline, second: join([headline === null ? emptyWords(status) : null, ...folders]) ?? '', volumes }
  }
  const others = volumes.slice(1).filter((volume) => volume.headline !== 'Protected').length
  const counted = others === 0 ? null : `${others} more ${others === 1 ? 'disk needs' : 'disks need'} attention.`
  const named = volumes.length === 1 ? first.second : `${first.name}: ${first.second}`
  const isWorse = isAnyAway(status) && headlines.indexOf(first.headline) > headlines.indexOf('One copy')
  const said = isWorse ? [...folders, named, counted] : [named, counted, ...folders]
  return { headline: isWorse ? 'One copy' : first.headline, second: join(said) ?? '', volumes }
}

/** A copy lies in a storage folder that is away: the others may go on with it, but this server cannot tell. */
const isAnyAway = ({ folders, volumes }: Status): boolean =>
  folders.some(
    ({ state, volumes: held }) => state !== 'ok' && held.some((name) => !volumes.some((one) => one.name === name)),
  )

/** An empty state teaches the next step. */
function emptyWords({ server, peers }: Status): string {
  if (server.role === 'tiebreaker') {
    return `${server.name} is a tiebreaker: it decides when two servers lose sight of each other, and keeps no data.`
  }
  const storage = peers.filter((peer) => peer.role === 'storage')
  if (storage.length === 0) return 'No shared disk yet, and no second server: add one to its configuration first.'
  const away = storage.filter((peer) => !peer.connected).map((peer) => peer.name)
  return away.length === 0
    ? 'No shared disk yet. Create one: choose a name and a size.'
    : `No shared disk yet. ${list(away)} ${away.length === 1 ? 'does' : 'do'} not answer; start it, then create one.`
}

const join = (parts: readonly (string | null)[]): string | null => {
  const said = parts.filter((part) => part !== null)
  return said.length === 0 ? null : said.join(' ')
}
