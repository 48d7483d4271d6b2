/**
 * The control API's two doors: a Unix socket for whoever may read the storage folder, and a console for a browser on
 * this machine. Both serve the same operations from memory, so they answer also while a disk hangs.
 */
import { createServer, type Server } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import type { Fault } from '../contract/operations.ts'
import { invariant, UserError } from '../kit/failure.ts'
import type { Clock, Log } from '../kit/world.ts'
import { limits } from '../limits.ts'
import { makeApp } from './app.ts'
import { loadConsole } from './console.ts'
import { Guard } from './guard.ts'
import { makeHandlers, type Via } from './handlers.ts'
import type { AgentPort } from './port.ts'
import { listenOnSocket } from './socket.ts'
import { Streams } from './stream.ts'

export interface ControlOptions {
  readonly port: AgentPort
  /** Path of the Unix socket. */
  readonly socketPath: string
  /** A loopback address; port null: any free one. The token: at least 32 characters, kept by main.ts. */
  readonly console: { readonly host: '127.0.0.1' | '::1'; readonly port: number | null; readonly token: string }
  /** The renderer's built files; may be absent. */
  readonly rendererDir: string
  readonly version: string
  readonly allowFaults: boolean
  readonly setFault?: ((fault: Fault) => Promise<void>) | undefined
  readonly clock: Clock
  readonly log: Log
}

export interface Control {
  /** With its token: for the person at this machine, never for a log. */
  readonly consoleUrl: string
  readonly consolePort: number
  /** Ends streams, lets answers under way finish for limits.apiCloseMs, then closes. The socket's file is removed. */
  close(): Promise<void>
}

/** @throws UserError when a door cannot be opened (see socket.ts; `console-port-in-use`, `console-refused`) */
export async function startControl(options: ControlOptions): Promise<Control> {
  const { clock, log, port } = options
  const { host, token } = options.console
  invariant(token.length >= 32, 'C1', 'the console token has at least 32 characters')
  const consoleFiles = await loadConsole(options.rendererDir)
  const streams = new Streams({ port, clock })
  let consolePort = 0
  let guard = new Guard({ port: 0, token })
  const consoleUrl = () => `http://${host === '::1' ? '[::1]' : host}:${consolePort}/?token=${token}`
  const handlers = makeHandlers({ ...options, consoleUrl })
  const app = makeApp({ handlers, streams, console: consoleFiles, guard: () => guard, version: options.version, log })
  const serve = (via: Via): Server => makeServer((request) => app.fetch(request, { via }), log)

  const socketServer = serve('socket')
  const consoleServer = serve('console')
  const servers = [consoleServer, socketServer]
  try {
    consolePort = await listenOnLoopback(consoleServer, { host, port: options.console.port ?? 0 })
    guard = new Guard({ port: consolePort, token })
    await listenOnSocket(socketServer, options.socketPath)
  } catch (error) {
    await closeAll(servers, streams, clock)
    throw error
  }
  log.info({ socket: options.socketPath, consolePort }, 'the control API answers')
  return { consoleUrl: consoleUrl(), consolePort, close: () => closeAll(servers, streams, clock) }
}

function makeServer(fetch: (request: Request) => Response | Promise<Response>, log: Log): Server {
  const listener = getRequestListener(fetch, { overrideGlobalObjects: false })
  const server = createServer(
    { headersTimeout: limits.apiRequestMs, requestTimeout: limits.apiRequestMs, maxHeaderSize: 16 * 1024 },
    (incoming, outgoing) => {
      listener(incoming, outgoing).catch((error: unknown) => {
        log.warn({ error: String(error) }, 'an API connection ended in the middle of an answer')
        outgoing.destroy()
      })
    },
  )
  server.maxConnections = limits.apiConnections
  // For example no file descriptor left for one more connection: the caller sees it fail, the others go on.
  server.on('error', (error) => log.warn({ error: String(error) }, 'the control API could not take a connection'))
  return server
}

function listenOnLoopback(server: Server, at: { host: string; port: number }): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(portRefused(at.port, error)))
    server.listen({ host: at.host, port: at.port, exclusive: true }, () => {
      const address = server.address()
      // A listening TCP server has an address object; the string is for sockets' paths.
      invariant(address !== null && typeof address === 'object', 'C2', 'a listening console has a port')
      resolve(address.port)
    })
  })
}

function portRefused(port: number, error: NodeJS.ErrnoException): UserError {
  const inUse = error.code === 'EADDRINUSE'
  return new UserError({
    code: inUse ? 'console-port-in-use' : 'console-refused',
    happened: inUse
      ? `Another program already uses port ${port}, which is the console's.`
      : `The console cannot be opened on port ${port}: ${error.message}`,
    dataIsSafe: 'Your data was not touched.',
    next: 'Stop that program, or set control.port in config.json to a free port (null: any).',
  })
}

async function closeAll(servers: readonly Server[], streams: Streams, clock: Clock): Promise<void> {
  streams.close()
  const late = clock.after(limits.apiCloseMs, () => {
    for (const server of servers) server.closeAllConnections()
  })
  await Promise.all(servers.map(closed))
  late.cancel()
}

const closed = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    // The only error is "not running", which is what is wanted.
    server.close(() => resolve())
    server.closeIdleConnections()
  })
