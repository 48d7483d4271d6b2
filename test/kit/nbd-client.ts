/**
 * A small, complete NBD client for tests, the demo and the lab when no client of others is installed. It shares no line
 * with agent/frontends/nbd: a client that used our codec would share our mistakes. Written after the NBD protocol
 * document; checked against other servers by test/interop where they are installed.
 */
import { connect as connectSocket, type Socket } from 'node:net'

export type NbdErrorCode = 'EPERM' | 'EIO' | 'ENOMEM' | 'EINVAL' | 'ENOSPC' | 'EOVERFLOW' | 'ENOTSUP' | 'ESHUTDOWN'
const errorCodes = new Map<number, NbdErrorCode>([
  [1, 'EPERM'],
  [5, 'EIO'],
  [12, 'ENOMEM'],
  [22, 'EINVAL'],
  [28, 'ENOSPC'],
  [75, 'EOVERFLOW'],
  [95, 'ENOTSUP'],
  [108, 'ESHUTDOWN'],
])

/** The server answered a request with an error. */
export class NbdError extends Error {
  readonly code: NbdErrorCode
  constructor(value: number, request: string) {
    // The protocol document asks clients to take an unexpected value for EINVAL ("Error values").
    const code = errorCodes.get(value) ?? 'EINVAL'
    super(`${request}: ${code}`)
    this.name = 'NbdError'
    this.code = code
  }
}

/** The connection ended, so what was asked may or may not have been done. */
export class NbdConnectionLost extends Error {
  constructor(why: string) {
    super(`NBD connection lost: ${why}`)
    this.name = 'NbdConnectionLost'
  }
}

/** The server refused during negotiation; `reply` is its option reply type, e.g. 0x80000006 for an unknown export. */
export class NbdRefused extends Error {
  readonly reply: number
  constructor(reply: number, words: string) {
    super(`NBD server refused (0x${reply.toString(16)})${words === '' ? '' : `: ${words}`}`)
    this.name = 'NbdRefused'
    this.reply = reply
  }
}

export interface NbdConnectOptions {
  /** Ask for structured replies; default false. */
  readonly structured?: boolean
  /** Milliseconds until a server that does not answer the negotiation is given up; default 10 000. */
  readonly timeoutMs?: number
}

export const transmissionFlags = {
  hasFlags: 1,
  readOnly: 2,
  flush: 4,
  fua: 8,
  trim: 32,
  writeZeroes: 64,
  multiConn: 256,
} as const

interface Pending {
  readonly words: string
  readonly isRead: boolean
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** Structured replies: content so far, how much of it there is, the first error. */
  data: Buffer | null
  filledBytes: number
  error: number
  readonly resolve: (data: Buffer) => void
  readonly reject: (error: Error) => void
}

/** A parser that says how many bytes it wants next and gets exactly those. */
type Parser = Generator<number, void, Buffer>

const empty = Buffer.alloc(0)
const magic = { greeting: 0x4e42444d41474943n, option: 0x49484156454f5054n, optionReply: 0x3e889045565a9n }
const ack = 1
const isError = (reply: number): boolean => reply >= 0x8000_0000

function pathOrAddress(uri: string): { name: string; where: { path: string } | { host: string; port: number } } {
  const url = new URL(uri)
  const name = decodeURIComponent(url.pathname.replace(/^\//, ''))
  if (url.protocol === 'nbd+unix:') {
    const path = url.searchParams.get('socket')
    if (path === null) throw new TypeError(`no ?socket= in ${uri}`)
    return { name, where: { path } }
  }
  if (url.protocol !== 'nbd:') throw new TypeError(`not an NBD URI: ${uri}`)
  const host = url.hostname.replace(/^\[|\]$/g, '')
  return { name, where: { host: host === '' ? 'localhost' : host, port: url.port === '' ? 10809 : Number(url.port) } }
}

/** A socket whose bytes feed a parser. */
class Wire {
  readonly socket: Socket
  /** Settles when the connection has ended: null in order, else why. */
  readonly ended: Promise<Error | null>
  #parser: Parser | null = null
  #wantBytes = 0
  #chunks: Buffer[] = []
  #heldBytes = 0
  #failure: Error | null = null
  #onEnd: (why: Error) => void = () => undefined

  constructor(where: { path: string } | { host: string; port: number }) {
    this.socket = connectSocket(where)
    this.socket.setNoDelay(true)
    this.ended = new Promise((resolve) => this.socket.once('close', () => resolve(this.#failure)))
    this.socket.on('error', (error) => {
      this.#failure ??= error
    })
    this.socket.on('data', (bytes) => this.#feed(bytes))
    void this.ended.then((failure) => this.#onEnd(failure ?? new Error('closed by the server')))
  }

  /** Runs a parser to its end. @throws what the parser throws, NbdConnectionLost */
  run(parser: Parser): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#onEnd = (why) => reject(new NbdConnectionLost(why.message))
      this.#parser = (function* () {
        try {
          yield* parser
          resolve()
        } catch (error) {
          reject(error)
        }
      })()
      this.#advance(this.#parser.next())
      this.#drain()
    })
  }

  fail(why: Error): void {
    this.#failure ??= why
    this.socket.destroy()
  }

  #feed(bytes: Buffer): void {
    this.#chunks.push(bytes)
    this.#heldBytes += bytes.length
    this.#drain()
  }

  #drain(): void {
    while (this.#parser !== null && this.#heldBytes >= this.#wantBytes) {
      const [first] = this.#chunks
      const all = this.#chunks.length === 1 && first !== undefined ? first : Buffer.concat(this.#chunks)
      const rest = all.subarray(this.#wantBytes)
      this.#chunks = rest.length > 0 ? [rest] : []
      this.#heldBytes = rest.length
      this.#advance(this.#parser.next(all.subarray(0, this.#wantBytes)))
    }
  }

  #advance(step: IteratorResult<number, void>): void {
    if (step.done === true) this.#parser = null
    else this.#wantBytes = step.value
  }
}

function optionMessage(option: number, data: Buffer): Buffer {
  const header = Buffer.alloc(16)
  header.writeBigUInt64BE(magic.option, 0)
  header.writeUInt32BE(option, 8)
  header.writeUInt32BE(data.length, 12)
  return Buffer.concat([header, data])
}

/** Reads one option reply into `into`. */
function* optionReply(option: number, into: { type: number; data: Buffer }): Parser {
  const header = yield 20
  if (header.readBigUInt64BE(0) !== magic.optionReply) throw new Error('wrong option reply magic')
  if (header.readUInt32BE(8) !== option) throw new Error('the reply is to another option')
  const lengthBytes = header.readUInt32BE(16)
  if (lengthBytes > 1 << 20) throw new Error(`an option reply of ${lengthBytes} bytes`)
  into.type = header.readUInt32BE(12)
  into.data = lengthBytes > 0 ? yield lengthBytes : empty
}

function* greeting(wire: Wire): Parser {
  const hello = yield 18
  if (hello.readBigUInt64BE(0) !== magic.greeting || hello.readBigUInt64BE(8) !== magic.option) {
    throw new Error('the server does not speak newstyle NBD')
  }
  if ((hello.readUInt16BE(16) & 1) === 0) throw new Error('the server does not speak fixed newstyle')
  const flags = Buffer.alloc(4)
  flags.writeUInt32BE(hello.readUInt16BE(16) & 3, 0)
  wire.socket.write(flags)
}

function goData(name: string): Buffer {
  const text = Buffer.from(name)
  const data = Buffer.alloc(4 + text.length + 2)
  data.writeUInt32BE(text.length, 0)
  text.copy(data, 4)
  return data
}

function* enter(wire: Wire, name: string, structured: boolean, into: { size: bigint; flags: number }): Parser {
  yield* greeting(wire)
  const reply = { type: 0, data: empty }
  if (structured) {
    wire.socket.write(optionMessage(8, empty))
    yield* optionReply(8, reply)
    if (reply.type !== ack) throw new NbdRefused(reply.type, 'structured replies')
  }
  wire.socket.write(optionMessage(7, goData(name)))
  for (;;) {
    yield* optionReply(7, reply)
    if (isError(reply.type)) throw new NbdRefused(reply.type, reply.data.toString())
    if (reply.type === ack) return
    if (reply.type === 3 && reply.data.readUInt16BE(0) === 0) {
      into.size = reply.data.readBigUInt64BE(2)
      into.flags = reply.data.readUInt16BE(10)
    }
  }
}

function* listNames(wire: Wire, into: string[]): Parser {
  yield* greeting(wire)
  wire.socket.write(optionMessage(3, empty))
  const reply = { type: 0, data: empty }
  for (;;) {
    yield* optionReply(3, reply)
    if (isError(reply.type)) throw new NbdRefused(reply.type, reply.data.toString())
    if (reply.type === ack) return
    const nameBytes = reply.data.readUInt32BE(0)
    into.push(reply.data.subarray(4, 4 + nameBytes).toString())
  }
}

/** Runs a negotiation under a time limit; the socket is closed when it fails. */
async function negotiated(wire: Wire, parser: Parser, timeoutMs: number): Promise<void> {
  const timer = setTimeout(() => wire.fail(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
  try {
    await wire.run(parser)
  } catch (error) {
    wire.socket.destroy()
    throw error
  } finally {
    clearTimeout(timer)
  }
}

/** @param uri `nbd://host:port` or `nbd+unix:///?socket=/path` @returns the names of the exports */
export async function listNbdExports(uri: string, options: NbdConnectOptions = {}): Promise<string[]> {
  const wire = new Wire(pathOrAddress(uri).where)
  const names: string[] = []
  await negotiated(wire, listNames(wire, names), options.timeoutMs ?? 10_000)
  wire.socket.end(optionMessage(2, empty))
  wire.socket.resume()
  await wire.ended
  return names
}

/**
 * @param uri `nbd://host:port/name` or `nbd+unix:///name?socket=/path`; an empty name asks for the default export
 * @throws NbdRefused when the export is not offered, NbdConnectionLost when there is no server
 */
export async function connectNbd(uri: string, options: NbdConnectOptions = {}): Promise<NbdClient> {
  const { name, where } = pathOrAddress(uri)
  const wire = new Wire(where)
  const told = { size: 0n, flags: 0 }
  await negotiated(wire, enter(wire, name, options.structured ?? false, told), options.timeoutMs ?? 10_000)
  return new NbdClient(wire, { name, sizeBytes: Number(told.size), flags: told.flags })
}

/** One connection. Any number of requests may be under way; each promise settles with its own reply. */
export class NbdClient {
  readonly name: string
  readonly sizeBytes: number
  /** Transmission flags, see transmissionFlags. */
  readonly flags: number
  /** Settles when the connection has ended, for whatever reason: null after disconnect(), else why. Never rejects. */
  readonly ended: Promise<Error | null>
  readonly #wire: Wire
  readonly #pending = new Map<bigint, Pending>()
  #nextCookie = 1n
  #leaving = false
  #over: Error | null = null
  #corked = false

  constructor(wire: Wire, told: { name: string; sizeBytes: number; flags: number }) {
    this.#wire = wire
    this.name = told.name
    this.sizeBytes = told.sizeBytes
    this.flags = told.flags
    void wire.run(this.#replies()).catch((error: Error) => wire.fail(error))
    this.ended = wire.ended.then((failure) => {
      const why = this.#leaving ? null : (failure ?? new Error('closed by the server'))
      this.#over = new NbdConnectionLost(why?.message ?? 'disconnected')
      for (const pending of this.#pending.values()) pending.reject(this.#over)
      this.#pending.clear()
      return why
    })
  }

  /** @param lengthBytes up to 32 MiB */
  read(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    return this.#ask({ command: 0, flags: 0, offsetBytes, lengthBytes })
  }

  async write(offsetBytes: number, data: Uint8Array, options: { fua?: boolean } = {}): Promise<void> {
    await this.#ask({ command: 1, flags: options.fua ? 1 : 0, offsetBytes, lengthBytes: data.length, data })
  }

  async flush(): Promise<void> {
    await this.#ask({ command: 3, flags: 0, offsetBytes: 0, lengthBytes: 0 })
  }

  async trim(offsetBytes: number, lengthBytes: number, options: { fua?: boolean } = {}): Promise<void> {
    await this.#ask({ command: 4, flags: options.fua ? 1 : 0, offsetBytes, lengthBytes })
  }

  async zero(offsetBytes: number, lengthBytes: number, options: { fua?: boolean; noHole?: boolean } = {}) {
    const flags = (options.fua ? 1 : 0) | (options.noHole ? 2 : 0)
    await this.#ask({ command: 6, flags, offsetBytes, lengthBytes })
  }

  /** Says goodbye and waits until the server has closed; requests under way are finished by the server first. */
  async disconnect(): Promise<void> {
    if (this.#over !== null) return
    this.#leaving = true
    this.#wire.socket.write(this.#header({ command: 2, flags: 0, offsetBytes: 0, lengthBytes: 0 }, 0n))
    await this.ended
  }

  /** Vanishes without goodbye, as a killed client does. */
  destroy(): void {
    const { socket } = this.#wire
    // A Unix socket knows no reset.
    if (socket.remoteFamily === undefined) socket.destroy()
    else socket.resetAndDestroy()
  }

  #header(
    request: { command: number; flags: number; offsetBytes: number; lengthBytes: number },
    cookie: bigint,
  ): Buffer {
    const header = Buffer.alloc(28)
    header.writeUInt32BE(0x25609513, 0)
    header.writeUInt16BE(request.flags, 4)
    header.writeUInt16BE(request.command, 6)
    header.writeBigUInt64BE(cookie, 8)
    header.writeBigUInt64BE(BigInt(request.offsetBytes), 16)
    header.writeUInt32BE(request.lengthBytes, 24)
    return header
  }

  #ask(request: {
    command: number
    flags: number
    offsetBytes: number
    lengthBytes: number
    data?: Uint8Array
  }): Promise<Buffer> {
    if (this.#over !== null) return Promise.reject(this.#over)
    const cookie = this.#nextCookie
    this.#nextCookie += 1n
    const { command, offsetBytes, lengthBytes, data } = request
    const words = `${['read', 'write', 'disconnect', 'flush', 'trim', 'cache', 'zero'][command]} ${offsetBytes}+${lengthBytes}`
    return new Promise((resolve, reject) => {
      const isRead = command === 0
      const fresh = { data: null, filledBytes: 0, error: 0 }
      this.#pending.set(cookie, { words, isRead, offsetBytes, lengthBytes, ...fresh, resolve, reject })
      const { socket } = this.#wire
      if (!this.#corked) this.#cork(socket)
      socket.write(this.#header(request, cookie))
      if (data !== undefined && data.length > 0) socket.write(data)
    })
  }

  /** Requests made in one turn go out together. */
  #cork(socket: Socket): void {
    this.#corked = true
    socket.cork()
    setImmediate(() => {
      this.#corked = false
      socket.uncork()
    })
  }

  *#replies(): Parser {
    for (;;) {
      const start = yield 4
      const kind = start.readUInt32BE(0)
      if (kind === 0x67446698) yield* this.#simple()
      else if (kind === 0x668e33ef) yield* this.#chunk()
      else throw new Error(`wrong reply magic 0x${kind.toString(16)}`)
    }
  }

  #find(cookie: bigint): Pending {
    const pending = this.#pending.get(cookie)
    if (pending === undefined) throw new Error(`a reply to nothing that was asked (cookie ${cookie})`)
    return pending
  }

  *#simple(): Parser {
    const rest = yield 12
    const error = rest.readUInt32BE(0)
    const cookie = rest.readBigUInt64BE(4)
    const pending = this.#find(cookie)
    const data = error === 0 && pending.isRead && pending.lengthBytes > 0 ? yield pending.lengthBytes : empty
    this.#pending.delete(cookie)
    if (error === 0) pending.resolve(Buffer.from(data))
    else pending.reject(new NbdError(error, pending.words))
  }

  *#chunk(): Parser {
    const header = yield 16
    const isLast = (header.readUInt16BE(0) & 1) === 1
    const type = header.readUInt16BE(2)
    const cookie = header.readBigUInt64BE(4)
    const lengthBytes = header.readUInt32BE(12)
    const pending = this.#find(cookie)
    const payload = lengthBytes > 0 ? yield lengthBytes : empty
    this.#content(pending, type, payload)
    if (!isLast) return
    this.#pending.delete(cookie)
    if (pending.error !== 0) pending.reject(new NbdError(pending.error, pending.words))
    else if (pending.isRead && pending.filledBytes !== pending.lengthBytes) throw new Error('a read reply has gaps')
    else pending.resolve(pending.data ?? empty)
  }

  #content(pending: Pending, type: number, payload: Buffer): void {
    if (type === 0) return
    if ((type & 0x8000) !== 0) {
      pending.error ||= payload.readUInt32BE(0)
      return
    }
    if (type !== 1 && type !== 2) throw new Error(`a reply chunk of unknown type ${type}`)
    const at = Number(payload.readBigUInt64BE(0)) - pending.offsetBytes
    const bytes = type === 1 ? payload.subarray(8) : Buffer.alloc(payload.readUInt32BE(8))
    if (at < 0 || at + bytes.length > pending.lengthBytes) throw new Error('a reply chunk outside its request')
    pending.data ??= Buffer.alloc(pending.lengthBytes)
    bytes.copy(pending.data, at)
    pending.filledBytes += bytes.length
  }
}
