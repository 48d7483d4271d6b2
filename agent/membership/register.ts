/**
 * The arbiter's side (E2, E4, E11): one compare-and-swap register a volume, the same code at a preferred server and at a
 * witness. It answers only from durable state (A3), and the same swap asked again gets the same answer, so that an asker
 * whose answer was lost simply asks again.
 */
import { z } from 'zod'
import type { VolumeId } from '../kit/ids.ts'
import type { Records } from '../store/replica.ts'
import { type Configuration, configurationSchema, contains } from './configuration.ts'

const recordSchema = z.object({ current: configurationSchema })

/** `stored`: the register holds it, or a descendant of it. `other`: it holds something else. `absent`: there is no such
 * register. `failed`: the disk would not record it; nothing is known. */
export interface RegisterAnswer {
  readonly outcome: 'stored' | 'other' | 'absent' | 'failed'
  readonly current: Configuration | null
}

export type RegisterRequest =
  | { readonly operation: 'create'; readonly configuration: Configuration }
  | { readonly operation: 'read'; readonly volumeId: VolumeId }
  | { readonly operation: 'swap'; readonly expectedId: string; readonly configuration: Configuration }

const keyOf = (volumeId: VolumeId): string => `register-${volumeId}`

/**
 * On which disk each register lies (E4): best on another one than the replica that it decides about. A register never
 * moves; where it is, is known before it begins.
 */
export interface RegisterPlaces {
  /** On a disk that is not there now, so nothing is known of it. Cheap: it is asked several times a second. */
  isAway(volumeId: VolumeId): boolean
  /** Where it lies, of one that is not away; null: nowhere. */
  find(volumeId: VolumeId): Records | null
  /** Where a new one is to lie, durably remembered when done; null: that failed. */
  choose(volumeId: VolumeId, done: (records: Records | null) => void): void
}

/** All on one disk. */
export const onePlace = (records: Records): RegisterPlaces => ({
  isAway: () => false,
  find: () => records,
  choose: (_volumeId, done) => done(records),
})

/** @returns the configuration in a volume's register there, or null where there is no readable one */
export function registerIn(records: Pick<Records, 'get'>, volumeId: VolumeId): Configuration | null {
  const parsed = recordSchema.safeParse(records.get(keyOf(volumeId)))
  return parsed.success ? parsed.data.current : null
}

export class Registers {
  readonly #places: RegisterPlaces
  /** Requests of one register are taken one after the other: a swap is decided only by what is durable. */
  readonly #busy = new Map<VolumeId, (() => void)[]>()

  /** Registers whose last record failed: what they hold in memory may not be durable, so they answer nothing (A3). */
  readonly #unsure = new Set<VolumeId>()

  constructor(places: RegisterPlaces) {
    this.#places = places
  }

  /** Whether a question about this volume can be answered: its register's disk is here, and took what it was given. */
  isHere(volumeId: VolumeId): boolean {
    return !this.#places.isAway(volumeId) && !this.#unsure.has(volumeId)
  }

  handle(request: RegisterRequest, answer: (answer: RegisterAnswer) => void): void {
    const volumeId = request.operation === 'read' ? request.volumeId : request.configuration.volumeId
    const run = () => this.#run(volumeId, request, answer)
    const waiting = this.#busy.get(volumeId)
    if (waiting === undefined) {
      this.#busy.set(volumeId, [])
      run()
    } else if (waiting.length < 100) waiting.push(run)
    else answer({ outcome: 'failed', current: null })
  }

  #run(volumeId: VolumeId, request: RegisterRequest, answer: (answer: RegisterAnswer) => void): void {
    const end = (said: RegisterAnswer) => {
      this.#done(volumeId)
      answer(said)
    }
    const failed = () => end({ outcome: 'failed', current: null })
    if (!this.isHere(volumeId)) return failed()
    const place = this.#places.find(volumeId)
    const current = place === null ? null : registerIn(place, volumeId)
    const next = decide(current, request)
    if (next === null) return end(answerWithout(current, request))
    const put = (records: Records | null) => {
      if (records === null) return failed()
      records.put(keyOf(volumeId), { current: next }, (failure) => {
        if (failure !== null) this.#unsure.add(volumeId)
        if (failure === null) end({ outcome: 'stored', current: next })
        else failed()
      })
    }
    if (place === null) this.#places.choose(volumeId, put)
    else put(place)
  }

  #done(volumeId: VolumeId): void {
    const waiting = this.#busy.get(volumeId)
    const next = waiting?.shift()
    if (next === undefined) this.#busy.delete(volumeId)
    else next()
  }
}

/** @returns what the register is to hold instead, or null when the request changes nothing. */
function decide(current: Configuration | null, request: RegisterRequest): Configuration | null {
  switch (request.operation) {
    case 'read':
      return null
    case 'create':
      return current === null && request.configuration.epoch === 1 ? request.configuration : null
    case 'swap': {
      const { expectedId, configuration } = request
      if (current === null || current.id !== expectedId) return null
      const follows =
        configuration.epoch === current.epoch + 1 &&
        configuration.arbiter.instance === current.arbiter.instance &&
        contains(configuration, current.id)
      return follows ? configuration : null
    }
  }
}

function answerWithout(current: Configuration | null, request: RegisterRequest): RegisterAnswer {
  if (current === null) return { outcome: 'absent', current: null }
  if (request.operation === 'read') return { outcome: 'stored', current }
  return { outcome: contains(current, request.configuration.id) ? 'stored' : 'other', current }
}
