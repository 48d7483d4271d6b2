/** What happened, for the activity list; the words are made in words.ts. */
import { z } from 'zod'

export const eventKind = z.enum([
  'agent-started',
  'agent-stopping',
  'peer-connected',
  'peer-lost',
  'volume-created',
  'volume-grown', // details.sizeBytes
  'volume-deleted', // offered to nobody any more; kept for some days
  'volume-restored',
  'volume-purged', // gone for good from this server's disk
  'snapshot-made', // details.snapshot
  'snapshot-deleted',
  'volume-serving',
  'volume-waiting',
  'volume-hosted', // computers at this server are served through another one; details.through: its name
  'server-left', // a replica left the in-sync set; details.reason as in replicaStatus
  'server-joined', // a replica is in sync again; details.movedBytes, details.durationMs
  'resync-started',
  'resync-voided', // an attempt ended without joining; details.why
  'resync-paused',
  'resync-continued',
  'repaired', // bytes that a disk could not give were taken from another copy; details.from, pieces, bytes
  'scrub-ended', // all that a server holds was read; details.readBytes, repairedBytes, unreadablePieces, durationMs
  'disk-failed', // a storage folder failed while it was in use; details.folder, path
  'folder-away', // a storage folder cannot be used at start; details.folder, path, state as in folderStatus
  'folder-back', // it is there now, and what lies in it is open; details.folder, path
  'space-low', // the disk of a storage folder is nearly full; details.folder, path, freeBytes
  'space-ok', // it is no more; the same
  'older-disk-found', // a disk shows an older state of itself (C12): restored, cloned, or it lost what it had confirmed
  'split-brain-found',
])

export const event = z.object({
  /** Counts upwards within one run of the agent. */
  number: z.number(),
  /** Milliseconds since 1970. */
  atMs: z.number(),
  kind: eventKind,
  volume: z.string().nullable(),
  server: z.string().nullable(),
  details: z.record(z.string(), z.union([z.string(), z.number()])),
})

export type EventKind = z.infer<typeof eventKind>
export type Event = z.infer<typeof event>
