/** `mirrorbay folder …`: the storage folders of a running server. */
import { resolve } from 'node:path'
import type { Asking } from './ask.ts'
import { folderList } from './screens.ts'
import { type ExitCode, exitCode } from './terminal.ts'

const line = (value: unknown): string => `${JSON.stringify(value)}\n`

/** Exit: 0 all can be used, 1 some cannot. */
export async function listFolders({ client, terminal, json }: Asking): Promise<ExitCode> {
  const { folders } = await client.call('status', {})
  terminal.out(json ? line(folders) : folderList(folders))
  return folders.every(({ state }) => state === 'ok') ? exitCode.yes : exitCode.no
}

export interface AddOptions {
  readonly name: string
  /** As typed: told from the folder in which the command runs. */
  readonly path: string
  readonly takeOver: boolean
}

export async function addFolder({ client, terminal, json }: Asking, options: AddOptions): Promise<ExitCode> {
  const { name, takeOver } = options
  const path = resolve(options.path)
  await client.call('addFolder', { name, path, takeOver })
  const { folders } = await client.call('status', {})
  const added = folders.find((folder) => folder.name === name)
  if (json) terminal.out(line(added ?? { name, path }))
  else {
    const volumes = added?.volumes ?? []
    const found = volumes.length === 0 ? '' : `In use again here: ${volumes.join(', ')}.\n`
    terminal.out(`${path} is the storage folder ${name} now.\n${found}`)
  }
  return exitCode.yes
}

export async function removeFolder({ client, terminal, json }: Asking, name: string): Promise<ExitCode> {
  await client.call('steerFolder', { folder: name, action: 'remove' })
  terminal.out(json ? line({ name }) : `${name} is not used any more. Its files were left as they are.\n`)
  return exitCode.yes
}

export async function retryFolder({ client, terminal, json }: Asking, name: string): Promise<ExitCode> {
  await client.call('steerFolder', { folder: name, action: 'retry' })
  terminal.out(json ? line({ name }) : `The storage folder ${name} can be used.\n`)
  return exitCode.yes
}
