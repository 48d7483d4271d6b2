/**
 * What one server says about itself, its peers and its volumes: the facts that window, command line, API and lab show.
 * Facts only; the words for them are made in words.ts, so that everybody says the same.
 */
import { z } from 'zod'

/** A replica's part in its volume.
 * `in-sync` holds every acknowledged write; `joining` is being resynced; `out` waits to be resynced (away, failed, or
 * superseded); `unknown` when this server cannot tell. */
export const replicaState = z.enum(['in-sync', 'joining', 'out', 'unknown'])

export const arbiterKind = z.enum(['preferred', 'witness'])

/** Why a volume does not serve here and now, or `none`. */
export const waitingFor = z.enum([
  'none', // it serves
  'peers', // a session needs an in-sync server that does not answer
  'arbiter', // a decision is needed and the arbiter does not answer
  'forming', // a session is being formed (moments)
  'resync', // this server is not in sync: its clients are served through another one (`via`), or wait
  'sound-copy', // C2: somebody absent may hold more
  'split-brain', // E1: histories that do not continue each other
  'disk', // the last replica's disk failed
])

export const replicaStatus = z.object({
  serverId: z.string(),
  serverName: z.string(),
  state: replicaState,
  /** Whether this server has heard it lately; true for itself. */
  connected: z.boolean(),
  /** Why it is not in sync, in a stable word: `silent`, `restarted`, `left`, `disk-failed`, `disk-full`, `disk-slow`; null when in sync or unknown. */
  reason: z.string().nullable(),
  /** Milliseconds since 1970 when it left the in-sync set, as this server saw it; null when in sync or unknown. */
  sinceMs: z.number().nullable(),
})

/** A running or paused resync, as measured by its source. Absent numbers are null, never guessed. */
export const resyncStatus = z.object({
  serverId: z.string(),
  serverName: z.string(),
  phase: z.enum(['comparing', 'joining', 'paused']),
  /** Bytes of volume to compare in this attempt, and compared so far. */
  totalBytes: z.number(),
  doneBytes: z.number(),
  /** Bytes that differed and were sent. */
  movedBytes: z.number(),
  /** Bytes of volume compared per second over the last seconds; null in the first one. */
  bytesPerSecond: z.number().nullable(),
  /** Seconds left at that rate; null when the rate is not known. */
  remainingSeconds: z.number().nullable(),
  startedMs: z.number(),
})

/**
 * A storage folder of this server. `ok` open; `missing` not there, or an empty mount point; `failed` its disk gave an error;
 * `in-use` another agent has it; `damaged` not readable; `foreign` it holds another store than the one that belongs there.
 */
export const folderState = z.enum(['ok', 'missing', 'failed', 'in-use', 'damaged', 'foreign'])

export const folderStatus = z.object({
  /** `main` is the folder with config.json, which every server has. */
  name: z.string(),
  path: z.string(),
  state: folderState,
  /** In words, why it cannot be used; null while it can. */
  why: z.string().nullable(),
  /** Of the disk under it; null when not known. */
  freeBytes: z.number().nullable(),
  totalBytes: z.number().nullable(),
  /** The disk is nearly full. */
  isLow: z.boolean(),
  /** Names of the volumes whose copy lies there; of a folder that is away, as they were seen last. */
  volumes: z.array(z.string()),
  /** What in it does not fit together and is left alone. */
  damaged: z.array(z.string()),
})

/** Where clients reach it at this server; null where not offered. */
const nbdAddresses = z.object({ tcp: z.string().nullable(), unix: z.string().nullable() })

const connectedClient = z.object({ protocol: z.string(), address: z.string() })

/** A read-only image of a volume as it was at one moment, as it lies at this server. */
export const snapshotStatus = z.object({
  name: z.string(),
  /** Milliseconds since 1970. */
  madeMs: z.number(),
  /** Of the volume at that moment. */
  sizeBytes: z.number(),
  /** Space at this server that is held for it and that its volume does not use any more; what several snapshots hold
   * counts for the newest of them. */
  allocatedBytes: z.number(),
  clients: z.array(connectedClient),
  nbd: nbdAddresses,
})

/** A volume that a person deleted: offered to nobody, kept for a while, and removed for good then. */
export const deletedVolumeStatus = z.object({
  id: z.string(),
  name: z.string(),
  sizeBytes: z.number(),
  /** Milliseconds since 1970 when it was deleted, and before which it is not removed for good by itself: the days are counted
   * while the agent runs. */
  deletedMs: z.number(),
  goneMs: z.number(),
  /** Its bytes are being overwritten here before it is removed; null: they are not. */
  wiping: z.object({ doneBytes: z.number(), totalBytes: z.number() }).nullable(),
})

/** Who may write where, as this server knows it, and what waits for its turn. */
export const policingStatus = z.object({
  /** The volume in equal stretches, from its beginning: how many bytes of each this server may write, or only read, without asking
   * another one. */
  stretchBytes: z.number(),
  exclusiveBytes: z.array(z.number()),
  sharedBytes: z.array(z.number()),
  /** Requests of clients at this server that wait for their turn; milliseconds that the oldest one has waited. */
  queued: z.number(),
  oldestMs: z.number(),
  /** The oldest ones. `here`: behind an earlier request of this server; `servers`: another server has not let it yet. */
  waiting: z.array(
    z.object({
      mode: z.enum(['shared', 'exclusive']),
      offsetBytes: z.number(),
      lengthBytes: z.number(),
      forMs: z.number(),
      waitsFor: z.enum(['here', 'servers']),
    }),
  ),
})

export const volumeStatus = z.object({
  id: z.string(),
  name: z.string(),
  /** The storage folder of this server in which its copy lies. */
  folder: z.string(),
  sizeBytes: z.number(),
  /** Space of that folder's disk that this server's copy takes: what was never written takes none. */
  allocatedBytes: z.number(),
  /** Every write is on all disks before it is answered. */
  writeThrough: z.boolean(),
  epoch: z.number(),
  arbiter: z.object({
    kind: arbiterKind,
    serverId: z.string(),
    serverName: z.string(),
    /** Whether the register's server is connected now (always true when it is this server). */
    reachable: z.boolean(),
  }),
  /** Whether this server serves clients of this volume now. */
  serving: z.boolean(),
  waiting: waitingFor,
  replicas: z.array(replicaStatus),
  /** Names of servers of which any one may stop now without stopping work at the others. */
  survives: z.array(z.string()),
  resync: resyncStatus.nullable(),
  policing: policingStatus,
  /** Reading all that this server holds, to find what its disk has changed; of the run under way, else of the last one. */
  scrub: z.object({
    /** 0 to 1; null when none is under way. */
    progress: z.number().min(0).max(1).nullable(),
    startedMs: z.number().nullable(),
    /** Milliseconds since 1970 of the end of the last run, or of the first look at a new disk. */
    endedMs: z.number(),
    readBytes: z.number(),
    repairedBytes: z.number(),
    /** Pieces of 1 MiB that no copy could give. */
    unreadablePieces: z.number(),
  }),
  clients: z.array(connectedClient),
  /** Name of the server through which these clients are served while the copy here is not in sync; null: not through another. */
  via: z.string().nullable(),
  nbd: nbdAddresses,
  /** From the oldest on. */
  snapshots: z.array(snapshotStatus),
  /** Since the agent's start, requests that this server's clients got answered. */
  counters: z.object({
    reads: z.number(),
    writes: z.number(),
    flushes: z.number(),
    readBytes: z.number(),
    writtenBytes: z.number(),
    /** Copies of peers' writes applied here. */
    mirroredWrites: z.number(),
    /** Policing: requests that had to wait for another server's permission. */
    permissionsAsked: z.number(),
    /** Requests that began, of all those that had to ask another server before they could, and asks of other servers that had to
     * wait for requests of this one. */
    permissionsUsed: z.number(),
    permissionsWaited: z.number(),
    permissionConflicts: z.number(),
    permissionsYielded: z.number(),
  }),
})

export const peerStatus = z.object({
  /** Null before the first handshake. */
  id: z.string().nullable(),
  name: z.string(),
  role: z.enum(['storage', 'tiebreaker']),
  address: z.string(),
  connected: z.boolean(),
  /** Smoothed heartbeat round trip; null when not measured. */
  roundTripMs: z.number().nullable(),
  /** When it was connected or lost; null when never seen. */
  sinceMs: z.number().nullable(),
})

export const status = z.object({
  product: z.literal('mirrorbay'),
  version: z.string(),
  server: z.object({
    id: z.string(),
    name: z.string(),
    role: z.enum(['storage', 'tiebreaker']),
    run: z.number(),
    pid: z.number(),
    dir: z.string(),
    freeBytes: z.number().nullable(),
    startedMs: z.number(),
  }),
  /** Main first. */
  folders: z.array(folderStatus),
  peers: z.array(peerStatus),
  volumes: z.array(volumeStatus),
  deletedVolumes: z.array(deletedVolumeStatus),
})

export type ReplicaState = z.infer<typeof replicaState>
export type FolderState = z.infer<typeof folderState>
export type FolderStatus = z.infer<typeof folderStatus>
export type WaitingFor = z.infer<typeof waitingFor>
export type ReplicaStatus = z.infer<typeof replicaStatus>
export type ResyncStatus = z.infer<typeof resyncStatus>
export type SnapshotStatus = z.infer<typeof snapshotStatus>
export type DeletedVolumeStatus = z.infer<typeof deletedVolumeStatus>
export type VolumeStatus = z.infer<typeof volumeStatus>
export type PeerStatus = z.infer<typeof peerStatus>
export type Status = z.infer<typeof status>
