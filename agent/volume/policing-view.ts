/** Who holds write priority where and what waits for it, as this server knows it; for people (P1, W7). */
import { limits } from '../limits.ts'
import type { Mode, Use } from '../policing/use.ts'
import { heldPieces, stretchesOf } from '../policing/view.ts'
import { ReadRequest, WriteRequest } from './requests.ts'
import type { Volume } from './volume.ts'

export interface WaitingRequest {
  readonly mode: Mode
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** Milliseconds since it arrived. */
  readonly forMs: number
  /** `here`: an earlier request of this server comes first; `servers`: another server has not granted it yet. */
  readonly waitsFor: 'here' | 'servers'
}

export interface PolicingView {
  /** This server's permission along the volume, in equal stretches: bytes of each that it may write, or only read, without
   * asking. */
  readonly stretchBytes: number
  readonly exclusiveBytes: number[]
  readonly sharedBytes: number[]
  /** Requests of clients that wait for their turn, and how long the oldest one has. */
  readonly queued: number
  readonly oldestMs: number
  /** The oldest of them. */
  readonly waiting: WaitingRequest[]
}

/** Stretches that a volume is told in. */
const stretches = 64
/** Waiting requests that are told one by one. */
const mostWaiting = 16

export function policingView(volume: Volume): PolicingView {
  const { policing, world, sizeBytes } = volume
  const pieces = volume.serving === null ? [] : heldPieces(policing.peers)
  const held = stretchesOf(pieces, Math.max(1, Math.ceil(sizeBytes / limits.blockBytes)), stretches)
  const nowMs = world.clock.monotonicMs()
  const waiting = policing.queued().flatMap((use) => waitingRequest(use, nowMs))
  waiting.sort((one, other) => other.forMs - one.forMs)
  const inBytes = (blocks: readonly number[]) => blocks.map((count) => count * limits.blockBytes)
  return {
    stretchBytes: held.blocks * limits.blockBytes,
    exclusiveBytes: inBytes(held.exclusive),
    sharedBytes: inBytes(held.shared),
    queued: waiting.length,
    oldestMs: waiting[0]?.forMs ?? 0,
    waiting: waiting.slice(0, mostWaiting),
  }
}

function waitingRequest(use: Use, nowMs: number): WaitingRequest[] {
  if (!(use instanceof ReadRequest || use instanceof WriteRequest)) return []
  const { mode, offsetBytes, lengthBytes, arrivedMs } = use
  const waitsFor = use.phase === 'behind' ? 'here' : 'servers'
  return [{ mode, offsetBytes, lengthBytes, forMs: Math.max(0, Math.round(nowMs - arrivedMs)), waitsFor }]
}
