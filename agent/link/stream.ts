/**
 * One numbered stream for a pair of runs (E10), whatever connections carry it. Pure: messages go in, bytes for the
 * present connection come out; what was received is judged. A frame stays here until the peer acknowledged it, so a
 * lost connection costs nothing but sending again from the peer's last received number.
 *
 * Why each number is delivered exactly once and in order: the receiver takes only lastReceived + 1. A smaller number is
 * a repetition (dropped), a larger one a gap (the connection is given up; the next one starts at lastReceived + 1).
 */
import { invariant } from '../kit/failure.ts'
import { limits } from '../limits.ts'
import type { EncodedFrame, FrameEncoder } from './codec.ts'
import type { ControlMessage, Message } from './messages.ts'

/** What to do with a received frame. The last two: give the connection up. */
export type Verdict = 'deliver' | 'outside' | 'repeated' | 'gap' | 'impossible-acknowledgement'

export class Stream {
  readonly #encoder: FrameEncoder
  /** Frames from number #first on, in order, with no hole; below #head they are acknowledged and forgotten. */
  #frames: (EncodedFrame | undefined)[] = []
  #head = 0
  #firstNumber = 1
  #lastSent = 0
  /** Next number to hand to the present connection. */
  #cursor = 1
  #unacknowledgedBytes = 0
  #acknowledgedBytes = 0
  #urgent: EncodedFrame[] = []
  #urgentBytes = 0
  #lastReceived = 0
  /** The acknowledgement that the newest handed out frame of this connection carried. */
  #lastTold = 0
  #receivedBytes = 0
  /** The peer needs a sign of life: something came that it may be waiting to see answered. */
  #owesAnswer = false

  constructor(encoder: FrameEncoder) {
    this.#encoder = encoder
  }

  /** The last number taken from the peer. */
  get lastReceived(): number {
    return this.#lastReceived
  }

  /** Bytes of frames that the peer has not acknowledged, handed out or not. */
  get unacknowledgedBytes(): number {
    return this.#unacknowledgedBytes
  }

  /** Bytes of frames that the peer has acknowledged since the stream began. */
  get acknowledgedBytes(): number {
    return this.#acknowledgedBytes
  }

  /** Bytes waiting outside the stream. */
  get urgentBytes(): number {
    return this.#urgentBytes
  }

  /**
   * Appends to the stream.
   * @throws InvariantBroken N2 when four times limits.linkBacklogBytes wait: writes and copies hold credit for one each, so
   * this is our own bug
   */
  send(message: Message): void {
    const frame = this.#encoder.encode(message, this.#lastSent + 1, this.#lastReceived)
    this.#lastSent += 1
    this.#frames.push(frame)
    this.#unacknowledgedBytes += frame.bytes
    invariant(this.#unacknowledgedBytes <= 4 * limits.linkBacklogBytes, 'N2', 'a link backlog grew beyond all credit')
  }

  /** Outside the stream: overtakes what waits, is lost with the connection. False when too much waits already. */
  sendNow(message: ControlMessage): boolean {
    const frame = this.#encoder.encode(message, 0, this.#lastReceived)
    if (this.#urgentBytes + frame.bytes > limits.linkUrgentBytes) return false
    this.#urgent.push(frame)
    this.#urgentBytes += frame.bytes
    return true
  }

  /**
   * A new connection, told in its handshake what the peer has received. The told number may be older than what came
   * since by a connection that is now replaced: then repetitions are sent, which the peer drops.
   * @returns false when the peer claims what was never sent
   */
  attach(peerReceived: number): boolean {
    if (peerReceived > this.#lastSent) return false
    this.#acknowledged(peerReceived)
    this.#cursor = this.#firstNumber
    this.#urgent = []
    this.#urgentBytes = 0
    this.#lastTold = 0
    this.#owesAnswer = true
    return true
  }

  /** Whether messages wait for the connection. */
  hasMessages(): boolean {
    return this.#urgent.length > 0 || this.#cursor <= this.#lastSent
  }

  /**
   * Moves what goes next to `into`: everything outside the stream, then stream frames until `budgetBytes` are used up,
   * then an acknowledgement of its own if one is due and nothing carried it.
   * @returns bytes moved
   */
  take(budgetBytes: number, into: Uint8Array[]): number {
    let bytes = 0
    if (this.#urgent.length > 0) {
      for (const frame of this.#urgent) bytes += this.#put(frame, into)
      this.#urgent = []
      this.#urgentBytes = 0
    }
    while (this.#cursor <= this.#lastSent && bytes < budgetBytes) {
      const frame = this.#frames[this.#head + this.#cursor - this.#firstNumber]
      invariant(frame !== undefined, 'N3', `frame ${this.#cursor} is neither acknowledged nor kept`)
      bytes += this.#put(frame, into)
      this.#cursor += 1
    }
    if (this.#acknowledgementDue()) bytes += this.#put(this.#encoder.acknowledgement(this.#lastReceived), into)
    return bytes
  }

  /**
   * To be called every heartbeat: if the peer sent messages since the last output, or was not told of all that came,
   * gives an acknowledgement, so that it forgets what has arrived and does not take our having nothing to say for a
   * lost connection.
   * @returns bytes moved to `into`
   */
  tick(into: Uint8Array[]): number {
    // The frames since may all have been encoded before the last one came: then nobody told of it yet.
    if (!this.#owesAnswer && this.#lastTold === this.#lastReceived) return 0
    return this.#put(this.#encoder.acknowledgement(this.#lastReceived), into)
  }

  /** Judges a frame; `isEmpty` is one that only acknowledges. */
  received(number: number, acknowledged: number, bytes: number, isEmpty: boolean): Verdict {
    if (acknowledged > this.#lastSent) return 'impossible-acknowledgement'
    this.#acknowledged(acknowledged)
    if (!isEmpty) this.#owesAnswer = true
    if (number === 0) return 'outside'
    if (number <= this.#lastReceived) return 'repeated'
    if (number !== this.#lastReceived + 1) return 'gap'
    this.#lastReceived = number
    this.#receivedBytes += bytes
    return 'deliver'
  }

  #acknowledgementDue(): boolean {
    return (
      this.#lastReceived - this.#lastTold >= limits.linkAcknowledgeFrames ||
      this.#receivedBytes >= limits.linkAcknowledgeBytes
    )
  }

  #put(frame: EncodedFrame, into: Uint8Array[]): number {
    into.push(frame.head)
    for (const chunk of frame.chunks) into.push(chunk)
    // A frame that waited, or is sent again, tells an old number: harmless, acknowledgements only grow.
    if (frame.acknowledged >= this.#lastTold) {
      this.#lastTold = frame.acknowledged
      if (frame.acknowledged === this.#lastReceived) this.#receivedBytes = 0
    }
    this.#owesAnswer = false
    return frame.bytes
  }

  #acknowledged(number: number): void {
    while (this.#firstNumber <= number) {
      const frame = this.#frames[this.#head]
      invariant(frame !== undefined, 'N3', `frame ${this.#firstNumber} is neither acknowledged nor kept`)
      this.#unacknowledgedBytes -= frame.bytes
      this.#acknowledgedBytes += frame.bytes
      this.#frames[this.#head] = undefined
      this.#head += 1
      this.#firstNumber += 1
    }
    if (this.#cursor < this.#firstNumber) this.#cursor = this.#firstNumber
    if (this.#head > 1024 && this.#head * 2 > this.#frames.length) {
      this.#frames = this.#frames.slice(this.#head)
      this.#head = 0
    }
  }
}
