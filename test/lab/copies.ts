/** The in-sync copies of a lab's volume, as the stores' own files show them: no agent is asked. */
import { type Configuration, relation } from '../../agent/membership/configuration.ts'
import { recordKey, volumeRecordSchema } from '../../agent/membership/record.ts'
import { type InspectedReplica, type InspectedStore, inspectStore } from '../../agent/store/inspect.ts'
import { CouldNot, messageOf } from './answer.ts'
import { type Copy, extentBytes } from './compare.ts'
import type { LabState, Member } from './state.ts'

export interface OpenCopies {
  /** Of the newest configuration's in-sync set. */
  readonly copies: readonly Copy[]
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
        const store = inspectStore(member.dir)
        stores.push(store)
        seen.push(volumeIn(store, member, state.volume.name))
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
      copies: copies.map(({ copy }) => copy),
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

/** The lab's volume in one server's store. @throws CouldNot when there is none */
export function replicaOf(store: InspectedStore, member: Member, name: string): InspectedReplica {
  return volumeIn(store, member, name).replica
}

function volumeIn(store: InspectedStore, member: Member, name: string): Seen {
  for (const replica of store.replicas) {
    const record = volumeRecordSchema.safeParse(store.records.get(recordKey(replica.volumeId)))
    if (record.success && record.data.known.volumeName === name) {
      return { member, store, replica, configuration: record.data.known }
    }
  }
  throw new CouldNot(`the store of ${member.name} holds no volume "${name}"`)
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

function copyOf(server: string, replica: InspectedReplica): { copy: Copy; extents: number } {
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
