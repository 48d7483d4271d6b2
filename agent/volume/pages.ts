/**
 * Pages of the hidden range (W10): a few small values that all in-sync servers share, for reservations and registrations. A
 * page is read under `shared` and changed under `exclusive`, so no change is lost and no old value is read (R1); a change is
 * durable everywhere before it is done (W4). A page that nobody has written is zeros. Clients cannot reach them.
 *
 * Only a server that is in sync reads or changes them: the frontends of another one pass the whole request to its host (P5),
 * which does. Until it is known to be out its calls wait; then they fail with `shutdown`, not started.
 */
import { invariant } from '../kit/failure.ts'
import { limits } from '../limits.ts'
import type { BlockFailure, CompareDone, ReadDone } from './block-device.ts'
import type { Connection, WriteWish } from './requests.ts'

export const pageCount = limits.hiddenBytes / limits.pageBytes

export type PageReadDone = (failure: BlockFailure | null, bytes: Uint8Array) => void
/** `isChanged`: false where `modify` wanted no change, or on failure. */
export type PageChangeDone = (failure: BlockFailure | null, isChanged: boolean) => void

export interface PagesWorld {
  read(connection: Connection, offsetBytes: number, lengthBytes: number, done: ReadDone): void
  write(connection: Connection, wish: WriteWish, done: CompareDone): void
}

const nothing = new Uint8Array(0)

export class Pages {
  readonly #world: PagesWorld

  constructor(world: PagesWorld) {
    this.#world = world
  }

  /** @param page 0 .. pageCount-1 @param done never inside the call; the bytes are the receiver's */
  read(page: number, done: PageReadDone): void {
    this.#world.read(connectionOfPages(), offsetOf(page), limits.pageBytes, (failure, chunks) =>
      done(failure, failure === null ? Buffer.concat(chunks) : nothing),
    )
  }

  /**
   * @param modify of what stands there, its own copy: limits.pageBytes of new content, or null for none. Called under
   * `exclusive`; once more if the session ends before anything was written, so it changes nothing by itself
   * @param done never inside the call; `unknown-outcome`: this server fell out, and nobody could tell what became of it (W8)
   */
  change(page: number, modify: (present: Uint8Array) => Uint8Array | null, done: PageChangeDone): void {
    const content = new Uint8Array(limits.pageBytes)
    let isChanged = false
    const change = (present: Uint8Array): boolean => {
      const next = modify(new Uint8Array(present))
      isChanged = next !== null
      if (next === null) return false
      invariant(next.length === limits.pageBytes, 'V3', `a page of ${next.length} bytes`)
      content.set(next)
      return true
    }
    const wish = { offsetBytes: offsetOf(page), lengthBytes: limits.pageBytes, chunks: [content], fua: true }
    this.#world.write(connectionOfPages(), { kind: 'data', ...wish, look: { change } }, (failure) =>
      done(failure, failure === null && isChanged),
    )
  }
}

const connectionOfPages = (): Connection => ({ closed: false, isOfPages: true })

function offsetOf(page: number): number {
  const isThere = Number.isInteger(page) && page >= 0 && page < pageCount
  invariant(isThere, 'V3', `there is no page ${page}`)
  return limits.hiddenStartBytes + page * limits.pageBytes
}
