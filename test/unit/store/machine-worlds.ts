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
import type { IndexContents, IndexImage, IndexVolume, RegionRow } from '../../../agent/store/index.ts'
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import type { ImageRefusal, Store, StoreFailure, StoreReadFailure } from '../../../agent/store/replica.ts'
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
  | { readonly kind: 'wipe'; readonly id: VolumeId }
  | { readonly kind: 'prepare'; readonly id: VolumeId }
  | { readonly kind: 'image'; readonly id: VolumeId; readonly name: string }
  | { readonly kind: 'deleteImage'; readonly id: VolumeId; readonly name: string }
  | {
      readonly kind: 'readImage'
      readonly id: VolumeId
      readonly name: string
      readonly from: number
      readonly length: number
    }
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
  /** What the disk can still hold; 0 without a volume. Of a real disk others take, too. */
  readonly availableSlots: number
  readonly volumes: ReadonlyMap<VolumeId, VolumeFacts>
}

export interface Answer {
  readonly failure: StoreFailure | StoreReadFailure | ImageRefusal | 'no-image' | null
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
  /** What the index says, when nothing is under way. */
  slots(): HeldSlots
  end(): Promise<void>
}

export interface HeldSlots {
  /** In use by volumes, and by images that are there: each once. */
  readonly mapped: ReadonlySet<number>
  /** Only of images that were deleted: they are being given back. */
  readonly leaving: ReadonlySet<number>
  readonly doubtful: readonly number[]
}

type Rows = Pick<IndexContents, 'volumes' | 'images' | 'regions' | 'groups'>

/** @throws when a slot is held for two extents */
function heldSlots({ volumes, images, regions, groups }: Rows): HeldSlots {
  const volumeOf = new Map(volumes.map(({ number }) => [number, number]))
  for (const { number, volume } of images) volumeOf.set(number, volume)
  const leaving = new Set(images.filter((image) => image.leaving).map(({ number }) => number))
  const [mapped, left] = [new Set<number>(), new Set<number>()]
  const holders = new Map<number, string>()
  for (const { volume, region, slots } of regions) {
    const row = Buffer.from(slots ?? [])
    for (let at = 0; at < row.length / 4; at += 1) {
      const slot = row.readUInt32LE(at * 4) - 1
      if (slot < 0) continue
      const holder = `extent ${region * 64 + at} of volume ${volumeOf.get(volume)}`
      assert.equal(holders.get(slot) ?? holder, holder, `slot ${slot} is held twice`)
      holders.set(slot, holder)
      if (leaving.has(volume)) left.add(slot)
      else mapped.add(slot)
    }
  }
  for (const slot of mapped) left.delete(slot)
  const doubtful = groups.flatMap(({ group, doubtful: bits }) =>
    Array.from({ length: 4096 }, (_, at) => ((((bits ?? [])[at >> 3] ?? 0) >> (at & 7)) & 1 ? group * 4096 + at : -1)),
  )
  return { mapped, leaving: left, doubtful: doubtful.filter((slot) => slot >= 0) }
}

export function show(store: Store): Shown {
  const volumes = new Map<VolumeId, VolumeFacts>()
  for (const replica of store.replicas()) {
    const regions = Array.from({ length: replica.regionCount }, (_, index) => replica.region(index))
    const images = store.images(replica.volumeId).map((image) => {
      const { name, sizeBytes } = image
      return { name, sizeBytes, allocatedBytes: image.allocatedBytes() }
    })
    const { sizeBytes } = replica
    volumes.set(replica.volumeId, { regions, images, allocatedBytes: replica.allocatedBytes(), sizeBytes })
  }
  const { run, previousEnd, foundCommitCount, commitCount } = store
  const availableSlots = store.replicas()[0]?.availableSlots() ?? 0
  const record = store.records.get('config')
  return { run, previousEnd, foundCommitCount, commitCount, record, availableSlots, volumes }
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
  if (call.kind === 'wipe') return store.wipeReplica(call.id, () => undefined, done)
  if (call.kind === 'prepare') return store.prepareImage(call.id, done)
  if (call.kind === 'image') return store.createImage(call.id, call.name, 5, (failure) => done(failure))
  if (call.kind === 'deleteImage') return store.deleteImage(call.id, call.name, done)
  if (call.kind === 'readImage') {
    const image = store.images(call.id).find(({ name }) => name === call.name)
    assert.ok(image, `there is no image ${call.name}`)
    return image.read(call.from, call.length, done)
  }
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

  slots(): HeldSlots {
    return heldSlots(this.#disk.indexContents())
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

  slots(): HeldSlots {
    const database = new Database(path.join(this.#folder.dir, 'index.db'), { readonly: true })
    try {
      // One moment of all tables. Columns of FORMAT.md.
      const read = database.transaction(() => {
        const rows = (table: string) => database.prepare(`SELECT * FROM ${table}`).all()
        const images = (rows('images') as (Omit<IndexImage, 'leaving'> & { leaving: number })[]).map((row) => ({
          ...row,
          leaving: row.leaving !== 0,
        }))
        const groups = (rows('slotGroups') as { number: number; doubtful: Buffer }[]).map(({ number, doubtful }) => ({
          group: number,
          doubtful,
        }))
        return { volumes: rows('volumes') as IndexVolume[], images, regions: rows('regions') as RegionRow[], groups }
      })
      return heldSlots(read())
    } finally {
      database.close()
    }
  }

  async end(): Promise<void> {
    await this.kill()
    this.#folder.remove()
  }
}
