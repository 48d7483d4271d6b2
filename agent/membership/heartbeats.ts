/**
 * Heartbeats between servers (E3): one message for all volumes, several times within a lease, outside the numbered
 * stream, so that a lost one is simply followed by the next. Also measures the round trip for people.
 */
import { z } from 'zod'
import type { ServerId } from '../kit/ids.ts'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { Links } from '../link/messages.ts'
import type { Silence } from './lease.ts'
import { count } from './messages.ts'

/** Own clocks of the sender, echoed: fractional milliseconds, never compared with another server's. */
const sent = { sentLeaseMs: z.number().min(0), sentMonotonicMs: z.number().min(0) }

export const heartbeatMessages = {
  'beat.ask': z.object({
    ...sent,
    /** The sessions the sender is in, its low-water marks there (C1), its store's durable commits (C12), and whether it
     * reaches the arbiter, for people. */
    volumes: z
      .array(z.object({ key: count, session: count, lowWater: count, reachesArbiter: z.boolean(), commits: count }))
      .max(limits.volumes),
  }),
  'beat.answer': z.object({ ...sent, volumes: z.array(z.object({ key: count, session: count })).max(limits.volumes) }),
} as const

export interface BeatVolume {
  readonly key: number
  /** 0: none. */
  readonly session: number
  readonly lowWater: number
  readonly reachesArbiter: boolean
  readonly commits: number
  heardCommits(from: ServerId, commits: number): void
  /** Another member says whether it could ask for a decision. */
  heardReachesArbiter(from: ServerId, reaches: boolean): void
  answerHeartbeat(from: ServerId, session: number): boolean
  heartbeatAnswered(by: ServerId, session: number, sentAtMs: number): void
  confirmedBelow(from: ServerId, lowWater: number): void
}

export interface HeartbeatWorld {
  readonly links: Links
  readonly clock: Clock
  readonly silence: Silence
  volumes(): Iterable<BeatVolume>
  volume(key: number): BeatVolume | undefined
}

export class Heartbeats {
  readonly #world: HeartbeatWorld
  readonly #roundTripMs = new Map<ServerId, number>()

  constructor(world: HeartbeatWorld) {
    this.#world = world
  }

  /** Smoothed over about eight beats; null when not measured. */
  roundTripMs(server: ServerId): number | null {
    return this.#roundTripMs.get(server) ?? null
  }

  forget(server: ServerId): void {
    this.#roundTripMs.delete(server)
  }

  sendTo(servers: Iterable<ServerId>): void {
    const { clock, links } = this.#world
    const volumes: Pick<BeatVolume, 'key' | 'session' | 'lowWater' | 'reachesArbiter' | 'commits'>[] = []
    for (const { key, session, lowWater, reachesArbiter, commits } of this.#world.volumes()) {
      if (session !== 0) volumes.push({ key, session, lowWater, reachesArbiter, commits })
    }
    const body = { sentLeaseMs: clock.leaseMs(), sentMonotonicMs: clock.monotonicMs(), volumes }
    for (const server of servers) links.sendNow(server, { type: 'control', kind: 'beat.ask', body })
  }

  onAsk(from: ServerId, body: unknown): boolean {
    const parsed = heartbeatMessages['beat.ask'].safeParse(body)
    if (!parsed.success) return false
    this.#world.silence.heard(from)
    const { sentLeaseMs, sentMonotonicMs } = parsed.data
    const volumes: { key: number; session: number }[] = []
    for (const { key, session, lowWater, reachesArbiter, commits } of parsed.data.volumes) {
      const volume = this.#world.volume(key)
      if (volume === undefined || volume.session !== session) continue
      volume.confirmedBelow(from, lowWater)
      volume.heardReachesArbiter(from, reachesArbiter)
      volume.heardCommits(from, commits)
      if (volume.answerHeartbeat(from, session)) volumes.push({ key, session })
    }
    const answer = { sentLeaseMs, sentMonotonicMs, volumes }
    this.#world.links.sendNow(from, { type: 'control', kind: 'beat.answer', body: answer })
    return true
  }

  onAnswer(from: ServerId, body: unknown): boolean {
    const parsed = heartbeatMessages['beat.answer'].safeParse(body)
    if (!parsed.success) return false
    this.#world.silence.heard(from)
    const { sentLeaseMs, sentMonotonicMs, volumes } = parsed.data
    const tookMs = this.#world.clock.monotonicMs() - sentMonotonicMs
    const before = this.#roundTripMs.get(from) ?? tookMs
    if (tookMs >= 0) this.#roundTripMs.set(from, before + (tookMs - before) / 8)
    for (const { key, session } of volumes) this.#world.volume(key)?.heartbeatAnswered(from, session, sentLeaseMs)
    return true
  }
}
