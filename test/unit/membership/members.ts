/** A few members of one volume, each with a host that records, joined by links that can be cut, under virtual time. */
import type { ServerId } from '../../../agent/kit/ids.ts'
import { limits } from '../../../agent/limits.ts'
import type { Links, Message } from '../../../agent/link/messages.ts'
import type { Configuration } from '../../../agent/membership/configuration.ts'
import { Silence } from '../../../agent/membership/lease.ts'
import { Member } from '../../../agent/membership/member.ts'
import type { MemberHost } from '../../../agent/membership/member-world.ts'
import { type MemberMessageKind, memberMessages, type Tell } from '../../../agent/membership/messages.ts'
import type { ArbiterPort } from '../../../agent/membership/proposer.ts'
import { RecordFile, type VolumeRecord } from '../../../agent/membership/record.ts'
import { onePlace, Registers } from '../../../agent/membership/register.ts'
import type { Session } from '../../../agent/membership/session.ts'
import type { Records, StoreDone, StoreFailure } from '../../../agent/store/replica.ts'
import { idOf, quiet, seeded, VirtualClock, volume } from './world.ts'

/** Durable a little later, unless the disk is broken. */
export class TimedRecords implements Records {
  readonly #clock: VirtualClock
  readonly #values = new Map<string, unknown>()
  failure: StoreFailure | null = null

  constructor(clock: VirtualClock) {
    this.#clock = clock
  }
  get(key: string): unknown {
    return this.#values.get(key)
  }
  put(key: string, value: unknown, done: StoreDone): void {
    this.#values.set(key, value)
    const { failure } = this
    this.#clock.after(1, () => done(failure))
  }
  keys(): readonly string[] {
    return [...this.#values.keys()]
  }
}

/** What the volume around a member was told, and how it answers. */
export class RecordingHost implements MemberHost {
  readonly calls: string[] = []
  readonly clock: VirtualClock
  told: Tell = { openedId: null, doubts: [], names: [], time: 1 }
  lossy = false
  owed = new Map<ServerId, number>()
  /** What settling and making durable answer. */
  settles = true
  durable = true
  drains = true
  #draining: (() => void)[] = []

  constructor(clock: VirtualClock) {
    this.clock = clock
  }
  stopServing(drained: () => void): void {
    this.calls.push('stop')
    if (this.drains) drained()
    else this.#draining.push(drained)
  }
  drain(): void {
    for (const drained of this.#draining.splice(0)) drained()
  }
  tell(): Tell {
    return this.told
  }
  beginSettling(): void {
    this.calls.push('settling')
  }
  settle(_session: Session, _tells: ReadonlyMap<ServerId, Tell>, done: (settled: boolean) => void): () => number {
    this.calls.push('settle')
    this.clock.after(5, () => done(this.settles))
    return () => 0
  }
  makeSettledDurable(done: (failed: boolean) => void): void {
    this.clock.after(1, () => done(!this.durable))
  }
  diskFailed(): boolean {
    return false
  }
  sessionRecorded(): void {
    this.calls.push('recorded')
  }
  sessionOpened(): void {
    this.calls.push('opened')
  }
  outside(): void {
    this.calls.push('outside')
  }
  anyLossy(): boolean {
    return this.lossy
  }
  owedByMs(member: ServerId): number {
    return this.owed.get(member) ?? 0
  }
  tellPeople(kind: string): void {
    this.calls.push(`say ${kind}`)
  }

  take(): string[] {
    return this.calls.splice(0)
  }
}

export interface Party {
  readonly id: ServerId
  run: number
  member: Member
  host: RecordingHost
  record: RecordFile
  readonly records: TimedRecords
  silence: Silence
}

export class Parties {
  readonly clock = new VirtualClock()
  readonly all: Party[] = []
  readonly registers: Registers
  readonly registerRecords: TimedRecords
  arbiterUp = true
  readonly configuration: Configuration
  /** Pairs between which nothing passes. */
  readonly #cuts = new Set<string>()
  readonly #dead = new Set<ServerId>()

  constructor(count: number, configuration: Configuration, opened = false) {
    this.configuration = configuration
    this.registerRecords = new TimedRecords(this.clock)
    this.registers = new Registers(onePlace(this.registerRecords))
    this.registers.handle({ operation: 'create', configuration }, () => undefined)
    this.clock.pass(5)
    for (let index = 0; index < count; index += 1) {
      const { id, epoch, inSync } = configuration
      const value: VolumeRecord = {
        known: configuration,
        opened: opened ? { epoch, id, inSync } : null,
        prepared: false,
        word: null,
        resyncBegun: false,
        older: false,
        peers: [],
      }
      this.all.push(this.#make(idOf(index), 1, value, new TimedRecords(this.clock)))
    }
  }

  #make(id: ServerId, run: number, value: VolumeRecord, records: TimedRecords): Party {
    const host = new RecordingHost(this.clock)
    const silence = new Silence()
    const record = new RecordFile(records, volume, value)
    const member = new Member(
      {
        self: id,
        selfRun: run,
        volumeId: volume,
        links: this.#links(id, run),
        clock: this.clock,
        random: seeded(run * 100 + this.all.length),
        log: quiet,
        silence,
        arbiter: this.#arbiter(),
        record,
        ownStore: {
          storeId: id,
          life: String(run).padStart(32, id),
          found: run - 1,
          commits: () => run,
          doubtAll: () => undefined,
        },
      },
      host,
    )
    return { id, run, member, host, record, records, silence }
  }

  party(index: number): Party {
    const party = this.all[index]
    if (party === undefined) throw new Error(`no party ${index}`)
    return party
  }

  connected(one: ServerId, other: ServerId): boolean {
    return !this.#dead.has(one) && !this.#dead.has(other) && !this.#cuts.has([one, other].sort().join(' '))
  }

  #arbiter(): ArbiterPort {
    return {
      reachable: () => this.arbiterUp,
      ask: (request, done) => {
        if (!this.arbiterUp) this.clock.after(1_500, () => done(null))
        else this.registers.handle(request, (answer) => this.clock.after(1, () => done(answer)))
      },
    }
  }

  #links(from: ServerId, run: number): Links {
    const send = (to: ServerId, message: Message): boolean => {
      if (message.type !== 'control') throw new Error('membership sends control messages only')
      const kind = message.kind as MemberMessageKind
      const parsed = memberMessages[kind].safeParse(message.body)
      if (!parsed.success) throw new Error(`${kind}: ${parsed.error.message}`)
      const target = this.all.find((party) => party.id === to)
      const targetRun = target?.run
      this.clock.after(1, () => {
        if (target === undefined || target.run !== targetRun || !this.connected(from, to)) return
        const sender = this.all.find((party) => party.id === from)
        if (sender?.run === run) target.member.onMessage(from, run, kind, message.body)
      })
      return true
    }
    return {
      send,
      sendNow: send,
      unacknowledgedBytes: () => 0,
      acknowledgedBytes: () => 0,
      peer: (server) => {
        const party = this.all.find((candidate) => candidate.id === server)
        return party === undefined ? undefined : { run: party.run, connected: this.connected(from, server) }
      },
    }
  }

  /** All begin, and see each other's runs. */
  start(): this {
    for (const { member } of this.all) member.start()
    for (const one of this.all)
      for (const other of this.all) if (one !== other) one.member.onPeerRun(other.id, other.run)
    this.clock.pass(200)
    return this
  }

  cut(one: ServerId, other: ServerId): void {
    this.#cuts.add([one, other].sort().join(' '))
  }
  heal(): void {
    this.#cuts.clear()
    for (const one of this.all) {
      for (const other of this.all)
        if (one !== other && this.connected(one.id, other.id)) one.member.onPeerRun(other.id, other.run)
    }
  }
  kill(index: number): void {
    this.#dead.add(this.party(index).id)
  }

  /** A new run with what the record says; it is noticed at once. */
  restart(index: number): Party {
    const old = this.party(index)
    this.#dead.delete(old.id)
    const party = this.#make(old.id, old.run + 1, old.record.value, old.records)
    this.all[index] = party
    party.member.start()
    for (const other of this.all) {
      if (other === party || !this.connected(other.id, party.id)) continue
      other.member.onPeerRun(party.id, party.run)
      party.member.onPeerRun(other.id, other.run)
    }
    return party
  }

  /** Lets time pass with ticks and heartbeats as the engine has them. */
  run(ms: number): void {
    const tickMs = limits.heartbeatMs / 2
    for (let passed = 0; passed < ms; passed += tickMs) {
      this.clock.pass(tickMs)
      const living = this.all.filter((party) => !this.#dead.has(party.id))
      for (const party of living) {
        party.silence.tick(
          tickMs,
          tickMs,
          this.all.map(({ id }) => id).filter((id) => id !== party.id),
        )
      }
      for (const one of living) for (const other of living) if (one !== other) this.#beat(one, other)
      for (const party of living) party.member.tick()
    }
  }

  #beat(from: Party, to: Party): void {
    if (!this.connected(from.id, to.id)) return
    to.silence.heard(from.id)
    const session = from.member.session?.number
    if (session === undefined || to.member.session?.number !== session) return
    if (to.member.answerHeartbeat(from.id, session)) from.member.heartbeatAnswered(to.id, session, this.clock.leaseMs())
  }

  phases(): string[] {
    return this.all.map(({ member }) => member.phase)
  }
}
