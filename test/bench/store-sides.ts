/** The two that `npm run bench -- store` compares: the store, and a plain file through the same calls of Node. */
import fs from 'node:fs'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { performance } from 'node:perf_hooks'
import { volumeId } from '../../agent/kit/ids.ts'
import { handBackBytes } from '../../agent/kit/slabs.ts'
import type { Clock, Log } from '../../agent/kit/world.ts'
import { openStore } from '../../agent/store/open-store.ts'
import type { ReplicaStore, Store } from '../../agent/store/replica.ts'

export type Done = (error: unknown) => void

/** A place for bytes that can be written, read and flushed. */
export interface Side {
  readonly name: 'store' | 'plain'
  write(offsetBytes: number, bytes: Uint8Array, done: Done): void
  /** @param place which of the calls at once this is: it has memory of its own */
  read(offsetBytes: number, lengthBytes: number, place: number, done: Done): void
  flush(done: Done): void
}

/** Waits for one call; what it answers other than null is thrown. */
export const answered = (call: (done: Done) => void): Promise<void> =>
  new Promise((resolve, reject) => {
    call((error) => (error === null ? resolve() : reject(new Error(`the disk said: ${String(error)}`))))
  })

const clock: Clock = {
  monotonicMs: () => performance.now(),
  leaseMs: () => performance.now(),
  wallMs: () => Date.now(),
  after: (delayMs, fire) => {
    const timer = setTimeout(fire, delayMs)
    return { cancel: () => clearTimeout(timer) }
  },
  nextTurn: (fire) => {
    setImmediate(fire)
  },
}

const said = (_facts: object, words: string) => {
  process.stderr.write(`store: ${words}\n`)
}
const log: Log = { debug: () => undefined, info: () => undefined, warn: said, error: said }

export class StoreSide implements Side {
  readonly name = 'store'
  readonly store: Store
  /** The volume that the jobs run on; `spare` takes first writes. */
  readonly replica: ReplicaStore

  constructor(store: Store, replica: ReplicaStore) {
    this.store = store
    this.replica = replica
  }

  static async open(dir: string, sizeBytes: number): Promise<StoreSide> {
    await fs.promises.mkdir(dir, { recursive: true })
    const store = await openStore({ dir, clock, log })
    return new StoreSide(store, await makeReplica(store, '1', sizeBytes))
  }

  write(offsetBytes: number, bytes: Uint8Array, done: Done): void {
    this.replica.write(offsetBytes, [bytes], bytes.length, done)
  }

  read(offsetBytes: number, lengthBytes: number, _place: number, done: Done): void {
    this.replica.read(offsetBytes, lengthBytes, (failure, data) => {
      handBackBytes(data, data.length)
      done(failure)
    })
  }

  flush(done: Done): void {
    this.replica.sync(done)
  }

  close(): Promise<void> {
    return answered((done) => this.store.close(done))
  }
}

/** A volume of nothing. @param digit names it */
export function makeReplica(store: Store, digit: string, sizeBytes: number): Promise<ReplicaStore> {
  return new Promise((resolve, reject) => {
    store.createReplica(volumeId(digit.padStart(32, '0')), sizeBytes, (failure, replica) =>
      replica ? resolve(replica) : reject(new Error(`no volume: ${failure}`)),
    )
  })
}

/** Most calls at once in any job. */
const places = 64
const placeBytes = 128 * 1024

export class PlainSide implements Side {
  readonly name = 'plain'
  readonly #fd: number
  readonly #memory = Buffer.alloc(places * placeBytes)

  constructor(fd: number) {
    this.#fd = fd
  }

  static async open(dir: string, name: string): Promise<PlainSide> {
    await fs.promises.mkdir(dir, { recursive: true })
    const handle = await open(path.join(dir, name), 'w+')
    await handle.close()
    return new PlainSide(fs.openSync(path.join(dir, name), 'r+'))
  }

  write(offsetBytes: number, bytes: Uint8Array, done: Done): void {
    fs.write(this.#fd, bytes, 0, bytes.length, offsetBytes, (error, got) =>
      done(error ?? (got === bytes.length ? null : 'a short write')),
    )
  }

  read(offsetBytes: number, lengthBytes: number, place: number, done: Done): void {
    fs.read(this.#fd, this.#memory, place * placeBytes, lengthBytes, offsetBytes, (error, got) =>
      done(error ?? (got === lengthBytes ? null : 'a short read')),
    )
  }

  flush(done: Done): void {
    fs.fdatasync(this.#fd, done)
  }

  close(): void {
    fs.closeSync(this.#fd)
  }
}
