/**
 * W10: every client's write holds `shared` on the reservations' page of the hidden range while it is in flight, taken before
 * its data range. So who changes the page, holding it `exclusive`, meets no write of an older reservation in flight at any
 * server, and none begins under it any more.
 *
 * One standing use covers all writes of this server. It stays when they have ended, so that the next one costs no message
 * and no entry in policing's tables, until somebody wants the page: then no younger write joins it (P1), and it leaves with
 * the last one it covers. Later writes join the next standing use, which waits its turn.
 *
 *   asking --begun--> renewing --the check knows the page--> open --wanted, or of an ended session--> closed
 *   closed --the last write it covers has ended--> released
 *
 * No deadlock (P7): what waits here holds no data range, and who holds the page waits for no data range.
 */
import { limits } from '../limits.ts'
import type { Policing } from '../policing/policing.ts'
import { Use } from '../policing/use.ts'
import type { Connection, WriteRequest } from './requests.ts'

/** Who may write, as the page says. */
export interface ReservationCheck {
  /** The page is held `shared` anew: another server may have changed it. Writes go on once `done` is called, exactly once. */
  renew(done: () => void): void
  /** Whether this client may write now. The page is held, so the answer stays true until its write has ended. */
  permits(connection: Connection): boolean
}

/** No reservations: everybody may write. */
export const everybody: ReservationCheck = { renew: (done) => done(), permits: () => true }

export class StandingUse extends Use {
  /** Writes that it covers. */
  covered = 0
  /** Those that wait for it to open. */
  readonly waiting: WriteRequest[] = []
  state: 'asking' | 'renewing' | 'open' | 'closed' = 'asking'
  readonly #right: RightToWrite

  constructor(right: RightToWrite) {
    super('shared', limits.hiddenStartBytes + limits.reservationsPage * limits.pageBytes, limits.pageBytes)
    this.#right = right
  }

  override begin(): void {
    this.#right.begun(this)
  }

  override wanted(): void {
    this.#right.wanted(this)
  }
}

export interface RightWorld {
  readonly policing: Pick<Policing, 'acquire' | 'release' | 'isHeld'>
  readonly check: ReservationCheck
  /** The write is covered now: it may ask for its data range. */
  enter(request: WriteRequest): void
}

export class RightToWrite {
  readonly #world: RightWorld
  /** What new writes join; null: they begin another one. */
  #present: StandingUse | null = null

  constructor(world: RightWorld) {
    this.#world = world
  }

  /** Calls `enter` when the page is held for it, mostly at once. */
  ask(request: WriteRequest): void {
    const present = this.#present
    if (present === null) return this.#begin(request)
    if (present.state !== 'open') return void present.waiting.push(request)
    if (this.#world.policing.isHeld(present)) return this.#cover(present, request)
    this.#close(present)
    this.#begin(request)
  }

  #begin(request: WriteRequest): void {
    const use = new StandingUse(this)
    use.waiting.push(request)
    this.#present = use
    this.#world.policing.acquire(use)
  }

  #cover(use: StandingUse, request: WriteRequest): void {
    use.covered += 1
    request.right = use
    this.#world.enter(request)
  }

  /** Whether the page is held for this write still: a session may have ended since it was covered (P3). */
  covers({ right }: WriteRequest): boolean {
    return right !== null && this.#world.policing.isHeld(right)
  }

  permits({ connection }: WriteRequest): boolean {
    return this.#world.check.permits(connection)
  }

  /** The write has ended, or gives everything up that it holds. Harmless for one that is not covered. */
  leave(request: WriteRequest): void {
    const use = request.right
    if (use === null) return
    request.right = null
    use.covered -= 1
    this.#releaseEmpty(use)
  }

  /** Policing has let it begin. */
  begun(use: StandingUse): void {
    use.state = 'renewing'
    this.#world.check.renew(() => {
      const waiting = use.waiting.splice(0)
      const isHeld = this.#world.policing.isHeld(use)
      if (!isHeld) this.#close(use)
      else {
        use.state = 'open'
        for (const request of waiting.splice(0)) {
          // What was begun before may have ended the session, or given the use up.
          if (this.#world.policing.isHeld(use)) this.#cover(use, request)
          else waiting.push(request)
        }
        // Wanted meanwhile: it served those that came before that.
        if (this.#present !== use) use.state = 'closed'
        this.#releaseEmpty(use)
      }
      for (const request of waiting) this.ask(request)
    })
  }

  /** P1: nobody joins it any more. */
  wanted(use: StandingUse): void {
    if (this.#present === use) this.#present = null
    if (use.state === 'open') use.state = 'closed'
    this.#releaseEmpty(use)
  }

  /** Of no use any more: what it was granted ended with its session (P3). */
  #close(use: StandingUse): void {
    if (this.#present === use) this.#present = null
    use.state = 'closed'
    this.#releaseEmpty(use)
  }

  #releaseEmpty(use: StandingUse): void {
    if (use.state === 'closed' && use.covered === 0 && use.phase === 'active') this.#world.policing.release(use)
  }
}
