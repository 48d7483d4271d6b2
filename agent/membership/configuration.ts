/** A volume's configurations (E1): what they hold, how one follows another, and how strange ones are recognised. */
import { z } from 'zod'
import { type ConfigurationId, configurationId, type ServerId, serverId, type VolumeId, volumeId } from '../kit/ids.ts'
import { limits } from '../limits.ts'

const idText = z.string().regex(/^[0-9a-f]{32}$/)
const server = idText.transform((text) => serverId(text))
const epoch = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)

export const configurationSchema = z.object({
  id: idText.transform((text) => configurationId(text)),
  /** 1 for the first; one more each time (E2). */
  epoch: epoch.min(1),
  volumeId: idText.transform((text) => volumeId(text)),
  volumeName: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/),
  sizeBytes: z.number().int().min(4096).multipleOf(4096),
  /** Wall clock ms when a person deleted it: kept, mirrored, offered to nobody; null: it is in use. */
  deletedMs: z.number().int().min(0).nullable().default(null),
  /** A deleted one that is to be gone for good: each server removes its replica, `wipe` after overwriting every byte. */
  purge: z.enum(['no', 'delete', 'wipe']).default('no'),
  /** Every write is durable at all members before it is acknowledged, as if each asked for FUA (W4). */
  writeThrough: z.boolean().default(false),
  arbiter: z.object({
    kind: z.enum(['preferred', 'witness']),
    serverId: server,
    /** Made with the register: an emptied or replaced register shows another one (E11). */
    instance: idText,
  }),
  /** Every server with a replica, ascending by id; `opened`: the last epoch that it is known to have opened in sync. */
  replicas: z
    .array(z.object({ serverId: server, opened: epoch }))
    .min(1)
    .max(limits.replicas),
  /** Ascending; a non-empty part of the replicas. */
  inSync: z.array(server).min(1).max(limits.replicas),
  /** E1: (epoch, id) of every configuration before this one, since the oldest that any replica last opened. */
  history: z.array(z.object({ epoch, id: idText })).max(10_000),
})

export type Configuration = z.infer<typeof configurationSchema>

/** How a configuration stands to another one of the same volume. */
export type Relation = 'same' | 'newer' | 'older' | 'strange'

/** @returns how `one` stands to `other`: `newer` when `other` is in its history (E1), `strange` when neither is in the
 * other's: histories that do not continue each other, whatever the numbers say. */
export function relation(one: Configuration, other: Configuration): Relation {
  if (one.id === other.id) return 'same'
  if (contains(one, other.id)) return 'newer'
  if (contains(other, one.id)) return 'older'
  // E1: the list reaches back to the oldest that any replica last opened. What is older still is no history of anybody's
  // but a word that was long under way, for instance on a link that was cut.
  const [firstListed] = other.history
  return one.epoch < (firstListed?.epoch ?? other.epoch) ? 'older' : 'strange'
}

/** @returns whether a configuration with this id came before `configuration`, or is it. */
export function contains(configuration: Configuration, id: ConfigurationId): boolean {
  return configuration.id === id || configuration.history.some((entry) => entry.id === id)
}

export interface Successor {
  readonly id: ConfigurationId
  readonly inSync: readonly ServerId[]
  /** Whether all members of the present configuration have recorded it (E9), so that no older one is asked for (E1). The
   * proposer's own record does not say so: another member may have missed the step. */
  readonly presentWasOpened: boolean
  readonly change?: VolumeChange
}

/** What a person changes of a volume while it lives: decided as who is in sync is decided (E2), so at every server or none. */
export type VolumeChange = Partial<Pick<Configuration, 'volumeName' | 'sizeBytes' | 'deletedMs' | 'purge'>>

/** @returns the configuration that follows `present` (E2). */
export function successor(present: Configuration, options: Successor): Configuration {
  const opened = (replica: { serverId: ServerId; opened: number }) =>
    options.presentWasOpened && present.inSync.includes(replica.serverId) ? present.epoch : replica.opened
  const replicas = present.replicas.map((replica) => ({ serverId: replica.serverId, opened: opened(replica) }))
  // Some more than E1 asks for: a store that comes back older than anybody knew it (C12) is no split brain then.
  const oldest = Math.min(present.epoch - limits.keptConfigurations, ...replicas.map((replica) => replica.opened))
  const history = [...present.history, { epoch: present.epoch, id: present.id }]
  return {
    ...present,
    ...options.change,
    id: options.id,
    epoch: present.epoch + 1,
    replicas,
    inSync: [...options.inSync].sort(),
    history: history.filter((entry) => entry.epoch >= oldest),
  }
}

export interface FirstConfiguration {
  readonly id: ConfigurationId
  readonly volumeId: VolumeId
  readonly volumeName: string
  readonly sizeBytes: number
  readonly writeThrough?: boolean
  readonly arbiter: Configuration['arbiter']
  readonly servers: readonly ServerId[]
}

/** @returns the configuration with which a volume begins: every replica empty and in sync. */
export function firstConfiguration(options: FirstConfiguration): Configuration {
  const servers = [...options.servers].sort()
  return {
    id: options.id,
    epoch: 1,
    volumeId: options.volumeId,
    volumeName: options.volumeName,
    sizeBytes: options.sizeBytes,
    deletedMs: null,
    purge: 'no',
    writeThrough: options.writeThrough ?? false,
    arbiter: options.arbiter,
    replicas: servers.map((id) => ({ serverId: id, opened: 0 })),
    inSync: servers,
    history: [],
  }
}
