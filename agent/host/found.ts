/** What lies in a folder that was found, whose it is, and how that is told. */
import { formatSize } from '../contract/sizes.ts'
import { whenWords } from '../contract/times.ts'
import type { ServerId } from '../kit/ids.ts'
import { volumeRecordSchema } from '../membership/record.ts'
import type { FoundStore } from '../store/peek.ts'
import { rememberedFolders } from '../volume/folders.ts'
import { serverIn } from './identity.ts'

/** A volume of which a copy lies there. */
export interface FoundVolume {
  readonly id: string
  /** Null where its record is missing or not readable. */
  readonly name: string | null
  readonly sizeBytes: number | null
}

export interface FoundFolder {
  readonly storeId: string
  /** `main` has a server's identity, `more` is another folder of a server, `blank` belongs to nobody yet. */
  readonly kind: 'main' | 'more' | 'blank'
  /** Null where nobody's. */
  readonly serverId: ServerId | null
  readonly volumes: readonly FoundVolume[]
  /** Registers that lie there: whoever holds them decides for others. */
  readonly registers: number
  /** Milliseconds since 1970; null when no agent ever opened it. */
  readonly lastUsedMs: number | null
  /** Of a main folder: the storage folders that stood beside it. */
  readonly folders: readonly { readonly name: string; readonly path: string }[]
}

/** @param found of peekStore */
export function describeFound(found: FoundStore): FoundFolder {
  const { records, storeId, replicaIds, lastUsedMs } = found
  const identity = serverIn(records.get('identity'))
  const serverId = identity ?? serverIn(records.get('owner'))
  const volumes = replicaIds.map((id): FoundVolume => {
    const record = volumeRecordSchema.safeParse(records.get(`volume-${id}`)).data
    return { id, name: record?.known.volumeName ?? null, sizeBytes: record?.known.sizeBytes ?? null }
  })
  const registers = [...records.keys()].filter((key) => /^register-[0-9a-f]{32}$/.test(key)).length
  const kind = identity !== null ? 'main' : serverId !== null ? 'more' : 'blank'
  const folders = rememberedFolders({ records }).map(({ name, path }) => ({ name, path }))
  return { storeId, kind, serverId, volumes, registers, lastUsedMs, folders }
}

/** Whether nothing lies there that anybody could miss: it may be used as if it were new. */
export const isBlank = ({ kind, volumes, registers }: FoundFolder): boolean =>
  kind !== 'main' && volumes.length === 0 && registers === 0

/** "office (200 GiB) and archive (1 TiB), last used on 3 Nov". @param nowMs milliseconds since 1970 */
export function foundWords({ volumes, lastUsedMs }: FoundFolder, nowMs: number): string {
  const words = volumes.map(({ id, name, sizeBytes }) => {
    const size = sizeBytes === null ? '' : ` (${formatSize(sizeBytes)})`
    return `${name ?? `a shared disk without a name, ${id.slice(0, 8)}`}${size}`
  })
  const what = words.length === 0 ? 'a server without shared disks' : words.join(', ')
  return lastUsedMs === null ? what : `${what}; last used ${whenWords(lastUsedMs, nowMs)}`
}
