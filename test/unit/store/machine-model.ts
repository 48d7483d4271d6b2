/**
 * The plain model of the state machine: for each volume a Buffer, and a set of facts about it. Only what is promised.
 */
import assert from 'node:assert/strict'
import { limits } from '../../../agent/limits.ts'
import type { Grade, RegionFacts } from '../../../agent/store/replica.ts'
import { type Change, fill } from './machine-change.ts'
import { type ImageFacts, ImageModels } from './machine-images.ts'

const { blockBytes, extentBytes, regionBytes } = limits
const sectorBytes = 512
const badness: Record<Grade, number> = { sound: 0, torn: 1, lossy: 2 }

export type Ending = 'clean' | 'kill' | 'cut'
/** What one volume shows from outside. */
export interface VolumeFacts {
  readonly sizeBytes: number
  readonly regions: readonly RegionFacts[]
  readonly allocatedBytes: number
  readonly images: readonly ImageFacts[]
}

interface Region {
  /** Something changed there since its mark came off. */
  isNeeded: boolean
  mark: 'on' | 'off' | 'either'
  grade: Grade | 'any'
  stamp: number
  /** When a change of it began last. */
  began: number
  durableStamp: number
  /** Of the unmark that took its mark off last. */
  offEpoch: number
}

/** One content that a sector may have, and when it came to be. */
interface Version {
  readonly bytes: Buffer
  readonly ended: number
}

const untouched = (): Region => ({
  isNeeded: false,
  mark: 'off',
  grade: 'sound',
  stamp: 0,
  began: 0,
  durableStamp: 0,
  offEpoch: 0,
})

export class VolumeModel {
  sizeBytes: number
  bytes: Buffer
  readonly regions: Region[]
  /** The size that it is growing to. */
  growing: number | null = null
  /** A kill came before its growing was told: a power cut may take it back until a sync has come that began later. */
  unsureSize: { readonly before: number; readonly since: number } | null = null
  /** Extents that have a slot, surely or perhaps. */
  readonly mapped = new Map<number, 'surely' | 'perhaps'>()
  readonly touched = new Set<number>()
  /** Changes and reads under way, rounded out to blocks (W3, R4). */
  readonly busy = new Set<Change & { readonly isRead: boolean }>()
  /** Unmarks under way: an end may find them carried out. */
  readonly unmarking = new Set<{
    readonly regions: readonly number[]
    readonly epoch: number
    readonly begun: number
  }>()
  /** Calls under way of any kind. */
  open = 0
  state: 'making' | 'there' | 'going' | 'wiping' = 'making'
  readonly images = new ImageModels()
  /** A kill came before its making was told: a power cut may take it back until a sync has come that began later. */
  unsure: number | null = null
  /** Of sectors that a power cut may take back: what they may hold, oldest first. */
  readonly #versions = new Map<number, Version[]>()
  readonly #mapChanges = new Map<number, number>()
  readonly #stampChanges: { region: number; stamp: number; ended: number }[] = []

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes
    this.bytes = Buffer.alloc(sizeBytes)
    this.regions = Array.from({ length: Math.ceil(sizeBytes / regionBytes) }, untouched)
  }

  /** It has that size from now on; a smaller one after a power cut only. */
  resize(sizeBytes: number): void {
    const bytes = Buffer.alloc(sizeBytes)
    this.bytes.copy(bytes)
    this.bytes = bytes
    this.sizeBytes = sizeBytes
    this.growing = null
    const count = Math.ceil(sizeBytes / regionBytes)
    this.regions.splice(count)
    while (this.regions.length < count) this.regions.push(untouched())
    for (const extent of [...this.mapped.keys(), ...this.touched]) {
      if (extent * extentBytes < sizeBytes) continue
      this.mapped.delete(extent)
      this.touched.delete(extent)
    }
    this.images.cutOff(sizeBytes)
  }

  isFree(from: number, to: number, isRead: boolean): boolean {
    // S7: what is to change waits while an image is made.
    if (!isRead && this.images.areChanging) return false
    const [first, end] = [Math.floor(from / blockBytes) * blockBytes, Math.ceil(to / blockBytes) * blockBytes]
    for (const other of this.busy) {
      if (isRead && other.isRead) continue
      const otherEnd = Math.ceil(other.to / blockBytes) * blockBytes
      if (Math.floor(other.from / blockBytes) * blockBytes < end && first < otherEnd) return false
    }
    return true
  }

  /** The bytes that a change really changes: a discard takes whole extents only. */
  range({ kind, from, to, sizeBytes }: Change): [from: number, to: number] {
    if (kind !== 'discard') return [from, to]
    const first = Math.ceil(from / extentBytes) * extentBytes
    const end = to === sizeBytes ? to : Math.floor(to / extentBytes) * extentBytes
    return [first, Math.max(first, end)]
  }

  /** Regions that a change may mark. */
  around({ from, to }: Change): Region[] {
    return this.regions.slice(Math.floor(from / regionBytes), Math.floor((to - 1) / regionBytes) + 1)
  }

  began(change: Change, now: number): void {
    for (const region of this.around(change)) region.began = now
    for (let extent = Math.floor(change.from / extentBytes); extent * extentBytes < change.to; extent += 1) {
      this.touched.add(extent)
    }
  }

  /** It is done. */
  apply(change: Change, now: number): void {
    const [from, to] = this.range(change)
    const after = fill(change.value, from, to)
    for (const region of this.around(change)) if (this.#differs(region, from, after)) region.isNeeded = true
    this.#change(from, after, now)
    this.#map(change, now)
    for (const region of this.around(change)) {
      if (change.kind === 'write') {
        if (region.mark === 'off') region.grade = 'sound'
        region.mark = 'on'
        region.isNeeded = true
      } else if (region.mark === 'off') {
        // Where nothing is stored nothing changes, and no mark is needed.
        region.mark = 'either'
        region.grade = 'sound'
      }
    }
  }

  /** Whether these bytes change something in the region. */
  #differs(region: Region, from: number, after: Buffer): boolean {
    const start = this.regions.indexOf(region) * regionBytes
    const [first, end] = [Math.max(from, start), Math.min(from + after.length, start + regionBytes)]
    return first < end && !this.bytes.subarray(first, end).equals(after.subarray(first - from, end - from))
  }

  #change(from: number, after: Buffer, now: number): void {
    const to = from + after.length
    for (let sector = Math.floor(from / sectorBytes); sector * sectorBytes < to; sector += 1) {
      const start = sector * sectorBytes
      const whole = this.bytes.subarray(start, start + sectorBytes)
      const versions = this.#versions.get(sector) ?? [{ bytes: Buffer.from(whole), ended: -1 }]
      after.copy(
        whole,
        Math.max(0, from - start),
        Math.max(0, start - from),
        Math.min(after.length, start + 512 - from),
      )
      versions.push({ bytes: Buffer.from(whole), ended: now })
      this.#versions.set(sector, versions)
    }
  }

  #map(change: Change, now: number): void {
    for (const [extent, isWhole] of this.#extents(change)) {
      const before = this.mapped.get(extent)
      // What ended at the end of a volume that grew meanwhile may have been taken for a part.
      const isUnsure = before !== undefined && change.to !== change.from && change.sizeBytes !== this.sizeBytes
      if (change.kind === 'write') this.mapped.set(extent, 'surely')
      else if (isUnsure) this.mapped.set(extent, 'perhaps')
      else if (isWhole && change.kind !== 'keep') this.mapped.delete(extent)
      if (this.mapped.get(extent) !== before) this.#mapChanges.set(extent, now)
      this.#slot(change, extent, before !== undefined, now)
    }
  }

  /** Which slot it has now: what images hold is never changed. */
  #slot({ kind }: Change, extent: number, hadOne: boolean, now: number): void {
    const state = this.mapped.get(extent)
    if (kind === 'write') this.images.written(extent, now)
    else if (!hadOne) return
    else if (state === undefined) this.images.unmapped(extent, now)
    // A discard changes nothing of an extent of which it is told a part.
    else if (state === 'perhaps') this.images.unsure(extent)
    else if (kind !== 'discard') this.images.written(extent, now)
  }

  *#extents({ from, to }: Change): IterableIterator<[extent: number, isWhole: boolean]> {
    for (let extent = Math.floor(from / extentBytes); extent * extentBytes < to; extent += 1) {
      const end = Math.min(this.sizeBytes, (extent + 1) * extentBytes)
      yield [extent, from <= extent * extentBytes && to >= end]
    }
  }

  /** A full disk refused it: nothing is promised about its range, but that each sector is the old or the new one. */
  refused(change: Change, got: Buffer, now: number): void {
    const [from, to] = [change.from, change.to]
    const after = Buffer.from(this.bytes.subarray(from, to))
    const wanted = fill(change.value, from, to)
    for (let at = from; at < to; ) {
      const end = Math.min(to, (Math.floor(at / sectorBytes) + 1) * sectorBytes)
      const [one, old] = [got.subarray(at - from, end - from), this.bytes.subarray(at, end)]
      assert.ok(one.equals(old) || one.equals(wanted.subarray(at - from, end - from)), `refused, and ${at} is mixed`)
      one.copy(after, at - from)
      at = end
    }
    for (const region of this.around(change)) if (this.#differs(region, from, after)) region.isNeeded = true
    this.#change(from, after, now)
    for (const region of this.around(change))
      if (region.mark === 'off') Object.assign(region, { mark: 'either', grade: 'any' })
    for (const [extent] of this.#extents(change)) {
      if (!this.mapped.has(extent)) this.mapped.set(extent, 'perhaps')
      this.images.unsure(extent)
    }
  }

  /** A sync that began then has ended well. */
  synced(begun: number): void {
    if (this.unsure !== null && this.unsure < begun) this.unsure = null
    if (this.unsureSize !== null && this.unsureSize.since < begun) this.unsureSize = null
    for (const [sector, versions] of this.#versions) {
      const last = versions.findLastIndex(({ ended }) => ended < begun)
      if (last === versions.length - 1) this.#versions.delete(sector)
      else if (last > 0) versions.splice(0, last)
    }
    for (const [extent, ended] of this.#mapChanges) if (ended < begun) this.#mapChanges.delete(extent)
    this.images.synced(begun)
    for (const { region, stamp, ended } of this.#stampChanges) {
      const known = this.regions[region]
      if (known !== undefined && ended < begun) known.durableStamp = Math.max(known.durableStamp, stamp)
    }
  }

  unmarked(regions: readonly number[], epoch: number, shown: VolumeFacts, now: number): void {
    for (const index of regions) {
      const region = this.regions[index]
      if (region === undefined || shown.regions[index]?.marked !== false) continue
      if (region.isNeeded) region.offEpoch = epoch
      Object.assign(region, { mark: 'off', isNeeded: false })
      this.stamped(index, epoch, now)
    }
  }

  stamped(index: number, epoch: number, now: number): void {
    const region = this.regions[index]
    if (region === undefined) return
    region.stamp = Math.max(region.stamp, epoch)
    this.#stampChanges.push({ region: index, stamp: epoch, ended: now })
  }

  /** With nothing under way: what the store says must be what is known. */
  agree(shown: VolumeFacts): void {
    assert.equal(shown.sizeBytes, this.sizeBytes)
    for (const [index, region] of this.regions.entries()) {
      const facts = shown.regions[index]
      const words = `region ${index} is ${JSON.stringify(facts)}, known: ${JSON.stringify(region)}`
      assert.ok(facts, words)
      assert.ok(facts.marked || !region.isNeeded, `${words}: a doubt without a mark (C1)`)
      if (region.mark !== 'either') assert.equal(facts.marked, region.mark === 'on', words)
      if (facts.marked && region.grade !== 'any') assert.equal(facts.grade, region.grade, words)
      if (!facts.marked) assert.equal(facts.grade, 'sound', words)
      assert.equal(facts.stamp, region.stamp, words)
      region.mark = facts.marked ? 'on' : 'off'
      region.grade = facts.grade
    }
    const states = [...this.mapped.values()]
    const least = states.filter((state) => state === 'surely').length
    const extents = shown.allocatedBytes / extentBytes
    assert.ok(
      extents >= least && extents <= states.length,
      `${extents} extents have a slot, known: ${least} to ${states.length}`,
    )
    this.images.agree(shown.images)
  }

  /** After an end: what may be there now, apart from the bytes. */
  ended(ending: Ending, shown: VolumeFacts, now: number): void {
    this.#endedSize(ending, shown.sizeBytes, now)
    this.images.ended(ending, shown.images, this.state === 'wiping')
    for (const change of this.busy) if (!change.isRead) this.#leftUnderWay(change)
    if (ending === 'cut') for (const extent of this.#mapChanges.keys()) this.mapped.set(extent, 'perhaps')
    const isQuiet = this.open === 0
    for (const [index, region] of this.regions.entries()) {
      const facts = shown.regions[index]
      assert.ok(facts)
      for (const { regions, epoch, begun } of this.unmarking) {
        if (!regions.includes(index) || region.began > begun) continue
        Object.assign(region, { mark: 'either', grade: 'any' })
        if (!facts.marked && region.isNeeded) Object.assign(region, { isNeeded: false, offEpoch: epoch })
      }
      this.#endedRegion(
        region,
        facts,
        ending,
        isQuiet,
        `after ${ending} region ${index} is ${JSON.stringify(facts)}, known: ${JSON.stringify(region)}`,
      )
    }
    if (ending === 'cut') this.#mapChanges.clear()
    if (ending === 'cut') this.#stampChanges.length = 0
    this.unmarking.clear()
    this.open = 0
  }

  /** Growing that was under way has come or not. */
  #endedSize(ending: Ending, sizeBytes: number, now: number): void {
    const before = this.sizeBytes
    const wasTakenBack = ending === 'cut' && sizeBytes === this.unsureSize?.before
    if (sizeBytes === this.growing || wasTakenBack) this.resize(sizeBytes)
    assert.equal(sizeBytes, this.sizeBytes, `after ${ending}`)
    if (sizeBytes > before && ending === 'kill') this.unsureSize ??= { before, since: now }
    if (ending === 'cut') this.unsureSize = null
    this.growing = null
  }

  #leftUnderWay(change: Change): void {
    for (const region of this.around(change)) {
      if (region.mark === 'off') Object.assign(region, { mark: 'either', grade: 'any' })
    }
    for (const [extent] of this.#extents(change)) {
      if (change.kind !== 'keep') this.mapped.set(extent, 'perhaps')
      if (this.mapped.has(extent)) this.images.unsure(extent)
    }
  }

  #endedRegion(region: Region, facts: RegionFacts, ending: Ending, isQuiet: boolean, words: string): void {
    const worst: Grade = ending === 'cut' ? 'lossy' : 'torn'
    assert.ok(facts.marked || !region.isNeeded, `${words}: a doubt without a mark (C1)`)
    if (facts.marked) assert.ok(badness[facts.grade] >= badness[worst], `${words}: too good a grade (C2)`)
    const isKnown = isQuiet && ending !== 'cut'
    if (isKnown && region.mark !== 'either') assert.equal(facts.marked, region.mark === 'on', words)
    if (isKnown && facts.marked && region.mark === 'on' && region.grade !== 'any') {
      const expected = badness[region.grade] > badness[worst] ? region.grade : worst
      assert.equal(facts.grade, expected, words)
    }
    const least = ending === 'cut' ? region.durableStamp : region.stamp
    assert.ok(facts.stamp >= least, `${words}: the stamp fell (C3)`)
    if (!facts.marked && ending === 'cut')
      assert.ok(facts.stamp >= region.offEpoch || !region.offEpoch, `${words}: unmarked without its stamp (C3)`)
    if (isKnown) assert.equal(facts.stamp, region.stamp, words)
    Object.assign(region, { mark: facts.marked ? 'on' : 'off', grade: facts.grade, stamp: facts.stamp })
    if (ending === 'cut') region.durableStamp = facts.stamp
  }

  /** What an extent holds after an end: every sector is what it was, or what the end allows; that is what it is from now on. */
  found(extent: number, got: Buffer, ending: Ending, shown: VolumeFacts, now: number): void {
    const start = extent * extentBytes
    const live = this.bytes.subarray(start, start + got.length)
    if (live.equals(got) && ending !== 'cut') return
    for (let at = 0; at < got.length; at += sectorBytes) {
      const sector = got.subarray(at, at + sectorBytes)
      const number = (start + at) / sectorBytes
      if (!sector.equals(live.subarray(at, at + sectorBytes))) this.#foundOther(number, sector, ending, shown)
      const before = this.bytes.subarray(start + at, start + at + sectorBytes)
      if (ending === 'cut') this.#versions.delete(number)
      else if (!sector.equals(before)) this.#change(start + at, Buffer.from(sector), now)
      sector.copy(before)
    }
  }

  #foundOther(number: number, sector: Buffer, ending: Ending, shown: VolumeFacts): void {
    const at = number * sectorBytes
    const region = shown.regions[Math.floor(at / regionBytes)]
    const allowed = ending === 'cut' ? (this.#versions.get(number) ?? []).map(({ bytes }) => bytes) : []
    for (const change of this.busy) {
      const [from, to] = this.range(change)
      if (change.isRead || from >= at + sectorBytes || to <= at) continue
      const next = Buffer.from(this.bytes.subarray(at, at + sectorBytes))
      const [first, end] = [Math.max(from, at), Math.min(to, at + sectorBytes)]
      fill(change.value, first, end).copy(next, first - at)
      allowed.push(next)
    }
    if (this.state === 'wiping') allowed.push(Buffer.alloc(sectorBytes))
    const isOne = allowed.some((bytes) => bytes.equals(sector))
    assert.ok(isOne, `after ${ending} the sector at ${at} holds what nobody wrote, or what was flushed is gone (W4)`)
    assert.ok(
      region?.marked,
      `after ${ending} the sector at ${at} is not what was acknowledged, and nothing marks it (C1)`,
    )
  }
}
