/**
 * Order among the uses of one server (W3, R4): overlapping uses that exclude each other begin in the order in which they
 * came, each after the ones before it have ended. A use waits only for earlier ones, so nothing deadlocks and nothing
 * starves.
 */
import { invariant } from '../kit/failure.ts'
import { SpanIndex } from './span-index.ts'
import { conflicts, type Use } from './use.ts'

export class Ranges {
  /** Every use from where it enters until it leaves. */
  readonly index = new SpanIndex<Use>()
  readonly #granted: (use: Use) => void
  readonly #found: Use[] = []

  /** @param granted called for every use once no earlier one excludes it; at once inside `enter` when there is none */
  constructor(granted: (use: Use) => void) {
    this.#granted = granted
  }

  enter(use: Use): void {
    invariant(use.phase === 'idle', 'P1a', 'a use is handed in once')
    use.phase = 'behind'
    const found = this.index.collect(use.firstBlock, use.lastBlock, this.#found)
    for (const earlier of found) if (conflicts(earlier.mode, use.mode)) this.#block(use, earlier)
    const blocking = use.blockers === 0 ? null : found.filter((earlier) => conflicts(earlier.mode, use.mode))
    found.length = 0
    this.index.add(use)
    if (blocking === null) this.#granted(use)
    // Some may leave at that; the last of them lets this one in.
    else for (const earlier of blocking) if (earlier.phase !== 'idle') earlier.wanted()
  }

  leave(use: Use): void {
    invariant(use.phase !== 'idle' && use.blockers === 0, 'P1b', 'only a use that was let in leaves')
    use.phase = 'idle'
    this.index.remove(use)
    const dependents = use.dependents
    if (dependents === null) return
    use.dependents = null
    for (const dependent of dependents) {
      dependent.blockers -= 1
      if (dependent.blockers === 0) this.#granted(dependent)
    }
  }

  #block(use: Use, earlier: Use): void {
    use.blockers += 1
    if (earlier.dependents === null) earlier.dependents = [use]
    else earlier.dependents.push(use)
  }
}
