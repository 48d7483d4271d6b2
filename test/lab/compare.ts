/** Comparing copies of a volume byte by byte, a stretch at a time. */

export const extentBytes = 256 * 1024

/** One copy as its store's files show it. */
export interface Copy {
  readonly server: string
  readonly sizeBytes: number
  /** False: the extent is not in the files and reads as zeros. */
  holds(extent: number): boolean
  /** @returns the first byte of a block of the extent that does not fit its checksum, or cannot be read; null for none */
  rotten(extent: number): number | null
  /** @returns exactly that many bytes */
  read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array>
}

export type Comparison =
  | { readonly kind: 'equal' }
  | { readonly kind: 'differ'; readonly atByte: number; readonly first: string; readonly second: string }
  /** A block of one copy is not what was written there, whatever the others hold. */
  | { readonly kind: 'rotten'; readonly atByte: number; readonly server: string }
  /** The time was over; the next stretch begins here. */
  | { readonly kind: 'unfinished'; readonly nextExtent: number }

export const extentsOf = (sizeBytes: number): number => Math.ceil(sizeBytes / extentBytes)

/**
 * Compares every copy with the first, from an extent on.
 * @param timeIsUp asked after every extent
 */
export async function compareCopies(
  copies: readonly Copy[],
  fromExtent: number,
  timeIsUp: () => boolean,
): Promise<Comparison> {
  const [reference, ...others] = copies
  if (reference === undefined) return { kind: 'equal' }
  const shorter = others.find((other) => other.sizeBytes !== reference.sizeBytes)
  if (shorter !== undefined) {
    const atByte = Math.min(shorter.sizeBytes, reference.sizeBytes)
    return { kind: 'differ', atByte, first: reference.server, second: shorter.server }
  }
  const extents = extentsOf(reference.sizeBytes)
  for (let extent = fromExtent; extent < extents; extent++) {
    const offset = extent * extentBytes
    const length = Math.min(extentBytes, reference.sizeBytes - offset)
    if (!copies.some((copy) => copy.holds(extent))) continue
    for (const copy of copies) {
      const atByte = copy.rotten(extent)
      if (atByte !== null) return { kind: 'rotten', atByte, server: copy.server }
    }
    const contents = await Promise.all(copies.map((copy) => contentOf(copy, extent, { offset, length })))
    const [expected = new Uint8Array(length), ...found] = contents
    for (const [index, bytes] of found.entries()) {
      if (Buffer.compare(expected, bytes) === 0) continue
      const second = others[index]?.server ?? ''
      return { kind: 'differ', atByte: offset + firstDifference(expected, bytes), first: reference.server, second }
    }
    if (timeIsUp() && extent + 1 < extents) return { kind: 'unfinished', nextExtent: extent + 1 }
  }
  return { kind: 'equal' }
}

async function contentOf(copy: Copy, extent: number, of: { offset: number; length: number }): Promise<Uint8Array> {
  return copy.holds(extent) ? await copy.read(of.offset, of.length) : new Uint8Array(of.length)
}

function firstDifference(one: Uint8Array, other: Uint8Array): number {
  const index = one.findIndex((byte, at) => byte !== other[at])
  return index < 0 ? Math.min(one.length, other.length) : index
}
