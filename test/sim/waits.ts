/** Why a volume is not whole although nothing goes wrong any more: rightly, or not. */
import type { ServerId } from '../../agent/kit/ids.ts'
import type { Mishaps } from './mishaps.ts'
import type { SimServer } from './server.ts'

/** Why a volume stands still for ever, rightly. */
export type WaitsFor =
  /** C2: nobody's copy is known to hold all that was acknowledged: somebody must accept the loss. */
  | 'loss'
  /** E11: its register is gone, or an older one. */
  | 'register'
  /** E1: after its register was lost it has two histories, and people were told. */
  | 'split-brain'
  /** R3: what only one server holds has rotted there, and cannot be copied. */
  | 'rot'
  /** R3, C7: what one member alone has applied, or alone holds soundly, has rotted there before it could be settled. The
   * product stands still instead of choosing; to go on without that block is not built. */
  | 'rot-unsettled'

export interface Waiting {
  readonly servers: readonly SimServer[]
  readonly storage: readonly SimServer[]
  readonly mishaps: Mishaps
  /** What people were told, by kind. */
  readonly told: ReadonlySet<string>
}

/** @returns null when it has no right to */
export function reasonToWait(cluster: Waiting): WaitsFor | null {
  const { storage, mishaps, told } = cluster
  if (lossMustBeAccepted(storage)) return 'loss'
  if (mishaps.registerLost) {
    if (isSplit(cluster)) return 'split-brain'
    if (told.has('register-alarm')) return 'register'
  }
  const alone = storage.filter(({ id, volume }) => volume?.member.known.inSync.join() === id)
  if (alone.some((server) => server.everRotted)) return 'rot'
  const settling = storage.filter(({ volume }) => volume?.member.inSet === true && volume.member.phase === 'settling')
  return settling.length > 0 && storage.some(({ everRotted }) => everRotted) ? 'rot-unsettled' : null
}

export function isSplit({ storage, told }: Waiting): boolean {
  return told.has('split-brain') && storage.some(({ volume }) => volume?.member.splitBrain === true)
}

/** C2: a configuration that nobody has opened, all of its members lossy: somebody must accept the loss. */
function lossMustBeAccepted(storage: readonly SimServer[]): boolean {
  const volumes = storage.flatMap((server) => server.volume ?? [])
  const members = volumes.filter((volume) => volume.member.inSet)
  return members.every((volume) => {
    const { known, opened } = volume.world.record.value
    return volume.anyLossy() && opened?.id !== known.id && volume.member.phase === 'gathering'
  })
}

/** Where everybody stands, in words. */
export function stateOf({ servers }: Waiting): string {
  const nameOf = (id: ServerId) => servers.find((server) => server.id === id)?.name ?? '?'
  return servers
    .map(({ name, state, volume }) => {
      if (volume === undefined) return `${name} ${state}`
      const { member } = volume
      const { known } = member
      const record = volume.world.record.value
      const inSync = known.inSync.map(nameOf).join('')
      const words = [
        `epoch ${known.epoch}`,
        `in sync ${inSync}`,
        `opened ${record.opened?.epoch ?? 0}`,
        member.waiting(),
      ]
      if (member.splitBrain) words.push('SPLIT')
      if (record.word !== null) words.push('word')
      if (volume.anyLossy()) words.push('lossy')
      return `${name} ${member.phase} (${words.join(', ')})`
    })
    .join('; ')
}
