/**
 * E8: for how long another server owes what it was asked for. A slow link is not its debt: time counts from when the
 * question had reached it, as the link's acknowledgements show; or, while it has not, from when the link last got on.
 */
import type { ServerId } from '../kit/ids.ts'
import type { Links } from '../link/messages.ts'

interface Debt {
  /** Since when the oldest question waits, in turned time. */
  readonly sinceMs: number
  /** Everything that was sent when it was first seen here: once all that is acknowledged, the question is there. */
  readonly sentBytes: number
  acknowledgedBytes: number
  /** When the link last got on before that. */
  movedMs: number
  arrived: boolean
}

/** A question's age is measured anew each time; so much it may differ, milliseconds. */
const sameMs = 1

export class Debts {
  readonly #links: Pick<Links, 'acknowledgedBytes' | 'unacknowledgedBytes'>
  readonly #debts = new Map<ServerId, Debt>()

  constructor(links: Pick<Links, 'acknowledgedBytes' | 'unacknowledgedBytes'>) {
    this.#links = links
  }

  /**
   * To be asked several times a second.
   * @param waitedMs how long the oldest unanswered question to that server waits, 0 for none; @param nowMs turned time
   * @returns milliseconds for which it owes the answer
   */
  owedMs(server: ServerId, waitedMs: number, nowMs: number): number {
    if (waitedMs <= 0) {
      this.#debts.delete(server)
      return 0
    }
    const acknowledgedBytes = this.#links.acknowledgedBytes(server)
    const sinceMs = nowMs - waitedMs
    let debt = this.#debts.get(server)
    // A smaller count is another run's stream.
    if (debt === undefined || Math.abs(debt.sinceMs - sinceMs) > sameMs || acknowledgedBytes < debt.acknowledgedBytes) {
      const sentBytes = acknowledgedBytes + this.#links.unacknowledgedBytes(server)
      const arrived = sentBytes === acknowledgedBytes
      debt = { sinceMs, sentBytes, acknowledgedBytes, movedMs: arrived ? sinceMs : nowMs, arrived }
      this.#debts.set(server, debt)
    } else if (!debt.arrived && acknowledgedBytes > debt.acknowledgedBytes) {
      debt.acknowledgedBytes = acknowledgedBytes
      debt.movedMs = nowMs
      debt.arrived = acknowledgedBytes >= debt.sentBytes
    }
    return nowMs - debt.movedMs
  }
}
