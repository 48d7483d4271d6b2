/** Small worlds for membership: records in memory that fail when told to, configurations, an arbiter that waits. */
import { type ConfigurationId, configurationId, type ServerId, serverId, volumeId } from '../../../agent/kit/ids.ts'
import { type Configuration, firstConfiguration, successor } from '../../../agent/membership/configuration.ts'
import type { ArbiterPort } from '../../../agent/membership/proposer.ts'
import type { RegisterAnswer, RegisterRequest } from '../../../agent/membership/register.ts'
import type { Records, StoreDone, StoreFailure } from '../../../agent/store/replica.ts'

export { quiet, seeded, VirtualClock } from '../store/world.ts'

export const idOf = (index: number): ServerId => serverId(String(index + 1).repeat(32))
export const volume = volumeId('c'.repeat(32))
export const [a, b, t] = [idOf(0), idOf(1), idOf(2)]

let ids = 0
export function newId(): ConfigurationId {
  ids += 1
  return configurationId(ids.toString(16).padStart(32, '0'))
}

export function first(servers: readonly ServerId[] = [a, b], arbiter: ServerId = a): Configuration {
  return firstConfiguration({
    id: newId(),
    volumeId: volume,
    volumeName: 'disk',
    sizeBytes: 1024 * 1024,
    arbiter: { kind: arbiter === a ? 'preferred' : 'witness', serverId: arbiter, instance: 'e'.repeat(32) },
    servers,
  })
}

export const next = (present: Configuration, inSync: readonly ServerId[], presentWasOpened = true): Configuration =>
  successor(present, { id: newId(), inSync, presentWasOpened })

/** Answers puts when told to. */
export class SlowRecords implements Records {
  readonly values = new Map<string, unknown>()
  readonly #waiting: { readonly key: string; readonly done: StoreDone }[] = []

  get(key: string): unknown {
    return this.values.get(key)
  }
  put(key: string, value: unknown, done: StoreDone): void {
    this.values.set(key, value)
    this.#waiting.push({ key, done })
  }
  keys(): readonly string[] {
    return [...this.values.keys()]
  }

  /** Answers the oldest put that waits. @returns whether there was one */
  answer(failure: StoreFailure | null = null): boolean {
    const waiting = this.#waiting.shift()
    waiting?.done(failure)
    return waiting !== undefined
  }
  get waiting(): number {
    return this.#waiting.length
  }
}

/** An arbiter whose answers come when the test gives them. */
export class ScriptedArbiter implements ArbiterPort {
  up = true
  readonly asked: { readonly request: RegisterRequest; readonly done: (answer: RegisterAnswer | null) => void }[] = []

  reachable(): boolean {
    return this.up
  }
  ask(request: RegisterRequest, done: (answer: RegisterAnswer | null) => void): void {
    this.asked.push({ request, done })
  }

  /** Answers the oldest question that waits. @returns that question */
  answer(outcome: RegisterAnswer['outcome'] | 'lost', current: Configuration | null = null): RegisterRequest {
    const asked = this.asked.shift()
    if (asked === undefined) throw new Error('nothing was asked')
    asked.done(outcome === 'lost' ? null : { outcome, current })
    return asked.request
  }
}
