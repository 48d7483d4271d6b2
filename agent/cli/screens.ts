/** What the commands print, as text made from facts; the words themselves are the contract's. */
import { deletedName, deletedWords } from '../contract/deleted-words.ts'
import { eventWords } from '../contract/event-words.ts'
import type { Event } from '../contract/events.ts'
import { folderStateWords, folderTrouble } from '../contract/folder-words.ts'
import { longWaitWords, type PriorityWords, prioritySigns } from '../contract/priority-words.ts'
import { formatBytes, formatSize } from '../contract/sizes.ts'
import type {
  DeletedVolumeStatus,
  FolderStatus,
  PeerStatus,
  ReplicaStatus,
  Status,
  VolumeStatus,
} from '../contract/status.ts'
import { clockSecondWords, dayWords, whenWords } from '../contract/times.ts'
import { clientsWords, statusWords, volumeWords } from '../contract/words.ts'
import type { NamedSnapshot } from './snapshots.ts'

/** @param nowMs milliseconds since 1970 */
export function statusScreen(status: Status, nowMs: number): string {
  const words = statusWords(status, nowMs)
  const { name, freeBytes } = status.server
  const free = freeBytes === null ? '' : ` (${formatBytes(freeBytes)} free)`
  const blocks = [
    `${name}${free}: ${words.headline ?? words.second}`,
    ...folderBlock(status.folders),
    ...status.volumes.map((volume) => volumeBlock(volume, nowMs)),
    ...deletedBlock(status.deletedVolumes, nowMs),
    ...(status.peers.length === 0
      ? []
      : [['Other servers', ...status.peers.map((peer) => peerLine(peer, nowMs))].join('\n')]),
  ]
  return `${blocks.join('\n\n')}\n`
}

/** Said only where there is more than the main folder, or something is wrong with it. */
function folderBlock(folders: readonly FolderStatus[]): string[] {
  if (folders.length < 2 && folders.every((folder) => folderTrouble(folder) === null)) return []
  const lines = folderList(folders).trimEnd().split('\n')
  return [['Storage folders', ...lines.map((line) => `  ${line}`)].join('\n')]
}

function deletedBlock(deleted: readonly DeletedVolumeStatus[], nowMs: number): string[] {
  if (deleted.length === 0) return []
  const lines = deleted.map((volume) => `  ${deletedName(volume)}: ${deletedWords(volume, nowMs)}`)
  return [['Recently deleted', ...lines].join('\n')]
}

/** One line for each shared disk that is still kept; columns that line up. */
export function deletedList(deleted: readonly DeletedVolumeStatus[], nowMs: number): string {
  if (deleted.length === 0) return 'No shared disk was deleted lately.\n'
  const rows = deleted.map((volume) => [
    volume.name,
    formatSize(volume.sizeBytes),
    deletedWords(volume, nowMs),
    volume.id,
  ])
  return `${columns(rows).join('\n')}\n`
}

/** One line for each snapshot; columns that line up. */
export function snapshotList(snapshots: readonly NamedSnapshot[], nowMs: number): string {
  if (snapshots.length === 0) return 'No snapshots.\n'
  const rows = snapshots.map(({ volume, name, madeMs, allocatedBytes, nbd }) => [
    `${volume}@${name}`,
    `made ${whenWords(madeMs, nowMs)}`,
    `holds ${formatBytes(allocatedBytes)}`,
    nbd.tcp ?? nbd.unix ?? '',
  ])
  return `${columns(rows).join('\n')}\n`
}

/** One line for each folder; what is wrong stands below it. */
export function folderList(folders: readonly FolderStatus[]): string {
  const rows = folders.map((folder) => [
    folder.name,
    folderStateWords[folder.state],
    folder.freeBytes === null ? '' : `${formatBytes(folder.freeBytes)} free`,
    folder.path,
    folder.volumes.join(', '),
  ])
  const lines = columns(rows).flatMap((line, index) => {
    const folder = folders[index]
    const trouble = folder === undefined ? null : folderTrouble(folder)
    const damaged = folder?.damaged.map((words) => `  Left alone: ${words}`) ?? []
    return [line, ...(trouble === null ? [] : [`  ${trouble}`]), ...damaged]
  })
  return `${lines.join('\n')}\n`
}

function columns(rows: readonly (readonly string[])[]): string[] {
  const last = (rows[0]?.length ?? 1) - 1
  const widths = Array.from({ length: last }, (_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}

function volumeBlock(volume: VolumeStatus, nowMs: number): string {
  const words = volumeWords(volume, nowMs)
  const said = [
    words.progress === null ? null : `${words.progress}`,
    words.trouble,
    words.ifAServerStops,
    volume.writeThrough ? 'Every write is on all disks before it is answered.' : null,
    words.toDo === null ? null : `To do: ${words.toDo}`,
    longWaitWords(volume),
    `Copies: ${volume.replicas.map(replicaWords).join(', ')}`,
    `Takes ${formatBytes(volume.allocatedBytes)} of the disk here`,
    ...addresses(volume).map((address) => `Connect: ${address}`),
    volume.snapshots.length === 0 ? null : `Snapshots: ${volume.snapshots.map(({ name }) => name).join(', ')}`,
    clientsWords(volume) === null ? null : `Connected: ${clientsWords(volume)}`,
  ]
  const lines = said.filter((line) => line !== null).map((line) => `  ${line}`)
  return [`${volume.name} (${formatSize(volume.sizeBytes)}): ${words.headline}`, ...lines].join('\n')
}

const replicaStateWords = {
  'in-sync': 'complete',
  joining: 'being copied',
  out: 'not complete',
  unknown: 'not known',
} as const

const replicaWords = (replica: ReplicaStatus): string =>
  `${replica.serverName} ${replicaStateWords[replica.state]}${replica.connected ? '' : ' (does not answer)'}`

const addresses = ({ nbd }: VolumeStatus): string[] => [nbd.tcp, nbd.unix].filter((address) => address !== null)

function peerLine(peer: PeerStatus, nowMs: number): string {
  const role = peer.role === 'tiebreaker' ? ' (tiebreaker)' : ''
  const since = peer.sinceMs === null ? '' : ` since ${whenWords(peer.sinceMs, nowMs).replace(/^(at|on) /, '')}`
  const trip = peer.roundTripMs === null ? '' : `, ${roundTrip(peer.roundTripMs)}`
  const state = peer.connected ? `connected${since}${trip}` : peer.sinceMs === null ? 'never seen' : `away${since}`
  return `  ${peer.name}${role} at ${peer.address}: ${state}`
}

const roundTrip = (ms: number): string => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`

/** One line for each volume; columns that line up. */
export function volumeList(status: Status, nowMs: number): string {
  if (status.volumes.length === 0) return `${statusWords(status, nowMs).second}\n`
  const rows = status.volumes.map((volume) => [
    volume.name,
    formatSize(volume.sizeBytes),
    volumeWords(volume, nowMs).headline,
    addresses(volume)[0] ?? '',
  ])
  return `${columns(rows).join('\n')}\n`
}

/** Of each shared disk a strip, what its signs mean, and what waits. */
export function priorityScreen(
  all: readonly { readonly volume: VolumeStatus; readonly words: PriorityWords }[],
): string {
  if (all.length === 0) return 'No shared disk yet.\n'
  const blocks = all.map(({ volume, words }) => {
    const { strip, scale, held, waits, requests } = words
    const said = [
      ...(strip === '' ? [] : [`[${strip}]  ${scale}`]),
      held,
      waits ?? 'Nothing waits for its turn.',
      ...requests.map((request) => `  ${request}`),
    ]
    return [`${volume.name} (${formatSize(volume.sizeBytes)})`, ...said.map((line) => `  ${line}`)].join('\n')
  })
  const signs = Object.entries(prioritySigns).map(([sign, meaning]) => `${sign} ${meaning}`)
  return `${[...blocks, `Signs: ${signs.join(', ')}`].join('\n\n')}\n`
}

/** "20 Nov 14:02:11  nas-2 stopped answering." */
export const eventLine = (event: Event): string =>
  `${dayWords(event.atMs)} ${clockSecondWords(event.atMs)}  ${eventWords(event).text}\n`
