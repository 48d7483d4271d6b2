/** Who has write priority where, and what waits for it, in people's words: the inside calls it policing and permission. */
import { formatBytes, formatSize } from './sizes.ts'
import type { VolumeStatus } from './status.ts'

export interface PriorityWords {
  /** One sign for each stretch of the disk, from its beginning (prioritySigns). */
  readonly strip: string
  /** How much of the disk one sign stands for. */
  readonly scale: string
  /** One sentence: how much this server may write and read without asking. */
  readonly held: string
  /** How many requests wait here, and how long the oldest has; null: none. */
  readonly waits: string | null
  /** Those that wait, the oldest first, one line each; of very many only some. */
  readonly requests: readonly string[]
}

/** What a sign of the strip says about this server, most of all first. */
export const prioritySigns = {
  '#': 'may write without asking',
  '+': 'may write part of it',
  r: 'may read without asking',
  '.': 'asks another server first',
} as const

/** Waiting for another server for so long, ms, is worth a line: usually it is the time of a message. */
const longMs = 1_000

/** @param serverName of the server whose status it is */
export function priorityWords(volume: VolumeStatus, serverName: string): PriorityWords {
  const { policing, serving, sizeBytes } = volume
  const { stretchBytes, exclusiveBytes, sharedBytes, queued, oldestMs, waiting } = policing
  const signs = exclusiveBytes.map((exclusive, index) =>
    signOf(exclusive, sharedBytes[index] ?? 0, Math.min(stretchBytes, sizeBytes - index * stretchBytes)),
  )
  return {
    strip: signs.join(''),
    scale: `${formatSize(stretchBytes)} each`,
    held: serving
      ? heldWords(serverName, sum(exclusiveBytes) / sizeBytes, sum(sharedBytes) / sizeBytes)
      : `${serverName} does not serve this disk now, so it may write nowhere.`,
    waits: queued === 0 ? null : `${requestsWords(queued)} here, the oldest for ${secondsWords(oldestMs)}.`,
    requests: waiting.map(
      ({ mode, offsetBytes, lengthBytes, forMs, waitsFor }) =>
        `${mode === 'exclusive' ? 'write' : 'read'} of ${formatSize(lengthBytes)} at ${formatBytes(offsetBytes)}: ${
          waitsFor === 'servers' ? 'for another server' : 'behind an earlier request here'
        }, ${secondsWords(forMs)}`,
    ),
  }
}

/**
 * Said beside a volume's other words when requests here have waited for another server for longer than usual.
 * @returns null when none has, or when all work waits anyway and the headline says why
 */
export function longWaitWords({ policing, serving }: VolumeStatus): string | null {
  if (!serving) return null
  const long = policing.waiting.filter(({ waitsFor, forMs }) => waitsFor === 'servers' && forMs > longMs)
  if (long.length === 0) return null
  const oldestMs = Math.max(...long.map(({ forMs }) => forMs))
  const [have, goOn] =
    long.length === 1
      ? ['request here has', 'it goes on by itself']
      : ['requests here have', 'they go on by themselves']
  return `${long.length} ${have} waited up to ${secondsWords(oldestMs)} for another server to finish there; ${goOn}.`
}

function signOf(exclusive: number, shared: number, stretch: number): keyof typeof prioritySigns {
  if (exclusive >= stretch) return '#'
  if (exclusive > 0) return '+'
  return shared > 0 ? 'r' : '.'
}

function heldWords(serverName: string, writes: number, reads: number): string {
  if (writes + reads === 0) return `${serverName} asks before it writes or reads anywhere.`
  const writing = `${serverName} may write ${shareWords(writes)} of it without asking`
  return reads > 0 ? `${writing}, and read ${shareWords(reads)} more.` : `${writing}.`
}

/** Never "all" or "nothing" of what is only nearly so. */
function shareWords(share: number): string {
  if (share >= 1) return 'all'
  if (share === 0) return 'nothing'
  if (share < 0.01) return 'less than 1 %'
  return `${Math.floor(share * 100)} %`
}

const requestsWords = (count: number): string => (count === 1 ? '1 request waits' : `${count} requests wait`)

const secondsWords = (ms: number): string => `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
