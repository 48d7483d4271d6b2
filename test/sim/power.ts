/** Who has lost power since when: what W4 lets go of unflushed writes when every in-sync replica did. */
import type { ServerId } from '../../agent/kit/ids.ts'
import type { History } from './checker.ts'
import type { SimServer } from './server.ts'

export class PowerLosses {
  readonly #storage: readonly SimServer[]
  readonly #history: History
  /** The instant at which each lost its power; absent: it has kept it since it opened a session. */
  readonly #lostAt = new Map<ServerId, number>()

  constructor(storage: readonly SimServer[], history: History) {
    this.#storage = storage
    this.#history = history
  }

  /** W4: has everybody who held acknowledged writes lost power since? */
  lost(server: SimServer): void {
    this.#lostAt.set(server.id, this.#history.instant())
    const upTo = Math.min(...this.#lastServing().map((id) => this.#lostAt.get(id) ?? 0))
    if (upTo > 0) this.#history.lost(upTo)
  }

  /** It is in an open session: whoever kept power meanwhile has given it all that was acknowledged. */
  opened(server: SimServer): void {
    this.#lostAt.delete(server.id)
  }

  /** The in-sync set that was opened last, by whomever, as their disks remember it. */
  #lastServing(): readonly ServerId[] {
    let best: { epoch: number; inSync: readonly ServerId[] } = { epoch: 0, inSync: [] }
    for (const server of this.#storage) {
      const opened = server.lastOpened
      if (opened !== null && opened.epoch > best.epoch) best = opened
    }
    return best.inSync.length > 0 ? best.inSync : this.#storage.map(({ id }) => id)
  }
}
