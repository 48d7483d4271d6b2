/** Somebody who takes snapshots, deletes them and enlarges the volume at odd moments; all from the seed. */
import type { Engine } from '../../agent/volume/engine.ts'
import type { SimServer } from './server.ts'
import type { Story } from './story.ts'
import type { Chance, World } from './world.ts'

const MiB = 1024 * 1024
/** Virtual milliseconds after which an answer is not waited for any more: its server may be dead. */
const patienceMs = 40_000

export interface PersonParts {
  readonly world: World
  readonly story: Story
  readonly storage: readonly SimServer[]
}

export class Person {
  readonly #parts: PersonParts
  readonly #chance: Chance
  readonly #everyMs: number
  #images = 0
  #over = false
  #waitsUntilMs = 0
  /** What was done, and answered as done. */
  done = 0

  constructor(parts: PersonParts) {
    this.#parts = parts
    this.#chance = parts.world.chance('person')
    // In most histories nobody touches anything.
    this.#everyMs = this.#chance.pick([0, 0, 700, 3_000])
  }

  /** Whether promises are to be given their turns. */
  get waits(): boolean {
    return this.#parts.world.nowMs < this.#waitsUntilMs
  }

  begin(): void {
    if (this.#over || this.#everyMs === 0) return
    this.#parts.world.after(this.#chance.between(0.3, 1.7) * this.#everyMs, () => {
      if (!this.#over && !this.waits) this.#act()
      this.begin()
    })
  }

  end(): void {
    this.#over = true
  }

  #act(): void {
    const server = this.#chance.pick(this.#parts.storage)
    const { engine, volume } = server
    if (engine === null || volume === undefined) return
    const images = engine.changes.images('d')
    const kind = this.#chance.weighed({ make: 6, delete: images.length, grow: 1 })
    const { what, asked } = this.#ask(kind, engine, volume.sizeBytes)
    this.#waitsUntilMs = this.#parts.world.nowMs + patienceMs
    this.#parts.story.tell('PERSON', `${what} at ${server.name}`)
    const end = (words: string) => {
      this.#waitsUntilMs = 0
      this.#parts.story.tell('PERSON', `${what}: ${words}`)
    }
    asked.then(
      () => {
        this.done += 1
        end('done')
      },
      (error: Error) => end(error.message),
    )
  }

  #ask(kind: 'make' | 'delete' | 'grow', engine: Engine, sizeBytes: number): { what: string; asked: Promise<void> } {
    const { changes } = engine
    switch (kind) {
      case 'make': {
        this.#images += 1
        const name = `i${this.#images}`
        return { what: `snapshot ${name}`, asked: changes.makeImage('d', name) }
      }
      case 'delete': {
        const { name } = this.#chance.pick(changes.images('d'))
        return { what: `delete snapshot ${name}`, asked: changes.deleteImage('d', name) }
      }
      case 'grow':
        return { what: `grow to ${sizeBytes / MiB + 1} MiB`, asked: changes.grow('d', sizeBytes + MiB) }
    }
  }
}
