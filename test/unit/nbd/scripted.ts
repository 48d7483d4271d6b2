/** One session without sockets: time, turns and the client's reading are moved by the test. */
import { type ReplyBatch, ReplyBlocks } from '../../../agent/frontends/nbd/replies.ts'
import { type CloseReason, Session, type SessionSink } from '../../../agent/frontends/nbd/session.ts'
import type { Clock } from '../../../agent/kit/world.ts'
import { devicesOf, MemoryDevice } from '../../kit/memory-device.ts'
import { ack, clientFlags, infoData, optionBytes, optionReplies, type Reply, replies } from './wire.ts'

export class ScriptedClock implements Clock {
  #nowMs = 0
  #turn: (() => void)[] = []
  #timers: { atMs: number; fire: () => void }[] = []

  monotonicMs(): number {
    return this.#nowMs
  }
  leaseMs(): number {
    return this.#nowMs
  }
  wallMs(): number {
    return this.#nowMs
  }
  after(delayMs: number, fire: () => void) {
    const timer = { atMs: this.#nowMs + delayMs, fire }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((one) => one !== timer)
      },
    }
  }
  nextTurn(fire: () => void): void {
    this.#turn.push(fire)
  }
  /** One turn of the event loop. @returns whether something happened in it */
  turn(): boolean {
    const due = this.#turn
    this.#turn = []
    for (const fire of due) fire()
    return due.length > 0
  }
  pass(milliseconds: number): void {
    this.#nowMs += milliseconds
    const due = this.#timers.filter((timer) => timer.atMs <= this.#nowMs)
    this.#timers = this.#timers.filter((timer) => timer.atMs > this.#nowMs)
    for (const timer of due) timer.fire()
  }
  get timers(): number {
    return this.#timers.length
  }
}

export class Scripted implements SessionSink {
  readonly clock = new ScriptedClock()
  readonly device: MemoryDevice
  readonly session: Session
  paused = false
  ended: { how: 'after-output' | 'at-once'; reason: CloseReason } | null = null
  /** Whether the client takes what it is sent. */
  reading = true
  /** Batches that were written. */
  writes = 0
  #said: Buffer[] = []
  #stuck: ReplyBatch | null = null

  constructor(options: { sizeBytes?: number; devices?: (first: MemoryDevice) => MemoryDevice[] } = {}) {
    const nextTurn = (fire: () => void) => this.clock.nextTurn(fire)
    this.device = new MemoryDevice({ name: 'disk', sizeBytes: options.sizeBytes ?? 1 << 20, nextTurn })
    this.device.recording = true
    this.session = new Session({
      devices: devicesOf(...(options.devices?.(this.device) ?? [this.device])),
      sink: this,
      clock: this.clock,
      blocks: new ReplyBlocks(),
      address: 'script',
    })
  }

  wake(): void {
    this.clock.nextTurn(() => this.session.flush())
  }
  write(batch: ReplyBatch): void {
    if (this.#stuck !== null) throw new Error('a batch was written while another one was under way')
    if (this.ended !== null) throw new Error('a batch was written after the end')
    if (batch.parts.reduce((sum, part) => sum + part.length, 0) !== batch.lengthBytes) throw new Error('batch length')
    this.writes += 1
    this.#stuck = batch
    if (this.reading) this.#take()
  }
  pauseInput(): void {
    if (this.paused) throw new Error('paused twice')
    this.paused = true
  }
  resumeInput(): void {
    if (!this.paused) throw new Error('resumed twice')
    this.paused = false
  }
  close(how: 'after-output' | 'at-once', reason: CloseReason): void {
    if (this.ended !== null) throw new Error('closed twice')
    this.ended = { how, reason }
  }

  /** The client reads again. */
  read(): void {
    this.reading = true
    if (this.#stuck !== null) this.#take()
  }

  /** Turns until nothing happens any more. @returns what the server said since the last call */
  settle(): Buffer {
    for (let turns = 0; this.clock.turn(); turns += 1) if (turns > 100_000) throw new Error('it never settles')
    return this.heard()
  }

  heard(): Buffer {
    const said = Buffer.concat(this.#said)
    this.#said = []
    return said
  }

  say(...messages: readonly Uint8Array[]): Buffer {
    for (const message of messages) this.session.received(message)
    return this.settle()
  }

  /** Negotiates up to transmission with the device named. */
  enter(options: { structured?: boolean; name?: string } = {}): this {
    this.say(clientFlags(3))
    if (options.structured === true) this.say(optionBytes(8))
    const said = optionReplies(this.say(optionBytes(7, infoData(options.name ?? 'disk'))))
    if (said.at(-1)?.type !== ack) throw new Error('GO was refused')
    return this
  }

  replies(bytes: Buffer, reads?: ReadonlyMap<bigint, number>): Reply[] {
    return replies(bytes, reads)
  }

  #take(): void {
    const batch = this.#stuck
    if (batch === null) return
    this.#said.push(...batch.parts.map((part) => Buffer.from(part)))
    this.clock.nextTurn(() => {
      this.#stuck = null
      this.session.sent(batch)
    })
  }
}
