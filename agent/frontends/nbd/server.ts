/**
 * NBD over TCP and a Unix socket: the only file of this frontend that knows sockets. It carries bytes to sessions and
 * batches back, once per client and turn of the event loop.
 */
import { chmod, lstat, unlink } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { UserError } from '../../kit/failure.ts'
import { adoptIntoSlabs } from '../../kit/slab-socket.ts'
import { SlabPool } from '../../kit/slabs.ts'
import type { Clock, Log } from '../../kit/world.ts'
import { limits } from '../../limits.ts'
import type { BlockDevices, ClientDescription } from '../../volume/block-device.ts'
import { QuietLog } from '../quiet-log.ts'
import { type ReplyBatch, ReplyBlocks } from './replies.ts'
import { type CloseReason, Session, type SessionSink } from './session.ts'

export interface NbdServer {
  /** The TCP port that is listened on (the one asked for, or the one found for 0); null without TCP. */
  readonly port: number | null
  /** The clients that are connected now, by volume name; those still negotiating are in no list. */
  connections(): ReadonlyMap<string, readonly ClientDescription[]>
  /** Stops listening, lets requests under way finish for limits.frontendStopMs, then closes every connection. */
  close(): Promise<void>
}

export interface NbdServerOptions {
  readonly devices: BlockDevices
  readonly host: string
  /** 0 for any free port; null for no TCP. */
  readonly port: number | null
  /** Path of the Unix socket; null for none. A dead agent's leftover there is removed, a live one's is not touched. */
  readonly unixPath: string | null
  readonly clock: Clock
  readonly log: Log
}

/** What all connections of one server share. */
interface Shared {
  readonly devices: BlockDevices
  readonly clock: Clock
  readonly log: QuietLog
  readonly blocks: ReplyBlocks
  readonly slabs: SlabPool
  readonly connections: Set<Connection>
  /** Connections that have something to say in this turn. */
  awake: Connection[]
  /** Called when a connection has gone. */
  gone: () => void
}

/** Endings that are the client's fault and worth a line. */
const complaints: { readonly [reason in CloseReason]?: string } = {
  'negotiation-refused': 'an NBD client spoke no NBD, or asked for a volume that is not offered here',
  'negotiation-overdue': 'an NBD client did not finish its negotiation in time',
  'wrong-request-magic': 'an NBD client sent garbage instead of a request',
  'payload-too-large': 'an NBD client announced a write too large even to be refused',
  'outcome-unknown': 'an NBD client was disconnected because the outcome of its request cannot be known',
}

/** @throws UserError when the port or the socket path cannot be used */
export async function startNbdServer(options: NbdServerOptions): Promise<NbdServer> {
  const shared: Shared = {
    devices: options.devices,
    clock: options.clock,
    log: new QuietLog(options.clock, options.log),
    blocks: new ReplyBlocks(),
    slabs: new SlabPool(),
    connections: new Set(),
    awake: [],
    gone: () => undefined,
  }
  const listeners: Server[] = []
  try {
    let port: number | null = null
    if (options.port !== null) {
      const listener = await listenTcp(shared, options.host, options.port)
      listeners.push(listener)
      const address = listener.address()
      port = typeof address === 'object' && address !== null ? address.port : null
    }
    if (options.unixPath !== null) listeners.push(await listenUnix(shared, options.unixPath))
    return { port, connections: () => describe(shared), close: () => stop(shared, listeners) }
  } catch (error) {
    await Promise.all(listeners.map(closed))
    throw error
  }
}

/** One client's socket and its session. */
class Connection implements SessionSink {
  readonly address: string
  readonly session: Session
  readonly #shared: Shared
  readonly #socket: Socket

  constructor(shared: Shared, socket: Socket) {
    this.#shared = shared
    this.#socket = socket
    this.address = addressOf(socket)
    const { devices, clock, blocks } = shared
    socket.on('data', (bytes: Uint8Array) => this.session.received(bytes))
    socket.on('end', () => this.session.inputEnded())
    socket.on('error', (error) => {
      // A reset is how clients vanish: no news. 'close' follows and does what is to be done.
      this.#shared.log.debug('socket', { client: this.address, error: error.message }, 'an NBD connection broke')
    })
    socket.on('close', () => {
      this.session.lost()
      this.#shared.connections.delete(this)
      this.#shared.gone()
    })
    this.session = new Session({ devices, clock, blocks, sink: this, address: this.address })
  }

  wake(): void {
    const { awake, clock } = this.#shared
    awake.push(this)
    if (awake.length === 1) clock.nextTurn(() => flushAll(this.#shared))
  }

  write(batch: ReplyBatch): void {
    const { parts } = batch
    const last = parts.length - 1
    const sent = () => this.session.sent(batch)
    if (last > 0) this.#socket.cork()
    for (let index = 0; index < last; index += 1) this.#socket.write(parts[index] ?? nothing)
    this.#socket.write(parts[last] ?? nothing, sent)
    if (last > 0) this.#socket.uncork()
  }

  pauseInput(): void {
    this.#socket.pause()
  }

  resumeInput(): void {
    this.#socket.resume()
  }

  close(how: 'after-output' | 'at-once', reason: CloseReason): void {
    const complaint = complaints[reason]
    if (complaint !== undefined) this.#shared.log.warn(reason, { client: this.address }, complaint)
    if (how === 'at-once') {
      this.#socket.destroy()
      return
    }
    // Everything is written by now. Input is read on and dropped, so that what the client still sends makes no reset
    // that could overtake our last words; a client that does not close its end in time is closed.
    this.#socket.end()
    this.#socket.resume()
    const timer = this.#shared.clock.after(limits.clientLingerMs, () => this.#socket.destroy())
    this.#socket.once('close', () => timer.cancel())
  }

  destroy(): void {
    this.#socket.destroy()
  }
}

const nothing = new Uint8Array(0)

/** Those that wake while this goes on are flushed in the next turn. */
function flushAll(shared: Shared): void {
  const { awake } = shared
  shared.awake = []
  for (const connection of awake) connection.session.flush()
}

function addressOf(socket: Socket): string {
  const { remoteAddress, remotePort, remoteFamily } = socket
  if (remoteAddress === undefined) return 'unix socket'
  return remoteFamily === 'IPv6' ? `[${remoteAddress}]:${remotePort}` : `${remoteAddress}:${remotePort}`
}

function accept(shared: Shared, socket: Socket): void {
  if (shared.connections.size >= limits.clientConnections) {
    shared.log.warn('too-many', { limit: limits.clientConnections }, 'too many NBD connections; a new one was closed')
    socket.destroy()
    return
  }
  // Half-open: a client that says DISC and closes its sending side still gets the replies under way.
  const adopted = adoptIntoSlabs(socket, { pool: shared.slabs, allowHalfOpen: true })
  adopted.setKeepAlive(true, limits.clientProbeMs)
  shared.connections.add(new Connection(shared, adopted))
}

const makeListener = (shared: Shared): Server =>
  createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => accept(shared, socket))

/** Starts listening. @throws the system's error */
function listening(listener: Server, where: { host: string; port: number } | { path: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    listener.once('error', reject)
    listener.listen(where, () => {
      listener.off('error', reject)
      resolve()
    })
  })
}

const closed = (listener: Server): Promise<void> => new Promise((resolve) => listener.close(() => resolve()))
const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'unknown error'

async function listenTcp(shared: Shared, host: string, port: number): Promise<Server> {
  const listener = makeListener(shared)
  try {
    await listening(listener, { host, port })
  } catch (error) {
    throw new UserError({
      code: 'nbd-port',
      happened: `NBD cannot be offered at ${host}:${port} (${codeOf(error)}).`,
      dataIsSafe: 'Yes: nothing was started.',
      next: 'Free that port, or configure another address for NBD, and start again.',
    })
  }
  listener.on('error', (error) => shared.log.warn('listener', { error: error.message }, 'the NBD listener had trouble'))
  return listener
}

/** Whoever may connect may overwrite the disk: the owner and its group, nobody else. */
async function openAt(listener: Server, path: string): Promise<void> {
  await listening(listener, { path })
  await chmod(path, 0o660)
}

async function listenUnix(shared: Shared, path: string): Promise<Server> {
  const listener = makeListener(shared)
  const inUse = (reason: string): UserError =>
    new UserError({
      code: 'nbd-socket',
      happened: `NBD cannot be offered at the Unix socket ${path} (${reason}).`,
      dataIsSafe: 'Yes: nothing was started.',
      next: 'Stop the program that uses this socket, or configure another path, and start again.',
    })
  try {
    await openAt(listener, path).catch(async (error: unknown) => {
      if (codeOf(error) !== 'EADDRINUSE') throw error
      if (!(await isLeftover(path))) throw inUse('something else is there')
      await unlink(path)
      await openAt(listener, path)
    })
  } catch (error) {
    if (listener.listening) await closed(listener)
    throw error instanceof UserError ? error : inUse(codeOf(error))
  }
  listener.on('error', (error) => shared.log.warn('listener', { error: error.message }, 'the NBD listener had trouble'))
  return listener
}

/** @returns whether there is a socket at `path` that nobody listens on, as a killed agent leaves it */
async function isLeftover(path: string): Promise<boolean> {
  // Connecting to any other kind of file is refused just the same, and that file is somebody's data.
  if (!(await lstat(path)).isSocket()) return false
  return new Promise((resolve) => {
    const probe = connect(path)
    probe.once('connect', () => {
      probe.destroy()
      resolve(false)
    })
    probe.once('error', (error) => resolve(codeOf(error) === 'ECONNREFUSED'))
  })
}

function describe(shared: Shared): ReadonlyMap<string, readonly ClientDescription[]> {
  const byVolume = new Map<string, ClientDescription[]>()
  for (const { address, session } of shared.connections) {
    if (session.device === null) continue
    const clients = byVolume.get(session.device.name) ?? []
    clients.push({ protocol: 'nbd', address })
    byVolume.set(session.device.name, clients)
  }
  return byVolume
}

async function stop(shared: Shared, listeners: readonly Server[]): Promise<void> {
  const listenersClosed = Promise.all(listeners.map(closed))
  const allGone = new Promise<void>((resolve) => {
    shared.gone = () => {
      if (shared.connections.size === 0) resolve()
    }
    shared.gone()
  })
  for (const { session } of shared.connections) session.stop()
  const timer = shared.clock.after(limits.frontendStopMs, () => {
    for (const connection of shared.connections) connection.destroy()
  })
  await allGone
  timer.cancel()
  await listenersClosed
}
