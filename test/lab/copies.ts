/** The in-sync copies of a lab's volume, as the stores' own files show them: no agent is asked. */
import fs from 'node:fs'
import path from 'node:path'
import { type AgentConfig, agentConfig } from '../../agent/contract/config.ts'
import { limits } from '../../agent/limits.ts'
import { type Configuration, relation } from '../../agent/membership/configuration.ts'
import { recordKey, volumeRecordSchema } from '../../agent/membership/record.ts'
import {
  type InspectedBlocks,
  type InspectedReplica,
  type InspectedStore,
  inspectStore,
} from '../../agent/store/inspect.ts'
import { CouldNot, messageOf } from './answer.ts'
import { type Copy, extentBytes } from './compare.ts'
import type { LabState, Member } from './state.ts'

/** A snapshot as it lies at several servers; who was away when it was made has none. */
export interface OpenSnapshot {
  readonly name: string
  readonly copies: readonly Copy[]
}

export interface OpenCopies {
  /** Of the newest configuration's in-sync set. */
  readonly copies: readonly Copy[]
  /** Of the same servers: their hidden ranges (decision 0012). */
  readonly hidden: readonly Copy[]
  /** Those that at least two of them have, by name. */
  readonly snapshots: readonly OpenSnapshot[]
  readonly epoch: number
  /** Servers of the lab whose copy is not in sync. */
  readonly outside: readonly string[]
  /** Bytes in use in the first copy. */
  readonly heldBytes: number
  close(): void
}

interface Seen {
  readonly member: Member
  readonly store: InspectedStore
  readonly replica: InspectedReplica
  readonly configuration: Configuration
}

/** @throws CouldNot when a store that counts cannot be read, or the histories of two contradict each other */
export function openInSyncCopies(state: LabState): OpenCopies {
  const stores: InspectedStore[] = []
  const unreadable = new Map<Member, string>()
  const seen: Seen[] = []
  const close = () => {
    for (const store of stores) store.close()
  }
  try {
    for (const member of state.servers) {
      try {
        const found = findReplica(member, state.volume.name)
        stores.push(found.store)
        seen.push(found)
      } catch (failure) {
        unreadable.set(member, messageOf(failure))
      }
    }
    const newest = newestOf(seen, unreadable)
    const isInSync = (member: Member) => newest.inSync.some((id) => id === member.serverId)
    for (const [member, why] of unreadable) {
      if (isInSync(member)) throw new CouldNot(`the copy on ${member.name} is in sync but cannot be read: ${why}`)
    }
    const inSync = seen.filter(({ member }) => isInSync(member))
    if (inSync.length !== newest.inSync.length) throw new CouldNot('the volume has copies outside this lab')
    const copies = inSync.map(({ member, replica }) => copyOf(member.name, replica))
    return {
      // A store may be larger: one that was asked to grow before that was decided.
      copies: copies.map(({ copy }) => ({ ...copy, sizeBytes: Math.min(copy.sizeBytes, newest.sizeBytes) })),
      hidden: inSync.map(({ member, replica }) => hiddenOf(member.name, replica)),
      snapshots: snapshotsOf(inSync),
      epoch: newest.epoch,
      outside: state.servers.filter((member) => !isInSync(member)).map((member) => member.name),
      heldBytes: (copies[0]?.extents ?? 0) * extentBytes,
      close,
    }
  } catch (failure) {
    close()
    throw failure
  }
}

interface Found extends Seen {
  /** The storage folder in which it lies. */
  readonly dir: string
}

/** The lab's volume, in whatever storage folder of the server it lies. @throws CouldNot when there is none to be read */
export function findReplica(member: Member, name: string): Found {
  const problems: string[] = []
  for (const dir of foldersOf(member)) {
    try {
      const store = inspectStore(dir)
      const found = volumeIn(store, member, name)
      if (found !== null) return { ...found, dir }
      store.close()
    } catch (failure) {
      problems.push(messageOf(failure))
    }
  }
  throw new CouldNot(
    problems.length > 0 ? problems.join('; ') : `the store of ${member.name} holds no volume "${name}"`,
  )
}

/** The main one, those of the beginning, and what config.json names by now. */
function foldersOf(member: Member): string[] {
  const configured = configuredFolders(path.join(member.dir, 'config.json'))
  return [...new Set([member.dir, ...[...member.folders, ...configured].map((folder) => folder.path)])]
}

/** A folder without a configuration has no others; one that is broken is its agent's trouble. */
function configuredFolders(file: string): AgentConfig['folders'] {
  try {
    return agentConfig.safeParse(JSON.parse(fs.readFileSync(file, 'utf8'))).data?.folders ?? []
  } catch (failure) {
    if (failure instanceof SyntaxError || (failure instanceof Error && 'code' in failure)) return []
    throw failure
  }
}

function volumeIn(store: InspectedStore, member: Member, name: string): Seen | null {
  const found = store.replicas.flatMap((replica): Seen[] => {
    const record = volumeRecordSchema.safeParse(store.records.get(recordKey(replica.volumeId)))
    // What is to be gone for good counts no more, wherever it still stands.
    if (!record.success || record.data.known.volumeName !== name || record.data.known.purge !== 'no') return []
    return [{ member, store, replica, configuration: record.data.known }]
  })
  // A deleted one may have the name that another one has now.
  return found.find(({ configuration }) => configuration.deletedMs === null) ?? found[0] ?? null
}

function newestOf(seen: readonly Seen[], unreadable: ReadonlyMap<Member, string>): Configuration {
  let newest: Configuration | undefined
  for (const { configuration, member } of seen) {
    const stands = newest === undefined ? 'newer' : relation(configuration, newest)
    if (stands === 'strange') {
      throw new CouldNot(`the store of ${member.name} tells another history than the others: two versions`)
    }
    if (stands === 'newer') newest = configuration
  }
  if (newest !== undefined) return newest
  throw new CouldNot([...unreadable].map(([member, why]) => `${member.name}: ${why}`).join('; '))
}

function snapshotsOf(inSync: readonly Seen[]): OpenSnapshot[] {
  const byName = new Map<string, Copy[]>()
  for (const { member, replica } of inSync) {
    for (const image of replica.images) {
      // One that was deleted and made anew while a server was away has the name of another moment.
      const name = `${image.name} of ${image.madeMs}`
      byName.set(name, [...(byName.get(name) ?? []), copyOf(member.name, image).copy])
    }
  }
  return [...byName].flatMap(([name, copies]) => (copies.length < 2 ? [] : [{ name, copies }]))
}

/** The pages beside the volume that no client reaches (decision 0012); all zeros where nobody has written one. */
function hiddenOf(server: string, { hidden }: InspectedReplica): Copy {
  if (hidden !== null) return copyOf(server, hidden).copy
  const sizeBytes = limits.hiddenBytes
  return {
    server,
    sizeBytes,
    holds: () => false,
    rotten: () => null,
    read: async (_at, length) => new Uint8Array(length),
  }
}

function copyOf(server: string, replica: InspectedBlocks): { copy: Copy; extents: number } {
  const extents = new Set(replica.allocated())
  return {
    copy: {
      server,
      sizeBytes: replica.sizeBytes,
      holds: (extent) => extents.has(extent),
      rotten: (extent) => replica.check(extent)?.[0]?.offsetBytes ?? null,
      read: async (offsetBytes, lengthBytes) => replica.readBlocks(offsetBytes, lengthBytes),
    },
    extents: extents.size,
  }
}
