/** What happened, for people: kept only when somebody wants to read it. */
import type { Log } from '../../agent/kit/world.ts'
import type { World } from './world.ts'

export class Story {
  readonly #world: World
  readonly #wanted: boolean
  readonly lines: string[] = []
  /** Invariants and errors that no run may show. */
  readonly errors: string[] = []

  constructor(world: World, wanted: boolean) {
    this.#world = world
    this.#wanted = wanted
  }

  tell(who: string, words: string): void {
    if (this.#wanted) this.lines.push(`${this.#world.nowMs.toFixed(2).padStart(10)} ${who.padEnd(8)} ${words}`)
  }

  logOf(who: string): Log {
    const tell = (level: string) => (fields: Record<string, unknown>, message: string) => {
      if (this.#wanted) this.tell(who, `${level}: ${message} ${JSON.stringify(fields)}`)
    }
    return { debug: () => undefined, info: tell('info'), warn: tell('warn'), error: tell('error') }
  }
}
