/** Takes copies into this server's replica: answers comparisons, applies the blocks that differ (C4, E9). */
import type { ServerId } from '../kit/ids.ts'
import { handBack } from '../kit/slabs.ts'
import { limits } from '../limits.ts'
import type { CopyMessage } from '../link/messages.ts'
import type { ReplicaStore, StoreFailure } from '../store/replica.ts'
import { blockDigests, type Digest } from './copier.ts'
import type { MirrorBody, MirrorSend } from './messages.ts'
import { isInside } from './places.ts'

/** Told for a block that cannot be read as it was written: no digest is this one. */
const noDigest = '-'.repeat(22)

export interface CopyTargetWorld {
  readonly store: ReplicaStore
  readonly digest: Digest
  readonly send: MirrorSend
  /** A member (no joiner) could not be made equal to the others: it cannot stay among them (C6). */
  ownReplicaFailed(failure: StoreFailure): void
}

export class CopyTarget {
  readonly #world: CopyTargetWorld
  #session = 0
  #attempt = 0
  #executing = 0
  #drained: (() => void) | null = null

  constructor(world: CopyTargetWorld) {
    this.#world = world
  }

  accept(session: number, attempt: number): void {
    this.#session = session
    this.#attempt = attempt
  }

  /** Refuses everything and calls back when what began has ended (E9). */
  refuse(drained: () => void): void {
    this.#session = 0
    this.#drained = drained
    this.#tellDrained()
  }

  onCompare(from: ServerId, body: MirrorBody<'copy.compare'>): void {
    const { session, attempt, request, offsetBytes, lengthBytes } = body
    if (!this.#accepts(session, attempt)) return
    const answer = (blocks: string[] | null, failed: boolean) => {
      this.#end()
      if (this.#accepts(session, attempt))
        this.#world.send(from, 'copy.compared', { session, attempt, request, blocks, failed })
    }
    if (!this.#fits(offsetBytes, lengthBytes)) {
      this.#world.send(from, 'copy.compared', { session, attempt, request, blocks: null, failed: true })
      return
    }
    this.#executing += 1
    const { store, digest } = this.#world
    // C3: a copy takes its source's stamp, also where nothing differs. It is durable with the sync that every use of the
    // result waits for (joining, recording), whose failure is the one that counts.
    store.raiseStamp(Math.floor(offsetBytes / limits.regionBytes), body.stamp, () => undefined)
    store.read(offsetBytes, lengthBytes, (failure, data) => {
      if (failure === 'io' && attempt === 0) this.#world.ownReplicaFailed(failure)
      if (failure === 'io') answer(null, true)
      // What the disk has changed differs from everything: a good copy takes its place.
      else if (failure === 'corrupt') answer(new Array<string>(lengthBytes / limits.blockBytes).fill(noDigest), false)
      else answer(digest(data) === body.digest ? null : blockDigests(data, digest), false)
    })
  }

  onCopy(from: ServerId, message: CopyMessage): void {
    const { session, attempt, request, offsetBytes, lengthBytes } = message
    if (!this.#accepts(session, attempt)) return
    const applied = (failed: boolean) => {
      this.#end()
      if (this.#accepts(session, attempt)) this.#world.send(from, 'copy.applied', { session, attempt, request, failed })
    }
    const done = (failure: StoreFailure | null) => {
      if (failure !== null && attempt === 0) this.#world.ownReplicaFailed(failure)
      applied(failure !== null)
    }
    this.#executing += 1
    const { store } = this.#world
    if (!this.#fits(offsetBytes, lengthBytes)) applied(true)
    else if (message.zero) store.zero(offsetBytes, lengthBytes, true, done)
    else {
      store.write(offsetBytes, message.chunks, lengthBytes, (failure) => {
        if (failure === null) handBack(message.chunks)
        done(failure)
      })
    }
  }

  #accepts(session: number, attempt: number): boolean {
    return this.#session !== 0 && session === this.#session && attempt === this.#attempt
  }

  #fits(offsetBytes: number, lengthBytes: number): boolean {
    const whole = offsetBytes % limits.blockBytes === 0 && lengthBytes % limits.blockBytes === 0
    return (
      whole && lengthBytes <= limits.copyPieceBytes && isInside(offsetBytes, lengthBytes, this.#world.store.sizeBytes)
    )
  }

  #end(): void {
    this.#executing -= 1
    this.#tellDrained()
  }

  #tellDrained(): void {
    const drained = this.#drained
    if (drained === null || this.#executing > 0) return
    this.#drained = null
    drained()
  }
}
