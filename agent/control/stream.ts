/**
 * Server-sent events with a bounded memory: nothing is queued for a reader. When it has taken the last message and
 * something has changed since, it gets the status of that moment and the events it has not had. A slow reader sees
 * fewer, newer states; one that takes nothing for limits.apiStreamStalledMs is dropped.
 */
import type { Event } from '../contract/events.ts'
import { refusals } from '../contract/refusals.ts'
import type { Clock, Timer } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { AgentPort } from './port.ts'

type Controller = ReadableStreamDefaultController<Uint8Array>

export class Streams {
  readonly #port: AgentPort
  readonly #clock: Clock
  readonly #open = new Set<Stream>()
  readonly #stopListening: () => void

  constructor(options: { port: AgentPort; clock: Clock }) {
    this.#port = options.port
    this.#clock = options.clock
    this.#stopListening = options.port.onChange(() => {
      for (const stream of this.#open) stream.changed()
    })
  }

  get size(): number {
    return this.#open.size
  }

  /**
   * @param after number of the last event the reader has; a number from an earlier run of the agent counts as 0
   * @throws UserError `too-many-streams` beyond limits.apiStreams
   */
  open(after: number): Response {
    if (this.#open.size >= limits.apiStreams) throw refusals.tooManyStreams()
    const newest = this.#port.events().at(-1)?.number ?? 0
    const stream = new Stream({
      port: this.#port,
      clock: this.#clock,
      after: after > newest ? 0 : after,
      ended: () => this.#open.delete(stream),
    })
    this.#open.add(stream)
    return new Response(stream.body, { headers: { 'Content-Type': 'text/event-stream', 'X-Accel-Buffering': 'no' } })
  }

  close(): void {
    this.#stopListening()
    for (const stream of [...this.#open]) stream.close()
  }
}

/** One reader. `#wanted` is set while it wants the next message: the state is idle, wanted, or ended. */
class Stream {
  readonly body: ReadableStream<Uint8Array>
  readonly #port: AgentPort
  readonly #clock: Clock
  readonly #onEnd: () => void
  readonly #encoder = new TextEncoder()
  #after: number
  #dirty = true
  #ended = false
  #controller: Controller | null = null
  #wanted: (() => void) | null = null
  #lastPushMs = Number.NEGATIVE_INFINITY
  #pause: Timer | null = null
  #beat: Timer

  constructor(options: { port: AgentPort; clock: Clock; after: number; ended: () => void }) {
    this.#port = options.port
    this.#clock = options.clock
    this.#after = options.after
    this.#onEnd = options.ended
    this.#beat = this.#armBeat()
    const source: UnderlyingDefaultSource<Uint8Array> = {
      start: (controller) => {
        this.#controller = controller
      },
      pull: () => this.#pull(),
      cancel: () => this.#end(),
    }
    // A high-water mark of 0: a message is made when the reader waits for it, never in advance.
    this.body = new ReadableStream(source, { highWaterMark: 0 })
  }

  changed(): void {
    this.#dirty = true
    this.#push()
  }

  close(): void {
    if (this.#ended) return
    const controller = this.#controller
    this.#end()
    controller?.close()
  }

  #pull(): Promise<void> {
    return new Promise((resolve) => {
      this.#wanted = resolve
      this.#push()
    })
  }

  /** Sends if the reader waits, something changed, and the last message is long enough ago. */
  #push(): void {
    if (!this.#dirty || this.#wanted === null || this.#pause !== null) return
    const dueMs = this.#lastPushMs + limits.apiChangeMs - this.#clock.monotonicMs()
    if (dueMs > 0) {
      this.#pause = this.#clock.after(dueMs, () => {
        this.#pause = null
        this.#push()
      })
      return
    }
    this.#dirty = false
    this.#send(`event: status\ndata: ${JSON.stringify(this.#port.status())}\n\n${this.#newEvents()}`)
  }

  #newEvents(): string {
    const fresh = this.#port.events().filter((event) => event.number > this.#after)
    this.#after = fresh.at(-1)?.number ?? this.#after
    return fresh.map((event: Event) => `id: ${event.number}\nevent: event\ndata: ${JSON.stringify(event)}\n\n`).join('')
  }

  #send(text: string): void {
    const wanted = this.#wanted
    this.#wanted = null
    this.#lastPushMs = this.#clock.monotonicMs()
    this.#controller?.enqueue(this.#encoder.encode(text))
    wanted?.()
  }

  #armBeat(): Timer {
    return this.#clock.after(limits.apiStreamBeatMs, () => {
      if (this.#wanted === null && this.#clock.monotonicMs() - this.#lastPushMs > limits.apiStreamStalledMs) {
        const controller = this.#controller
        this.#end()
        controller?.error(new Error('the reader of a stream took nothing for too long'))
        return
      }
      // A comment line: a sign of life that readers skip.
      if (this.#wanted !== null) this.#send(': here\n\n')
      this.#beat = this.#armBeat()
    })
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#beat.cancel()
    this.#pause?.cancel()
    this.#wanted?.()
    this.#wanted = null
    this.#onEnd()
  }
}
