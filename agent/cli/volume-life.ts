/** `mirrorbay volume grow, delete, deleted, restore, purge`: what happens to a shared disk after it was made. */
import { deletedWords, deleteMeans, purgeMeans } from '../contract/deleted-words.ts'
import { formatSize, parseSize } from '../contract/sizes.ts'
import type { DeletedVolumeStatus } from '../contract/status.ts'
import { UserError } from '../kit/failure.ts'
import type { Asking } from './ask.ts'
import { deletedList } from './screens.ts'
import { badUsage, type ExitCode, exitCode } from './terminal.ts'

const line = (value: unknown): string => `${JSON.stringify(value)}\n`

/** @param size as typed: the size that it is to have */
export async function growVolume(asking: Asking, name: string, size: string): Promise<ExitCode> {
  const { client, terminal, json } = asking
  const sizeBytes = parseSize(size)
  await client.call('growVolume', { volume: name, sizeBytes })
  terminal.out(
    json
      ? line({ name, sizeBytes })
      : `${name} has ${formatSize(sizeBytes)} now. Clients see it when they connect again; then let their file system grow.\n`,
  )
  return exitCode.yes
}

export interface Confirmation {
  /** Do not ask. */
  readonly yes: boolean
}

/** Exit: 0 deleted, 1 refused, or the person said no. */
export async function deleteVolume(asking: Asking, name: string, { yes }: Confirmation): Promise<ExitCode> {
  const { client, terminal, json } = asking
  const { volumes } = await client.call('status', {})
  const clients = volumes.find((volume) => volume.name === name)?.clients.map(({ address }) => address) ?? []
  const connected = clients.length === 0 ? '' : `\nConnected to it here now: ${clients.join(', ')}`
  // A name that is not there is the agent's to refuse, without a question before.
  const isThere = volumes.some((volume) => volume.name === name)
  if (isThere && !(await confirmed(asking, name, { yes, means: `${deleteMeans}${connected}`, verb: 'delete' }))) {
    return exitCode.no
  }
  await client.call('deleteVolume', { volume: name })
  const { deletedVolumes } = await client.call('status', {})
  const newest = deletedVolumes.filter((each) => each.name === name).sort((a, b) => b.deletedMs - a.deletedMs)[0]
  if (json) terminal.out(line(newest ?? { name }))
  else {
    const kept = newest === undefined ? 'It is kept for some days' : `It was ${deletedWords(newest, terminal.wallMs())}`
    terminal.out(`${name} is offered no more. ${kept}. To bring it back: mirrorbay volume restore ${name}\n`)
  }
  return exitCode.yes
}

export async function listDeleted({ client, terminal, json }: Asking): Promise<ExitCode> {
  const { deletedVolumes } = await client.call('status', {})
  terminal.out(json ? line(deletedVolumes) : deletedList(deletedVolumes, terminal.wallMs()))
  return exitCode.yes
}

/** @param which a name or an id @param as another name than the old one */
export async function restoreVolume(asking: Asking, which: string, as: string | undefined): Promise<ExitCode> {
  const { client, terminal, json } = asking
  const { id, name } = await deletedOne(asking, which)
  await client.call('restoreVolume', { id, as: as ?? null })
  terminal.out(json ? line({ id, name: as ?? name }) : `${name} is back${as === undefined ? '' : ` as ${as}`}.\n`)
  return exitCode.yes
}

/** @param which a name or an id. Exit: 0 it is being removed, 1 refused, or the person said no. */
export async function purgeVolume(
  asking: Asking,
  which: string,
  { yes, wipe }: Confirmation & { readonly wipe: boolean },
): Promise<ExitCode> {
  const { client, terminal, json } = asking
  const { id, name } = await deletedOne(asking, which)
  if (!(await confirmed(asking, name, { yes, means: purgeMeans, verb: 'remove for good' }))) return exitCode.no
  await client.call('purgeVolume', { id, wipe })
  const words = wipe
    ? `${name} is being overwritten on every server, then it is gone. How far it is here: mirrorbay volume deleted`
    : `${name} is gone for good.`
  terminal.out(json ? line({ id, name, wipe }) : `${words}\n`)
  return exitCode.yes
}

/** @returns the recently deleted disk of that id, or the only one of that name. @throws UserError when there is no such */
async function deletedOne({ client }: Asking, which: string): Promise<DeletedVolumeStatus> {
  const { deletedVolumes } = await client.call('status', {})
  const byId = deletedVolumes.find(({ id }) => id === which)
  if (byId !== undefined) return byId
  const [first, ...others] = deletedVolumes.filter(({ name }) => name === which)
  if (first === undefined) {
    throw new UserError({
      code: 'no-such-volume',
      happened: `No recently deleted shared disk is named ${which}.`,
      dataIsSafe: 'Nothing was changed.',
      next: 'See "mirrorbay volume deleted".',
    })
  }
  if (others.length > 0) {
    throw badUsage(
      `${others.length + 1} recently deleted shared disks are named ${which}.`,
      'Name the one you mean by its id: see "mirrorbay volume deleted".',
    )
  }
  return first
}

/** Asks the person to type the disk's name. @throws UserError where nobody can be asked and --yes was not given */
async function confirmed(
  { terminal, json }: Asking,
  name: string,
  { yes, means, verb }: Confirmation & { readonly means: string; readonly verb: string },
): Promise<boolean> {
  if (yes) return true
  if (json || terminal.ask === undefined) {
    throw badUsage(`Nobody is there to be asked whether to ${verb} ${name}.`, 'Add --yes if that is what you want.')
  }
  terminal.out(`${means}\n`)
  const typed = await terminal.ask(`Type the name of the disk to ${verb} it: `)
  if (typed.trim() === name) return true
  terminal.out('Nothing was changed.\n')
  return false
}
