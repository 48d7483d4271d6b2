/** What the command line learns of a folder while no agent runs there. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { volumeRecordSchema } from '../membership/record.ts'
import { decodeRecord } from '../store/format.ts'
import { peekStore } from '../store/peek.ts'
import { describeFound, foundWords, isBlank } from './found.ts'

/** What people call the volumes of a storage folder, by id; whoever has no readable record has no name. */
export async function volumeNames(dir: string): Promise<ReadonlyMap<string, string>> {
  const names = new Map<string, string>()
  for (const name of await readdir(join(dir, 'meta')).catch(() => [])) {
    const record = decodeRecord(await readFile(join(dir, 'meta', name)))
    const volume = record.ok ? volumeRecordSchema.safeParse(record.value).data : undefined
    if (volume !== undefined) names.set(volume.known.volumeId, volume.known.volumeName)
  }
  return names
}

/** What a new server would find in a folder, for `mirrorbay init`. */
export interface FoundAtStart {
  /** `main` is the whole of a server; `more` was one of several folders of one. */
  readonly kind: 'main' | 'more'
  readonly volumes: readonly { readonly name: string | null; readonly sizeBytes: number | null }[]
  readonly lastUsedMs: number | null
  readonly folders: readonly { readonly name: string; readonly path: string }[]
  /** All of it in one phrase. */
  readonly words: string
}

/** @returns null where nothing lies that anybody could miss @throws UserError where something cannot be read */
export async function foundAtStart(dir: string, nowMs: number): Promise<FoundAtStart | null> {
  const peeked = await peekStore(dir)
  if (peeked.kind !== 'store') return null
  const found = describeFound(peeked.store)
  const { kind, volumes, lastUsedMs, folders } = found
  if (kind === 'blank' || isBlank(found)) return null
  return { kind, volumes, lastUsedMs, folders, words: foundWords(found, nowMs) }
}
