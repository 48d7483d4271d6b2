/** `mirrorbay priority`: who may write where without asking, and what waits. */
import { priorityWords } from '../contract/priority-words.ts'
import type { VolumeStatus } from '../contract/status.ts'
import type { Asking } from './ask.ts'
import { priorityScreen } from './screens.ts'
import { noSuchVolume } from './snapshots.ts'
import { type ExitCode, exitCode } from './terminal.ts'

/** @param name only this shared disk; undefined: all */
export async function showPriority(asking: Asking, name: string | undefined): Promise<ExitCode> {
  const { client, terminal, json } = asking
  const { volumes, server } = await client.call('status', {})
  const named = volumes.filter((volume) => name === undefined || volume.name === name)
  if (name !== undefined && named.length === 0) throw noSuchVolume(name)
  const all = named.map((volume) => ({ volume, words: priorityWords(volume, server.name) }))
  const text = json
    ? `${JSON.stringify(all.map(({ volume }) => ({ server: server.name, ...facts(volume) })))}\n`
    : priorityScreen(all)
  terminal.out(text)
  return exitCode.yes
}

function facts({ name, sizeBytes, serving, policing, counters }: VolumeStatus) {
  const { permissionsAsked, permissionsYielded, permissionsUsed, permissionsWaited, permissionConflicts } = counters
  return {
    name,
    sizeBytes,
    serving,
    ...policing,
    counters: { permissionsAsked, permissionsYielded, permissionsUsed, permissionsWaited, permissionConflicts },
  }
}
