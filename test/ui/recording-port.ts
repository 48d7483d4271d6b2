/**
 * An AgentPort for tests of the window: it shows the status that a test sets and records what the window asks for.
 * It stands in for the engine only; the control server, its guard, its stream and the built page are the real ones.
 */

import type { Event } from '../../agent/contract/events.ts'
import type { Status } from '../../agent/contract/status.ts'
import type { AgentPort } from '../../agent/control/port.ts'

export interface Asked {
  readonly what: Exclude<keyof AgentPort, 'status' | 'events' | 'onChange'>
  readonly request: unknown
}

export class RecordingPort implements AgentPort {
  readonly asked: Asked[] = []
  /** When set, the next command is refused with it. */
  refuseWith: Error | null = null
  #status: Status
  #events: Event[] = []
  readonly #listeners = new Set<() => void>()

  constructor(status: Status) {
    this.#status = status
  }

  show(status: Status): void {
    this.#status = status
    this.#changed()
  }

  tell(...events: readonly Omit<Event, 'number'>[]): void {
    for (const event of events) this.#events.push({ ...event, number: this.#events.length + 1 })
    this.#changed()
  }

  forgetEvents(): void {
    this.#events = []
    this.#changed()
  }

  status = (): Status => this.#status
  events = (): readonly Event[] => this.#events

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  createVolume = (request: Parameters<AgentPort['createVolume']>[0]) => this.#record('createVolume', request)
  growVolume = (volumeName: string, sizeBytes: number) => this.#record('growVolume', { volumeName, sizeBytes })
  deleteVolume = (volumeName: string) => this.#record('deleteVolume', { volumeName })
  restoreVolume = (id: string, as: string | null) => this.#record('restoreVolume', { id, as })
  purgeVolume = (id: string, wipe: boolean) => this.#record('purgeVolume', { id, wipe })
  makeSnapshot = (volumeName: string, snapshot: string) => this.#record('makeSnapshot', { volumeName, snapshot })
  deleteSnapshot = (volumeName: string, snapshot: string) => this.#record('deleteSnapshot', { volumeName, snapshot })
  addFolder = (request: Parameters<AgentPort['addFolder']>[0]) => this.#record('addFolder', request)
  steerFolder = (name: string, action: 'retry' | 'remove') => this.#record('steerFolder', { name, action })
  resync = (volumeName: string, action: 'now' | 'pause' | 'continue') => this.#record('resync', { volumeName, action })
  scrub = (volumeName: string, action: 'now' | 'stop') => this.#record('scrub', { volumeName, action })
  hold = (seconds: number) => this.#record('hold', { seconds })
  release = () => this.#record('release', {})
  stop = () => this.#record('stop', {})

  async #record(what: Asked['what'], request: unknown): Promise<void> {
    this.asked.push({ what, request })
    const refusal = this.refuseWith
    this.refuseWith = null
    if (refusal !== null) throw refusal
  }

  #changed(): void {
    for (const listener of this.#listeners) listener()
  }
}
