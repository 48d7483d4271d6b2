/** What the command line learns of a folder while no agent runs there. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { volumeRecordSchema } from '../membership/record.ts'
import { decodeRecord } from '../store/format.ts'

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
