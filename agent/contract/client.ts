/**
 * A typed client made from the table of operations. It does no I/O of its own: the window hands in the browser's
 * fetch, the command line a transport over the Unix socket. Answers are parsed at this border, refusals come out as
 * the same UserErrors that the agent threw.
 */
import type { z } from 'zod'
import { errorBody, fromErrorBody } from './errors.ts'
import {
  apiPrefix,
  type OperationId,
  type OperationShape,
  operations,
  type RequestOf,
  type ResponseOf,
} from './operations.ts'
import { refusals } from './refusals.ts'
import { badAnswer, SseParser } from './sse.ts'

/** The part of the browser's fetch that the client uses. */
export type Transport = (
  path: string,
  init: {
    readonly method: string
    readonly headers: Record<string, string>
    readonly body?: string
    readonly signal?: AbortSignal
  },
) => Promise<TransportAnswer>

export interface TransportAnswer {
  readonly status: number
  text(): Promise<string>
  readonly body: ReadableStream<Uint8Array> | AsyncIterable<Uint8Array> | null
}

type JsonId = { [Id in OperationId]: (typeof operations)[Id]['answers'] extends 'json' ? Id : never }[OperationId]
type Push = ResponseOf<'stream'>

export interface CallOptions {
  /** Ends the waiting. Without it, the transport waits as long as the operation's `waitMs` in the table says. */
  readonly signal?: AbortSignal
}

export interface Client {
  /** @throws UserError the agent's refusal, `bad-answer`, or what the transport throws */
  call<Id extends JsonId>(id: Id, request: RequestOf<Id>, options?: CallOptions): Promise<ResponseOf<Id>>
  /** The status now and at each change, and new events; ends when the agent closes or the signal aborts. */
  stream(request: RequestOf<'stream'>, options?: CallOptions): AsyncGenerator<Push, void, undefined>
}

export function createClient(transport: Transport): Client {
  const send = (id: OperationId, request: object, signal: AbortSignal) => {
    const { path, body } = address(id, request)
    const headers: Record<string, string> = { Accept: 'application/json, text/event-stream' }
    if (body !== null) headers['Content-Type'] = 'application/json'
    const method = operations[id].method.toUpperCase()
    return transport(path, { method, headers, signal, ...(body === null ? {} : { body: JSON.stringify(body) }) })
  }
  return {
    async call(id, request, options = {}) {
      const signal = options.signal ?? AbortSignal.timeout(operations[id].waitMs)
      // Every request is an object of the table's members; a type parameter hides that from the compiler.
      const answer = await send(id, request as object, signal)
      const body = parseJson(await answer.text())
      if (answer.status !== 200) throw refusalFrom(body, answer.status)
      // The schema of this id makes the response of this id; a lookup by a type parameter hides that from the compiler.
      const schema: z.ZodType = operations[id].response
      return checked(schema, body) as ResponseOf<typeof id>
    },
    async *stream(request, options = {}) {
      const answer = await send('stream', request, options.signal ?? new AbortController().signal)
      if (answer.status !== 200) throw refusalFrom(parseJson(await answer.text()), answer.status)
      if (answer.body === null) return
      const parser = new SseParser()
      for await (const chunk of chunks(answer.body)) {
        for (const { event, data } of parser.push(chunk)) {
          yield checked(operations.stream.response, { kind: event, data: parseJson(data) })
        }
      }
    },
  }
}

/** Puts each member of a request where the table wants it: path, query or body. */
function address(id: OperationId, request: object): { path: string; body: object | null } {
  const shape: OperationShape = operations[id]
  const rest: Record<string, unknown> = { ...request }
  const take = (name: string): string => {
    const value = rest[name]
    delete rest[name]
    return encodeURIComponent(String(value))
  }
  const path = apiPrefix + shape.path.replaceAll(/\{(\w+)\}/g, (_whole, name: string) => take(name))
  const query = Object.keys(shape.query?.shape ?? {}).filter((name) => rest[name] !== undefined)
  const search = query.map((name) => `${name}=${take(name)}`).join('&')
  return { path: search === '' ? path : `${path}?${search}`, body: shape.body === null ? null : rest }
}

/** Browsers without async iteration of streams have the reader. */
async function* chunks(body: NonNullable<TransportAnswer['body']>): AsyncGenerator<Uint8Array, void, undefined> {
  if (!('getReader' in body)) {
    yield* body
    return
  }
  const reader = body.getReader()
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value
  } finally {
    await reader.cancel()
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) throw badAnswer('it is not JSON')
    throw error
  }
}

function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  throw badAnswer(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'wrong shape'}`)
}

function refusalFrom(body: unknown, status: number): Error {
  const result = errorBody.safeParse(body)
  return result.success
    ? fromErrorBody(result.data)
    : status === 401
      ? refusals.notSignedIn()
      : badAnswer(`status ${status}`)
}
