/** `mirrorbay snapshot …`: read-only images of shared disks. */
import type { SnapshotStatus, VolumeStatus } from '../contract/status.ts'
import { UserError } from '../kit/failure.ts'
import type { Asking } from './ask.ts'
import { snapshotList } from './screens.ts'
import { type ExitCode, exitCode } from './terminal.ts'

const line = (value: unknown): string => `${JSON.stringify(value)}\n`

export async function createSnapshot(asking: Asking, volume: string, name: string): Promise<ExitCode> {
  const { client, terminal, json } = asking
  await client.call('makeSnapshot', { volume, name })
  const { volumes } = await client.call('status', {})
  const made = volumes.find((each) => each.name === volume)?.snapshots.find((each) => each.name === name)
  if (json) terminal.out(line(made === undefined ? { volume, name } : { volume, ...made }))
  else {
    const address = made?.nbd.tcp ?? made?.nbd.unix ?? null
    const open = address === null ? '' : ` Open it read-only at ${address}`
    terminal.out(`${volume}@${name} keeps what ${volume} holds now.${open}\n`)
  }
  return exitCode.yes
}

/** @param volume only those of this shared disk; undefined: of all */
export async function listSnapshots(asking: Asking, volume: string | undefined): Promise<ExitCode> {
  const { client, terminal, json } = asking
  const { volumes } = await client.call('status', {})
  const named = volumes.filter(({ name }) => volume === undefined || name === volume)
  if (volume !== undefined && named.length === 0) throw noSuchVolume(volume)
  const all = named.flatMap((each) => each.snapshots.map((snapshot) => ({ volume: each.name, ...snapshot })))
  terminal.out(json ? line(all) : snapshotList(all, terminal.wallMs()))
  return exitCode.yes
}

export async function deleteSnapshot(asking: Asking, volume: string, name: string): Promise<ExitCode> {
  const { client, terminal, json } = asking
  await client.call('deleteSnapshot', { volume, snapshot: name })
  terminal.out(json ? line({ volume, name }) : `${volume}@${name} is deleted. ${volume} itself is as it was.\n`)
  return exitCode.yes
}

/** One snapshot with the name of its shared disk. */
export type NamedSnapshot = SnapshotStatus & { readonly volume: VolumeStatus['name'] }

export const noSuchVolume = (name: string): UserError =>
  new UserError({
    code: 'no-such-volume',
    happened: `There is no shared disk named ${name} on this server.`,
    dataIsSafe: 'Nothing was changed.',
    next: 'See "mirrorbay volume list".',
  })
