/**
 * Keeps one picture of the agent up to date: opens the stream, checks what comes, tries again when it ends, and says
 * "lost" when nobody answers. An agent that hangs with its connection open is noticed by asking it now and then.
 */
import type { Bridge, News, Outcome, WindowOperation } from '../agent/contract/bridge.ts'
import type { ErrorBody } from '../agent/contract/errors.ts'
import { type Event, event as eventSchema } from '../agent/contract/events.ts'
import type { RequestOf } from '../agent/contract/operations.ts'
import { type Status, status as statusSchema } from '../agent/contract/status.ts'

/** connecting: nothing known yet. live: what is shown is now. lost: it was true before. refused: not signed in. */
export type AgentView =
  | {
      readonly phase: 'connecting' | 'live' | 'lost'
      readonly status: Status | null
      readonly events: readonly Event[]
    }
  | {
      readonly phase: 'refused'
      readonly status: null
      readonly events: readonly Event[]
      readonly refusal: ErrorBody
    }

/** Milliseconds between two tries to reach a lost agent: first and longest. */
const retryMs = { first: 300, longest: 3_000 } as const
/** Milliseconds between two questions to a quiet agent, and until it must have answered. */
const ask = { everyMs: 2_000, waitMs: 4_000 } as const
/** As many events as the agent keeps (limits.events); older ones are forgotten there too. */
const keptEvents = 1_000
/** Milliseconds in which several news become one change of the picture. */
const gatherMs = 30

export class AgentWatch {
  #view: AgentView = { phase: 'connecting', status: null, events: [] }
  readonly #bridge: Bridge
  readonly #listeners = new Set<() => void>()
  #stopStream: (() => void) | null = null
  #retry: ReturnType<typeof setTimeout> | null = null
  #asking: ReturnType<typeof setInterval> | null = null
  #gathering: ReturnType<typeof setTimeout> | null = null
  #waitMs: number = retryMs.first
  /** Of the stream that is open; the picture takes them over together. */
  #status: Status | null = null
  /** Counts the statuses told, so that an answer knows whether it is still the newest. */
  #statuses = 0
  #events: Event[] = []

  constructor(bridge: Bridge) {
    this.#bridge = bridge
  }

  readonly view = (): AgentView => this.#view

  /** The first listener starts the talking, the last one to leave ends it. */
  readonly listen = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    if (this.#listeners.size === 1) this.#start()
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) this.#stop()
    }
  }

  /** @returns null when it was done, else the refusal in words */
  readonly command = async <Id extends WindowOperation>(id: Id, request: RequestOf<Id>): Promise<ErrorBody | null> => {
    const outcome = await this.#bridge.call(id, request)
    switch (outcome.kind) {
      case 'done':
        return null
      case 'refused':
        return outcome.error
      case 'lost':
        return noAnswer
    }
  }

  #start(): void {
    this.#open()
    this.#asking = setInterval(() => void this.#ask(), ask.everyMs)
  }

  #stop(): void {
    this.#stopStream?.()
    this.#stopStream = null
    if (this.#retry !== null) clearTimeout(this.#retry)
    if (this.#asking !== null) clearInterval(this.#asking)
    if (this.#gathering !== null) clearTimeout(this.#gathering)
    this.#retry = null
    this.#gathering = null
  }

  #open(): void {
    this.#retry = null
    this.#status = null
    this.#events = []
    let open = true
    const stop = this.#bridge.watch((news) => {
      if (open) this.#told(news)
    })
    this.#stopStream = () => {
      open = false
      stop()
    }
  }

  #told(news: News): void {
    switch (news.kind) {
      case 'end':
        this.#ended(news.refusal)
        return
      case 'status': {
        const parsed = statusSchema.safeParse(news.data)
        if (!parsed.success) {
          // An agent of another version: no picture is better than a wrong one.
          this.#ended(otherVersion)
          return
        }
        this.#status = parsed.data
        this.#statuses += 1
        break
      }
      case 'event': {
        const parsed = eventSchema.safeParse(news.data)
        if (parsed.success) this.#events = [...this.#events, parsed.data].slice(-keptEvents)
        break
      }
    }
    this.#gathering ??= setTimeout(() => {
      this.#gathering = null
      if (this.#status === null) return
      this.#waitMs = retryMs.first
      this.#show({ phase: 'live', status: this.#status, events: this.#events })
    }, gatherMs)
  }

  #ended(refusal: ErrorBody | null): void {
    this.#stopStream?.()
    this.#stopStream = null
    if (this.#gathering !== null) clearTimeout(this.#gathering)
    this.#gathering = null
    if (refusal === null) this.#show({ phase: 'lost', status: this.#view.status, events: this.#view.events })
    else this.#show({ phase: 'refused', status: null, events: [], refusal })
    this.#retry ??= setTimeout(() => this.#open(), this.#waitMs)
    this.#waitMs = Math.min(this.#waitMs * 2, retryMs.longest)
  }

  /** A process that stands still keeps its connections: only a question shows that nobody is there. */
  async #ask(): Promise<void> {
    const stream = this.#stopStream
    const statuses = this.#statuses
    if (stream === null) return
    const answer = await Promise.race<Outcome>([
      this.#bridge.call('status', {}),
      new Promise((resolve) => setTimeout(() => resolve({ kind: 'lost' }), ask.waitMs)),
    ])
    // The stream may have ended or begun anew meanwhile; then it speaks for itself.
    if (stream !== this.#stopStream) return
    if (answer.kind === 'lost') this.#ended(null)
    // What time alone changes (a lease, a disk's free space) is no event: the answer shows it, unless newer news came.
    else if (answer.kind === 'done' && statuses === this.#statuses) this.#told({ kind: 'status', data: answer.value })
  }

  #show(view: AgentView): void {
    this.#view = view
    for (const listener of this.#listeners) listener()
  }
}

const noAnswer: ErrorBody = {
  code: 'no-answer',
  happened: 'The agent did not answer.',
  dataIsSafe: 'It is not known whether this was done; your data is not touched by the missing answer.',
  next: 'Look at the overview once the agent answers again.',
}

const otherVersion: ErrorBody = {
  code: 'other-version',
  happened: 'This window and the agent are of different versions and do not understand each other.',
  dataIsSafe: 'Your data is not touched by that.',
  next: 'Reload this window. If that does not help, restart Mirrorbay on this server.',
}
