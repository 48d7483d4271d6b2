/** What servers tell each other while they copy, settle, flush and resync: schemas of the control messages' bodies. */
import { z } from 'zod'
import { type ServerId, serverId, type VolumeId, volumeId } from '../kit/ids.ts'
import { limits } from '../limits.ts'

const idText = z.string().regex(/^[0-9a-f]{32}$/)
const volume = idText.transform((text): VolumeId => volumeId(text))
const server = idText.transform((text): ServerId => serverId(text))
const count = z.number().int().min(0).max(281_474_976_710_655)
/** E1: every message between replicas carries the session; C4: and the attempt (0 outside a resync). */
const scope = { volume, session: count, attempt: count }
const range = { offsetBytes: count, lengthBytes: count.min(1) }
/** 96 bits or more of a cryptographic hash, base64 (C4 asks for 64 at least). */
const digest = z.string().min(16).max(44)

export const mirrorMessages = {
  /** "Do you hold the same there?" The receiver raises its stamp for the region to `stamp` (C3). */
  'copy.compare': z.object({ ...scope, ...range, request: count, digest, stamp: count }),
  /** Null: the same. Else the receiver's own digest of every block of the piece. */
  'copy.compared': z.object({
    ...scope,
    request: count,
    blocks: z.array(digest).max(4096).nullable(),
    failed: z.boolean(),
  }),
  /** Answers a `copy` message: its blocks are applied. */
  'copy.applied': z.object({ ...scope, request: count, failed: z.boolean() }),
  /** The leader's order to a member (E9): give these bytes to the targets. */
  'settle.order': z.object({ ...scope, ...range, order: count, targets: z.array(server).min(1).max(limits.replicas) }),
  'settle.done': z.object({ ...scope, order: count, failed: z.boolean() }),
  /** R3: my disk cannot give these bytes; the answer is a `copy` message, or that nobody can. */
  'repair.ask': z.object({ ...scope, ...range, request: count }),
  'repair.failed': z.object({ ...scope, request: count }),
  /** C8: "set aside what this write needs at your disk"; when refused it executes nowhere. */
  'space.ask': z.object({ ...scope, ...range, request: count, kind: z.enum(['data', 'zero', 'zero-keep', 'discard']) }),
  'space.answer': z.object({ ...scope, request: count, granted: z.boolean() }),
  /** The write that asked will not come. */
  'space.drop': z.object({ ...scope, request: count }),
  /** C8: so many more slots may your writes take here without asking. */
  'space.credit': z.object({ ...scope, slots: count }),
  /** "Keep no more than that of it": answered by what is given back. */
  'space.recall': z.object({ ...scope, keep: count }),
  'space.return': z.object({ ...scope, slots: count }),
  /** W4: "make durable what you have applied". */
  'flush.ask': z.object({ ...scope, request: count }),
  'flush.done': z.object({ ...scope, request: count, failed: z.boolean() }),
  /** A drained replica that is not in sync asks the leader to resync it. */
  'join.request': z.object({ volume, knownId: idText, openedId: idText.nullable(), openedEpoch: count }),
  'join.refused': z.object({ volume, why: z.string().max(60) }),
  'join.begin': z.object({ ...scope }),
  /** The joiner has drained older executions and refuses them; these of its regions are in doubt. */
  'join.ready': z.object({ ...scope, marked: z.array(z.object({ first: count, last: count })).max(20_000) }),
  /** The leader to every member: send your writes to the joiner too. */
  'join.mirror': z.object({ ...scope, joiner: server }),
  /** C4: each write that the member has not yet confirmed, and each later one, goes to the joiner. */
  'join.mirroring': z.object({ ...scope }),
  /** Make durable all that was compared and applied in this attempt. */
  'join.sync': z.object({ ...scope, request: count }),
  'join.synced': z.object({ ...scope, request: count, failed: z.boolean() }),
  /** C10: give your word. */
  'join.word': z.object({ ...scope, joiner: server }),
  'join.worded': z.object({ ...scope, given: z.boolean() }),
  /** A member to the leader: this attempt should be void. */
  'join.trouble': z.object({ ...scope, joiner: server, why: z.string().max(60) }),
  'join.void': z.object({ ...scope, joiner: server, why: z.string().max(60) }),
  /** The source's measured progress, for everybody's window. */
  'join.progress': z.object({
    ...scope,
    joiner: server,
    phase: z.enum(['comparing', 'joining', 'paused']),
    totalBytes: count,
    doneBytes: count,
    movedBytes: count,
    bytesPerSecond: z.number().min(0).nullable(),
    startedMs: z.number(),
  }),
  /** Somebody asked for a scrub at another server. */
  'scrub.steer': z.object({ volume, action: z.enum(['now', 'stop']) }),
  /** Somebody pressed a button at a server that does not lead. */
  'resync.steer': z.object({ volume, action: z.enum(['now', 'pause', 'continue']) }),
} as const

export type MirrorMessageKind = keyof typeof mirrorMessages
export type MirrorMessage<Kind extends MirrorMessageKind> = z.infer<(typeof mirrorMessages)[Kind]>
/** A message as its sender gives it: the volume is added on the way. */
export type MirrorBody<Kind extends MirrorMessageKind> = Omit<MirrorMessage<Kind>, 'volume'>
/** Sends one of them to a server on the numbered stream. */
export type MirrorSend = <Kind extends MirrorMessageKind>(to: ServerId, kind: Kind, body: MirrorBody<Kind>) => void
