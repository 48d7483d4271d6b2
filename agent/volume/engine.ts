/** One agent's engine: its volumes, the registers it keeps for others, and the traffic between servers. */
import { z } from 'zod'
import { isIdText, type ServerId, type VolumeId, volumeId } from '../kit/ids.ts'
import { lifeClock } from '../kit/life-clock.ts'
import type { Clock, Log, RandomSource } from '../kit/world.ts'
import { limits, shareOfLinks } from '../limits.ts'
import { type LinkEvents, type Links, type Message, volumeKeyOf } from '../link/messages.ts'
import { ArbiterClient } from '../membership/arbiter-client.ts'
import { Heartbeats } from '../membership/heartbeats.ts'
import { Silence } from '../membership/lease.ts'
import { parseMemberMessage } from '../membership/messages.ts'
import { RecordFile, readVolumeRecords, recordKey, type VolumeRecord } from '../membership/record.ts'
import { Registers } from '../membership/register.ts'
import type { OwnStore } from '../membership/stores.ts'
import type { Digest } from '../mirror/copier.ts'
import type { ReplicaStore, Store } from '../store/replica.ts'
import type { BlockDevice, BlockDevices } from './block-device.ts'
import { Changes } from './changes.ts'
import { Creations } from './creations.ts'
import { Folders, leftByAbsence, type OpenFolder, type StorageFolder } from './folders.ts'
import { ImageDevices } from './image-devices.ts'
import { RegisterPlaces } from './register-places.ts'
import { routeControl, routeHot } from './routing.ts'
import { Volume } from './volume.ts'
import type { VolumeEvent } from './world.ts'

export interface EngineWorld {
  readonly self: ServerId
  readonly selfRun: number
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Log
  /** The main storage folder. */
  readonly store: Store
  /** Its path, for people; the others are added to `Engine.folders`. */
  readonly dir?: string
  readonly links: Links
  readonly digest: Digest
  /** All servers of the cluster that this one has met, without itself. */
  servers(): Iterable<ServerId>
  event(kind: VolumeEvent | 'created', volumeName: string, details: Record<string, string | number>): void
  /** A storage folder failed: what lies in it is not served from it any more in this run. */
  folderFailed?(folder: StorageFolder): void
  changed(): void
}

const tickMs = limits.heartbeatMs / 2
const volumeOfBody = z.object({ volume: z.string() })

export class Engine implements LinkEvents, BlockDevices {
  readonly world: EngineWorld
  readonly volumes = new Map<VolumeId, Volume>()
  readonly heartbeats: Heartbeats
  readonly registers: Registers
  readonly arbiters: ArbiterClient
  readonly creations: Creations
  readonly changes: Changes
  readonly imageDevices: ImageDevices
  readonly folders: Folders
  readonly registerPlaces: RegisterPlaces
  readonly #byKey = new Map<number, Volume>()
  readonly #silence = new Silence()
  /** In which folder each open volume lies. */
  readonly #folderOf = new Map<VolumeId, OpenFolder>()
  #lastTickMs: number
  #ticks = 0
  #stopped = false

  constructor(world: EngineWorld) {
    this.world = world
    const { links, clock, self } = world
    this.folders = new Folders(world, world.dir ?? '')
    this.registerPlaces = new RegisterPlaces(
      this.folders,
      (id) => this.#folderOf.get(id) ?? this.creations.folderOf(id),
    )
    this.registers = new Registers(this.registerPlaces)
    this.arbiters = new ArbiterClient({ self, selfRun: world.selfRun, links, clock, registers: this.registers })
    this.creations = new Creations(this)
    this.changes = new Changes(this)
    this.imageDevices = new ImageDevices({
      images: (volumeName) => this.changes.images(volumeName),
      nextTurn: (fire) => clock.nextTurn(fire),
      changed: () => world.changed(),
    })
    this.heartbeats = new Heartbeats({
      links,
      clock,
      silence: this.#silence,
      volumes: () => this.#beats(),
      volume: (key) => this.#beat(this.#byKey.get(key)),
    })
    this.#lastTickMs = clock.monotonicMs()
  }

  /** Opens every volume that lies in an open folder, and begins to tick. */
  start(): void {
    for (const folder of this.folders.open()) this.openFolder(folder)
    this.#tick()
  }

  /** Opens what lies in a folder: at start, or when one that was missing then is there. Once in a run (W8, E9). */
  openFolder(folder: OpenFolder): void {
    const replicas = new Map(folder.store.replicas().map((replica) => [replica.volumeId, replica]))
    const { found, unreadable } = readVolumeRecords(folder.store.records)
    folder.damaged.push(...unreadable)
    for (const record of found) {
      const { volumeId: id, volumeName } = record.known
      const replica = replicas.get(id)
      if (replica === undefined && record.known.purge !== 'no')
        folder.store.records.put(recordKey(id), null, () => undefined)
      else if (replica === undefined) folder.damaged.push(`volume ${volumeName}: its replica is missing`)
      else if (this.volumes.has(id) || this.creations.has(id))
        folder.damaged.push(`volume ${volumeName}: it is in another storage folder, too`)
      else if (record.prepared) this.creations.resume(record, replica, folder)
      else this.open(record, replica, folder)
    }
    const known = new Set([...found.map((record) => recordKey(record.known.volumeId)), ...unreadable])
    for (const replica of replicas.values()) {
      if (!known.has(recordKey(replica.volumeId))) this.#withoutRecord(replica, folder)
    }
    this.folders.remember(() => undefined)
  }

  /** Records or replicas that do not fit together, in any folder: shown, never touched. */
  get damaged(): readonly string[] {
    return this.folders.all().flatMap((folder) => folder.damaged)
  }

  /** Whether anything lies in a folder, or is just being put there. */
  usesFolder(folder: StorageFolder): boolean {
    const holds = folder.volumes().length > 0 || folder.damaged.length > 0
    return holds || this.creations.usesFolder(folder) || this.registerPlaces.usesFolder(folder)
  }

  folderOf(id: VolumeId): OpenFolder | undefined {
    return this.#folderOf.get(id)
  }

  /** A replica whose record was never written: the agent died while a volume was being made. Untouched, it is removed. */
  #withoutRecord(replica: ReplicaStore, folder: OpenFolder): void {
    const isUntouched = replica.allocatedBytes() === 0 && replica.regions().next().done === true
    if (!isUntouched) folder.damaged.push(`replica ${replica.volumeId}: its record is missing`)
    else {
      folder.store.deleteReplica(replica.volumeId, (failure) => {
        if (failure !== null)
          this.world.log.warn({ failure }, 'could not delete the replica of a volume that was not made')
      })
    }
  }

  /** Nothing is decided, sent or answered any more. */
  stop(): void {
    this.#stopped = true
  }

  open(record: VolumeRecord, replica: ReplicaStore, folder: OpenFolder): void {
    const { known } = record
    const { self, selfRun, links, random, log, digest } = this.world
    // After its end no timer of it may come back to a replica that is gone.
    const clock = lifeClock(this.world.clock, () => this.volumes.get(known.volumeId) === volume)
    const { records } = folder.store
    const volume: Volume = new Volume({
      self,
      selfRun,
      volumeId: known.volumeId,
      links,
      clock,
      random,
      log,
      digest,
      writeShareBytes: () => shareOfLinks(this.volumes.size),
      silence: this.#silence,
      arbiter: this.arbiters.at(known.arbiter.serverId, known.volumeId),
      record: new RecordFile(records, known.volumeId, record),
      store: replica,
      ownStore: this.#ownStore(folder),
      growStore: (sizeBytes, done) => folder.store.growReplica(known.volumeId, sizeBytes, done),
      records,
      send: (to, kind, body) => this.#sendMirror(to, kind, body),
      // By its present name: it may have been restored under another one.
      event: (kind, details) => this.world.event(kind, volume.name, details),
      changed: () => this.world.changed(),
    })
    this.volumes.set(known.volumeId, volume)
    this.#byKey.set(volume.key, volume)
    this.#folderOf.set(known.volumeId, folder)
    volume.member.start()
    for (const server of this.world.servers()) {
      const peer = links.peer(server)
      if (peer === undefined) continue
      volume.peerRun(server)
      volume.member.onPeerRun(server, peer.run)
    }
    this.world.changed()
  }

  /** C12: each opening of a volume is a life of its own: the run's number may be that of an older copy. */
  #ownStore(folder: OpenFolder): OwnStore {
    const { store } = folder
    const doubted = (count: number) => {
      for (const [id, volume] of this.volumes)
        if (this.#folderOf.get(id) === folder) volume.member.stores.allDoubted(count)
    }
    return {
      storeId: store.storeId,
      life: this.world.random.id(),
      found: store.foundCommitCount,
      commits: () => store.commitCount,
      doubtAll: (count, done) =>
        // First, so that no crash leaves it in doubt without saying why: its doubt is worse than a power cut's.
        this.#rememberOlder(folder, (failed) => {
          if (failed) return done(true)
          store.doubtAll(count, (failure) => {
            // Of the other volumes there, too: what they told of themselves holds no more.
            if (failure === null) doubted(count)
            done(failure !== null)
          })
        }),
    }
  }

  /** C12: every volume in that folder is an older copy, durably. */
  #rememberOlder(folder: OpenFolder, done: (failed: boolean) => void): void {
    const volumes = [...this.volumes.values()].filter(({ world }) => this.#folderOf.get(world.volumeId) === folder)
    let left = volumes.length
    let failed = false
    for (const { world } of volumes) {
      world.record.save({ older: true }, (failure) => {
        failed ||= failure !== null
        left -= 1
        if (left === 0) done(failed)
      })
    }
  }

  /** Whether a volume of this id or name, or with the same short key on the links, is here, or in a folder that is away. */
  has(name: string, id: VolumeId): boolean {
    if (this.#byKey.has(volumeKeyOf(id)) || this.folders.absentName(name)) return true
    return this.isNamed(name)
  }

  /** It has ended, and nothing of it uses the replica any more. */
  forget(volume: Volume): void {
    this.volumes.delete(volume.world.volumeId)
    this.#byKey.delete(volume.key)
    this.#folderOf.delete(volume.world.volumeId)
  }

  /** Whether a volume that is in use has this name. */
  isNamed(name: string): boolean {
    return this.find(name) !== undefined
  }

  // --- BlockDevices -----------------------------------------------------------------------------------------------

  list(): readonly BlockDevice[] {
    const offered = [...this.volumes.values()].filter((volume) => !volume.deleted)
    return offered.flatMap((volume) => [volume, ...this.imageDevices.of(volume.name)])
  }

  find(name: string): BlockDevice | undefined {
    for (const volume of this.volumes.values()) if (volume.name === name && !volume.deleted) return volume
    return this.imageDevices.find(name)
  }

  // --- LinkEvents -------------------------------------------------------------------------------------------------

  onMessage(from: ServerId, run: number, message: Message, ordered: boolean): void {
    if (this.#stopped) return
    // Whatever it says, it is not silent: a server that returned must not be left out before its first heartbeat.
    this.#silence.heard(from)
    if (message.type === 'control') this.#onControl(from, run, message.kind, message.body, ordered)
    else {
      const volume = this.#byKey.get(message.volumeKey)
      if (volume !== undefined && ordered) routeHot(volume, from, run, message)
    }
  }

  onPeerRun(peer: ServerId, run: number): void {
    if (this.#stopped) return
    for (const volume of this.volumes.values()) {
      volume.peerRun(peer)
      volume.member.onPeerRun(peer, run)
    }
    this.world.changed()
  }

  onPeerDisconnected(peer: ServerId): void {
    this.heartbeats.forget(peer)
    this.world.changed()
  }

  #onControl(from: ServerId, run: number, kind: string, body: unknown, ordered: boolean): void {
    const taken =
      this.#takeServerMessage(from, kind, body) ?? (ordered && this.#takeVolumeMessage(from, run, kind, body))
    if (taken === false) this.world.log.debug({ from, kind }, 'a message for nothing here: dropped')
  }

  /** @returns null when it is none of the server's own messages */
  #takeServerMessage(from: ServerId, kind: string, body: unknown): boolean | null {
    switch (kind) {
      case 'beat.ask':
        return this.heartbeats.onAsk(from, body)
      case 'beat.answer':
        return this.heartbeats.onAnswer(from, body)
      case 'register.ask':
        return this.arbiters.onAsk(from, body)
      case 'register.answer':
        return this.arbiters.onAnswer(from, body)
      case 'change.ask':
      case 'change.answer':
        return this.changes.onMessage(from, kind, body)
      case 'create.prepare':
      case 'create.prepared':
      case 'create.commit':
      case 'create.abandon':
        return this.creations.onMessage(from, kind, body)
      default:
        return null
    }
  }

  #takeVolumeMessage(from: ServerId, run: number, kind: string, body: unknown): boolean {
    const parsed = volumeOfBody.safeParse(body)
    if (!parsed.success || !isIdText(parsed.data.volume)) return false
    const id = volumeId(parsed.data.volume)
    const volume = this.volumes.get(id)
    if (volume !== undefined) {
      // To who decides nothing it is news for people: a storage folder that was away there is back.
      if (kind === 'member.configuration' && volume.member.phase === 'outside') volume.member.removal.takesPart(from)
      return routeControl(volume, from, run, kind, body, this.world.log)
    }
    return kind === 'member.configuration' && this.folders.absent(id) !== undefined && this.#leaveAbsent(from, body)
  }

  /** E8: others must not wait for a volume whose storage folder is away. */
  #leaveAbsent(from: ServerId, body: unknown): boolean {
    const told = parseMemberMessage('member.configuration', body)
    const left = told === null ? null : leftByAbsence(told.configuration, this.world.self)
    if (told === null || left === null) return false
    const leave = { volume: told.volume, configurationId: left, reason: 'disk-failed' }
    this.world.links.send(from, { type: 'control', kind: 'member.leave', body: leave })
    return true
  }

  /** To itself at the next turn, so that asking oneself and asking another look alike to the asker. */
  #sendMirror(to: ServerId, kind: string, body: Record<string, unknown>): void {
    const { self, selfRun, clock, links } = this.world
    if (to !== self) links.send(to, { type: 'control', kind, body })
    else clock.nextTurn(() => this.#takeVolumeMessage(self, selfRun, kind, body))
  }

  // --- time -------------------------------------------------------------------------------------------------------

  #tick(): void {
    if (this.#stopped) return
    const now = this.world.clock.monotonicMs()
    const servers = [...this.world.servers()]
    this.#silence.tick(now - this.#lastTickMs, tickMs, servers)
    this.#lastTickMs = now
    this.#ticks += 1
    if (this.#ticks % 2 === 0) this.heartbeats.sendTo(servers)
    for (const folder of this.folders.newlyFailed()) this.#folderFailed(folder)
    for (const volume of this.volumes.values()) volume.tick()
    this.creations.tick()
    this.changes.tick()
    this.imageDevices.tick()
    this.folders.tick()
    this.world.clock.after(tickMs, () => this.#tick())
  }

  /** C6: also volumes that nobody uses just now leave: what they hold cannot be relied on. */
  #folderFailed(folder: StorageFolder): void {
    for (const [id, volume] of this.volumes) if (this.#folderOf.get(id) === folder) volume.ownReplicaFailed('io')
    this.world.folderFailed?.(folder)
    this.world.changed()
  }

  *#beats() {
    for (const volume of this.volumes.values()) yield volume.beat
  }

  #beat(volume: Volume | undefined) {
    return volume?.beat
  }
}
