/** Replicas in memory under virtual time, links that record, and a mirror between a few servers. */
import { createHash } from 'node:crypto'
import { type ServerId, serverId, volumeId } from '../../../agent/kit/ids.ts'
import type { Links, Message } from '../../../agent/link/messages.ts'
import type { MirrorBody, MirrorMessageKind, MirrorSend } from '../../../agent/mirror/messages.ts'
import { mirrorMessages } from '../../../agent/mirror/messages.ts'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import type { ReplicaStore, Store } from '../../../agent/store/replica.ts'
import { quiet, seeded, type VirtualClock } from '../store/world.ts'

export { VirtualClock } from '../store/world.ts'

export const idOf = (index: number): ServerId => serverId(String(index + 1).repeat(32))
export const volume = volumeId('c'.repeat(32))
export const KiB = 1024
export const MiB = 1024 * KiB
export const digest = (data: Uint8Array): string => createHash('sha256').update(data).digest('base64').slice(0, 22)

export interface Disk {
  readonly disk: MemoryDisk
  readonly store: Store
  readonly replica: ReplicaStore
}

/** A folder in memory with one empty replica. */
export function openDisk(clock: VirtualClock, sizeBytes = 48 * MiB, seed = 1): Disk {
  const disk = new MemoryDisk({ clock, random: seeded(seed), log: quiet })
  const found: { store?: Store; replica?: ReplicaStore } = {}
  disk.open((error, store) => {
    if (error !== null || store === undefined) throw error ?? new Error('no store')
    found.store = store
    store.createReplica(volume, sizeBytes, (failure, replica) => {
      if (failure !== null || replica === undefined) throw new Error(`no replica: ${failure}`)
      found.replica = replica
    })
  })
  clock.pass(1_000)
  if (found.store === undefined || found.replica === undefined) throw new Error('the disk did not open')
  return { disk, store: found.store, replica: found.replica }
}

/** Opens the same disk again. */
export function reopen(clock: VirtualClock, disk: MemoryDisk): Disk {
  const found: { store?: Store } = {}
  disk.open((error, store) => {
    if (error !== null || store === undefined) throw error ?? new Error('no store')
    found.store = store
  })
  clock.pass(1_000)
  const [replica] = found.store?.replicas() ?? []
  if (found.store === undefined || replica === undefined) throw new Error('the disk did not open')
  return { disk, store: found.store, replica }
}

export const bytes = (length: number, fill: number): Uint8Array => new Uint8Array(length).fill(fill)

export function readAll(clock: VirtualClock, replica: ReplicaStore, offsetBytes: number, lengthBytes: number): Buffer {
  let found: Uint8Array | null = null
  replica.read(offsetBytes, lengthBytes, (failure, data) => {
    if (failure !== null) throw new Error(`read: ${failure}`)
    found = data
  })
  clock.pass(100)
  if (found === null) throw new Error('the read was not answered')
  return Buffer.from(found)
}

export function writeAll(clock: VirtualClock, replica: ReplicaStore, offsetBytes: number, data: Uint8Array): void {
  let done = false
  replica.write(offsetBytes, [data], data.length, (failure) => {
    if (failure !== null) throw new Error(`write: ${failure}`)
    done = true
  })
  clock.pass(100)
  if (!done) throw new Error('the write was not answered')
}

export interface Sent {
  readonly to: ServerId
  readonly message: Message
}

/** Links that keep what is sent, and take it as delivered when the test says so. */
export class RecordingLinks implements Links {
  readonly sent: Sent[] = []
  readonly peers = new Map<ServerId, { run: number; connected: boolean }>()
  readonly backlogBytes = new Map<ServerId, number>()

  send(to: ServerId, message: Message): boolean {
    this.sent.push({ to, message })
    return true
  }
  sendNow(to: ServerId, message: Message): boolean {
    if (this.peers.get(to)?.connected === false) return false
    this.sent.push({ to, message })
    return true
  }
  peer(server: ServerId) {
    return this.peers.get(server)
  }
  acknowledgedBytes(): number {
    return 0
  }
  unacknowledgedBytes(server: ServerId): number {
    return this.backlogBytes.get(server) ?? 0
  }

  take(): Sent[] {
    return this.sent.splice(0)
  }
}

export interface SentBody<Kind extends MirrorMessageKind = MirrorMessageKind> {
  readonly to: ServerId
  readonly kind: Kind
  readonly body: MirrorBody<Kind>
}

/** Records mirror messages after holding them against their own schema. */
export function recordingSend(): { readonly sent: SentBody[]; readonly send: MirrorSend } {
  const sent: SentBody[] = []
  return {
    sent,
    send: (to, kind, body) => {
      const parsed = mirrorMessages[kind].safeParse({ ...body, volume })
      if (!parsed.success) throw new Error(`${kind}: ${parsed.error.message}`)
      sent.push({ to, kind, body })
    },
  }
}
