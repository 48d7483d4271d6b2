/**
 * What lies in a folder, asynchronously, without its lock and without changing anything: is it a store, which one, what do
 * its records say, when was it last used. For deciding whether to open it.
 */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { volumeId } from '../kit/ids.ts'
import { FileError } from './files.ts'
import { decodeRecord, formatVersion, parseStoreFile } from './format.ts'
import { withoutHidden } from './hidden-range.ts'
import { damaged, notAStore, openingFailed, unknownVersion } from './trouble.ts'

export interface FoundStore {
  readonly storeId: string
  readonly records: ReadonlyMap<string, unknown>
  /** Of replicas that stand there, with a record or without; 32 hex digits each. */
  readonly replicaIds: readonly string[]
  /** Milliseconds since 1970 when an agent last opened or closed it; null when none ever did. */
  readonly lastUsedMs: number | null
}

/** `absent`: there is no folder of this name. `empty`: a folder without a store; it may hold other things. */
export type Peeked =
  | { readonly kind: 'absent' }
  | { readonly kind: 'empty' }
  | { readonly kind: 'store'; readonly store: FoundStore }

/** @throws UserError as openStore does, where there is something that cannot be read or understood */
export async function peekStore(dir: string): Promise<Peeked> {
  try {
    const names = await readdir(dir)
    if (!names.includes('store.json')) {
      // The first file of a store is gone, or a store was half made there: only an empty `data` may be made again.
      const data = names.includes('data') ? await readdir(join(dir, 'data')) : []
      if (data.length > 0) throw damaged('store.json', 'it is missing, but there are data files')
      return { kind: 'empty' }
    }
    return { kind: 'store', store: await found(dir) }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    if (code === 'ENOENT') return { kind: 'absent' }
    if (error instanceof Error && /^E[A-Z]+$/.test(code)) throw openingFailed(new FileError(code, error.message))
    throw error
  }
}

async function found(dir: string): Promise<FoundStore> {
  const file = decodeRecord(await readFile(join(dir, 'store.json')))
  const parsed = file.ok ? parseStoreFile(file.value) : null
  if (parsed === null) throw notAStore('store.json')
  if (parsed.version !== formatVersion) throw unknownVersion('store.json')
  const records = new Map<string, unknown>()
  for (const name of await listed(join(dir, 'meta'))) {
    if (!name.endsWith('.json')) continue
    const record = decodeRecord(await readFile(join(dir, 'meta', name)))
    if (!record.ok) throw damaged(`meta/${name}`, 'its checksum does not fit its content')
    if (record.value !== null) records.set(name.slice(0, -5), record.value)
  }
  const marks = await listed(join(dir, 'marks'))
  const replicaIds = marks.flatMap((name) => (/^[0-9a-f]{32}\.marks$/.test(name) ? [volumeId(name.slice(0, 32))] : []))
  const lastUsed = await stat(join(dir, 'run.json')).catch(() => null)
  return {
    storeId: parsed.storeId,
    records,
    replicaIds: withoutHidden(replicaIds, (id) => id),
    lastUsedMs: lastUsed?.mtimeMs ?? null,
  }
}

/** A folder of the store that is not there is an empty one: whoever opens the store says what that means. */
async function listed(dir: string): Promise<string[]> {
  try {
    return await readdir(dir)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw error
  }
}
