/**
 * The activity list: the last limits.events events, numbered upwards within one run, and a notifier that tells of
 * changes at most once in a while however many there are. Both are bounded; nothing here waits or touches a disk.
 */
import type { Event, EventKind } from '../contract/events.ts'
import type { Clock, Timer } from '../kit/world.ts'
import { limits } from '../limits.ts'

export interface EventFields {
  readonly volume?: string | null
  readonly server?: string | null
  readonly details?: Readonly<Record<string, string | number>>
}

export class EventLog {
  readonly #clock: Clock
  readonly #keep: number
  readonly #changed: () => void
  #events: Event[] = []
  #number = 0

  /** @param changed called after each append, e.g. ChangeNotifier.changed @param keep events kept; the oldest go first */
  constructor(options: { clock: Clock; changed?: () => void; keep?: number }) {
    this.#clock = options.clock
    this.#keep = options.keep ?? limits.events
    this.#changed = options.changed ?? (() => undefined)
  }

  append(kind: EventKind, fields: EventFields = {}): Event {
    this.#number += 1
    const event: Event = {
      number: this.#number,
      atMs: this.#clock.wallMs(),
      kind,
      volume: fields.volume ?? null,
      server: fields.server ?? null,
      details: { ...fields.details },
    }
    // A new array: whoever holds an earlier list() keeps an unchanged one.
    this.#events = [...this.#events.slice(-(this.#keep - 1)), event]
    this.#changed()
    return event
  }

  /** Oldest first. The array never changes; a later call gives a new one. */
  list(): readonly Event[] {
    return this.#events
  }
}

/**
 * Tells its listeners that something changed: at once after a quiet time, then at most every `minimumMs`, and always
 * once more after the last change. A listener that throws is a bug and is not hidden.
 */
export class ChangeNotifier {
  readonly #clock: Clock
  readonly #minimumMs: number
  readonly #listeners = new Set<() => void>()
  #lastMs = Number.NEGATIVE_INFINITY
  #timer: Timer | null = null

  constructor(options: { clock: Clock; minimumMs?: number }) {
    this.#clock = options.clock
    this.#minimumMs = options.minimumMs ?? limits.apiChangeMs
  }

  /** Something changed. Listeners are called later, never inside this call. */
  changed(): void {
    if (this.#timer !== null || this.#listeners.size === 0) return
    const dueMs = Math.max(0, this.#lastMs + this.#minimumMs - this.#clock.monotonicMs())
    this.#timer = this.#clock.after(dueMs, () => {
      this.#timer = null
      this.#lastMs = this.#clock.monotonicMs()
      for (const listener of [...this.#listeners]) listener()
    })
  }

  /** @returns stop listening */
  subscribe(listener: () => void): () => void {
    // Wrapped, so that one function subscribed twice is two listeners.
    const entry = () => listener()
    this.#listeners.add(entry)
    return () => {
      this.#listeners.delete(entry)
    }
  }

  /** Nobody is told anything any more. */
  close(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#listeners.clear()
  }
}
