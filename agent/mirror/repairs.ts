/**
 * R3: what this server's disk cannot give as it was written (a wrong checksum, a failed read) is read from another in-sync
 * replica and written over here. The caller holds `shared` for the range from before its own read until `done`, so nobody
 * writes there meanwhile and every other member's copy is the present one.
 */
import type { ServerId } from '../kit/ids.ts'
import { handBack } from '../kit/slabs.ts'
import type { Clock } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { CopyMessage, Links } from '../link/messages.ts'
import type { ReplicaStore, StoreFailure } from '../store/replica.ts'
import type { MirrorBody, MirrorSend } from './messages.ts'
import { isInside } from './places.ts'

export interface RepairWorld {
  readonly volumeKey: number
  readonly clock: Clock
  readonly store: ReplicaStore
  readonly links: Pick<Links, 'send'>
  readonly send: MirrorSend
  /** A write of a repair goes to this region of the own replica (C1). */
  touched(offsetBytes: number, lengthBytes: number): void
  ownReplicaFailed(failure: StoreFailure): void
  /** A piece was repaired, or (false) given without being written here, since the disk would not take it. */
  repaired(offsetBytes: number, lengthBytes: number, from: ServerId, written: boolean): void
}

/** The bytes as they were written; null: no replica could give them, or the session is over. */
export type RepairDone = (data: Uint8Array | null) => void

interface Question {
  readonly to: ServerId
  readonly lengthBytes: number
  readonly askedMs: number
  readonly take: (data: Uint8Array | null) => void
}

export class Repairs {
  readonly #world: RepairWorld
  readonly #questions = new Map<number, Question>()
  /** Pieces that wait until fewer questions are open; bounded by the reads that a volume executes at once. */
  #waiting: (() => void)[] = []
  #nextRequest = 1
  #session = 0
  #others: readonly ServerId[] = []
  /** Repairs that are being written here, and who waits until they have ended. */
  #executing = 0
  #drained: (() => void) | null = null
  /** Since the agent's start; only what was written over here. */
  repairedBytes = 0

  constructor(world: RepairWorld) {
    this.#world = world
  }

  startSession(session: number, others: readonly ServerId[]): void {
    this.#session = session
    this.#others = others
  }

  /**
   * What was asked in it is answered with null; its reads begin again in the next one. Calls back when what is being
   * written here has ended (E9): the range is held no more, and a write of the next session must not meet it.
   */
  endSession(drained: () => void): void {
    this.#session = 0
    this.#others = []
    for (const request of [...this.#questions.keys()]) this.#answer(request, null)
    this.#drained = drained
    this.#tellDrained()
  }

  #tellDrained(): void {
    const drained = this.#drained
    if (drained === null || this.#executing > 0) return
    this.#drained = null
    drained()
  }

  /** Called a few times a second: who does not answer is not waited for for ever. */
  tick(): void {
    const nowMs = this.#world.clock.monotonicMs()
    for (const [request, { askedMs }] of [...this.#questions]) {
      if (nowMs - askedMs > limits.repairAnswerMs) this.#answer(request, null)
    }
  }

  /** Reads a range piece by piece: here where that works, elsewhere where it does not. Any alignment. */
  read(offsetBytes: number, lengthBytes: number, done: RepairDone): void {
    const fromBytes = Math.floor(offsetBytes / limits.blockBytes) * limits.blockBytes
    const endBytes = Math.ceil((offsetBytes + lengthBytes) / limits.blockBytes) * limits.blockBytes
    const whole = new Uint8Array(endBytes - fromBytes)
    const session = this.#session
    const step = (at: number): void => {
      if (session === 0 || session !== this.#session) return done(null)
      const start = offsetBytes - fromBytes
      if (at >= endBytes) return done(whole.subarray(start, start + lengthBytes))
      // Within one extent, so that what was never written beside it stays a hole.
      const piece = Math.min(limits.extentBytes - (at % limits.extentBytes), endBytes - at)
      this.#piece(at, piece, (data) => {
        if (data === null) return done(null)
        whole.set(data, at - fromBytes)
        handBack([data])
        step(at + piece)
      })
    }
    step(fromBytes)
  }

  #piece(offsetBytes: number, lengthBytes: number, done: RepairDone): void {
    this.#world.store.read(offsetBytes, lengthBytes, (failure, data) => {
      if (failure === null) done(data)
      else this.#ask(offsetBytes, lengthBytes, [...this.#others], done)
    })
  }

  /** One server after the other. */
  #ask(offsetBytes: number, lengthBytes: number, left: ServerId[], done: RepairDone): void {
    if (this.#questions.size >= limits.copyPieces) {
      this.#waiting.push(() => this.#ask(offsetBytes, lengthBytes, left, done))
      return
    }
    const to = left.shift()
    if (to === undefined || this.#session === 0) {
      done(null)
      return this.#next()
    }
    const request = this.#nextRequest
    this.#nextRequest += 1
    const take = (data: Uint8Array | null): void => {
      if (data === null) this.#ask(offsetBytes, lengthBytes, left, done)
      else this.#write(offsetBytes, data, to, done)
    }
    this.#questions.set(request, { to, lengthBytes, askedMs: this.#world.clock.monotonicMs(), take })
    this.#world.send(to, 'repair.ask', { session: this.#session, attempt: 0, request, offsetBytes, lengthBytes })
  }

  #write(offsetBytes: number, data: Uint8Array, from: ServerId, done: RepairDone): void {
    const { store, touched, repaired } = this.#world
    touched(offsetBytes, data.length)
    this.#executing += 1
    store.write(offsetBytes, [data], data.length, (failure) => {
      if (failure === null) this.repairedBytes += data.length
      repaired(offsetBytes, data.length, from, failure === null)
      done(data)
      // A disk that takes nothing more cannot stay; the client has its data all the same (C6).
      if (failure === 'io') this.#world.ownReplicaFailed(failure)
      this.#executing -= 1
      this.#tellDrained()
    })
  }

  /** Another member's question, in the session that both are in. */
  onAsk(from: ServerId, body: MirrorBody<'repair.ask'>): void {
    const { session, request, offsetBytes, lengthBytes } = body
    const { store, send, links, volumeKey } = this.#world
    const refuse = () => send(from, 'repair.failed', { session, attempt: 0, request })
    if (!fits(offsetBytes, lengthBytes, store.sizeBytes)) return refuse()
    store.read(offsetBytes, lengthBytes, (failure, data) => {
      if (failure !== null) return refuse()
      const range = { offsetBytes, lengthBytes, zero: false, chunks: [data] }
      links.send(from, { type: 'copy', volumeKey, session, attempt: 0, request, ...range })
    })
  }

  onFailed(from: ServerId, body: MirrorBody<'repair.failed'>): void {
    if (body.session === this.#session && this.#questions.get(body.request)?.to === from)
      this.#answer(body.request, null)
  }

  /** @returns whether it was the answer to a question of this server */
  onCopy(from: ServerId, message: CopyMessage): boolean {
    const question = this.#questions.get(message.request)
    if (message.session !== this.#session || question?.to !== from) return false
    const data = Buffer.concat(message.chunks)
    handBack(message.chunks)
    this.#answer(message.request, data.length === question.lengthBytes ? data : null)
    return true
  }

  #answer(request: number, data: Uint8Array | null): void {
    const question = this.#questions.get(request)
    if (question === undefined) return
    this.#questions.delete(request)
    question.take(data)
    this.#next()
  }

  #next(): void {
    if (this.#questions.size < limits.copyPieces) this.#waiting.shift()?.()
  }
}

function fits(offsetBytes: number, lengthBytes: number, sizeBytes: number): boolean {
  const whole = offsetBytes % limits.blockBytes === 0 && lengthBytes % limits.blockBytes === 0
  return whole && lengthBytes <= limits.copyPieceBytes && isInside(offsetBytes, lengthBytes, sizeBytes)
}
