/**
 * The two stores under the state machine (machine.test.ts): in memory with virtual time, which can lose power; and files
 * and SQLite in a process of its own, which can be killed.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import type { VolumeId } from '../../../agent/kit/ids.ts'
import { limits } from '../../../agent/limits.ts'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import type { Store, StoreFailure, StoreReadFailure } from '../../../agent/store/replica.ts'
import type { VolumeFacts } from './machine-model.ts'
import { quiet, seeded, temporaryFolder, VirtualClock } from './world.ts'

export type Call =
  | { readonly kind: 'write'; readonly id: VolumeId; readonly from: number; readonly bytes: Uint8Array }
  | {
      readonly kind: 'zero' | 'keep' | 'discard'
      readonly id: VolumeId
      readonly from: number
      readonly length: number
    }
  | { readonly kind: 'read'; readonly id: VolumeId; readonly from: number; readonly length: number }
  | { readonly kind: 'sync'; readonly id: VolumeId }
  | { readonly kind: 'unmark'; readonly id: VolumeId; readonly regions: readonly number[]; readonly epoch: number }
  | { readonly kind: 'raise'; readonly id: VolumeId; readonly region: number; readonly epoch: number }
  | { readonly kind: 'settled'; readonly id: VolumeId; readonly regions: readonly number[] }
  | { readonly kind: 'create'; readonly id: VolumeId; readonly sizeBytes: number }
  | { readonly kind: 'grow'; readonly id: VolumeId; readonly sizeBytes: number }
  | { readonly kind: 'delete'; readonly id: VolumeId }
  | { readonly kind: 'put'; readonly value: number }
  | { readonly kind: 'look' }
  | { readonly kind: 'full'; readonly isFull: boolean }
  | { readonly kind: 'close' }

/** What a store shows from outside. */
export interface Shown {
  readonly run: number
  readonly previousEnd: string
  readonly foundCommitCount: number
  readonly commitCount: number
  readonly record: unknown
  readonly volumes: ReadonlyMap<VolumeId, VolumeFacts>
}

export interface Answer {
  readonly failure: StoreFailure | StoreReadFailure | null
  readonly data: Uint8Array
  /** At the moment of the answer. */
  readonly shown: Shown
}

export interface MachineWorld {
  readonly canCut: boolean
  /** Its disk has room for a few slots only: it may refuse a first write at any time. */
  readonly isTight: boolean
  /** Opens the store, again after every end. */
  open(): Promise<Shown>
  /** Begins at once; after an end nothing is answered any more. */
  ask(call: Call): Promise<Answer>
  /** Lets something happen. */
  pass(events: number): Promise<void>
  settle<T>(promise: Promise<T>): Promise<T>
  kill(): Promise<void>
  cut(): Promise<void>
  /** Of a closed store: slots that are mapped, and slots in doubt; null where nobody can look. */
  slots(): { readonly mapped: readonly number[]; readonly doubtful: readonly number[] } | null
  end(): Promise<void>
}

export function show(store: Store): Shown {
  const volumes = new Map<VolumeId, VolumeFacts>()
  for (const replica of store.replicas()) {
    const regions = Array.from({ length: replica.regionCount }, (_, index) => replica.region(index))
    volumes.set(replica.volumeId, { regions, allocatedBytes: replica.allocatedBytes(), sizeBytes: replica.sizeBytes })
  }
  const { run, previousEnd, foundCommitCount, commitCount } = store
  return { run, previousEnd, foundCommitCount, commitCount, record: store.records.get('config'), volumes }
}

/** Begins the call. @param setFull the disk of the store takes nothing new, or does again */
export function carryOut(
  store: Store,
  call: Call,
  setFull: (isFull: boolean) => void,
  tell: (answer: Answer) => void,
): void {
  const done = (failure: Answer['failure'], data: Uint8Array = new Uint8Array(0)) =>
    tell({ failure, data, shown: show(store) })
  if (call.kind === 'look') return done(null)
  if (call.kind === 'full') {
    setFull(call.isFull)
    return done(null)
  }
  if (call.kind === 'close') return store.close(done)
  if (call.kind === 'put') return store.records.put('config', call.value, done)
  if (call.kind === 'create') return store.createReplica(call.id, call.sizeBytes, (failure) => done(failure))
  if (call.kind === 'grow') return store.growReplica(call.id, call.sizeBytes, done)
  if (call.kind === 'delete') return store.deleteReplica(call.id, done)
  const replica = store.replicas().find(({ volumeId }) => volumeId === call.id)
  assert.ok(replica, `${call.kind}: there is no volume ${call.id}`)
  if (call.kind === 'write') replica.write(call.from, [call.bytes], call.bytes.length, done)
  else if (call.kind === 'discard') replica.discard(call.from, call.length, done)
  else if (call.kind === 'read') replica.read(call.from, call.length, done)
  else if (call.kind === 'sync') replica.sync(done)
  else if (call.kind === 'unmark') replica.unmark(call.regions, call.epoch, done)
  else if (call.kind === 'raise') replica.raiseStamp(call.region, call.epoch, done)
  else if (call.kind === 'settled') replica.settled(call.regions, done)
  else replica.zero(call.from, call.length, call.kind === 'zero', done)
}

export class MemoryWorld implements MachineWorld {
  readonly canCut = true
  readonly isTight: boolean
  readonly #clock = new VirtualClock()
  readonly #disk: MemoryDisk
  #store: Store | null = null

  constructor(seed: number) {
    this.#disk = new MemoryDisk({ clock: this.#clock, random: seeded(seed), log: quiet, sumPages: 1 + (seed % 5) })
    this.isTight = seed % 2 === 1
    // Few slots: freed ones come round again soon.
    if (this.isTight) this.#disk.sizeBytes = limits.diskReserveBytes + (4 + (seed % 17)) * limits.extentBytes
  }

  async open(): Promise<Shown> {
    this.#disk.fault = 'none'
    this.#store = await this.settle(this.#disk.openStore())
    return show(this.#store)
  }

  ask(call: Call): Promise<Answer> {
    const store = this.#store
    assert.ok(store)
    return new Promise((resolve) => {
      carryOut(
        store,
        call,
        (isFull) => {
          this.#disk.fault = isFull ? 'full' : 'none'
        },
        (answer) => resolve({ ...answer, data: Buffer.from(answer.data) }),
      )
    })
  }

  async pass(events: number): Promise<void> {
    for (let count = 0; count < events && this.#clock.step(); count += 1) await nextMicrotasks()
  }

  settle<T>(promise: Promise<T>): Promise<T> {
    return this.#clock.settle(promise)
  }

  async kill(): Promise<void> {
    this.#disk.kill()
  }

  async cut(): Promise<void> {
    this.#disk.powerCut()
  }

  slots(): null {
    return null
  }

  async end(): Promise<void> {
    this.#disk.kill()
  }
}

/** So that whoever waits for an answer has heard of it. */
async function nextMicrotasks(): Promise<void> {
  await null
  await null
  await null
}

const child = fileURLToPath(new URL('./machine-child.ts', import.meta.url))

export class ProcessWorld implements MachineWorld {
  readonly canCut = false
  readonly isTight = false
  readonly #folder = temporaryFolder()
  readonly #env: NodeJS.ProcessEnv
  #process: ChildProcess | null = null
  #waiting = new Map<number, (answer: Answer) => void>()
  #number = 0
  #opened: (shown: Shown) => void = () => undefined

  /** @param env what the store's process gets beside what this one has */
  constructor(env: NodeJS.ProcessEnv = {}) {
    this.#env = { ...process.env, ...env }
  }

  get dir(): string {
    return this.#folder.dir
  }

  /** @throws an error with the code of the UserError when the store refuses to open */
  open(): Promise<Shown> {
    const started = fork(child, [this.#folder.dir], {
      execPath: process.execPath,
      env: this.#env,
      serialization: 'advanced',
    })
    this.#process = started
    started.on('message', (message) => {
      // After an end nothing counts any more that was on its way.
      if (this.#process !== started) return
      const { number, answer } = message as { number: number; answer: Answer } // of machine-child.ts
      if (number === 0) this.#opened(answer.shown)
      else this.#waiting.get(number)?.(answer)
      this.#waiting.delete(number)
    })
    return new Promise((resolve, reject) => {
      this.#opened = resolve
      started.on('message', (message) => {
        const { refused } = message as { refused?: { code: string; happened: string } } // of machine-child.ts
        if (refused !== undefined) reject(Object.assign(new Error(refused.happened), { code: refused.code }))
      })
      started.once('exit', (code) => {
        if (this.#process === started) reject(new Error(`the store's process ended by itself: ${code}`))
      })
    })
  }

  ask(call: Call): Promise<Answer> {
    this.#number += 1
    const number = this.#number
    return new Promise((resolve) => {
      this.#waiting.set(number, resolve)
      this.#process?.send({ number, call })
    })
  }

  async pass(events: number): Promise<void> {
    for (let count = 0; count < events; count += 4) await nextTurn()
  }

  settle<T>(promise: Promise<T>): Promise<T> {
    return promise
  }

  async kill(): Promise<void> {
    const killed = this.#process
    this.#process = null
    this.#waiting = new Map()
    if (killed === null || killed.exitCode !== null) return
    const exit = once(killed, 'exit')
    killed.kill('SIGKILL')
    await exit
  }

  cut(): Promise<void> {
    throw new Error('the machine of this store goes on')
  }

  slots(): { readonly mapped: readonly number[]; readonly doubtful: readonly number[] } {
    const database = new Database(path.join(this.#folder.dir, 'index.db'))
    try {
      const rows = database.prepare('SELECT slots FROM regions').pluck().all() as Buffer[] // FORMAT.md
      const mapped = rows.flatMap((row) => Array.from({ length: 64 }, (_, at) => row.readUInt32LE(at * 4) - 1))
      const groups = database.prepare('SELECT number, doubtful FROM slotGroups').raw().all() as [number, Buffer][] // FORMAT.md
      const doubtful = groups.flatMap(([group, bits]) =>
        Array.from({ length: 4096 }, (_, at) => (((bits[at >> 3] ?? 0) >> (at & 7)) & 1 ? group * 4096 + at : -1)),
      )
      return { mapped: mapped.filter((slot) => slot >= 0), doubtful: doubtful.filter((slot) => slot >= 0) }
    } finally {
      database.close()
    }
  }

  async end(): Promise<void> {
    await this.kill()
    this.#folder.remove()
  }
}
