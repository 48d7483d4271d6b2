/**
 * Gives a piece of this server's replica to another one: compares first, sends only the blocks that differ, holes as
 * holes (C4). The caller holds what must be held: the piece under shared permission (resync), or nobody serves (settling).
 */
import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import type { Links } from '../link/messages.ts'
import type { ReplicaStore } from '../store/replica.ts'
import type { MirrorBody, MirrorSend } from './messages.ts'

/** 96 bits or more of a cryptographic hash of the bytes, as base64; handed in, since hashing is node's. */
export type Digest = (data: Uint8Array) => string

export interface Piece {
  readonly target: ServerId
  readonly session: number
  readonly attempt: number
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** C3: the epoch that the target's stamp of this region is raised to. */
  readonly stamp: number
}

/** Bytes that differed and were sent; null: the piece was not copied (a disk failed, or the copying was ended). */
export type PieceDone = (movedBytes: number | null) => void

type Answer = { blocks: readonly string[] | null; failed: boolean }

export interface CopierWorld {
  readonly volumeKey: number
  readonly links: Links
  readonly store: ReplicaStore
  readonly digest: Digest
  readonly send: MirrorSend
  /** R3: what this disk cannot give is read from another member and repaired here; null: nobody can give it. */
  readonly repair?: (offsetBytes: number, lengthBytes: number, done: (data: Uint8Array | null) => void) => void
}

export class Copier {
  readonly #world: CopierWorld
  #nextRequest = 1
  readonly #waiting = new Map<number, { readonly target: ServerId; readonly take: (answer: Answer | null) => void }>()

  constructor(world: CopierWorld) {
    this.#world = world
  }

  copy(piece: Piece, done: PieceDone): void {
    const { target, session, attempt, offsetBytes, lengthBytes, stamp } = piece
    let present: Uint8Array = new Uint8Array(0)
    // Waiting begins before the read: a piece that is ended while it is read is told so, and asks nobody any more.
    const request = this.#ask(target, (answer) => {
      if (answer === null || answer.failed) return done(null)
      if (answer.blocks === null) return done(0)
      this.#sendDiffering(piece, present, answer.blocks, done)
    })
    this.#read(piece, (data) => {
      if (data === null) return this.#answer(target, request, { blocks: null, failed: true })
      if (!this.#waiting.has(request)) return
      present = data
      const digest = this.#world.digest(data)
      this.#world.send(target, 'copy.compare', { session, attempt, request, offsetBytes, lengthBytes, digest, stamp })
    })
  }

  #read({ offsetBytes, lengthBytes, attempt }: Piece, done: (data: Uint8Array | null) => void): void {
    const { repair, store } = this.#world
    store.read(offsetBytes, lengthBytes, (failure, data) => {
      if (failure === null) return done(data)
      // In a resync the piece is held `shared`, so the others hold the same; while settling nobody's copy is known to.
      if (attempt === 0 || repair === undefined) done(null)
      else repair(offsetBytes, lengthBytes, done)
    })
  }

  #sendDiffering(piece: Piece, data: Uint8Array, theirs: readonly string[], done: PieceDone): void {
    const runs = differingRuns(data, theirs, this.#world.digest)
    let open = runs.length
    let failed = false
    let movedBytes = 0
    if (open === 0) return done(0)
    for (const run of runs) {
      const bytes = data.subarray(run.fromBytes, run.toBytes)
      movedBytes += bytes.length
      const request = this.#ask(piece.target, (answer) => {
        failed ||= answer === null || answer.failed
        open -= 1
        if (open === 0) done(failed ? null : movedBytes)
      })
      this.#world.links.send(piece.target, {
        type: 'copy',
        volumeKey: this.#world.volumeKey,
        session: piece.session,
        attempt: piece.attempt,
        request,
        offsetBytes: piece.offsetBytes + run.fromBytes,
        lengthBytes: bytes.length,
        zero: run.zero,
        chunks: run.zero ? [] : [bytes],
      })
    }
  }

  onCompared(from: ServerId, body: MirrorBody<'copy.compared'>): void {
    this.#answer(from, body.request, { blocks: body.blocks, failed: body.failed })
  }

  onApplied(from: ServerId, body: MirrorBody<'copy.applied'>): void {
    this.#answer(from, body.request, { blocks: null, failed: body.failed })
  }

  /** The session or attempt with this target is over: what is under way there is told null. */
  end(target: ServerId | null): void {
    for (const [request, waiting] of [...this.#waiting]) {
      if (target !== null && waiting.target !== target) continue
      this.#waiting.delete(request)
      waiting.take(null)
    }
  }

  #ask(target: ServerId, take: (answer: Answer | null) => void): number {
    const request = this.#nextRequest
    this.#nextRequest += 1
    this.#waiting.set(request, { target, take })
    return request
  }

  #answer(from: ServerId, request: number, answer: Answer): void {
    const waiting = this.#waiting.get(request)
    if (waiting === undefined || waiting.target !== from) return
    this.#waiting.delete(request)
    waiting.take(answer)
  }
}

/** @returns the digest of every block of `data` */
export function blockDigests(data: Uint8Array, digest: Digest): string[] {
  const digests: string[] = []
  for (let from = 0; from < data.length; from += limits.blockBytes) {
    digests.push(digest(data.subarray(from, from + limits.blockBytes)))
  }
  return digests
}

interface Run {
  readonly fromBytes: number
  toBytes: number
  readonly zero: boolean
}

/** Neighbouring differing blocks travel together; blocks of zeros apart from the others. */
function differingRuns(data: Uint8Array, theirs: readonly string[], digest: Digest): Run[] {
  const runs: Run[] = []
  blockDigests(data, digest).forEach((mine, index) => {
    if (mine === theirs[index]) return
    const fromBytes = index * limits.blockBytes
    const toBytes = Math.min(fromBytes + limits.blockBytes, data.length)
    const zero = isZero(data.subarray(fromBytes, toBytes))
    const last = runs.at(-1)
    if (last !== undefined && last.toBytes === fromBytes && last.zero === zero) last.toBytes = toBytes
    else runs.push({ fromBytes, toBytes, zero })
  })
  return runs
}

function isZero(block: Uint8Array): boolean {
  for (let index = 0; index < block.length; index += 1) if (block[index] !== 0) return false
  return true
}
