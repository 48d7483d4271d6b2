/** Requests as they are passed to a host, made of those of this server's clients (passing.ts). */
import { limits } from '../limits.ts'
import type { BlockFailure, CompareDone, Done } from './block-device.ts'
import { type PassWish, passedCompare } from './passing.ts'
import type { Connection, WriteRequest, WriteWish } from './requests.ts'

/** Whether it is a client of this server, and still there. */
export const isOwnClient = ({ closed, isInternal, isOfPages, mayStart }: Connection): boolean =>
  !closed && isInternal !== true && isOfPages !== true && mayStart === undefined

export const flushWish = (connection: Connection, arrivedMs: number, done: Done): PassWish => {
  const nothing = { offsetBytes: 0, lengthBytes: 0, chunks: [], fua: false, ownsChunks: false }
  return { connection, kind: 'flush', ...nothing, arrivedMs, done: (failure) => done(failure) }
}

/** @param write a client's, which looks at nothing or compares */
export function writeWish(
  write: Pick<WriteRequest, keyof WriteWish & keyof WriteRequest> | WriteWish,
  connection: Connection,
  arrivedMs: number,
  done: CompareDone,
): PassWish {
  const { kind, offsetBytes, lengthBytes, chunks, fua, look } = write
  const wish = { connection, offsetBytes, lengthBytes, fua, arrivedMs, ownsChunks: true } as const
  if (look && 'expected' in look) return passedCompare({ ...wish, chunks }, look.expected, done)
  return { ...wish, kind, chunks, done: (failure) => done(failure, null) }
}

/** N2: parts of at most limits.writePartBytes, cut between blocks (R1). Answered when all are, with the first failure. */
export function cutRead(wish: PassWish): PassWish[] {
  const { offsetBytes, lengthBytes, done } = wish
  const partBytes = limits.writePartBytes
  if (lengthBytes <= partBytes) return [wish]
  const endBytes = offsetBytes + lengthBytes
  const cuts = [offsetBytes]
  for (let cut = (Math.floor(offsetBytes / partBytes) + 1) * partBytes; cut < endBytes; cut += partBytes) cuts.push(cut)
  const read = new Array<readonly Uint8Array[]>(cuts.length)
  let open = cuts.length
  let failed: BlockFailure | null = null
  return cuts.map((cut, index) => ({
    ...wish,
    offsetBytes: cut,
    lengthBytes: (cuts[index + 1] ?? endBytes) - cut,
    done: (failure, chunks) => {
      failed ??= failure
      read[index] = chunks
      open -= 1
      if (open === 0) done(failed, failed === null ? read.flat() : [])
    },
  }))
}
