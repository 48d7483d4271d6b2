/**
 * The contract's table as HTTP: one route and one entry of the OpenAPI document for each operation. Requests are
 * parsed here, once; handlers see checked values only. No answer waits for a disk.
 */
import { OpenAPIHono } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { HTTPException } from 'hono/http-exception'
import type { ZodType, z } from 'zod'
import { errorBody, statusOf, toErrorBody } from '../contract/errors.ts'
import { apiPrefix, type OperationId, type OperationShape, operations } from '../contract/operations.ts'
import { refusals } from '../contract/refusals.ts'
import { InvariantBroken, UserError } from '../kit/failure.ts'
import type { Log } from '../kit/world.ts'
import { limits } from '../limits.ts'
import { type Console, signInPage } from './console.ts'
import type { Guard } from './guard.ts'
import type { Handlers, Via } from './handlers.ts'
import type { Streams } from './stream.ts'

export interface AppOptions {
  readonly handlers: Handlers
  readonly streams: Streams
  readonly console: Console
  /** Made once the console's port is known. */
  readonly guard: () => Guard
  readonly version: string
  readonly log: Log
}

type Environment = { Bindings: { via: Via } }
type App = OpenAPIHono<Environment>
type Call = Context<Environment>

export function makeApp(options: AppOptions): App {
  const app: App = new OpenAPIHono<Environment>()
  app.onError((error, c) => answerError(error, c, options.log))
  app.notFound((c) => refuse(c, refusals.noSuchPage()))
  app.use(async (c, next) => {
    const refused = admit(c, options.guard)
    if (refused === null) await next()
    else c.res = refused
    for (const [name, value] of fixedHeaders) c.res.headers.set(name, value)
    return undefined
  })
  const limit = bodyLimit({
    maxSize: limits.apiBodyBytes,
    onError: (c) => refuse(c, refusals.tooLarge(limits.apiBodyBytes)),
  })
  for (const id of Object.keys(operations)) {
    if (!isOperationId(id)) continue
    const shape: OperationShape = operations[id]
    describe(app, id, shape)
    app.on(shape.method.toUpperCase(), honoPath(shape), limit, async (c) => {
      const request = await parse(c, shape)
      return id === 'stream' ? openStream(c, options.streams, request) : answer(c, options.handlers, id, request)
    })
  }
  addDocument(app, options.version)
  app.get('*', (c) => {
    const page = c.env.via === 'console' && !c.req.path.startsWith('/api/') ? options.console.answer(c.req.path) : null
    return page ?? refuse(c, refusals.noSuchPage())
  })
  return app
}

const isOperationId = (id: string): id is OperationId => Object.hasOwn(operations, id)
const honoPath = ({ path }: OperationShape): string => apiPrefix + path.replaceAll(/\{(\w+)\}/g, ':$1')

/** On every answer, also on refusals: nothing is kept by caches, shown in foreign frames or guessed at. */
const fixedHeaders = [
  ['Cache-Control', 'no-store'],
  ['X-Content-Type-Options', 'nosniff'],
  ['Referrer-Policy', 'no-referrer'],
  ['X-Frame-Options', 'DENY'],
  ['Cross-Origin-Resource-Policy', 'same-origin'],
  ['Cross-Origin-Opener-Policy', 'same-origin'],
] as const

/** @returns null to go on, else the answer. The socket's rights are its file's; the console has its guard. */
function admit(c: Call, guard: () => Guard): Response | null {
  // HEAD would run a GET whose body nobody ends.
  if (c.req.method !== 'GET' && c.req.method !== 'POST') return refuse(c, refusals.noSuchPage())
  if (c.env.via === 'socket') return null
  const verdict = guard().judge({
    method: c.req.method,
    path: c.req.path,
    header: (name) => c.req.header(name),
    queryToken: c.req.query('token') ?? null,
  })
  if (verdict.kind === 'pass') return null
  if (verdict.kind === 'sign-in') {
    return new Response(null, { status: 303, headers: { Location: '/', 'Set-Cookie': verdict.cookie } })
  }
  const forProgram = c.req.path.startsWith('/api/') || c.req.path === '/openapi.json'
  return verdict.error.code === 'not-signed-in' && !forProgram ? signInPage() : refuse(c, verdict.error)
}

const refuse = (c: Call, error: UserError): Response => c.json(toErrorBody(error), statusOf(error.code))

function answerError(error: Error, c: Call, log: Log): Response {
  if (error instanceof UserError) return refuse(c, error)
  if (error instanceof HTTPException) return refuse(c, refusals.badRequest(error.message))
  log.error({ path: c.req.path, error: error.stack ?? error.message }, 'an API call failed')
  // A bug of ours is not swallowed (HOUSE rule 7): the caller gets an answer, then the agent stops.
  if (error instanceof InvariantBroken) {
    setImmediate(() => {
      throw error
    })
  }
  return refuse(c, refusals.internal())
}

/** Path, query and body, each parsed by its own schema, side by side. */
async function parse(c: Call, shape: OperationShape): Promise<Record<string, unknown>> {
  const params = shape.params === null ? {} : checked(shape.params, c.req.param())
  const query = shape.query === null ? {} : checked(shape.query, c.req.query())
  const body = shape.body === null ? {} : checked(shape.body, await json(c))
  return { ...params, ...query, ...body }
}

function checked(schema: ZodType<Record<string, unknown> | unknown>, value: unknown): Record<string, unknown> {
  const result = schema.safeParse(value)
  if (!result.success) throw refusals.badRequest(zodWords(result.error))
  // All request schemas are objects (OperationShape says so); zod's base type does not.
  return result.data as Record<string, unknown>
}

/** "sizeBytes: too small; name: …", at most three, one line. */
export function zodWords(error: z.ZodError): string {
  const told = error.issues.slice(0, 3).map((issue) => `${issue.path.join('.') || 'the request'}: ${issue.message}`)
  return `${told.join('; ')}.`
}

async function json(c: Call): Promise<unknown> {
  const type = c.req.header('content-type')?.split(';')[0]?.trim().toLowerCase()
  if (type !== 'application/json') throw refusals.notJson()
  const text = await c.req.text()
  try {
    return JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) throw refusals.badRequest('it is not valid JSON.')
    throw error
  }
}

function openStream(c: Call, streams: Streams, request: Record<string, unknown>): Response {
  // A browser that reconnects by itself tells the last number in this header instead.
  const last = Number(c.req.header('last-event-id') ?? Number.NaN)
  return streams.open(Number.isSafeInteger(last) && last >= 0 ? last : Number(request.after ?? 0))
}

async function answer(
  c: Call,
  handlers: Handlers,
  id: Exclude<OperationId, 'stream'>,
  request: Record<string, unknown>,
): Promise<Response> {
  // The compiler cannot tie the id to its request across a lookup; parse() used the schemas of the same id.
  const handler = handlers[id] as (request: Record<string, unknown>, via: Via) => unknown
  const body = await handler(request, c.env.via)
  return new Response(JSON.stringify(body), { headers: { 'Content-Type': 'application/json' } })
}

/** An operation's entry in the OpenAPI document. */
function describe(app: App, id: string, shape: OperationShape): void {
  const codes = new Map<number, string[]>()
  for (const code of ['bad-request', 'not-signed-in', 'internal', ...shape.errors]) {
    codes.set(statusOf(code), [...(codes.get(statusOf(code)) ?? []), code])
  }
  const errors = [...codes].map(([status, names]) => [status, jsonOf(names.join(', '), errorBody)] as const)
  const type = shape.answers === 'stream' ? 'text/event-stream' : 'application/json'
  app.openAPIRegistry.registerPath({
    method: shape.method,
    path: apiPrefix + shape.path,
    operationId: id,
    summary: shape.summary,
    request: {
      ...(shape.params === null ? {} : { params: shape.params }),
      ...(shape.query === null ? {} : { query: shape.query }),
      ...(shape.body === null
        ? {}
        : { body: { required: true, content: { 'application/json': { schema: shape.body } } } }),
    },
    responses: {
      200: { description: 'Done', content: { [type]: { schema: shape.response } } },
      ...Object.fromEntries(errors),
    },
  })
}

const jsonOf = (description: string, schema: ZodType) => ({
  description,
  content: { 'application/json': { schema } },
})

function addDocument(app: App, version: string): void {
  let text: string | null = null
  app.get('/openapi.json', () => {
    text ??= JSON.stringify(
      app.getOpenAPI31Document({ openapi: '3.1.0', info: { title: 'Mirrorbay control API', version } }),
    )
    return new Response(text, { headers: { 'Content-Type': 'application/json' } })
  })
}
