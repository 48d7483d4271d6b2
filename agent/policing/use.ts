import { limits } from '../limits.ts'

/** `shared`: reading, also a piece that resync compares. `exclusive`: whatever may write, from the start (P6). */
export type Mode = 'shared' | 'exclusive'

/** Two uses of one range exclude each other unless both only read. */
export const conflicts = (one: Mode, other: Mode): boolean => one === 'exclusive' || other === 'exclusive'

/** `idle` not handed in, `behind` an overlapping use of this server, `asking` for permission, `active` begun. */
export type UsePhase = 'idle' | 'behind' | 'asking' | 'active'

/**
 * One use of a range of a volume: a client's request, or a piece of resync. The request object itself is the entry in
 * policing's tables, so that asking allocates nothing. Blocks, not bytes, are the unit (W3, C7: for one block the
 * applied sets are nested).
 */
export abstract class Use {
  readonly mode: Mode
  /** First and last 4 KiB block touched, both included. */
  readonly firstBlock: number
  readonly lastBlock: number

  /** The fields below belong to policing. */
  phase: UsePhase = 'idle'
  /** Earlier overlapping uses of this server that have not ended. */
  blockers = 0
  /** Later uses that wait for this one; null while there is none. */
  dependents: Use[] | null = null
  /** P1: Lamport time of the request, given when it begins to ask. */
  askedTime = 0
  /** Which of this server's sessions permission was granted in; a later session owes nothing to it (P3). */
  grantedIn = 0

  constructor(mode: Mode, offsetBytes: number, lengthBytes: number) {
    this.mode = mode
    this.firstBlock = Math.floor(offsetBytes / limits.blockBytes)
    this.lastBlock = Math.floor((offsetBytes + lengthBytes - 1) / limits.blockBytes)
  }

  /** The use has priority over every other pending one: it may execute now, until it is released. */
  abstract begin(): void

  /** Another use, here or at another server, waits for the end of this one; told perhaps more than once, perhaps before it
   * has begun. A use that stands longer than what it covers needs (W10) may be released at once. */
  wanted(): void {
    // Most uses are one request's, and end when that does.
  }
}
