import type { Admission } from './admission.ts'

/** Holds writes back for a moment, for whoever compares replicas from outside. */
export class Hold {
  readonly #writes: Pick<Admission<never>, 'hold' | 'admitted'>
  #whenQuiet: (() => void) | null = null

  constructor(writes: Pick<Admission<never>, 'hold' | 'admitted'>) {
    this.#writes = writes
  }

  /** Starts no new write; calls back once none is under way. */
  begin(quiet: () => void): void {
    this.#writes.hold(true)
    this.#whenQuiet = quiet
    this.look()
  }

  end(): void {
    this.#whenQuiet = null
    this.#writes.hold(false)
  }

  /** To be called when a write has left. */
  look(): void {
    if (this.#writes.admitted > 0) return
    const quiet = this.#whenQuiet
    this.#whenQuiet = null
    quiet?.()
  }
}
