/** What all servers hold at the end: their replicas byte by byte, and the snapshots that several of them have. */
import { limits } from '../../agent/limits.ts'
import { blockBytes, sectorsPerBlock } from './checker.ts'
import { stampsOf } from './payload.ts'
import type { SimServer } from './server.ts'

interface Copy {
  readonly server: string
  readonly data: Uint8Array
}

/** Runs until the condition holds. @returns whether it did within that many virtual milliseconds */
type Runs = (limitMs: number, holds: () => boolean) => Promise<boolean>
type Readable = {
  read(offsetBytes: number, lengthBytes: number, done: (failure: unknown, data: Uint8Array) => void): void
}

const limitMs = 30_000

/** @returns what differs, in words; empty when nothing does */
export async function compareCopies(storage: readonly SimServer[], sizeBytes: number, runs: Runs): Promise<string[]> {
  const problems: string[] = []
  const copies = new Map<string, Copy[]>()
  const read = async (
    what: string,
    server: SimServer,
    from: Readable,
    lengthBytes: number,
    isImage: boolean,
    at = 0,
  ) => {
    const found: { data?: Uint8Array; failure?: unknown } = {}
    from.read(at, lengthBytes, (failure, data) => Object.assign(found, { failure, data }))
    await runs(limitMs, () => found.data !== undefined)
    // R3 repairs the volume; what has rotted of a snapshot is not given, and not repaired.
    if (found.failure === 'corrupt' && isImage && server.everRotted) return
    if (found.data === undefined || found.failure !== null)
      problems.push(`${what} of ${server.name} cannot be read at the end: ${String(found.failure)}`)
    else copies.set(what, [...(copies.get(what) ?? []), { server: server.name, data: found.data }])
  }
  for (const server of storage) {
    const { name, engine, volume } = server
    if (volume === undefined) problems.push(`${name} has no volume at the end`)
    else {
      await read('the replica', server, volume.store, sizeBytes, false)
      await read('the hidden range', server, volume.store, limits.hiddenBytes, false, limits.hiddenStartBytes)
    }
    for (const image of engine?.changes.images('d') ?? []) await read(image.name, server, image, image.sizeBytes, true)
  }
  for (const [what, [first, ...others]] of copies) {
    if (first === undefined) continue
    for (const other of others) {
      const isSame = Buffer.compare(first.data, other.data) === 0
      if (!isSame)
        problems.push(`${what} differs at ${first.server} and ${other.server}: ${whereDiffer(first.data, other.data)}`)
    }
  }
  return problems
}

function whereDiffer(one: Uint8Array, other: Uint8Array): string {
  const words: string[] = []
  for (let at = 0; at < one.length && words.length < 4; at += blockBytes) {
    const mine = one.subarray(at, at + blockBytes)
    const theirs = other.subarray(at, at + blockBytes)
    if (Buffer.compare(mine, theirs) === 0) continue
    const first = (at / blockBytes) * sectorsPerBlock
    words.push(
      `block ${at / blockBytes}: ${stampsOf(first, [mine]).join(' ')} / ${stampsOf(first, [theirs]).join(' ')}`,
    )
  }
  return words.join('; ')
}
