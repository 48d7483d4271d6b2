/**
 * Why a volume waits, and what ends the waiting. Waiting is never an error of the person: it keeps data right. What
 * this version cannot do (take over from a missing server, choose between two versions) is said here in words.
 */
import { never } from '../kit/failure.ts'
import type { VolumeStatus } from './status.ts'

const noTakingOver = 'Going on without it is not possible in this version.'

/** Why work waits here. Always one or two whole sentences. */
export function waitingWords(volume: VolumeStatus): string {
  const { arbiter } = volume
  switch (volume.waiting) {
    case 'peers': {
      const away = names(volume, (replica) => replica.state === 'in-sync' && !replica.connected)
      const whom = away === '' ? awayNames(volume) : away
      if (whom === '') return 'Work waits until the servers have found each other. Nothing that was saved is lost.'
      return `Work waits for ${whom}, which may hold newer data. Nothing that was saved is lost.`
    }
    case 'arbiter':
      return arbiter.kind === 'witness'
        ? `Work waits for the tiebreaker ${arbiter.serverName}, which has to confirm that nobody else goes on.`
        : `Work waits for ${arbiter.serverName}: it decides who goes on, and does not answer.`
    case 'forming':
      return 'The servers are agreeing on what was written last. This takes moments.'
    case 'resync':
      return 'Work waits at this server until its copy is complete, and no server with a complete copy answers.'
    case 'sound-copy': {
      const away = awayNames(volume)
      return away === ''
        ? 'Work waits: the copies here may not be complete.'
        : `Work waits for ${away}, which may hold a better copy than the one here.`
    }
    case 'split-brain':
      return 'Servers went on separately and each has data that the other has not. Both versions are kept as they are.'
    case 'disk':
      return 'The disk with the last complete copy does not work. Work waits so that nothing wrong is served.'
    case 'none':
      return volume.serving
        ? 'It is not known here whether any copy is complete.'
        : 'This server is getting ready to serve the disk.'
    default:
      return never(volume.waiting, 'waitingWords')
  }
}

/** What ends the waiting; null where only moments are needed. */
export function waitingToDo(volume: VolumeStatus): string | null {
  const { arbiter } = volume
  switch (volume.waiting) {
    case 'peers':
    case 'sound-copy': {
      const away = awayNames(volume)
      if (away === '') return 'Check the network between the servers.'
      return `Bring ${away} back: check power and network there. ${noTakingOver}`
    }
    case 'arbiter':
      return arbiter.kind === 'witness'
        ? `Bring the tiebreaker ${arbiter.serverName} back, or the missing server.`
        : `Bring ${arbiter.serverName} back: check power and network there. ${noTakingOver}`
    case 'forming':
      return null
    case 'resync': {
      const away = awayNames(volume)
      return away === '' ? null : `Bring ${away} back: check power and network there.`
    }
    case 'split-brain':
      return 'Leave both servers as they are and delete nothing. Choosing a version is not possible in this version.'
    case 'disk':
      return 'Check the disk of this server, then restart Mirrorbay here.'
    case 'none':
      return volume.serving ? 'Check that all servers run and reach each other.' : null
    default:
      return never(volume.waiting, 'waitingToDo')
  }
}

function names(volume: VolumeStatus, which: (replica: VolumeStatus['replicas'][number]) => boolean): string {
  return list(volume.replicas.filter(which).map((replica) => replica.serverName))
}

const awayNames = (volume: VolumeStatus): string => names(volume, (replica) => !replica.connected)

/** "a", "a and b", "a, b and c". */
export function list(names: readonly string[], word: 'and' | 'or' = 'and'): string {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} ${word} ${names.at(-1)}`
}
