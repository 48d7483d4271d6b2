/**
 * A stand-in for the engine, for tests of the API alone: keeps a status that the test changes, and writes down what it
 * was asked. (A test of the product itself uses real agents, never this.)
 */

import type { EventKind } from '../../../agent/contract/events.ts'
import type {
  DeletedVolumeStatus,
  ReplicaStatus,
  SnapshotStatus,
  Status,
  VolumeStatus,
} from '../../../agent/contract/status.ts'
import type { EventFields } from '../../../agent/control/event-log.ts'
import { ChangeNotifier, EventLog } from '../../../agent/control/event-log.ts'
import type { AgentPort } from '../../../agent/control/port.ts'
import { UserError } from '../../../agent/kit/failure.ts'
import type { Clock } from '../../../agent/kit/world.ts'

/** The machine's own clock, as a test of sockets needs it. */
export const realClock: Clock = {
  monotonicMs: () => performance.now(),
  leaseMs: () => performance.now(),
  wallMs: () => Date.now(),
  after: (delayMs, fire) => {
    const timer = setTimeout(fire, delayMs)
    return { cancel: () => clearTimeout(timer) }
  },
  nextTurn: (fire) => void setImmediate(fire),
}

export const silentLog = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
}

export function replica(name: string, over: Partial<ReplicaStatus> = {}): ReplicaStatus {
  return {
    serverId: idOf(name),
    serverName: name,
    state: 'in-sync',
    connected: true,
    reason: null,
    sinceMs: null,
    ...over,
  }
}

/** An id that is the same for the same name. */
export const idOf = (name: string): string => Buffer.from(name).toString('hex').padEnd(32, '0').slice(0, 32)

export function volume(over: Partial<VolumeStatus> = {}): VolumeStatus {
  return {
    id: idOf('v'),
    name: 'office',
    folder: 'main',
    sizeBytes: 1024 ** 3,
    allocatedBytes: 0,
    writeThrough: false,
    epoch: 1,
    arbiter: { kind: 'preferred', serverId: idOf('nas-1'), serverName: 'nas-1', reachable: true },
    serving: true,
    waiting: 'none',
    replicas: [replica('nas-1'), replica('nas-2')],
    survives: ['nas-2'],
    resync: null,
    scrub: { progress: null, startedMs: null, endedMs: 0, readBytes: 0, repairedBytes: 0, unreadablePieces: 0 },
    clients: [],
    via: null,
    nbd: { tcp: 'nbd://127.0.0.1:10809/office', unix: null },
    snapshots: [],
    counters: {
      reads: 0,
      writes: 0,
      flushes: 0,
      readBytes: 0,
      writtenBytes: 0,
      mirroredWrites: 0,
      permissionsAsked: 0,
      permissionsYielded: 0,
      permissionsUsed: 0,
      permissionsWaited: 0,
      permissionConflicts: 0,
    },
    policing: { stretchBytes: 4096, exclusiveBytes: [], sharedBytes: [], queued: 0, oldestMs: 0, waiting: [] },
    ...over,
  }
}

export function snapshot(name: string, over: Partial<SnapshotStatus> = {}): SnapshotStatus {
  return {
    name,
    madeMs: 0,
    sizeBytes: 1024 ** 3,
    allocatedBytes: 3e9,
    clients: [],
    nbd: { tcp: `nbd://127.0.0.1:10809/office@${name}`, unix: null },
    ...over,
  }
}

export function deleted(name: string, over: Partial<DeletedVolumeStatus> = {}): DeletedVolumeStatus {
  const dayMs = 24 * 3_600_000
  return { id: idOf(name), name, sizeBytes: 1024 ** 3, deletedMs: 0, goneMs: 7 * dayMs, wiping: null, ...over }
}

export function statusOf(volumes: VolumeStatus[] = [volume()]): Status {
  return {
    product: 'mirrorbay',
    version: '0.1.0',
    server: {
      id: idOf('nas-1'),
      name: 'nas-1',
      role: 'storage',
      run: 1,
      pid: 1,
      dir: '/srv/mirrorbay',
      freeBytes: 5e11,
      startedMs: 0,
    },
    folders: [
      {
        name: 'main',
        path: '/srv/mirrorbay',
        state: 'ok',
        why: null,
        freeBytes: 5e11,
        totalBytes: 1e12,
        isLow: false,
        volumes: volumes.map(({ name }) => name),
        damaged: [],
      },
    ],
    peers: [
      {
        id: idOf('nas-2'),
        name: 'nas-2',
        role: 'storage',
        address: '127.0.0.1:9001',
        connected: true,
        roundTripMs: 0.3,
        sinceMs: 0,
      },
    ],
    volumes,
    deletedVolumes: [],
  }
}

export class RecordingPort implements AgentPort {
  current = statusOf()
  readonly asked: unknown[] = []
  /** What the next commands throw. */
  refusal: Error | null = null
  readonly #notifier = new ChangeNotifier({ clock: realClock, minimumMs: 1 })
  readonly #log = new EventLog({ clock: realClock, changed: () => this.#notifier.changed() })

  change(status: Status): void {
    this.current = status
    this.#notifier.changed()
  }
  happen(kind: EventKind, fields?: EventFields): void {
    this.#log.append(kind, fields)
  }
  status() {
    return this.current
  }
  events() {
    return this.#log.list()
  }
  onChange(listener: () => void) {
    return this.#notifier.subscribe(listener)
  }
  async #command(...asked: unknown[]): Promise<void> {
    this.asked.push(asked)
    if (this.refusal !== null) throw this.refusal
  }
  scrub(volumeName: string, action: 'now' | 'stop') {
    return this.#command('scrub', volumeName, action)
  }
  createVolume(request: Parameters<AgentPort['createVolume']>[0]) {
    return this.#command('createVolume', request)
  }
  growVolume(name: string, sizeBytes: number) {
    return this.#command('growVolume', name, sizeBytes)
  }
  deleteVolume(name: string) {
    return this.#command('deleteVolume', name)
  }
  restoreVolume(id: string, as: string | null) {
    return this.#command('restoreVolume', id, as)
  }
  purgeVolume(id: string, wipe: boolean) {
    return this.#command('purgeVolume', id, wipe)
  }
  makeSnapshot(name: string, snapshot: string) {
    return this.#command('makeSnapshot', name, snapshot)
  }
  deleteSnapshot(name: string, snapshot: string) {
    return this.#command('deleteSnapshot', name, snapshot)
  }
  addFolder(request: Parameters<AgentPort['addFolder']>[0]) {
    return this.#command('addFolder', request)
  }
  steerFolder(name: string, action: 'retry' | 'remove') {
    return this.#command('steerFolder', name, action)
  }
  async resync(name: string, action: 'now' | 'pause' | 'continue') {
    if (!this.current.volumes.some((one) => one.name === name)) throw noSuchVolume(name)
    await this.#command('resync', name, action)
  }
  hold(seconds: number) {
    return this.#command('hold', seconds)
  }
  release() {
    return this.#command('release')
  }
  stop() {
    return this.#command('stop')
  }
}

export const noSuchVolume = (name: string): UserError =>
  new UserError({
    code: 'no-such-volume',
    happened: `There is no shared disk "${name}" here.`,
    dataIsSafe: 'Nothing was changed.',
    next: 'See "mirrorbay volume list".',
  })
