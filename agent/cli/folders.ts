/** Where this server's storage folder and its agent's socket are, unless somebody says otherwise. */
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import type { Terminal } from './terminal.ts'

export interface Where {
  /** --dir */
  readonly dir?: string | undefined
  /** --socket */
  readonly socket?: string | undefined
}

/** --dir, else MIRRORBAY_DIR, else a folder under the user's data folder, as the system names it. */
export function storageFolder(where: Where, terminal: Terminal): string {
  const { environment, homeDir, platform } = terminal
  const named = where.dir ?? environment.MIRRORBAY_DIR
  if (named !== undefined && named !== '') return resolve(named)
  if (platform === 'darwin') return join(homeDir, 'Library', 'Application Support', 'Mirrorbay')
  if (platform === 'win32') return join(environment.LOCALAPPDATA ?? join(homeDir, 'AppData', 'Local'), 'Mirrorbay')
  const data = environment.XDG_DATA_HOME
  // The XDG specification says that a relative path there is to be ignored.
  return join(data?.startsWith('/') ? data : join(homeDir, '.local', 'share'), 'mirrorbay')
}

/** Only the one field that is needed: an agent with a config of another version can still be asked. */
const socketConfig = z.object({ control: z.object({ socket: z.string().nullish() }).optional() })

/** --socket, else what config.json in the storage folder says, else api.sock in it. */
export async function socketPath(where: Where, terminal: Terminal): Promise<string> {
  if (where.socket !== undefined) return resolve(where.socket)
  const dir = storageFolder(where, terminal)
  return (await configuredSocket(join(dir, 'config.json'))) ?? join(dir, 'api.sock')
}

/** A config that is absent or broken is the agent's to complain about: then the usual place is tried. */
async function configuredSocket(path: string): Promise<string | null> {
  const text = await readFile(path, 'utf8').catch(() => null)
  if (text === null) return null
  try {
    return socketConfig.safeParse(JSON.parse(text)).data?.control?.socket ?? null
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}
