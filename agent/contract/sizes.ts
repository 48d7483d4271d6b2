/**
 * Sizes as people write and read them. What a person types for a disk is binary (1G is 1 GiB, as fdisk, qemu and the
 * disk's own tools mean it); amounts and speeds that we show are decimal (1 MB is 1,000,000 bytes, as file managers and
 * network cards mean it). Both are named by their unit, so nobody has to guess.
 */
import { UserError } from '../kit/failure.ts'
import { limits } from '../limits.ts'

const powers: Readonly<Record<string, number>> = { '': 0, K: 1, M: 2, G: 3, T: 4 }
const pattern = /^(\d{1,16}(?:\.\d{1,6})?)\s*(?:([KMGT])(?:i?B)?|B)?$/i

/**
 * @param text e.g. "1G", "500M", "1.5T", "20 GiB" (all binary) or plain bytes, "1073741824"
 * @returns bytes, a whole number of blocks (limits.blockBytes) between limits.volumeMinBytes and volumeMaxBytes
 * @throws UserError `bad-size` with an example
 */
export function parseSize(text: string): number {
  const match = pattern.exec(text.trim())
  if (match === null) throw badSize(`"${shorten(text)}" is not a size`)
  const [, digits = '', unit = ''] = match
  const bytes = Number(digits) * 1024 ** (powers[unit.toUpperCase()] ?? 0)
  if (unit === '' && digits.includes('.')) throw badSize(`"${shorten(text)}" has a fraction but no unit`)
  if (!Number.isFinite(bytes) || bytes < limits.volumeMinBytes) {
    throw badSize(`"${shorten(text)}" is too small: a shared disk has at least ${formatSize(limits.volumeMinBytes)}`)
  }
  if (bytes > limits.volumeMaxBytes) {
    throw badSize(`"${shorten(text)}" is too large: a shared disk has at most ${formatSize(limits.volumeMaxBytes)}`)
  }
  // Only a plain number of bytes can miss a block by the person's own choice; a fraction of a unit is rounded.
  if (unit === '' && bytes % limits.blockBytes !== 0) {
    throw badSize(`${bytes} bytes is not a whole number of ${limits.blockBytes}-byte blocks`)
  }
  return Math.round(bytes / limits.blockBytes) * limits.blockBytes
}

const shorten = (text: string): string => (text.length > 40 ? `${text.slice(0, 40)}…` : text)

const badSize = (happened: string): UserError =>
  new UserError({
    code: 'bad-size',
    happened: `${happened}.`,
    dataIsSafe: 'Nothing was changed.',
    next: 'Write a number and one of K, M, G, T, for example 500M, 20G or 1.5T.',
  })

/** A disk's size in binary units, as it was asked for: "1 GiB", "1.5 TiB", "20 MiB". */
export const formatSize = (bytes: number): string => scaled(bytes, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB'])

/** An amount of data in decimal units: "3.1 GB", "412 GB", "0 B". */
export const formatBytes = (bytes: number): string => scaled(bytes, 1000, ['B', 'kB', 'MB', 'GB', 'TB'])

/** A speed in decimal units: "380 MB/s". */
export const formatSpeed = (bytesPerSecond: number): string => `${formatBytes(bytesPerSecond)}/s`

/** Three significant digits at most, never "1000 MB" where "1 GB" is meant. */
function scaled(bytes: number, step: number, units: readonly string[]): string {
  let value = Math.max(0, bytes)
  let unit = 0
  while (unit < units.length - 1 && rounded(value) >= step) {
    value /= step
    unit += 1
  }
  return `${unit === 0 ? Math.round(value) : rounded(value)} ${units[unit]}`
}

const rounded = (value: number): number => (value >= 10 ? Math.round(value) : Math.round(value * 10) / 10)

/** How long something takes, as people say it: "a few seconds", "about 18 min", "about 5 h". */
export function formatDuration(seconds: number): string {
  if (!(seconds >= 10)) return 'a few seconds'
  if (seconds < 90) return `about ${Math.round(seconds / 5) * 5} s`
  if (seconds < 90 * 60) return `about ${Math.round(seconds / 60)} min`
  if (seconds < 36 * 3600) return `about ${Math.round(seconds / 3600)} h`
  return `about ${Math.round(seconds / 86_400)} days`
}
