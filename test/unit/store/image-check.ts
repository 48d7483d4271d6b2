/** Opens an image of a recorded disk and holds all it shows against what was asked before. */
import assert from 'node:assert/strict'
import { limits } from '../../../agent/limits.ts'
import type { CoreStore } from '../../../agent/store/core.ts'
import { WholeReplica } from '../../../agent/store/hidden-range.ts'
import { type Found, scanFolder } from '../../../agent/store/rebuild-scan.ts'
import type { ReplicaStore, StoreFailure } from '../../../agent/store/replica.ts'
import { DiskReplica } from '../../../agent/store/replica-disk.ts'
import { runSteps } from '../../../agent/store/steps.ts'
import { powerCuts } from './image-choices.ts'
import { cellBytes, cellValue, type ReplicaJournal } from './journal.ts'
import type { RecordedDisk } from './recorded-disk.ts'
import { type History, openRecorded } from './recorded-history.ts'
import { seeded, VirtualClock } from './world.ts'

const { blockBytes, extentBytes, regionBytes } = limits

/** `kill`: the agent died and the machine went on; else a kind of power cut. */
export type Ending = 'kill' | string

export interface ImageSpec {
  readonly at: number
  readonly ending: Ending
  readonly seed: number
  /** Further ends, each so many events after the opening began. */
  readonly again: readonly { readonly events: number; readonly ending: Ending }[]
  /** Also goes on after it was opened: settles, syncs, unmarks, and loses power. */
  readonly goesOn: boolean
  /** The store had failed, and that was durable: what no sync covered may be lost although the machine went on (C2). */
  readonly failed?: boolean
}

/** One machine's state, with its own time. */
class Machine {
  readonly clock = new VirtualClock()
  readonly disk: RecordedDisk

  constructor(from: RecordedDisk, at: number, ending: Ending, seed: number) {
    const random = seeded(seed)
    const kind = powerCuts[ending]
    assert.ok(ending === 'kill' || kind !== undefined, `there is no ending ${ending}`)
    this.disk = from.fork(at, kind === undefined ? null : kind(random.unit), this.clock, random)
  }

  ask(what: string, call: (done: (failure: StoreFailure | null) => void) => void): Promise<void> {
    return this.clock.settle(new Promise(call)).then((failure) => assert.equal(failure, null, what))
  }

  read(replica: Pick<ReplicaStore, 'read'>, offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    const asked = new Promise<Buffer>((resolve, reject) => {
      replica.read(offsetBytes, lengthBytes, (failure, data) => {
        // The disk changed nothing: a checksum that does not fit is a mistake of the store's.
        if (failure === null) resolve(Buffer.from(data))
        else reject(new Error(`a read of extent ${Math.floor(offsetBytes / extentBytes)} is ${failure}`))
      })
    })
    return this.clock.settle(asked)
  }
}

export async function checkImage(history: History, spec: ImageSpec): Promise<void> {
  let machine = new Machine(history.disk, spec.at, spec.ending, spec.seed)
  let isCut = spec.ending !== 'kill' || spec.failed === true
  for (const [index, { events, ending }] of spec.again.entries()) {
    let failed: unknown = null
    openRecorded(machine.disk, machine.clock, history.options.sumPages).catch((error) => {
      failed = error
    })
    for (let count = 0; count < events && machine.clock.step(); count += 1) if (count % 20 === 0) await null
    await null
    if (failed !== null) throw failed
    machine = new Machine(machine.disk, machine.disk.now, ending, spec.seed + index + 1)
    isCut ||= ending !== 'kill'
  }
  const store = await machine.clock.settle(openRecorded(machine.disk, machine.clock, history.options.sumPages))
  const check = new ImageCheck(history, machine, store, { at: spec.at, isCut, isOnly: spec.again.length === 0 })
  await check.all()
  if (spec.goesOn) await check.goOn(spec.seed)
}

class ImageCheck {
  readonly #history: History
  #machine: Machine
  #store: CoreStore
  readonly #at: number
  readonly #isCut: boolean
  /** The first end came while the store was open. */
  readonly #isSure: boolean
  readonly #isOnly: boolean

  constructor(
    history: History,
    machine: Machine,
    store: CoreStore,
    image: { at: number; isCut: boolean; isOnly: boolean },
  ) {
    this.#history = history
    this.#machine = machine
    this.#store = store
    this.#at = image.at
    this.#isCut = image.isCut
    this.#isOnly = image.isOnly
    this.#isSure = !history.between.some(({ begin, end }) => begin <= image.at && image.at < end)
  }

  async all(): Promise<void> {
    // Once, while it ran: nothing but that end can be what the next run is told.
    if (this.#isSure && this.#isOnly) assert.equal(this.#store.previousEnd, this.#isCut ? 'lossy' : 'torn')
    this.#records()
    const there = new Map(this.#store.replicas().map((replica) => [replica.volumeId, replica]))
    for (const [id, journal] of this.#history.volumes) {
      const { created, deleted } = journal
      const replica = there.get(id)
      there.delete(id)
      if (created.begin > this.#at) assert.equal(replica, undefined, 'a volume nobody asked for')
      if (created.end <= this.#at && (deleted === null || deleted.begin > this.#at))
        assert.ok(replica, 'a volume is gone')
      if (deleted !== null && deleted.end <= this.#at) assert.equal(replica, undefined, 'a deleted volume is back')
      if (replica !== undefined) await this.#replica(replica, journal)
    }
    assert.deepEqual([...there.keys()], [], 'volumes nobody made')
  }

  #records(): void {
    const puts = this.#history.records
    const durable = Math.max(0, ...puts.filter(({ end }) => end <= this.#at).map(({ value }) => value))
    const begun = Math.max(0, ...puts.filter(({ begin }) => begin <= this.#at).map(({ value }) => value))
    const got = Number(this.#store.records.get('config') ?? 0)
    assert.ok(got >= durable && got <= begun, `the record is ${got}, not ${durable} to ${begun}`)
  }

  async #replica(replica: ReplicaStore, journal: ReplicaJournal): Promise<void> {
    const [least, most] = journal.sizesAt(this.#at)
    const { sizeBytes } = replica
    assert.ok(sizeBytes >= least && sizeBytes <= most, `it has ${sizeBytes} bytes, not ${least} to ${most}`)
    for (let region = 0; region < replica.regionCount; region += 1) this.#region(replica, journal, region)
    await this.#images(replica, journal)
    const live = journal.live(this.#at)
    for (const [extent, bytes] of await this.#extents(replica, live)) {
      for (let start = 0; start < bytes.length; start += blockBytes) {
        const block = (extent * extentBytes + start) / blockBytes
        const got = bytes.subarray(start, start + blockBytes)
        const expected = live.get(block) ?? Buffer.alloc(blockBytes)
        if (!got.equals(expected)) this.#differs(replica, journal, block, got, expected)
      }
    }
  }

  /** An image is there, or it is not; and then it holds what its volume held, to the byte. */
  async #images(replica: ReplicaStore, journal: ReplicaJournal): Promise<void> {
    const there = new Map(this.#store.images(replica.volumeId).map((image) => [image.name, image]))
    for (const { name, created, deleted, content } of journal.images) {
      const image = there.get(name)
      there.delete(name)
      if (created.end <= this.#at && (deleted === null || deleted.begin > this.#at)) assert.ok(image, `${name} is gone`)
      if (created.begin > this.#at) assert.equal(image, undefined, `${name} is there before it was made`)
      if (deleted !== null && deleted.end <= this.#at) assert.equal(image, undefined, `${name} is back`)
      if (image === undefined) continue
      for (const [block, expected] of content ?? []) {
        const got = await this.#machine.read(image, block * blockBytes, blockBytes)
        assert.ok(got.equals(expected), `block ${block} of ${name} has changed`)
      }
    }
    const others = [...there.keys()]
    // But for one whose making was answered with a failure of the disk.
    const most = this.#history.options.faults === undefined ? 0 : 1
    assert.ok(others.length <= most, `images nobody made: ${others}`)
  }

  /** Every extent that was ever touched, whole: what nobody wrote must read as zeros. */
  async #extents(replica: ReplicaStore, live: ReadonlyMap<number, Buffer>): Promise<Map<number, Buffer>> {
    const extents = new Set([...live.keys()].map((block) => Math.floor((block * blockBytes) / extentBytes)))
    const read = new Map<number, Buffer>()
    for (const extent of extents) {
      const from = extent * extentBytes
      read.set(extent, await this.#machine.read(replica, from, Math.min(extentBytes, replica.sizeBytes - from)))
    }
    return read
  }

  #region(replica: ReplicaStore, journal: ReplicaJournal, region: number): void {
    const { marked, grade, stamp } = replica.region(region)
    const words = `region ${region} is ${JSON.stringify(replica.region(region))}`
    if (marked && this.#isCut && this.#isSure) assert.equal(grade, 'lossy', words)
    if (marked) assert.ok(grade !== 'sound', words)
    else assert.equal(grade, 'sound', words)
    const off = journal.unmarkedFrom(region, this.#at)
    assert.ok(marked || off !== null, `${words}, but it was written and nobody took the mark off (C1)`)
    if (!marked) assert.ok(stamp >= (off ?? 0), `${words}, but its mark came off in epoch ${off} (C3)`)
    const least = journal.stampedFrom(region, this.#at, this.#isCut)
    assert.ok(stamp >= least, `${words}, but its stamp was durably ${least} (C3)`)
  }

  #differs(replica: ReplicaStore, journal: ReplicaJournal, block: number, got: Buffer, expected: Buffer): void {
    const facts = replica.region(Math.floor((block * blockBytes) / regionBytes))
    for (let at = 0; at < blockBytes; at += cellBytes) {
      if (got.compare(expected, at, at + cellBytes, at, at + cellBytes) === 0) continue
      const value = cellValue(got, at)
      const allowed = journal.allowed(block * blockBytes + at, this.#at, this.#isCut)
      const words = `block ${block} + ${at} holds ${value}, acknowledged was ${cellValue(expected, at)}`
      assert.ok(value !== null && allowed.has(value), `${words}, allowed ${[...allowed]}`)
      assert.ok(facts.marked, `${words}, and nothing marks it (C1)`)
    }
  }

  /** Settles, writes where nothing was (S2), takes all marks off, loses power: all must be there, and unmarked. */
  async goOn(seed: number): Promise<void> {
    const seen = new Map<string, Map<number, Buffer>>()
    for (const replica of this.#store.replicas()) {
      const journal = this.#history.volumes.get(replica.volumeId)
      assert.ok(journal)
      seen.set(replica.volumeId, await this.#extents(replica, journal.live(this.#at)))
      await this.#freshSlots(replica, seed)
    }
    for (const replica of this.#store.replicas()) await this.#unmarkAll(replica)
    this.#machine = new Machine(this.#machine.disk, this.#machine.disk.now, 'nothing unsynced', seed + 500_000_000)
    const { disk, clock } = this.#machine
    this.#store = await clock.settle(openRecorded(disk, clock, this.#history.options.sumPages))
    assert.equal(this.#store.previousEnd, 'lossy')
    for (const replica of this.#store.replicas()) {
      const there = seen.get(replica.volumeId)
      // Back again: its deletion was never acknowledged.
      if (there === undefined) continue
      for (const [extent, before] of there) {
        const from = extent * extentBytes
        const now = await this.#machine.read(replica, from, before.length)
        assert.ok(now.equals(before), `extent ${extent} changed when its mark came off`)
      }
      for (let region = 0; region < replica.regionCount; region += 1) {
        assert.equal(replica.region(region).marked, false, `region ${region} is marked again`)
      }
    }
    await this.#mustBeTold()
  }

  /** Where no mark is, the slots' own headers say what the index says: should that be lost, no extent is lost with it (C11). */
  async #mustBeTold(): Promise<void> {
    const { disk, clock } = this.#machine
    const { volumes } = await clock.settle(
      new Promise<Found>((resolve, reject) => {
        runSteps(
          scanFolder(disk, this.#store.storeId, () => undefined),
          (error, found) => (found ? resolve(found) : reject(error)),
        )
      }),
    )
    for (const whole of this.#store.replicas()) {
      const replica = whole instanceof WholeReplica ? whole.volume : whole
      assert.ok(replica instanceof DiskReplica)
      const claims = volumes.find(({ id }) => id === replica.volumeId)?.claims
      for (let extent = 0; extent * extentBytes < replica.sizeBytes; extent += 1) {
        const slot = replica.parts.map.get(extent)
        if (slot < 0) continue
        assert.equal(
          claims?.slotOf(extent),
          slot,
          `extent ${extent} is not in slot ${slot} when the index is made anew`,
        )
      }
    }
  }

  /** Extents that no history touches: a small write there may show nobody's old bytes around it. */
  async #freshSlots(replica: ReplicaStore, seed: number): Promise<void> {
    for (let extent = 10; extent < 22; extent += 1) {
      const at = extent * extentBytes + ((seed * 7 + extent) % 60) * blockBytes + 512
      await this.#machine.ask('a first write', (done) => replica.write(at, [Buffer.alloc(512, 0xee)], 512, done))
      const expected = Buffer.alloc(extentBytes)
      expected.fill(0xee, at - extent * extentBytes, at - extent * extentBytes + 512)
      const got = await this.#machine.read(replica, extent * extentBytes, extentBytes)
      assert.ok(got.equals(expected), `a fresh slot shows old bytes (S2)`)
    }
  }

  async #unmarkAll(replica: ReplicaStore): Promise<void> {
    const regions = [...replica.regions()].filter(([, { marked }]) => marked).map(([region]) => region)
    await this.#machine.ask('sync', (done) => replica.sync(done))
    await this.#machine.ask('settled', (done) => replica.settled(regions, done))
    await this.#machine.ask('unmark', (done) => replica.unmark(regions, 1_000_000, done))
    for (const region of regions) assert.equal(replica.region(region).marked, false, `region ${region} stays marked`)
    await this.#machine.ask('sync', (done) => replica.sync(done))
  }
}
