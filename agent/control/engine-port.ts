/** The engine as the control API sees it: facts as status.ts has them, wishes as the engine takes them. */
import type { Event } from '../contract/events.ts'
import type {
  FolderStatus,
  PeerStatus,
  ReplicaStatus,
  ResyncStatus,
  SnapshotStatus,
  Status,
  VolumeStatus,
} from '../contract/status.ts'
import { UserError } from '../kit/failure.ts'
import { serverId as asServerId, volumeId as asVolumeId, type ServerId } from '../kit/ids.ts'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { Engine } from '../volume/engine.ts'
import { mainFolder, type StorageFolder } from '../volume/folders.ts'
import { imageSeparator } from '../volume/image-devices.ts'
import { policingView } from '../volume/policing-view.ts'
import type { Volume } from '../volume/volume.ts'
import type { ChangeNotifier, EventLog } from './event-log.ts'
import type { AgentPort } from './port.ts'

/** A server of the cluster as the links and the configuration know it. */
export interface KnownServer {
  readonly id: ServerId | null
  readonly name: string
  readonly role: 'storage' | 'tiebreaker'
  readonly address: string
  readonly connected: boolean
  readonly sinceMs: number | null
}

export interface FolderKeeper {
  add(request: { name: string; path: string; takeOver: boolean }): Promise<void>
  remove(name: string): Promise<void>
  retry(name: string): Promise<void>
}

export interface EnginePortWorld {
  readonly engine: Engine
  readonly clock: Clock
  readonly eventLog: EventLog
  readonly changes: ChangeNotifier
  readonly server: Omit<Status['server'], 'freeBytes'>
  readonly version: string
  servers(): readonly KnownServer[]
  /** What may be done with this server's storage folders. */
  readonly storage: FolderKeeper
  nbdUris(volumeName: string): { tcp: string | null; unix: string | null }
  /** Ends the agent in order; resolves before the process ends. */
  stop(): Promise<void>
}

export class EnginePort implements AgentPort {
  readonly #world: EnginePortWorld

  constructor(world: EnginePortWorld) {
    this.#world = world
  }

  status(): Status {
    const { engine, server, version } = this.#world
    return {
      product: 'mirrorbay',
      version,
      server: { ...server, freeBytes: engine.world.store.freeBytes() },
      folders: engine.folders.all().map((folder) => this.#folder(folder)),
      peers: this.#world.servers().map((peer) => this.#peer(peer)),
      volumes: [...engine.volumes.values()].flatMap((volume) => (volume.deleted ? [] : [this.#volume(volume)])),
      deletedVolumes: engine.changes.deleted().map((volume) => ({ ...volume })),
    }
  }

  events(): readonly Event[] {
    return this.#world.eventLog.list()
  }

  onChange(listener: () => void): () => void {
    return this.#world.changes.subscribe(listener)
  }

  async createVolume(request: Parameters<AgentPort['createVolume']>[0]): Promise<void> {
    const { engine } = this.#world
    const storage = this.#world.servers().filter((server) => server.role === 'storage')
    const away = storage.find((server) => !server.connected || server.id === null)
    if (away !== undefined) throw notConnected(away.name)
    const servers = [engine.world.self, ...storage.flatMap((server) => (server.id === null ? [] : [server.id]))]
    await engine.creations.create({
      name: request.name,
      sizeBytes: request.sizeBytes,
      writeThrough: request.writeThrough,
      arbiter: { kind: request.arbiter, serverId: this.#arbiter(request.arbiter, request.preferredServer) },
      servers,
      folder: request.folder,
    })
    await this.#untilServing(request.name)
  }

  /** Made is made; but who asked for it would like to use it at once, and forming takes a moment. */
  async #untilServing(name: string): Promise<void> {
    const { clock } = this.#world
    const untilMs = clock.monotonicMs() + limits.startGraceMs
    while (this.#named(name).member.waiting() !== 'none' && clock.monotonicMs() < untilMs) {
      await new Promise<void>((resolve) => clock.after(20, resolve))
    }
  }

  #arbiter(kind: 'preferred' | 'witness', preferredServer: string | undefined): ServerId {
    const { server, engine } = this.#world
    if (kind === 'preferred' && (preferredServer === undefined || preferredServer === server.name))
      return engine.world.self
    const role = kind === 'witness' ? 'tiebreaker' : 'storage'
    const found = this.#world
      .servers()
      .find((peer) => peer.role === role && (kind === 'witness' || peer.name === preferredServer))
    if (found === undefined) throw noArbiter(kind, preferredServer)
    if (found.id === null || !found.connected) throw notConnected(found.name)
    return found.id
  }

  growVolume(volumeName: string, sizeBytes: number): Promise<void> {
    return this.#world.engine.changes.grow(volumeName, sizeBytes)
  }

  deleteVolume(volumeName: string): Promise<void> {
    return this.#world.engine.changes.remove(volumeName)
  }

  restoreVolume(id: string, as: string | null): Promise<void> {
    return this.#world.engine.changes.restore(asVolumeId(id), as)
  }

  purgeVolume(id: string, wipe: boolean): Promise<void> {
    return this.#world.engine.changes.purge(asVolumeId(id), wipe)
  }

  makeSnapshot(volumeName: string, snapshot: string): Promise<void> {
    return this.#world.engine.changes.makeImage(volumeName, snapshot)
  }

  deleteSnapshot(volumeName: string, snapshot: string): Promise<void> {
    return this.#world.engine.changes.deleteImage(volumeName, snapshot)
  }

  addFolder(request: Parameters<AgentPort['addFolder']>[0]): Promise<void> {
    return this.#world.storage.add(request)
  }

  steerFolder(name: string, action: 'retry' | 'remove'): Promise<void> {
    return this.#world.storage[action](name)
  }

  async scrub(volumeName: string, action: 'now' | 'stop'): Promise<void> {
    const volume = this.#named(volumeName)
    volume.steerScrub(action)
    for (const replica of volume.member.known.replicas) {
      if (replica.serverId !== volume.world.self) volume.sendMirror(replica.serverId, 'scrub.steer', { action })
    }
  }

  async resync(volumeName: string, action: 'now' | 'pause' | 'continue'): Promise<void> {
    const volume = this.#named(volumeName)
    volume.resyncView.steer(action)
    // Every replica's server hears it: one of them leads, another one may be waiting to return.
    for (const replica of volume.member.known.replicas) {
      if (replica.serverId !== this.#world.engine.world.self)
        volume.sendMirror(replica.serverId, 'resync.steer', { action })
    }
  }

  async hold(seconds: number): Promise<void> {
    const { engine, clock } = this.#world
    const volumes = [...engine.volumes.values()]
    // Whatever happens to the asker: writes go on after the time it asked for.
    clock.after(seconds * 1000, () => void this.release())
    await Promise.race([
      Promise.all(volumes.map((volume) => quietAndDurable(volume))),
      new Promise<never>((_resolve, reject) => {
        clock.after(seconds * 1000, () => reject(stillBusy()))
      }),
    ])
  }

  async release(): Promise<void> {
    for (const volume of this.#world.engine.volumes.values()) volume.hold.end()
  }

  async stop(): Promise<void> {
    await this.#world.stop()
  }

  #named(name: string): Volume {
    for (const volume of this.#world.engine.volumes.values()) if (volume.name === name && !volume.deleted) return volume
    throw new UserError({
      code: 'no-such-volume',
      happened: `There is no shared disk named ${name} on this server.`,
      dataIsSafe: 'Nothing was changed.',
      next: 'Look at the list of shared disks for its name.',
    })
  }

  #peer(peer: KnownServer): PeerStatus {
    const { id, name, role, address, connected, sinceMs } = peer
    const roundTripMs = id === null || !connected ? null : this.#world.engine.heartbeats.roundTripMs(id)
    return { id, name, role, address, connected, roundTripMs, sinceMs }
  }

  #folder(folder: StorageFolder): FolderStatus {
    const { name, path, state, why, space, store, damaged } = folder
    const { engine } = this.#world
    const open = [...engine.volumes.values()].filter((volume) => engine.folderOf(volume.world.volumeId) === folder)
    const volumes = store === null ? folder.volumes() : open
    return {
      name,
      path,
      state,
      why: state === 'failed' && why === null ? 'Its disk gave an error while it was in use.' : why,
      freeBytes: store?.freeBytes() ?? null,
      totalBytes: space.totalBytes,
      isLow: space.isLow,
      volumes: volumes.map((volume) => volume.name),
      damaged: [...damaged],
    }
  }

  #volume(volume: Volume): VolumeStatus {
    const { known } = volume.member
    const waiting = volume.member.waiting()
    const policed = volume.policing.counters
    const { via } = volume.service.passing
    const replicas = known.replicas.map(({ serverId }) => this.#replica(volume, serverId))
    return {
      id: known.volumeId,
      name: known.volumeName,
      folder: this.#world.engine.folderOf(known.volumeId)?.name ?? mainFolder,
      sizeBytes: known.sizeBytes,
      allocatedBytes: volume.store.allocatedBytes(),
      writeThrough: known.writeThrough,
      epoch: known.epoch,
      arbiter: {
        kind: known.arbiter.kind,
        serverId: known.arbiter.serverId,
        serverName: this.#nameOf(known.arbiter.serverId),
        reachable: volume.member.proposer.reachable(),
      },
      serving: waiting === 'none',
      waiting,
      replicas,
      survives: this.#survives(volume, replicas),
      resync: this.#resync(volume),
      policing: policingView(volume),
      scrub: scrubStatus(volume),
      clients: [...volume.clients].map(({ description }) => ({ ...description })),
      via: via === null ? null : this.#nameOf(via),
      nbd: this.#world.nbdUris(known.volumeName),
      snapshots: this.#snapshots(known.volumeName),
      counters: {
        ...volume.service.counters,
        mirroredWrites: volume.incoming.applied,
        permissionsAsked: policed.asksSent,
        permissionsYielded: policed.grantsSent,
        permissionsUsed: policed.begun,
        permissionsWaited: policed.waited,
        permissionConflicts: policed.conflicts,
      },
    }
  }

  #snapshots(volumeName: string): SnapshotStatus[] {
    const { engine, nbdUris } = this.#world
    return engine.changes.images(volumeName).map((image) => ({
      name: image.name,
      madeMs: image.madeMs,
      sizeBytes: image.sizeBytes,
      allocatedBytes: image.allocatedBytes(),
      clients: engine.imageDevices.clients(image).map((client) => ({ ...client })),
      nbd: nbdUris(`${volumeName}${imageSeparator}${image.name}`),
    }))
  }

  #replica(volume: Volume, serverId: ServerId): ReplicaStatus {
    const { known, phase } = volume.member
    const isSelf = serverId === this.#world.engine.world.self
    const connected = isSelf || volume.world.links.peer(serverId)?.connected === true
    const joining = volume.resyncView.progress()?.joiner === serverId
    const inSync = known.inSync.includes(serverId)
    const absence = volume.people.absences.get(serverId)
    // Outside the set and cut off from it, this server cannot tell how the others stand.
    const knows = isSelf || phase === 'open' || connected
    // In the set until the others have decided, but it said that it takes no part.
    const stopped = connected && !isSelf ? volume.member.removal.wordOf(serverId) : null
    const isGood = inSync && stopped === null
    const state = !knows ? 'unknown' : isGood ? 'in-sync' : joining ? 'joining' : 'out'
    return {
      serverId,
      serverName: this.#nameOf(serverId),
      state,
      connected,
      reason: isGood ? null : (stopped ?? absence?.reason ?? null),
      sinceMs: isGood ? null : (absence?.sinceMs ?? null),
    }
  }

  /** Which single server may stop now without stopping work at the others: never more than the arbiter can give. */
  #survives(volume: Volume, replicas: readonly ReplicaStatus[]): string[] {
    const { known } = volume.member
    const inSync = replicas.filter((replica) => replica.state === 'in-sync' && replica.connected)
    const complete = inSync.length === known.inSync.length && inSync.length > 1
    if (!complete || volume.member.waiting() !== 'none') return []
    const decides = inSync.map(({ serverId }) => serverId).filter((serverId) => this.#reachesArbiter(volume, serverId))
    const mayStop = ({ serverId }: ReplicaStatus) =>
      serverId !== known.arbiter.serverId && decides.some((other) => other !== serverId)
    return inSync.filter(mayStop).map(({ serverName }) => serverName)
  }

  /** Whether that server could ask for the decision that leaves another one out, as it says itself. */
  #reachesArbiter(volume: Volume, server: string): boolean {
    const serverId = asServerId(server)
    if (serverId === this.#world.engine.world.self) return volume.member.proposer.reachable()
    return volume.reachingArbiter.get(serverId) === true
  }

  #resync(volume: Volume): ResyncStatus | null {
    const progress = volume.resyncView.progress()
    if (progress === null) return null
    const { joiner, phase, totalBytes, doneBytes, movedBytes, bytesPerSecond, startedMs } = progress
    const known = bytesPerSecond !== null && bytesPerSecond > 0 && phase !== 'paused'
    return {
      serverId: joiner,
      serverName: this.#nameOf(joiner),
      phase,
      totalBytes,
      doneBytes,
      movedBytes,
      bytesPerSecond,
      remainingSeconds: known ? (totalBytes - doneBytes) / bytesPerSecond : null,
      startedMs,
    }
  }

  #nameOf(serverId: ServerId): string {
    const { engine, server } = this.#world
    if (serverId === engine.world.self) return server.name
    return this.#world.servers().find((peer) => peer.id === serverId)?.name ?? `server ${serverId.slice(0, 8)}`
  }
}

function quietAndDurable(volume: Volume): Promise<void> {
  return new Promise((resolve, reject) => {
    volume.hold.begin(() => {
      volume.store.sync((failure) => (failure === null ? resolve() : reject(stillBusy())))
    })
  })
}

function notConnected(name: string): UserError {
  return new UserError({
    code: 'server-away',
    happened: `${name} does not answer now, so a shared disk cannot be made with it.`,
    dataIsSafe: 'Nothing was changed.',
    next: `Start ${name}, or look at its cable and firewall, then try again.`,
  })
}

function noArbiter(kind: 'preferred' | 'witness', preferredServer: string | undefined): UserError {
  return new UserError({
    code: 'no-such-arbiter',
    happened:
      kind === 'witness' ? 'No tiebreaker is known to this server.' : `No storage server is named ${preferredServer}.`,
    dataIsSafe: 'Nothing was changed.',
    next: kind === 'witness' ? 'Add a tiebreaker, or name a preferred server.' : 'Name one of the storage servers.',
  })
}

function stillBusy(): UserError {
  return new UserError({
    code: 'still-busy',
    happened: `Writes did not come to rest in the time given (at most ${limits.holdSeconds} s).`,
    dataIsSafe: 'Nothing was changed; writes go on.',
    next: 'Try again when less is being written, or when the volume is not waiting.',
  })
}

function scrubStatus({ scrub }: Volume): VolumeStatus['scrub'] {
  const { startedMs, endedMs, readBytes, repairedBytes, unreadablePieces } = scrub.record
  return { progress: scrub.progress, startedMs, endedMs, readBytes, repairedBytes, unreadablePieces }
}
