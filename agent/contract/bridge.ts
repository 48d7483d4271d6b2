/**
 * How the window speaks to an agent. In Electron the preload offers this as `window.mirrorbay` and the main process
 * does the talking; in a browser the page makes it from fetch. Both import this, so that they
 * cannot drift apart. What comes through it is checked by the contract's schemas on the window's side.
 */
import { UserError } from '../kit/failure.ts'
import type { Client } from './client.ts'
import { type ErrorBody, toErrorBody } from './errors.ts'
import type { OperationId, RequestOf } from './operations.ts'

/** All a window may ask. It has no use for the rest of the table, and so no right to it. */
export const windowOperations = [
  'status',
  'createVolume',
  'resync',
  'growVolume',
  'deleteVolume',
  'restoreVolume',
  'purgeVolume',
  'makeSnapshot',
  'deleteSnapshot',
] as const satisfies readonly OperationId[]
export type WindowOperation = (typeof windowOperations)[number]

export const isWindowOperation = (id: unknown): id is WindowOperation =>
  windowOperations.some((operation) => operation === id)

/** `lost`: no answer came, and nobody knows whether the request arrived. */
export type Outcome =
  | { readonly kind: 'done'; readonly value: unknown }
  | { readonly kind: 'refused'; readonly error: ErrorBody }
  | { readonly kind: 'lost' }

/** What the stream brings. After `end` nothing more comes; `refusal` when the agent answered, but not with a stream. */
export type News =
  | { readonly kind: 'status'; readonly data: unknown }
  | { readonly kind: 'event'; readonly data: unknown }
  | { readonly kind: 'end'; readonly refusal: ErrorBody | null }

export interface Bridge {
  call(id: WindowOperation, request: unknown): Promise<Outcome>
  /** Opens one stream of news, with all events that are kept. @returns stop: no news after it */
  watch(told: (news: News) => void): () => void
}

/**
 * The bridge over a client: what is a refusal comes through in words, any other failure of the transport is `lost`.
 * @param client made with a transport that throws no UserErrors of its own
 */
export function bridgeFrom(client: Client): Bridge {
  return {
    async call(id, request) {
      try {
        // The agent parses every request with the schema of its operation; an ill-formed one comes back as a refusal.
        return { kind: 'done', value: await client.call(id, request as RequestOf<typeof id>) }
      } catch (error) {
        return error instanceof UserError ? { kind: 'refused', error: toErrorBody(error) } : { kind: 'lost' }
      }
    },
    watch(told) {
      const stop = new AbortController()
      void follow(client, told, stop.signal)
      return () => stop.abort()
    },
  }
}

async function follow(client: Client, told: (news: News) => void, signal: AbortSignal): Promise<void> {
  let refusal: ErrorBody | null = null
  try {
    for await (const news of client.stream({}, { signal })) told(news)
  } catch (error) {
    if (error instanceof UserError) refusal = toErrorBody(error)
  }
  if (!signal.aborted) told({ kind: 'end', refusal })
}
