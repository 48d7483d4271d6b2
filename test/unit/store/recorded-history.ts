/** A seeded life of a store on a recorded disk: what an engine asks of it, many things at a time, all written down. */
import assert from 'node:assert/strict'
import { type VolumeId, volumeId } from '../../../agent/kit/ids.ts'
import { limits } from '../../../agent/limits.ts'
import { type CoreStore, openCore } from '../../../agent/store/core.ts'
import type { ReplicaStore, StoreFailure } from '../../../agent/store/replica.ts'
import { type Change, cellBytes, cellValue, ReplicaJournal, valueBytes } from './journal.ts'
import { type FaultPlan, RecordedDisk } from './recorded-disk.ts'
import { changeImages, growOne, readImage } from './recorded-wholes.ts'
import { quiet, seeded, VirtualClock } from './world.ts'

const { blockBytes, extentBytes, regionBytes } = limits
/** A second region with a last extent that is cut short. */
const firstBytes = regionBytes + extentBytes + 3 * blockBytes
/** Few places, so that changes meet: the volume's beginning, both sides of the border of regions, its end. */
const places = [0, 1, 2, 62, 63, 64, 65, 66, 67]
const never = Number.POSITIVE_INFINITY

export const idOf = (number: number): VolumeId => volumeId(number.toString(16).padStart(32, '0'))

export interface HistoryOptions {
  readonly steps: number
  readonly sumPages: number
  readonly volumes: number
  /** Whether volumes come and go, and the store is closed and opened, in the middle. */
  readonly lifecycle: boolean
  readonly faults?: FaultPlan
  /** A call may never end: nobody waits for ever. */
  readonly mayHang?: boolean
}

export class History {
  readonly clock = new VirtualClock()
  readonly disk: RecordedDisk
  readonly volumes = new Map<VolumeId, ReplicaJournal>()
  readonly records: { begin: number; end: number; value: number }[] = []
  readonly options: HistoryOptions
  readonly seed: number
  /** From the begin of an end (or of everything) to the end of the next opening. */
  readonly between: { begin: number; end: number }[] = [{ begin: 0, end: never }]
  store: CoreStore | null = null
  /** What must not have happened. */
  readonly wrong: string[] = []
  /** Calls without an answer. */
  open = 0
  failures = 0
  readonly #random
  #reads: { journal: ReplicaJournal; from: number; to: number }[] = []
  #value = 0
  #epoch = 0
  #volumeNumber = 0

  constructor(seed: number, options: HistoryOptions) {
    this.seed = seed
    this.options = options
    this.#random = seeded(seed)
    this.disk = new RecordedDisk(this.clock, seeded(seed + 77))
    if (options.faults !== undefined) this.disk.faults = options.faults
  }

  pick(below: number): number {
    return Math.floor(this.#random.unit() * below)
  }

  async run(): Promise<void> {
    await this.openStore()
    for (let count = 0; count < this.options.volumes; count += 1) this.create()
    await this.idle()
    for (let step = 0; step < this.options.steps; step += 1) await this.#step()
    for (let events = this.pick(200); events > 0; events -= 1) this.clock.step()
  }

  async openStore(): Promise<void> {
    this.store = await this.clock.settle(openRecorded(this.disk, this.clock, this.options.sumPages))
    const last = this.between[this.between.length - 1]
    if (last !== undefined) last.end = this.disk.now
  }

  async closeStore(): Promise<StoreFailure | null> {
    const { store } = this
    this.store = null
    this.between.push({ begin: this.disk.now, end: never })
    return store === null ? null : this.clock.settle(new Promise((done) => store.close(done)))
  }

  /** Lets everything under way end. */
  async idle(): Promise<void> {
    for (let events = 0; this.open > 0; events += 1) {
      if (this.options.mayHang === true && events > 300) return
      assert.ok(events < 100_000 && this.clock.step(), `seed ${this.seed}: ${this.open} calls never end`)
    }
  }

  /** A call that must be answered exactly once, not inside the call. */
  expect(what: string, call: (done: (failure: StoreFailure | null) => void) => void, then: () => void): void {
    let answers = 0
    let inside = true
    this.open += 1
    call((failure) => {
      answers += 1
      if (inside) this.wrong.push(`${what} was answered inside the call`)
      if (answers > 1) this.wrong.push(`${what} was answered ${answers} times`)
      if (answers > 1) return
      this.open -= 1
      if (failure === null) then()
      else this.#failed(what, failure)
    })
    inside = false
  }

  #failed(what: string, failure: StoreFailure): void {
    this.failures += 1
    if (this.options.faults === undefined) this.wrong.push(`${what} failed: ${failure}`)
  }

  create(): void {
    const { store } = this
    if (store === null) return
    this.#volumeNumber += 1
    const id = idOf(this.#volumeNumber)
    const created = { begin: this.disk.tick(), end: never }
    const journal = new ReplicaJournal(firstBytes, created)
    this.volumes.set(id, journal)
    this.expect(
      'create',
      (done) => store.createReplica(id, firstBytes, (failure) => done(failure)),
      () => {
        created.end = this.disk.tick()
      },
    )
  }

  delete(id: VolumeId, journal: ReplicaJournal): void {
    const deleted = { begin: this.disk.tick(), end: never }
    journal.deleted = deleted
    this.expect(
      'delete',
      (done) => this.store?.deleteReplica(id, done),
      () => {
        deleted.end = this.disk.tick()
      },
    )
  }

  async #step(): Promise<void> {
    for (let events = this.pick(4) === 0 ? this.pick(40) : this.pick(6); events > 0; events -= 1) this.clock.step()
    const kind = this.pick(100)
    if (this.options.lifecycle && kind >= 97) return this.#lifecycle()
    if (kind === 96) return growOne(this)
    if (kind === 95) return changeImages(this)
    if (kind === 94) return readImage(this)
    if (kind >= 93) return this.#record()
    const there = [...(this.store?.replicas() ?? [])]
    const replica = there[this.pick(there.length)]
    if (replica === undefined) return
    const journal = this.journal(replica)
    if (kind < 60) this.#change(replica, journal)
    else if (kind < 68) this.sync(replica, journal)
    else if (kind < 78) this.#read(replica, journal)
    else if (kind < 88) await this.#unmark(replica, journal)
    else if (kind < 90) this.#settle(replica, journal)
    else if (kind < 92) this.#raise(replica, journal)
    else await this.idle()
  }

  journal(replica: ReplicaStore): ReplicaJournal {
    const journal = this.volumes.get(replica.volumeId)
    assert.ok(journal)
    return journal
  }

  async #lifecycle(): Promise<void> {
    await this.idle()
    const there = [...this.volumes].filter(([, { deleted }]) => deleted === null)
    const kind = this.pick(4)
    const first = there[0]
    if (kind === 0 && first !== undefined) this.delete(...first)
    else if (kind === 1 && there.length < 4) this.create()
    else if (kind === 2 && first !== undefined) {
      // Several at once.
      for (const one of there.slice(0, 2)) this.delete(...one)
      this.create()
    } else {
      const failure = await this.closeStore()
      if (failure !== null) this.#failed('close', failure)
      await this.openStore()
    }
    await this.idle()
  }

  /** W3, R4: what is under way never meets, rounded out to blocks. */
  #isFree(journal: ReplicaJournal, fromBytes: number, toBytes: number, isRead = false): boolean {
    const from = Math.floor(fromBytes / blockBytes) * blockBytes
    const to = Math.ceil(toBytes / blockBytes) * blockBytes
    const isBeingRead = this.#reads.some((read) => read.journal === journal && read.from < to && read.to > from)
    if (isBeingRead && !isRead) return false
    return !journal.changes.some(
      (change) => change.end === never && !change.failed && change.fromBytes < to && change.toBytes > from,
    )
  }

  #range({ sizeBytes }: ReplicaStore): { fromBytes: number; toBytes: number } {
    const place = places[this.pick(places.length)] ?? 0
    const extent = Math.min(place, Math.ceil(sizeBytes / extentBytes) - 1)
    const how = this.pick(10)
    const start = extent * extentBytes
    if (how === 0) return { fromBytes: start, toBytes: Math.min(sizeBytes, start + extentBytes) }
    if (how === 1) return { fromBytes: start, toBytes: Math.min(sizeBytes, start + 2 * extentBytes + 4096) }
    const unit = how < 5 ? cellBytes : blockBytes
    // Near an extent's ends, so that many cross its border.
    const at = this.pick(2) === 0 ? this.pick(6 * blockBytes) : extentBytes - this.pick(6 * blockBytes) - 1
    const fromBytes = Math.floor(Math.min(start + at, sizeBytes - unit) / unit) * unit
    const toBytes = Math.min(sizeBytes, fromBytes + unit * (1 + this.pick(how === 9 ? 100 : 4)))
    return { fromBytes, toBytes }
  }

  #change(replica: ReplicaStore, journal: ReplicaJournal): void {
    const { fromBytes, toBytes } = this.#range(replica)
    const kinds = ['write', 'write', 'write', 'write', 'zero', 'keep', 'discard'] as const
    const kind = kinds[this.pick(kinds.length)] ?? 'write'
    const block = Math.floor(fromBytes / blockBytes) * blockBytes
    const end = Math.ceil(toBytes / blockBytes) * blockBytes
    if (this.#isFree(journal, block, end)) this.change(replica, journal, { kind, fromBytes, toBytes })
  }

  change(
    replica: ReplicaStore,
    journal: ReplicaJournal,
    { kind, fromBytes, toBytes }: Pick<Change, 'kind' | 'fromBytes' | 'toBytes'>,
  ): void {
    if (kind === 'write') this.#value += 1
    const value = kind === 'write' ? this.#value : 0
    const isEnd = toBytes === replica.sizeBytes
    const change: Change = {
      kind,
      fromBytes,
      toBytes,
      isEnd,
      value,
      begin: this.disk.tick(),
      end: never,
      failed: false,
    }
    journal.changes.push(change)
    const length = toBytes - fromBytes
    let isOver = false
    const start = (done: (failure: StoreFailure | null) => void) => {
      const told = (failure: StoreFailure | null) => {
        isOver = true
        if (failure !== null) {
          change.failed = true
          change.end = this.disk.tick()
        }
        done(failure)
      }
      if (kind === 'write') replica.write(fromBytes, this.#chunks(value, length), length, told)
      else if (kind === 'discard') replica.discard(fromBytes, length, told)
      else replica.zero(fromBytes, length, kind === 'zero', told)
    }
    this.expect(kind, start, () => {
      change.end = this.disk.tick()
    })
    if (isOver) this.wrong.push(`${kind} was over inside the call`)
  }

  /** In one to three pieces. */
  #chunks(value: number, length: number): Uint8Array[] {
    const bytes = Buffer.alloc(length, valueBytes(value))
    const cuts = [this.pick(length), this.pick(length)].sort((a, b) => a - b)
    const [one = 0, two = 0] = cuts
    return this.pick(2) === 0 ? [bytes] : [bytes.subarray(0, one), bytes.subarray(one, two), bytes.subarray(two)]
  }

  sync(replica: ReplicaStore, journal: ReplicaJournal): void {
    const span = { begin: this.disk.tick(), end: never }
    this.expect(
      'sync',
      (done) => replica.sync(done),
      () => {
        span.end = this.disk.tick()
        journal.syncs.push(span)
      },
    )
  }

  /** As the mirror does it: quiet regions, a sync, then their marks; new writes may come at any moment after that. */
  async #unmark(replica: ReplicaStore, journal: ReplicaJournal): Promise<void> {
    await this.idle()
    this.sync(replica, journal)
    await this.idle()
    if (this.store?.replicas().includes(replica) !== true) return
    // C1: where a write was refused nobody has confirmed it, so its mark stays.
    const isConfirmed = (region: number) => !journal.changes.some((change) => change.failed && meets(change, region))
    const regions = [0, 1].filter((region) => this.pick(4) > 0 && isConfirmed(region))
    this.#epoch += 1
    const unmark = { regions, epoch: this.#epoch, begin: this.disk.tick(), end: never }
    journal.unmarks.push(unmark)
    // A volume that is deleted meanwhile answers what it likes.
    const call = (done: (failure: StoreFailure | null) => void) =>
      replica.unmark(regions, unmark.epoch, (failure) => done(journal.deleted === null ? failure : null))
    this.expect('unmark', call, () => {
      unmark.end = this.disk.tick()
    })
    if (!this.options.lifecycle || this.pick(12) > 0) return
    for (let events = this.pick(8); events > 0; events -= 1) this.clock.step()
    this.delete(replica.volumeId, journal)
  }

  #settle(replica: ReplicaStore, journal: ReplicaJournal): void {
    this.sync(replica, journal)
    const regions = [0, 1].filter((region) => replica.region(region).marked)
    this.expect(
      'settled',
      (done) => replica.settled(regions, done),
      () => undefined,
    )
  }

  #raise(replica: ReplicaStore, journal: ReplicaJournal): void {
    this.#epoch += 1
    const raise = { region: this.pick(2), epoch: this.#epoch, begin: this.disk.tick(), end: never }
    journal.raises.push(raise)
    this.expect(
      'raiseStamp',
      (done) => replica.raiseStamp(raise.region, raise.epoch, done),
      () => {
        raise.end = this.disk.tick()
      },
    )
  }

  #record(): void {
    const put = { begin: this.disk.tick(), end: never, value: this.records.length + 1 }
    this.records.push(put)
    this.expect(
      'put',
      (done) => this.store?.records.put('config', put.value, done),
      () => {
        put.end = this.disk.tick()
      },
    )
  }

  /** Reads while other things go on; what nobody changes meanwhile must be there, and nothing may be called rotten. */
  #read(replica: ReplicaStore, journal: ReplicaJournal): void {
    const { fromBytes, toBytes } = this.#range(replica)
    if (!this.#isFree(journal, fromBytes, toBytes, true)) return
    const began = this.disk.now
    const length = toBytes - fromBytes
    const from = Math.floor(fromBytes / blockBytes) * blockBytes
    this.open += 1
    const reading = { journal, from, to: Math.ceil(toBytes / blockBytes) * blockBytes }
    this.#reads.push(reading)
    replica.read(fromBytes, length, (failure, data) => {
      this.open -= 1
      this.#reads = this.#reads.filter((read) => read !== reading)
      if (failure === 'io' && this.options.faults !== undefined) return
      if (failure !== null) this.wrong.push(`a read of ${fromBytes} is ${failure}`)
      const changed = journal.changes.some(
        (change) => change.end > began && change.fromBytes < toBytes + blockBytes && change.toBytes > from,
      )
      if (failure !== null || changed) return
      const live = journal.live(this.disk.now)
      for (let at = 0; at < length; at += 1) {
        const block = live.get(Math.floor((fromBytes + at) / blockBytes))
        const expected = block?.[(fromBytes + at) % blockBytes] ?? 0
        if (data[at] === expected) continue
        // A change that was refused may have happened in part.
        const cell = Math.floor(at / cellBytes) * cellBytes
        const value = cellValue(Buffer.from(data), cell)
        if (value !== null && journal.allowed(fromBytes + cell, this.disk.now, false).has(value)) continue
        this.wrong.push(`a read of ${fromBytes + at} gives ${data[at]}, not ${expected}`)
        return
      }
    })
  }
}

const meets = ({ fromBytes, toBytes }: Change, region: number): boolean =>
  fromBytes < (region + 1) * regionBytes && toBytes > region * regionBytes

export function openRecorded(disk: RecordedDisk, clock: VirtualClock, sumPages: number): Promise<CoreStore> {
  const opener = disk.index.opener()
  const options = { files: disk, opener, clock, random: seeded(1), log: quiet, bootId: disk.bootId, sumPages }
  return new Promise((resolve, reject) => {
    openCore(options, (error, store) => (store ? resolve(store) : reject(error)))
  })
}
