/**
 * Every operation of the control API, as a table: HTTP routes and the OpenAPI document (control/), the typed client
 * (client.ts) and with it the command line and the window are made from it. A new operation is a new entry here, and
 * the compiler then asks for its handler. Knows zod and nothing of any framework.
 */
import { z } from 'zod'
import { isIdText } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import { nameText, snapshotName, storageFolder } from './config.ts'
import type { ErrorCode } from './errors.ts'
import { event } from './events.ts'
import { arbiterKind, status } from './status.ts'

/** Where all operations live. The number changes when an old client would misunderstand a new server. */
export const apiPrefix = '/api/v1'

/** The answer of what has been done and has nothing more to say. */
const done = z.object({ done: z.literal(true) })

export const volumeSize = z
  .number()
  .int()
  .min(limits.volumeMinBytes)
  .max(limits.volumeMaxBytes)
  .multipleOf(limits.blockBytes, `a size is a whole number of ${limits.blockBytes}-byte blocks`)

/** Faults for tests and labs, only at an agent that was started to allow them; of a disk, in one storage folder or in all. */
export const fault = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('disk-fail'), folder: nameText.optional() }),
  z.strictObject({ kind: z.literal('disk-full'), folder: nameText.optional() }),
  /** Every disk call takes this much longer. */
  z.strictObject({
    kind: z.literal('disk-slow'),
    delayMs: z.number().int().min(1).max(600_000),
    folder: nameText.optional(),
  }),
  /** Ends the disk faults. */
  z.strictObject({ kind: z.literal('off'), folder: nameText.optional() }),
  /** Cuts the link to a peer; `one-way` drops only what this server sends. */
  z.strictObject({ kind: z.literal('cut'), peer: nameText, oneWay: z.boolean().default(false) }),
  /** Ends all cuts. */
  z.strictObject({ kind: z.literal('heal') }),
])
export type Fault = z.infer<typeof fault>

/** The words for the facts, as words.ts makes them: for scripts and monitoring that should say what the window says. */
export const health = z.object({
  headline: z.string().nullable(),
  second: z.string(),
  volumes: z.array(
    z.object({ name: z.string(), headline: z.string(), second: z.string(), toDo: z.string().nullable() }),
  ),
})

export interface OperationShape {
  readonly method: 'get' | 'post'
  /** Under apiPrefix; `{name}` is a member of `params`. */
  readonly path: string
  readonly summary: string
  /** What stands in the path, behind the question mark, in the JSON body; null where there is none. */
  readonly params: z.ZodObject | null
  readonly query: z.ZodObject | null
  readonly body: z.ZodObject | z.ZodDiscriminatedUnion | null
  readonly response: z.ZodType
  /** `stream`: server-sent events, each one of `response`; `json`: one answer. */
  readonly answers: 'json' | 'stream'
  /** Milliseconds a caller should wait for an answer. */
  readonly waitMs: number
  /** What it may refuse with, besides what every call may (see control/README.md) and the engine's own refusals. */
  readonly errors: readonly ErrorCode[]
}

const volumeParams = z.strictObject({ volume: nameText })
const snapshotParams = z.strictObject({ volume: nameText, snapshot: snapshotName })
/** By their id, since several deleted volumes may have had one name. */
const deletedParams = z.strictObject({ id: z.string().refine(isIdText, 'it is not the id of a shared disk') })
const folderParams = z.strictObject({ folder: nameText })
const afterQuery = z.strictObject({
  /** Only events with a larger number; 0 for all that are kept. */
  after: z.coerce.number().int().min(0).default(0),
})

export const operations = {
  status: {
    method: 'get',
    path: '/status',
    summary: 'The facts about this server, its peers and its volumes',
    params: null,
    query: null,
    body: null,
    response: status,
    answers: 'json',
    waitMs: limits.apiCallMs,
    errors: [],
  },
  health: {
    method: 'get',
    path: '/health',
    summary: 'The same in words: one headline for each volume and what it means',
    params: null,
    query: null,
    body: null,
    response: health,
    answers: 'json',
    waitMs: limits.apiCallMs,
    errors: [],
  },
  events: {
    method: 'get',
    path: '/events',
    summary: `What happened: the last ${limits.events} events, oldest first`,
    params: null,
    query: afterQuery,
    body: null,
    response: z.object({ events: z.array(event) }),
    answers: 'json',
    waitMs: limits.apiCallMs,
    errors: [],
  },
  stream: {
    method: 'get',
    path: '/stream',
    summary: 'Server-sent events: `status` with the whole status now and on change, `event` for each new event',
    params: null,
    query: afterQuery,
    body: null,
    response: z.discriminatedUnion('kind', [
      z.object({ kind: z.literal('status'), data: status }),
      z.object({ kind: z.literal('event'), data: event }),
    ]),
    answers: 'stream',
    waitMs: limits.apiCallMs,
    errors: ['too-many-streams'],
  },
  createVolume: {
    method: 'post',
    path: '/volumes',
    summary: 'Creates a shared disk with a copy on this server and every connected storage server',
    params: null,
    query: null,
    body: z.strictObject({
      name: nameText,
      sizeBytes: volumeSize,
      /** Every write is on all disks before it is answered: for programs that never ask for a flush. Slower. */
      writeThrough: z.boolean().default(false),
      /** Who decides which copy goes on when servers lose sight of each other. */
      arbiter: arbiterKind.default('preferred'),
      /** For `preferred`: the server that may go on alone; the asked one when absent. */
      preferredServer: nameText.optional(),
      /** The storage folder of the asked server for its copy; the one with the most free space when absent. */
      folder: nameText.optional(),
    }),
    response: done,
    answers: 'json',
    waitMs: limits.apiLongCallMs,
    errors: ['volume-exists', 'folder-refused'],
  },
  scrub: {
    method: 'post',
    path: '/volumes/{volume}/scrub',
    summary: 'Reads all that every server holds, to find and repair what disks have changed: begin now, stop',
    params: volumeParams,
    query: null,
    body: z.strictObject({ action: z.enum(['now', 'stop']) }),
    response: done,
    answers: 'json',
    waitMs: limits.apiLongCallMs,
    errors: ['no-such-volume'],
  },
  resync: {
    method: 'post',
    path: '/volumes/{volume}/resync',
    summary: 'Brings the copy that is out of sync back: try now, pause, continue',
    params: volumeParams,
    query: null,
    body: z.strictObject({ action: z.enum(['now', 'pause', 'continue']) }),
    response: done,
    answers: 'json',
    waitMs: limits.apiLongCallMs,
    errors: ['no-such-volume'],
  },
  growVolume: {
    method: 'post',
    path: '/volumes/{volume}/grow',
    summary: 'Makes a shared disk larger while it is used; clients see it when they connect again',
    params: volumeParams,
    query: null,
    body: z.strictObject({ sizeBytes: volumeSize }),
    response: done,
    answers: 'json',
    waitMs: limits.apiLongCallMs,
    errors: ['no-such-volume', 'not-larger', 'volume-waits', 'disk-full'],
  },
  deleteVolume: {
    method: 'post',
    path: '/volumes/{volume}/delete',
    summary: 'Offers a shared disk to nobody any more, and keeps it for some days in which it can be restored',
    params: volumeParams,
    query: null,
    body: z.strictObject({}),
    response: done,
    answers: 'json',
    waitMs: limits.apiLongCallMs,
    errors: ['no-such-volume', 'volume-waits'],
  },
  restoreVolume: {
    method: 'post',
    path: '/deleted/{id}/restore',
    summary: 'Brings a recently deleted shared disk back, under its old name or another one',
    params: deletedParams,
    query: null,
    body: z.strictObject({ as: nameText.nullable().default(null) }),
    response: done,
    answers: 'json',
    waitMs: limits.apiLongCallMs,
    errors: ['no-such-volume', 'volume-exists', 'volume-waits'],
  },
  purgeVolume: {
    method: 'post',
    path: '/deleted/{id}/purge',
    summary: 'Removes a recently deleted shared disk for good, on every server',
    params: deletedParams,
    query: null,
    body: z.strictObject({
      /** Every byte is overwritten first, at every server. Slow. */
      wipe: z.boolean().default(false),
    }),
    response: done,
    answers: 'json',
    waitMs: limits.apiLongCallMs,
    errors: ['no-such-volume', 'not-deleted', 'volume-waits'],
  },
  makeSnapshot: {
    method: 'post',
    path: '/volumes/{volume}/snapshots',
    summary: 'Keeps what a shared disk holds now, read-only, at every server that has a complete copy',
    params: volumeParams,
    query: null,
    body: z.strictObject({ name: snapshotName }),
    response: done,
    answers: 'json',
    waitMs: limits.apiLongCallMs,
    errors: ['no-such-volume', 'image-exists', 'too-many-images', 'volume-waits', 'disk-full'],
  },
  deleteSnapshot: {
    method: 'post',
    path: '/volumes/{volume}/snapshots/{snapshot}/delete',
    summary: 'Deletes a snapshot at every server; who reads it is disconnected',
    params: snapshotParams,
    query: null,
    body: z.strictObject({}),
    response: done,
    answers: 'json',
    waitMs: limits.apiLongCallMs,
    errors: ['no-such-volume', 'no-such-image', 'volume-waits'],
  },
  addFolder: {
    method: 'post',
    path: '/folders',
    summary: 'Adds a storage folder to this server, best on another disk',
    params: null,
    query: null,
    body: z.strictObject({
      ...storageFolder.shape,
      /** The folder holds data of this server, and that is to be used. */
      takeOver: z.boolean().default(false),
    }),
    response: done,
    answers: 'json',
    waitMs: limits.apiLongCallMs,
    errors: [],
  },
  steerFolder: {
    method: 'post',
    path: '/folders/{folder}',
    summary:
      'Looks whether a missing storage folder is back (retry), or uses one in which nothing lies no more (remove)',
    params: folderParams,
    query: null,
    body: z.strictObject({ action: z.enum(['retry', 'remove']) }),
    response: done,
    answers: 'json',
    waitMs: limits.apiLongCallMs,
    errors: ['no-such-folder'],
  },
  hold: {
    method: 'post',
    path: '/hold',
    summary: 'Flushes and holds writes back for some seconds, so that copies can be compared',
    params: null,
    query: null,
    body: z.strictObject({ seconds: z.number().min(1).max(limits.holdSeconds).default(limits.holdSeconds) }),
    response: done,
    answers: 'json',
    waitMs: limits.apiLongCallMs,
    errors: [],
  },
  release: {
    method: 'post',
    path: '/release',
    summary: 'Ends a hold',
    params: null,
    query: null,
    body: z.strictObject({}),
    response: done,
    answers: 'json',
    waitMs: limits.apiCallMs,
    errors: [],
  },
  stop: {
    method: 'post',
    path: '/stop',
    summary: 'Stops this server in good order: hands over, flushes, ends',
    params: null,
    query: null,
    body: z.strictObject({}),
    response: done,
    answers: 'json',
    waitMs: limits.apiLongCallMs,
    errors: [],
  },
  console: {
    method: 'get',
    path: '/console',
    summary: "The address of this server's window for a browser, with its token; only over the local socket",
    params: null,
    query: null,
    body: null,
    response: z.object({ url: z.string() }),
    answers: 'json',
    waitMs: limits.apiCallMs,
    errors: ['not-allowed'],
  },
  setFault: {
    method: 'post',
    path: '/faults',
    summary: 'Makes a disk or a link misbehave, for tests; only where the agent was started to allow it',
    params: null,
    query: null,
    body: fault,
    response: done,
    answers: 'json',
    waitMs: limits.apiCallMs,
    errors: ['faults-not-allowed', 'not-built'],
  },
} as const satisfies Record<string, OperationShape>

export type Operations = typeof operations
export type OperationId = keyof Operations

/** An empty object adds nothing; zod's type of it would forbid every member of the others. */
type Members<Part> = string extends keyof Part ? unknown : Part
type Given<Part> = Part extends z.ZodType ? Members<z.input<Part>> : unknown
type Parsed<Part> = Part extends z.ZodType ? Members<z.output<Part>> : unknown
/** What a caller hands in: the members of path, query and body side by side. */
export type RequestOf<Id extends OperationId> = Given<Operations[Id]['params']> &
  Given<Operations[Id]['query']> &
  Given<Operations[Id]['body']>
/** The same after parsing, with defaults filled in. */
export type ParsedRequestOf<Id extends OperationId> = Parsed<Operations[Id]['params']> &
  Parsed<Operations[Id]['query']> &
  Parsed<Operations[Id]['body']>
export type ResponseOf<Id extends OperationId> = z.output<Operations[Id]['response']>
