/** One status for every state that the window can show. Examples for tests and pictures; nothing here is measured. */
import type { Event } from '../../agent/contract/events.ts'
import type {
  DeletedVolumeStatus,
  FolderStatus,
  PeerStatus,
  ReplicaStatus,
  ResyncStatus,
  SnapshotStatus,
  Status,
  VolumeStatus,
} from '../../agent/contract/status.ts'

const MB = 1_000_000
const GB = 1000 * MB
const GiB = 1024 ** 3

/** 22 Nov 2026, 14:20 in the machine's own time zone; "since" and "today" are told from the browser's clock. */
export const nowMs = new Date(2026, 10, 22, 14, 20).getTime()
const minutesAgo = (minutes: number) => nowMs - minutes * 60_000

const replica = (name: string, change: Partial<ReplicaStatus> = {}): ReplicaStatus => ({
  serverId: `id-${name}`,
  serverName: name,
  state: 'in-sync',
  connected: true,
  reason: null,
  sinceMs: null,
  ...change,
})

const peer = (name: string, change: Partial<PeerStatus> = {}): PeerStatus => ({
  id: `id-${name}`,
  name,
  role: 'storage',
  address: '192.168.1.12:7400',
  connected: true,
  roundTripMs: 0.31,
  sinceMs: minutesAgo(900),
  ...change,
})

const gone = { connected: false, roundTripMs: null, sinceMs: minutesAgo(18) } as const
const witness = peer('tie', { role: 'tiebreaker', address: '192.168.1.20:7400', roundTripMs: 1.2 })

const volume = (change: Partial<VolumeStatus> = {}): VolumeStatus => ({
  id: 'volume-1',
  name: 'fileserver',
  folder: 'main',
  sizeBytes: 2048 * GiB,
  allocatedBytes: 120 * GB,
  writeThrough: false,
  epoch: 4,
  arbiter: { kind: 'witness', serverId: 'id-tie', serverName: 'tie', reachable: true },
  serving: true,
  waiting: 'none',
  replicas: [replica('nas-1'), replica('nas-2')],
  survives: ['nas-1', 'nas-2'],
  resync: null,
  scrub: {
    progress: null,
    startedMs: null,
    endedMs: minutesAgo(3_000),
    readBytes: 0,
    repairedBytes: 0,
    unreadablePieces: 0,
  },
  clients: [{ protocol: 'nbd', address: '192.168.1.50' }],
  via: null,
  nbd: {
    tcp: 'nbd://192.168.1.11:10809/fileserver',
    unix: 'nbd+unix:///fileserver?socket=/var/lib/mirrorbay/nbd.sock',
  },
  snapshots: [],
  counters: {
    reads: 91_204,
    writes: 40_112,
    flushes: 812,
    readBytes: 41.2 * GB,
    writtenBytes: 12.7 * GB,
    mirroredWrites: 1_204,
    permissionsAsked: 12,
    permissionsYielded: 11,
    permissionsUsed: 131_316,
    permissionsWaited: 14,
    permissionConflicts: 3,
  },
  policing: {
    stretchBytes: 32 * GiB,
    exclusiveBytes: Array.from({ length: 64 }, (_, index) => (index < 48 ? 32 * GiB : 0)),
    sharedBytes: Array.from({ length: 64 }, (_, index) => (index < 48 ? 0 : 32 * GiB)),
    queued: 0,
    oldestMs: 0,
    waiting: [],
  },
  ...change,
})

const snapshot = (name: string, daysAgo: number, change: Partial<SnapshotStatus> = {}): SnapshotStatus => ({
  name,
  madeMs: minutesAgo(daysAgo * 24 * 60),
  sizeBytes: 2048 * GiB,
  allocatedBytes: daysAgo * 3.4 * GB,
  clients: [],
  nbd: { tcp: `nbd://192.168.1.11:10809/fileserver@${name}`, unix: null },
  ...change,
})

const deleted = (name: string, daysAgo: number, change: Partial<DeletedVolumeStatus> = {}): DeletedVolumeStatus => ({
  id: Buffer.from(name).toString('hex').padEnd(32, '0').slice(0, 32),
  name,
  sizeBytes: 200 * GiB,
  deletedMs: minutesAgo(daysAgo * 24 * 60),
  goneMs: minutesAgo((daysAgo - 7) * 24 * 60),
  wiping: null,
  ...change,
})

const folder = (change: Partial<FolderStatus> = {}): FolderStatus => ({
  name: 'main',
  path: '/var/lib/mirrorbay',
  state: 'ok',
  why: null,
  freeBytes: 3.2 * 1000 * GB,
  totalBytes: 8 * 1000 * GB,
  isLow: false,
  volumes: ['fileserver'],
  damaged: [],
  ...change,
})

const status = (change: Partial<Status> = {}): Status => ({
  product: 'mirrorbay',
  version: '0.1.0',
  server: {
    id: 'id-nas-1',
    name: 'nas-1',
    role: 'storage',
    run: 7,
    pid: 4711,
    dir: '/var/lib/mirrorbay',
    freeBytes: 3.2 * 1000 * GB,
    startedMs: minutesAgo(900),
  },
  folders: [folder()],
  peers: [peer('nas-2'), witness],
  volumes: [volume()],
  deletedVolumes: [],
  ...change,
})

const resync = (change: Partial<ResyncStatus> = {}): ResyncStatus => ({
  serverId: 'id-nas-2',
  serverName: 'nas-2',
  phase: 'comparing',
  totalBytes: 722 * GB,
  doneBytes: 310 * GB,
  movedBytes: 41 * GB,
  bytesPerSecond: 380 * MB,
  remainingSeconds: 1_084,
  startedMs: minutesAgo(14),
  ...change,
})

const outSilent = replica('nas-2', { state: 'out', connected: false, reason: 'silent', sinceMs: minutesAgo(18) })
const joining = replica('nas-2', { state: 'joining', reason: 'silent', sinceMs: minutesAgo(18) })
const preferred = { kind: 'preferred', serverId: 'id-nas-1', serverName: 'nas-1', reachable: true } as const
const three = [replica('nas-1'), replica('nas-2'), replica('nas-3')]

/** Every state by its name; the same names are the pictures' file names. */
export const states = {
  protected: status(),
  'protected-without-tiebreaker': status({
    peers: [peer('nas-2')],
    volumes: [volume({ arbiter: preferred, survives: ['nas-2'] })],
  }),
  'protected-catching-up': status({
    peers: [peer('nas-2'), peer('nas-3'), witness],
    volumes: [
      volume({
        replicas: [...three.slice(0, 2), replica('nas-3', { state: 'joining', reason: 'restarted', sinceMs: nowMs })],
        resync: resync({ serverId: 'id-nas-3', serverName: 'nas-3' }),
      }),
    ],
  }),
  'one-copy': status({
    peers: [peer('nas-2', gone), witness],
    volumes: [volume({ replicas: [replica('nas-1'), outSilent], survives: [] })],
  }),
  'one-copy-server-back': status({
    volumes: [
      volume({
        replicas: [replica('nas-1'), { ...outSilent, connected: true }],
        survives: [],
      }),
    ],
  }),
  'catching-up': status({
    volumes: [volume({ replicas: [replica('nas-1'), joining], survives: [], resync: resync() })],
  }),
  'catching-up-paused': status({
    volumes: [
      volume({
        replicas: [replica('nas-1'), joining],
        survives: [],
        resync: resync({ phase: 'paused', bytesPerSecond: null, remainingSeconds: null }),
      }),
    ],
  }),
  'waiting-for-server': status({
    peers: [peer('nas-2', gone)],
    volumes: [
      volume({
        arbiter: { kind: 'preferred', serverId: 'id-nas-2', serverName: 'nas-2', reachable: false },
        serving: false,
        waiting: 'arbiter',
        survives: [],
        replicas: [replica('nas-1'), replica('nas-2', { connected: false })],
      }),
    ],
  }),
  'waiting-for-tiebreaker': status({
    peers: [peer('nas-2', gone), { ...witness, ...gone }],
    volumes: [
      volume({
        arbiter: { kind: 'witness', serverId: 'id-tie', serverName: 'tie', reachable: false },
        serving: false,
        waiting: 'arbiter',
        survives: [],
        replicas: [replica('nas-1'), replica('nas-2', { connected: false })],
      }),
    ],
  }),
  'waiting-for-disk': status({
    peers: [peer('nas-2', gone), witness],
    volumes: [
      volume({
        serving: false,
        waiting: 'disk',
        survives: [],
        replicas: [replica('nas-1', { state: 'out', reason: 'disk-failed', sinceMs: minutesAgo(3) }), outSilent],
      }),
    ],
  }),
  'two-versions': status({
    volumes: [
      volume({
        serving: false,
        waiting: 'split-brain',
        survives: [],
        replicas: [replica('nas-1', { state: 'unknown' }), replica('nas-2', { state: 'unknown' })],
      }),
    ],
  }),
  'several-disks': status({
    folders: [folder({ volumes: ['accounting', 'fileserver'] })],
    volumes: [
      volume({ id: 'volume-2', name: 'accounting', sizeBytes: 200 * GiB, clients: [] }),
      volume({ replicas: [replica('nas-1'), joining], survives: [], resync: resync() }),
    ],
  }),
  snapshots: status({
    volumes: [
      volume({
        snapshots: [
          snapshot('before-update', 4),
          snapshot('friday', 2, { clients: [{ protocol: 'nbd', address: '192.168.1.50' }] }),
        ],
      }),
    ],
  }),
  'recently-deleted': status({
    deletedVolumes: [
      deleted('accounting', 2),
      deleted('fileserver', 1),
      deleted('archive', 3, { wiping: { doneBytes: 43 * GB, totalBytes: 200 * GB } }),
    ],
  }),
  'folder-missing': status({
    folders: [
      folder(),
      folder({
        name: 'disk2',
        path: '/mnt/disk2/mirrorbay',
        state: 'missing',
        why: 'There is no folder /mnt/disk2/mirrorbay.',
        freeBytes: null,
        totalBytes: null,
        volumes: ['archive'],
      }),
      folder({ name: 'disk3', path: '/mnt/disk3/mirrorbay', volumes: [] }),
    ],
  }),
  'folder-failed-and-one-nearly-full': status({
    folders: [
      folder({ freeBytes: 12 * GB, totalBytes: 480 * GB, isLow: true, volumes: [] }),
      folder({
        name: 'disk2',
        path: '/mnt/disk2/mirrorbay',
        state: 'failed',
        why: 'Its disk gave an error while it was in use.',
      }),
    ],
    volumes: [
      volume({
        folder: 'disk2',
        serving: false,
        waiting: 'resync',
        via: 'nas-2',
        survives: [],
        replicas: [replica('nas-1', { state: 'out', reason: 'disk-failed', sinceMs: minutesAgo(3) }), replica('nas-2')],
      }),
    ],
  }),
  'no-disk': status({ folders: [folder({ volumes: [] })], volumes: [] }),
  'no-disk-no-second-server': status({ peers: [], folders: [folder({ volumes: [] })], volumes: [] }),
  tiebreaker: status({
    server: { ...status().server, id: 'id-tie', name: 'tie', role: 'tiebreaker' },
    folders: [folder({ volumes: [] })],
    peers: [peer('nas-1'), peer('nas-2')],
    volumes: [],
  }),
} as const satisfies Record<string, Status>

export type StateName = keyof typeof states

/** A day's history: a server lost in the afternoon, yesterday's start. */
export const history: readonly Omit<Event, 'number'>[] = [
  { atMs: minutesAgo(900), kind: 'agent-started', volume: null, server: 'nas-1', details: {} },
  { atMs: minutesAgo(899), kind: 'peer-connected', volume: null, server: 'nas-2', details: {} },
  { atMs: minutesAgo(899), kind: 'peer-connected', volume: null, server: 'tie', details: {} },
  { atMs: minutesAgo(640), kind: 'volume-created', volume: 'fileserver', server: null, details: {} },
  { atMs: minutesAgo(640), kind: 'volume-serving', volume: 'fileserver', server: null, details: {} },
  { atMs: minutesAgo(74), kind: 'peer-lost', volume: null, server: 'nas-2', details: {} },
  { atMs: minutesAgo(74), kind: 'server-left', volume: 'fileserver', server: 'nas-2', details: { reason: 'silent' } },
  { atMs: minutesAgo(52), kind: 'peer-connected', volume: null, server: 'nas-2', details: {} },
  { atMs: minutesAgo(52), kind: 'resync-started', volume: 'fileserver', server: 'nas-2', details: {} },
  {
    atMs: minutesAgo(51),
    kind: 'server-joined',
    volume: 'fileserver',
    server: 'nas-2',
    details: { movedBytes: 3.1 * GB, durationMs: 61_000 },
  },
]
