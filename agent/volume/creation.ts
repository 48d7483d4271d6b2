/**
 * Creating a volume: every server prepares an empty replica, then the register begins (E11), then all form the first
 * session. Until the register exists nothing serves; a preparation whose register never came is dropped again.
 */
import { z } from 'zod'
import { UserError } from '../kit/failure.ts'
import { configurationId, type ServerId, type VolumeId, volumeId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import { type Configuration, configurationSchema, firstConfiguration } from '../membership/configuration.ts'
import { volumeField } from '../membership/messages.ts'
import type { VolumeRecord } from '../membership/record.ts'

export const creationMessages = {
  'create.prepare': z.object({ configuration: configurationSchema }),
  'create.prepared': z.object({ volume: volumeField, problem: z.string().max(300).nullable() }),
  'create.commit': z.object({ configuration: configurationSchema }),
  'create.abandon': z.object({ volume: volumeField }),
} as const

export interface CreateRequest {
  readonly name: string
  readonly sizeBytes: number
  readonly writeThrough: boolean
  readonly arbiter: { readonly kind: 'preferred' | 'witness'; readonly serverId: ServerId }
  /** All servers that get a copy, this one too. */
  readonly servers: readonly ServerId[]
  /** Of this server, where its copy is to lie; the sound one with the most free space when not given. */
  readonly folder?: string | undefined
}

/** @throws UserError when the size cannot be */
export function checkSize(sizeBytes: number): void {
  const fits = sizeBytes >= limits.volumeMinBytes && sizeBytes <= limits.volumeMaxBytes
  if (fits && sizeBytes % limits.blockBytes === 0) return
  throw new UserError({
    code: 'size-refused',
    happened: `A shared disk of ${sizeBytes} bytes cannot be made.`,
    dataIsSafe: 'Nothing was changed.',
    next: 'Choose a multiple of 4096 bytes from 1 MiB to 64 TiB, for instance 100G.',
  })
}

/** @returns the configuration with which the volume will begin */
export function plan(request: CreateRequest, newId: () => string): Configuration {
  return firstConfiguration({
    id: configurationId(newId()),
    volumeId: volumeId(newId()),
    volumeName: request.name,
    sizeBytes: request.sizeBytes,
    writeThrough: request.writeThrough,
    arbiter: { ...request.arbiter, instance: newId() },
    servers: request.servers,
  })
}

/** @returns the record of a replica that is prepared: it serves nothing until the register is known to exist. */
export function preparedRecord(configuration: Configuration): VolumeRecord {
  return { known: configuration, opened: null, prepared: true, word: null, resyncBegun: false, older: false, peers: [] }
}

/** Collects the answers of the servers that prepare. */
export class Preparation {
  readonly volumeId: VolumeId
  readonly #missing: Set<ServerId>
  readonly #done: (problems: { server: ServerId; problem: string }[]) => void
  readonly #problems: { server: ServerId; problem: string }[] = []
  #over = false

  constructor(
    volume: VolumeId,
    servers: readonly ServerId[],
    done: (problems: { server: ServerId; problem: string }[]) => void,
  ) {
    this.volumeId = volume
    this.#missing = new Set(servers)
    this.#done = done
  }

  answer(server: ServerId, problem: string | null): void {
    if (this.#over || !this.#missing.delete(server)) return
    if (problem !== null) this.#problems.push({ server, problem })
    if (this.#missing.size === 0) this.#finish()
  }

  /** Nobody is waited for any longer. */
  timeOut(): void {
    for (const server of this.#missing) this.#problems.push({ server, problem: 'it did not answer in time' })
    this.#finish()
  }

  #finish(): void {
    if (this.#over) return
    this.#over = true
    this.#done(this.#problems)
  }
}
