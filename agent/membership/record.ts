/** What a server remembers durably of one volume's membership. */
import { z } from 'zod'
import { configurationId, serverId, type VolumeId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import type { Records, StoreDone } from '../store/replica.ts'
import { configurationSchema } from './configuration.ts'

const idText = z.string().regex(/^[0-9a-f]{32}$/)

/** C12: another server's store, as it was last told here: which one, which opening of it, its count of durable commits. */
export const peerStoreSchema = z.object({
  serverId: idText.transform((text) => serverId(text)),
  storeId: idText,
  life: idText,
  commits: z.number().int().min(0).max(281_474_976_710_655),
})
export type PeerStore = z.infer<typeof peerStoreSchema>

export const volumeRecordSchema = z.object({
  /** The newest configuration that is known to be decided. */
  known: configurationSchema,
  /** E9: the last configuration opened here in sync: whoever is resynced from another's stamps starts from it. */
  opened: z
    .object({
      epoch: z.number().int().min(1),
      id: idText.transform((text) => configurationId(text)),
      inSync: z.array(idText.transform((text) => serverId(text))),
    })
    .nullable(),
  /** Made for a volume whose register is not known to exist yet. */
  prepared: z.boolean(),
  /** C10: our word to a joiner, whose decision is not known. */
  word: z.object({ joiner: idText.transform((text) => serverId(text)) }).nullable(),
  /** E6: a resync has begun to change this replica since it was last in sync. */
  resyncBegun: z.boolean(),
  /** C12: what lies here came back older than it was, and has not been made equal to anybody's since. */
  older: z.boolean().default(false),
  /** C12. At most the servers with a replica, without this one. */
  peers: z.array(peerStoreSchema).max(limits.replicas).default([]),
})

export type VolumeRecord = z.infer<typeof volumeRecordSchema>

const prefix = 'volume-'
export const recordKey = (volumeId: VolumeId): string => `${prefix}${volumeId}`

/** The record of one volume: what was last saved is what it says, durable once `done` came. */
export class RecordFile {
  readonly #records: Records
  readonly #key: string
  #value: VolumeRecord
  #removed = false

  constructor(records: Records, volumeId: VolumeId, value: VolumeRecord) {
    this.#records = records
    this.#key = recordKey(volumeId)
    this.#value = value
  }

  get value(): VolumeRecord {
    return this.#value
  }

  /** The volume is gone: the record too, and nothing late brings it back. */
  remove(done: StoreDone): void {
    this.#removed = true
    this.#records.put(this.#key, null, done)
  }

  /** Changes some fields; puts of one record are taken in order, so a later `done` covers the earlier ones. */
  save(changes: Partial<VolumeRecord>, done: StoreDone): void {
    this.#value = { ...this.#value, ...changes }
    if (!this.#removed) this.#records.put(this.#key, this.#value, done)
  }
}

/** @returns the volumes that have a readable record, and the keys of unreadable ones (reported, never overwritten). */
export function readVolumeRecords(records: Records): { found: VolumeRecord[]; unreadable: string[] } {
  const found: VolumeRecord[] = []
  const unreadable: string[] = []
  for (const key of records.keys()) {
    if (!key.startsWith(prefix)) continue
    const value = records.get(key)
    if (value === null || value === undefined) continue
    const parsed = volumeRecordSchema.safeParse(value)
    if (parsed.success) found.push(parsed.data)
    else unreadable.push(key)
  }
  return { found, unreadable }
}
