/**
 * One client connection, from greeting to end. Pure: bytes come in, replies go out as batches, time and devices are
 * handed in.
 *
 *   negotiating ──► serving ──► draining ──► closed     (the client said DISC: finish, then close)
 *        │             ├──────► stopping ──► closed     (the server stops: finish, refuse what is new, then close)
 *        ├──► leaving ─┼───────────────────► closed     (last words are being sent)
 *        └─────────────┴───────────────────► closed     (lost, garbage, time over, outcome unknown, device gone)
 */
import { invariant, never } from '../../kit/failure.ts'
import { handBack } from '../../kit/slabs.ts'
import type { Clock, Timer } from '../../kit/world.ts'
import { limits } from '../../limits.ts'
import type { BlockClient, BlockDevice, BlockDevices } from '../../volume/block-device.ts'
import { ByteQueue } from './bytes.ts'
import { encodeGreeting } from './codec.ts'
import { Negotiation } from './negotiation.ts'
import { Replies, type ReplyBatch, type ReplyBlocks } from './replies.ts'
import { Transmission, type TransmissionOwner } from './transmission.ts'

/** What a session asks of the socket that carries it. None of these may call back into the session at once. */
export interface SessionSink {
  /** There is something to say: call `flush` once, at the end of this turn. */
  wake(): void
  /** Sends one batch; `sent` is called when it has been handed to the network. */
  write(batch: ReplyBatch): void
  /** Stop, and later go on, handing in received bytes. */
  pauseInput(): void
  resumeInput(): void
  /** The connection is over; `after-output` when the client should get to see that it ended in order. */
  close(how: 'after-output' | 'at-once', reason: CloseReason): void
}

/** Why a connection ended. The first group is normal life, the second is worth a line in the log. */
export type CloseReason =
  | 'finished'
  | 'lost'
  | 'server-stops'
  | 'device-gone'
  | 'negotiation-refused'
  | 'negotiation-overdue'
  | 'wrong-request-magic'
  | 'payload-too-large'
  | 'outcome-unknown'

export type SessionState = 'negotiating' | 'serving' | 'draining' | 'stopping' | 'leaving' | 'closed'

const changes: { readonly [from in SessionState]: readonly SessionState[] } = {
  negotiating: ['serving', 'leaving', 'closed'],
  serving: ['draining', 'stopping', 'closed'],
  draining: ['closed'],
  stopping: ['draining', 'closed'],
  leaving: ['closed'],
  closed: [],
}

export class Session implements TransmissionOwner {
  readonly #sink: SessionSink
  readonly #address: string
  readonly #queue = new ByteQueue()
  readonly #blocks: ReplyBlocks
  readonly #replies: Replies
  readonly #negotiation: Negotiation
  readonly #overdue: Timer
  #state: SessionState = 'negotiating'
  #device: BlockDevice | null = null
  #client: BlockClient | null = null
  #transmission: Transmission | null = null
  /** A limit is reached: nothing received is handled until something was answered or sent. */
  #held = false
  /** So much waits unhandled that the socket is not read either. */
  #paused = false
  #awake = false
  /** The batch that is being written; the next one collects meanwhile, so a slow client costs two. */
  #writing: ReplyBatch | null = null

  constructor(options: {
    devices: BlockDevices
    sink: SessionSink
    clock: Clock
    blocks: ReplyBlocks
    /** For people: where the client is. */
    address: string
  }) {
    this.#sink = options.sink
    this.#address = options.address
    this.#blocks = options.blocks
    this.#replies = new Replies(options.blocks)
    this.#negotiation = new Negotiation(options.devices, this.#replies)
    this.#overdue = options.clock.after(limits.negotiationMs, () => this.#close('at-once', 'negotiation-overdue'))
    this.#replies.raw(encodeGreeting())
    this.answered()
  }

  get state(): SessionState {
    return this.#state
  }

  /** The device that the client chose; null before. */
  get device(): BlockDevice | null {
    return this.#device
  }

  /** Bytes came from the client. They belong to the session until it, or the device, hands them back (kit/slabs.ts). */
  received(bytes: Uint8Array): void {
    if (!this.#listens()) return
    this.#queue.push(bytes)
    if (!this.#held) this.#run()
    this.#throttle()
  }

  /** The client sends no more (FIN). After DISC that is manners; before, nobody waits for answers any more. */
  inputEnded(): void {
    if (this.#listens()) this.#close('at-once', 'lost')
  }

  /** The connection is gone: nothing that waits is started any more (W9). */
  lost(): void {
    this.#close('at-once', 'lost')
  }

  /** The server stops: requests under way are finished, new ones refused, then the connection ends. */
  stop(): void {
    switch (this.#state) {
      case 'negotiating':
        this.#close('at-once', 'server-stops')
        return
      case 'serving':
        this.#change('stopping')
        if (this.#transmission !== null) this.#transmission.refusing = true
        this.answered()
        return
      case 'draining':
      case 'stopping':
      case 'leaving':
      case 'closed':
        return
      default:
        never(this.#state, 'Session.stop')
    }
  }

  /** The end of a turn in which the session asked for it: writes what was collected, reads on if there is room again. */
  flush(): void {
    this.#awake = false
    this.#proceed()
  }

  /** The batch was handed to the network (or was given up with it). */
  sent(batch: ReplyBatch): void {
    this.#writing = null
    if (this.#state === 'closed') return // its blocks may still be in the hands of a dying socket: not used again
    this.#blocks.giveBack(batch.blocks)
    handBack(batch.parts)
    this.#proceed()
  }

  /** Something was collected for the client (TransmissionOwner). */
  answered(): void {
    if (this.#awake) return
    this.#awake = true
    this.#sink.wake()
  }

  /** A request's outcome cannot be told (TransmissionOwner, W8). */
  outcomeUnknown(): void {
    this.#close('at-once', 'outcome-unknown')
  }

  #listens(): boolean {
    return this.#state === 'negotiating' || this.#state === 'serving' || this.#state === 'stopping'
  }

  #proceed(): void {
    if (this.#state === 'closed') return
    this.#write()
    if (this.#held && this.#listens()) {
      this.#run()
      this.#throttle()
    }
    this.#endIfFinished()
  }

  #write(): void {
    if (this.#writing !== null) return
    this.#writing = this.#replies.take()
    if (this.#writing !== null) this.#sink.write(this.#writing)
  }

  #endIfFinished(): void {
    if (this.#writing !== null || this.#replies.lengthBytes > 0 || (this.#transmission?.underway ?? 0) > 0) return
    if (this.#state === 'stopping') this.#close('after-output', 'server-stops')
    else if (this.#state === 'draining' || this.#state === 'leaving') this.#close('after-output', 'finished')
  }

  /** Handles all that was received, as far as the limits allow. */
  #run(): void {
    while (this.#listens()) {
      const step = this.#transmission === null ? this.#haggle() : this.#serve(this.#transmission)
      if (step === 'again') continue
      this.#held = step === 'full'
      return
    }
  }

  /**
   * A connection that is held is read on for a while all the same: its end (FIN) stands behind what it sent, and as long
   * as that is not seen, requests which its client has given up might still start (W9).
   */
  #throttle(): void {
    if (this.#state === 'closed') return
    const aheadBytes = this.#transmission === null ? 0 : limits.clientReadAheadBytes
    const paused = this.#held && this.#listens() && this.#queue.lengthBytes > aheadBytes
    if (this.#paused === paused) return
    this.#paused = paused
    if (paused) this.#sink.pauseInput()
    else this.#sink.resumeInput()
  }

  get #unsentBytes(): number {
    return this.#replies.lengthBytes + (this.#writing?.lengthBytes ?? 0)
  }

  #haggle(): 'again' | 'hungry' | 'full' {
    if (this.#unsentBytes > limits.clientUnsentBytes) return 'full'
    const haggled = this.#negotiation.step(this.#queue)
    if (this.#replies.lengthBytes > 0) this.answered()
    switch (haggled.kind) {
      case 'again':
        return 'again'
      case 'hungry':
        return 'hungry'
      case 'chosen':
        this.#attach(haggled.device, haggled.structured)
        return 'again'
      case 'goodbye':
        this.#change('leaving')
        this.#overdue.cancel()
        this.#queue.clear()
        return 'hungry'
      case 'refused':
        this.#close('at-once', 'negotiation-refused')
        return 'hungry'
      default:
        return never(haggled, 'Session.haggle')
    }
  }

  #attach(device: BlockDevice, structured: boolean): void {
    this.#overdue.cancel()
    this.#device = device
    const { sizeBytes, readOnly } = device
    const gone = () => this.#close('at-once', 'device-gone')
    const client = device.attach({ protocol: 'nbd', address: this.#address }, gone)
    this.#client = client
    const chosen = { sizeBytes, readOnly, structured }
    this.#transmission = new Transmission({ client, chosen, replies: this.#replies, owner: this })
    this.#change('serving')
  }

  #serve(transmission: Transmission): 'again' | 'hungry' | 'full' {
    const step = transmission.step(this.#queue, this.#unsentBytes)
    switch (step) {
      case 'again':
      case 'hungry':
      case 'full':
        return step
      case 'disconnect':
        this.#change('draining')
        this.#queue.clear()
        this.answered()
        return 'hungry'
      case 'garbage':
        this.#close('at-once', 'wrong-request-magic')
        return 'hungry'
      case 'payload-too-large':
        this.#close('at-once', 'payload-too-large')
        return 'hungry'
      default:
        return never(step, 'Session.serve')
    }
  }

  #change(to: SessionState): void {
    invariant(changes[this.#state].includes(to), 'N2', `a connection cannot go from ${this.#state} to ${to}`)
    this.#state = to
  }

  #close(how: 'after-output' | 'at-once', reason: CloseReason): void {
    if (this.#state === 'closed') return
    this.#change('closed')
    this.#overdue.cancel()
    this.#queue.clear()
    this.#client?.detach()
    this.#client = null
    this.#sink.close(how, reason)
  }
}
