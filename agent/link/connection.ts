/**
 * One TCP connection: first the handshake, then frames. It writes once for each turn of the event loop, and gives
 * itself up when it sent messages and heard nothing for a lease.
 */
import type { Socket } from 'node:net'
import { crc32 } from 'node:zlib'
import type { Clock, Timer } from '../kit/world.ts'
import { limits } from '../limits.ts'
import { type Handshake, type Identity, type Refusal, refusedMessage, type Step } from './handshake.ts'
import type { Message } from './messages.ts'
import { FrameParser } from './parser.ts'
import type { Stream } from './stream.ts'

/** Drawing: proving -> open -> closed; proving -> hushed -> closed (a cut cable: says nothing, waits for its time). */
type State = 'proving' | 'open' | 'hushed' | 'closed'

export interface ConnectionOwner {
  /** The peer is proved. @returns the stream that this connection carries from now on, or why not */
  onProved(connection: Connection, peer: Identity, peerReceived: number): Stream | Refusal
  /** After the stream is joined to the connection; messages that came with the handshake follow. */
  onOpen(connection: Connection): void
  onMessage(connection: Connection, message: Message, ordered: boolean): void
  /** Exactly once, for whatever reason. */
  onClosed(connection: Connection, why: string, refusal: Refusal | undefined): void
}

export interface Traffic {
  bytesSent: number
  bytesReceived: number
}

export class Connection {
  readonly side: 'dialer' | 'accepter'
  readonly #socket: Socket
  readonly #handshake: Handshake
  readonly #owner: ConnectionOwner
  readonly #clock: Clock
  readonly #traffic: Traffic
  readonly #parser: FrameParser
  readonly #handshakeTimer: Timer
  readonly #output: Uint8Array[] = []
  #state: State = 'proving'
  #stream: Stream | undefined
  #flushScheduled = false
  /** Monotonic milliseconds of the first message sent after the last byte received. */
  #unansweredSinceMs: number | undefined
  #outputCut = false

  constructor(options: {
    socket: Socket
    side: 'dialer' | 'accepter'
    handshake: Handshake
    handshakeMs: number
    owner: ConnectionOwner
    clock: Clock
    traffic: Traffic
  }) {
    this.side = options.side
    this.#socket = options.socket
    this.#handshake = options.handshake
    this.#owner = options.owner
    this.#clock = options.clock
    this.#traffic = options.traffic
    this.#parser = new FrameParser({ crc32, onFrame: this.#onFrame })
    this.#handshakeTimer = options.clock.after(options.handshakeMs, this.#onTooSlow)
    this.#listen(options.socket)
  }

  get remoteAddress(): string {
    return `${this.#socket.remoteAddress ?? '?'}:${this.#socket.remotePort ?? '?'}`
  }

  /** Something waits in the stream: it goes at the end of this turn of the event loop, with all else of the turn. */
  schedule(): void {
    if (this.#flushScheduled || this.#state !== 'open') return
    this.#flushScheduled = true
    setImmediate(this.#flush)
  }

  /** Whether a message outside the stream may still be taken: now or never. */
  canTakeUrgent(): boolean {
    return this.#socket.writableLength < limits.linkUrgentBytes
  }

  /** Every heartbeat: tells what was received if the peer may wait for it, and gives up a half-open connection. */
  tick(nowMs: number): void {
    if (this.#state !== 'open' || !this.#stream) return
    if (this.#unansweredSinceMs !== undefined && nowMs - this.#unansweredSinceMs > limits.leaseMs) {
      this.close('nothing heard for a lease while messages were sent')
      return
    }
    if (this.#outputCut) return
    this.#traffic.bytesSent += this.#stream.tick(this.#output)
    this.#write()
  }

  /** Our own event loop stood still: the silence until now is not the peer's (E3). */
  excuse(nowMs: number): void {
    if (this.#unansweredSinceMs !== undefined) this.#unansweredSinceMs = nowMs
  }

  /** As a pulled cable does: bytes wait in the two kernels, neither end is told. */
  cut(options: { input: boolean; output: boolean }): void {
    this.#outputCut = options.output
    if (options.input) this.#socket.pause()
    else if (this.#socket.isPaused()) this.#socket.resume()
    if (!options.output) this.schedule()
  }

  refuse(reason: Refusal): void {
    if (this.#state === 'closed') return
    if (this.#state !== 'hushed' && !this.#outputCut && !this.#socket.connecting) {
      this.#socket.write(refusedMessage(reason))
    }
    this.#finish(`refused: ${reason}`, reason, 'after-output')
  }

  close(why: string): void {
    if (this.#state !== 'closed') this.#finish(why, undefined, 'at-once')
  }

  /** Sends what waits, then closes; for a planned end. */
  end(): void {
    this.#flush()
    if (this.#state !== 'closed') this.#finish('this agent stops', undefined, 'after-output')
  }

  #listen(socket: Socket): void {
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 10_000)
    socket.on('data', this.#onData)
    socket.on('drain', () => this.schedule())
    socket.on('error', (error) => this.close(error.message))
    socket.on('close', () => this.close('closed by the other side'))
    if (socket.connecting) socket.once('connect', () => this.#start())
    else this.#start()
  }

  #start(): void {
    const first = this.#handshake.start()
    if (first && this.#state === 'proving') this.#socket.write(first)
  }

  readonly #onTooSlow = (): void => {
    if (this.#socket.connecting) this.close('no answer from the address')
    else this.refuse('too-slow')
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#traffic.bytesReceived += chunk.length
    this.#unansweredSinceMs = undefined
    if (this.#state === 'open') this.#parse(chunk)
    else if (this.#state === 'proving') this.#prove(this.#handshake.receive(chunk))
  }

  #prove({ output, outcome }: Step): void {
    if (output) this.#socket.write(output)
    switch (outcome.state) {
      case 'going':
        return
      case 'hush':
        this.#state = 'hushed'
        return
      case 'refused':
        this.#finish(
          `refused${outcome.byPeer ? ' by the other side' : ''}: ${outcome.reason}`,
          outcome.reason,
          'after-output',
        )
        return
      case 'done': {
        const stream = this.#owner.onProved(this, outcome.peer, outcome.peerReceived)
        if (typeof stream === 'string') {
          this.refuse(stream)
          return
        }
        this.#stream = stream
        this.#state = 'open'
        this.#handshakeTimer.cancel()
        this.#owner.onOpen(this)
        this.schedule()
        if (outcome.rest.length > 0) this.#parse(outcome.rest)
      }
    }
  }

  #parse(chunk: Buffer): void {
    if (this.#state !== 'open') return
    const wrong = this.#parser.push(chunk)
    if (wrong !== undefined) this.close(wrong)
    else this.schedule()
  }

  readonly #onFrame = (message: Message | undefined, number: number, acknowledged: number, bytes: number): boolean => {
    const stream = this.#stream
    if (!stream || this.#state !== 'open') return false
    const verdict = stream.received(number, acknowledged, bytes, message === undefined)
    switch (verdict) {
      case 'deliver':
      case 'outside':
        if (message) this.#owner.onMessage(this, message, verdict === 'deliver')
        return this.isOpen()
      case 'repeated':
        return true
      case 'gap':
      case 'impossible-acknowledgement':
        this.#parser.stop(`a frame out of order: ${verdict}`)
        return false
    }
  }

  /** Apart, since a message's receiver may have closed this connection. */
  isOpen(): boolean {
    return this.#state === 'open'
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false
    const stream = this.#stream
    if (this.#state !== 'open' || !stream) return
    if (this.#unansweredSinceMs === undefined && stream.hasMessages()) {
      this.#unansweredSinceMs = this.#clock.monotonicMs()
    }
    if (this.#outputCut) return
    this.#traffic.bytesSent += stream.take(limits.linkWindowBytes - this.#socket.writableLength, this.#output)
    this.#write()
    if (stream.hasMessages() && !this.#socket.writableNeedDrain) this.schedule()
  }

  /** One writev for all that was taken. */
  #write(): void {
    const output = this.#output
    const first = output[0]
    if (first === undefined) return
    if (output.length === 1) {
      this.#socket.write(first)
    } else {
      this.#socket.cork()
      for (const each of output) this.#socket.write(each)
      this.#socket.uncork()
    }
    output.length = 0
  }

  /** A cut cable carries no farewell either: then the socket stays as it is until the owner destroys it. */
  #finish(why: string, refusal: Refusal | undefined, when: 'at-once' | 'after-output'): void {
    this.#state = 'closed'
    this.#handshakeTimer.cancel()
    this.#stream = undefined
    if (!this.#outputCut) {
      if (when === 'after-output' && !this.#socket.connecting) this.#socket.destroySoon()
      else this.#socket.destroy()
    }
    this.#owner.onClosed(this, why, refusal)
  }

  /** Frees the socket whatever waits in it. */
  destroy(): void {
    this.close('destroyed')
    this.#socket.destroy()
  }
}
