/** What happened, in a sentence, for the activity list. */
import { never } from '../kit/failure.ts'
import type { Event } from './events.ts'
import { folderStateWords, spaceLowWords } from './folder-words.ts'
import { formatBytes, formatDuration } from './sizes.ts'
import { folderState } from './status.ts'

/** How much a person should care: `trouble` is something to look after, `good` is its end, `plain` is history. */
export type EventWeight = 'trouble' | 'good' | 'plain'

export interface EventWords {
  readonly text: string
  readonly weight: EventWeight
}

const reasons: Readonly<Record<string, string>> = {
  silent: 'it stopped answering',
  restarted: 'it restarted',
  left: 'it was stopped in good order',
  'disk-failed': 'its disk failed',
  'disk-full': 'its disk is full',
  'disk-slow': 'its disk stopped answering',
}

/** The words of one event. Details that are absent are left out of the sentence. */
export function eventWords(event: Event): EventWords {
  const server = event.server ?? 'a server'
  const volume = event.volume ?? 'the shared disk'
  const say = (weight: EventWeight, text: string): EventWords => ({ text, weight })
  switch (event.kind) {
    case 'agent-started':
      return say('plain', `Mirrorbay started on ${server}.`)
    case 'agent-stopping':
      return say('plain', `Mirrorbay is stopping on ${server} in good order.`)
    case 'peer-connected':
      return say('good', `${server} is connected.`)
    case 'peer-lost':
      return say('trouble', `${server} stopped answering.`)
    case 'volume-created':
      return say('plain', `${volume} was created.`)
    case 'volume-grown': {
      const { sizeBytes } = event.details
      const size = typeof sizeBytes === 'number' ? ` to ${formatBytes(sizeBytes)}` : ''
      return say('plain', `${volume} was enlarged${size}. Computers see it when they connect again.`)
    }
    case 'volume-deleted':
      return say('plain', `${volume} was deleted. It is kept for some days and can be restored.`)
    case 'volume-restored':
      return say('good', `${volume} was restored.`)
    case 'volume-purged':
      return say('plain', `${volume} was removed for good from ${server}.`)
    case 'snapshot-made':
      return say('plain', `A snapshot of ${volume} was made${named(event.details.snapshot)}.`)
    case 'snapshot-deleted':
      return say('plain', `A snapshot of ${volume} was deleted${named(event.details.snapshot)}.`)
    case 'volume-serving':
      return say('good', `${volume} is served here.`)
    case 'volume-waiting':
      return say('trouble', `${volume} waits, to protect its data.`)
    case 'volume-hosted': {
      const through = event.details.through ?? 'another server'
      return say('plain', `Computers that use ${volume} at ${server} work through ${through}.`)
    }
    case 'server-left': {
      const reason = reasons[String(event.details.reason ?? '')]
      const because = reason === undefined ? '' : ` because ${reason}`
      return say('trouble', `${server} no longer mirrors ${volume}${because}.`)
    }
    case 'server-joined':
      return say('good', `${volume} is in sync again on ${server}${joinedDetails(event)}.`)
    case 'resync-started':
      return say('plain', `Copying ${volume} to ${server} began.`)
    case 'resync-voided': {
      const why = event.details.why
      const told = typeof why === 'string' && why !== '' ? ` (${why})` : ''
      return say('trouble', `Copying ${volume} to ${server} ended early${told}; it is tried again by itself.`)
    }
    case 'resync-paused':
      return say('plain', `Copying ${volume} to ${server} was paused.`)
    case 'resync-continued':
      return say('plain', `Copying ${volume} to ${server} goes on.`)
    case 'repaired': {
      const bytes = typeof event.details.bytes === 'number' ? `: ${formatBytes(event.details.bytes)}` : ''
      return say(
        'trouble',
        `The disk of ${server} could not give back what was written${bytes}. It was read from the other copy.`,
      )
    }
    case 'scrub-ended':
      return scrubWords(event, server, volume)
    case 'disk-failed':
      return say('trouble', `A disk of ${server} failed${folderOf(event, ': the storage folder ')}.`)
    case 'folder-away':
    case 'folder-back':
    case 'space-low':
    case 'space-ok':
      return folderWords({ ...event, kind: event.kind }, server)
    case 'older-disk-found':
      return say(
        'trouble',
        `The disk of ${server} shows an older state of ${volume} than it had before. All of it is compared with the other copy. ` +
          'If nobody restored a backup there, replace that disk.',
      )
    case 'split-brain-found':
      return say('trouble', `Two versions of ${volume} were found. Both are kept.`)
    default:
      return never(event.kind, 'eventWords')
  }
}

const named = (name: unknown): string => (typeof name === 'string' ? `: ${name}` : '')

/** "fast (/mnt/fast)", behind `before`; empty where the event names no folder. */
function folderOf({ details }: Event, before: string): string {
  const { folder, path } = details
  return typeof folder === 'string' ? `${before}${folder}${typeof path === 'string' ? ` (${path})` : ''}` : ''
}

function folderWords(
  event: Event & { kind: 'folder-away' | 'folder-back' | 'space-low' | 'space-ok' },
  server: string,
): EventWords {
  const folder = `The storage folder${folderOf(event, ' ')} of ${server}`
  const { path, freeBytes, state } = event.details
  switch (event.kind) {
    case 'folder-away': {
      const why = folderStateWords[folderState.safeParse(state).data ?? 'missing']
      return { weight: 'trouble', text: `${folder} cannot be used (${why}). What lies elsewhere goes on.` }
    }
    case 'folder-back':
      return { weight: 'good', text: `${folder} is in use again.` }
    case 'space-low':
      return {
        weight: 'trouble',
        text: spaceLowWords(String(path ?? ''), typeof freeBytes === 'number' ? freeBytes : null),
      }
    case 'space-ok':
      return { weight: 'good', text: `${folder} has enough free space again.` }
    default:
      return never(event.kind, 'folderWords')
  }
}

function scrubWords({ details }: Event, server: string, volume: string): EventWords {
  const { repairedBytes, unreadablePieces } = details
  const read = `Everything that ${server} holds of ${volume} was read`
  if (typeof unreadablePieces === 'number' && unreadablePieces > 0) {
    const places = unreadablePieces === 1 ? 'one place' : `${unreadablePieces} places`
    return { weight: 'trouble', text: `${read}: at ${places} no copy could give back what was written.` }
  }
  if (typeof repairedBytes === 'number' && repairedBytes > 0) {
    return { weight: 'trouble', text: `${read}: ${formatBytes(repairedBytes)} were repaired from the other copy.` }
  }
  return { weight: 'good', text: `${read}: all is as it was written.` }
}

function joinedDetails({ details }: Event): string {
  const { movedBytes, durationMs } = details
  const parts: string[] = []
  if (typeof movedBytes === 'number') parts.push(`${formatBytes(movedBytes)} copied`)
  if (typeof durationMs === 'number') parts.push(formatDuration(durationMs / 1000))
  return parts.length === 0 ? '' : ` (${parts.join(', ')})`
}
