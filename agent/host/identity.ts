/** Small facts that this server keeps in its main folder: who it is, whom it knows, the console's token. */
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isIdText, type ServerId, serverId } from '../kit/ids.ts'
import type { Records } from '../store/replica.ts'
import { realRandom } from './machine.ts'

/** Kept apart from the store's records: whoever may read it may use the console. */
export async function consoleToken(dir: string): Promise<string> {
  const path = join(dir, 'console-token')
  // Absent or unreadable: a new one is written, and that fails in words if the folder is the trouble.
  const present = await readFile(path, 'utf8').catch(() => '')
  if (/^[0-9a-f]{64}$/.test(present)) return present
  const token = randomBytes(32).toString('hex')
  await writeFile(path, token, { mode: 0o600 })
  return token
}

/** Durable when it resolves. */
export const put = (records: Records, key: string, value: unknown): Promise<void> =>
  new Promise((resolve, reject) => {
    records.put(key, value, (failure) => {
      if (failure === null) resolve()
      else reject(new Error(`the record ${key} could not be written (${failure})`))
    })
  })

/** This server's identity: made once per storage folder. */
export async function identity(records: Records): Promise<ServerId> {
  const present = serverIn(records.get('identity'))
  if (present !== null) return present
  const made = serverId(realRandom.id())
  await put(records, 'identity', { serverId: made })
  return made
}

/** @param record `identity` of a main folder, or `owner` of another one @returns the server that it names */
export function serverIn(record: unknown): ServerId | null {
  const id = typeof record === 'object' && record !== null && 'serverId' in record ? record.serverId : undefined
  return isIdText(id) ? serverId(id) : null
}

/** Which id each peer has shown, by name. */
export function knownIds(records: Records): Record<string, ServerId> {
  const present = records.get('peers')
  const ids: Record<string, ServerId> = {}
  if (typeof present !== 'object' || present === null) return ids
  for (const [name, id] of Object.entries(present)) if (isIdText(id)) ids[name] = serverId(id)
  return ids
}
