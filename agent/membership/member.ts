/**
 * One server's part in one volume: which configuration it knows, whether it may serve, and how it gets from one session
 * to the next (E1, E3, E5, E7, E9). Pure: clock, links, arbiter and disk are handed in.
 *
 *   outside --learns of a configuration with itself--> stopping --drained--> gathering --begin--> settling
 *   settling --all durable--> recorded --open, barrier passed--> open
 *   any --configuration without itself--> outside       open, forming --own disk overdue, planned stop--> left
 *   open, recorded, settling --new configuration, another run of a member--> stopping
 */
import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import { type Configuration, relation } from './configuration.ts'
import { Decisions } from './decisions.ts'
import { Forming, mayOpen } from './forming.ts'
import { Lease } from './lease.ts'
import { Leaving } from './leaving.ts'
import type { MemberHost, MemberPhase, MemberWorld } from './member-world.ts'
import {
  type MemberBody,
  type MemberHandlers,
  type MemberMessageKind,
  parseMemberMessage,
  type Tell,
} from './messages.ts'
import type { Proposer } from './proposer.ts'
import type { Removal } from './removal.ts'
import { leaderOf, makeSession, type Session } from './session.ts'
import { Stores } from './stores.ts'
import { type Waiting, waitingFor } from './waiting.ts'

export class Member {
  readonly world: MemberWorld
  readonly #host: MemberHost
  readonly decisions: Decisions
  readonly #forming: Forming
  readonly #lease = new Lease()
  #phase: MemberPhase = 'outside'
  #session: Session | null = null
  #told: Tell | null = null
  /** Counts stops, so that a late `drained` of an older one is recognised. */
  #stops = 0
  /** Which of its beginnings it tells about: the same words in another round are news to the leader. */
  #round = 0
  /** Its volume is being removed: nothing begins any more. */
  #isRetired = false
  splitBrain = false
  #openedInThisRun = false
  /** A beginning that waits for another member's run to show on the links. */
  #awaitsLinks: (() => void) | null = null
  /** The configuration whose session the leader let open, which it does once all have recorded it. */
  #openedByAllId = ''
  readonly leaving: Leaving
  readonly stores: Stores
  /** Since when the own disk has been recording a session, in turned time, and after which stop; null while it is not. */
  #recording: { readonly stop: number; readonly sinceMs: number } | null = null

  constructor(world: MemberWorld, host: MemberHost) {
    this.world = world
    this.#host = host
    this.decisions = new Decisions(world, host, this)
    const runOf = (server: ServerId) => this.#runOf(server)
    this.leaving = new Leaving({
      clock: world.clock,
      runOf,
      send: (to, reason) => this.#sendOrTake(to, 'member.leave', { configurationId: this.known.id, reason }),
    })
    this.stores = new Stores({
      clock: world.clock,
      record: world.record,
      own: world.ownStore,
      runOf,
      send: (to, body) => this.#sendOrTake(to, 'member.store', body),
      heard: () => this.#awaitsLinks?.(),
      doubted: () => this.#doubted(),
      alarm: (server, remembered, found) => this.decisions.tellOlderStore(server ?? world.self, remembered, found),
    })
    this.#forming = new Forming({
      self: world.self,
      runOf,
      send: (to, kind, body) => this.#sendOrTake(to, kind, body),
      mayBegin: () => this.#mayBegin(),
      mayOpen,
      settle: (session, tells, done) => host.settle(session, tells, done),
      turnedMs: () => world.silence.turnedMs,
      vectorWasUsed: () => this.decisions.renew(),
    })
  }

  get known(): Configuration {
    return this.world.record.value.known
  }
  get proposer(): Proposer {
    return this.decisions.proposer
  }
  get removal(): Removal {
    return this.decisions.removal
  }
  get phase(): MemberPhase {
    return this.#phase
  }
  get session(): Session | null {
    return this.#session
  }
  get openedByAll(): boolean {
    return this.#openedByAllId === this.known.id
  }
  get inSet(): boolean {
    return this.known.inSync.includes(this.world.self)
  }
  get leads(): boolean {
    return leaderOf(this.known) === this.world.self
  }

  /** E8: for how long the own disk has not recorded what a session waits for, milliseconds of turned time. */
  recordingMs(): number {
    const recording = this.#recording
    return recording?.stop === this.#stops ? this.world.silence.turnedMs - recording.sinceMs : 0
  }

  /** Begins this run's part, from what the record says. */
  start(): void {
    this.decisions.removal.startedAt(this.world.record.value.opened?.inSync ?? [])
    if (this.inSet) this.#beginForming()
    else this.#goOutside()
  }

  /** R2: whether this server may answer a read of this session now. */
  mayAnswerRead(): boolean {
    return this.#phase === 'open' && this.#lease.valid(this.world.clock.leaseMs())
  }

  /** E3: whether this heartbeat is answered for this volume; an answer is remembered. */
  answerHeartbeat(from: ServerId, session: number): boolean {
    if (this.#phase !== 'open' || this.#session?.number !== session || this.decisions.removal.isBeingLeftOut(from))
      return false
    this.decisions.removal.answered(from)
    return true
  }

  heartbeatAnswered(by: ServerId, session: number, sentAtMs: number): void {
    if (this.#session?.number === session) this.#lease.answered(by, sentAtMs)
  }

  /**
   * E1, E2: a configuration that was decided, from the arbiter or from a server that learned it there.
   * @returns whether it was new
   */
  learn(configuration: Configuration): boolean {
    const stands = relation(configuration, this.known)
    if (stands === 'same' || stands === 'older' || this.#isRetired) return false
    if (stands === 'strange') {
      if (!this.splitBrain) this.decisions.tellSplitBrain(configuration)
      this.splitBrain = true
      return false
    }
    const before = this.known
    // A decision that leaves the joiner of our word in or out ends the word (C10).
    const peers = this.stores.list()
    this.world.record.save({ known: configuration, word: null, prepared: false, peers }, () => undefined)
    this.decisions.removal.newConfiguration()
    this.decisions.tellChanges(before, configuration, this.leaving.reason)
    for (const replica of configuration.replicas) this.tellKnown(replica.serverId)
    if (this.inSet) this.#beginForming()
    else this.#goOutside()
    this.decisions.proposer.learned(configuration)
    return true
  }

  onPeerRun(peer: ServerId, run: number): void {
    if (!this.known.replicas.some((replica) => replica.serverId === peer)) return
    this.tellKnown(peer)
    this.stores.tell(peer, true)
    const before = this.#session?.runs.get(peer)
    if (before !== undefined && before !== run) {
      // Its new run is its word that the old one has stopped (E3).
      this.decisions.removal.restarted(peer, this.#phase === 'open')
      this.#beginForming()
    }
    if (this.#phase === 'left' && this.leaving.reason !== 'left' && !this.leaving.toldRun(peer, run)) {
      // Who was told the word has ended, and its new run may need this server to go on: in a new session, as any other.
      this.decisions.removal.restarted(peer, false)
      this.#beginForming()
    } else if (this.#phase === 'left') this.leaving.say(peer)
    this.#awaitsLinks?.()
    if (this.leads) this.#forming.onRun(peer, run)
    else if (this.#phase === 'gathering' && peer === leaderOf(this.known)) this.#sendTell()
    this.#considerRemoval()
  }

  /** Every limits.heartbeatMs / 2 or so: judges others, asks the arbiter, tries again. */
  tick(): void {
    this.#considerRemoval()
    this.#forming.tick()
    if (this.#phase === 'left') this.leaving.repeat(this.#others())
    this.stores.tick()
    this.decisions.fenceIfWordIsOpen()
    this.decisions.lookAtRegister()
  }

  /**
   * E7, E8: this server's word that it has stopped. The others leave it out; it goes on only in a configuration that
   * they make. The last in-sync server does not leave.
   * @returns whether it left
   */
  leave(reason: string): boolean {
    if (!this.inSet || this.#phase === 'outside' || this.#phase === 'left' || this.#others().length === 0) return false
    if (this.proposer.busy && !this.proposer.withdraw()) return false
    this.#phase = 'left'
    this.#session = null
    this.#forming.stop()
    this.#stops += 1
    this.world.log.warn({ volume: this.world.volumeId, reason }, 'leaving the in-sync set')
    this.#host.stopServing(() => undefined)
    this.leaving.begin(reason, this.#others())
    return true
  }

  /** E7: this server and all others of the set said that they stop: nobody is left to decide, and the set stays. */
  everybodyStops(): boolean {
    const hasLeft = this.#phase === 'left' && this.leaving.reason === 'left'
    return hasLeft && this.#others().every((id) => this.removal.stopsAsPlanned(id))
  }

  /** Ends its part for good, so that the replica can be removed. */
  retire(drained: () => void): void {
    this.#goOutside(drained)
    this.#isRetired = true
  }

  /** What keeps the volume from being served here, for people. */
  waiting(): Waiting {
    return waitingFor({
      phase: this.#phase,
      splitBrain: this.splitBrain,
      mayAnswerRead: this.mayAnswerRead(),
      missing: this.#others().some((other) => this.world.links.peer(other)?.connected !== true),
      anyLossy: () => this.#host.anyLossy(),
      diskFailed: this.#host.diskFailed(),
      arbiterReachable: this.proposer.reachable(),
    })
  }

  onMessage(from: ServerId, fromRun: number, kind: MemberMessageKind, body: unknown): void {
    const parsed = parseMemberMessage(kind, body)
    if (parsed !== null) this.#take(from, fromRun, kind, parsed)
    else this.world.log.warn({ from, kind }, 'no such message: ignored')
  }

  #take<Kind extends MemberMessageKind>(from: ServerId, run: number, kind: Kind, body: MemberBody<Kind>) {
    const handlers: MemberHandlers = {
      'member.configuration': ({ configuration }) => this.#onConfiguration(from, configuration),
      'member.store': (body) => this.stores.hear(from, run, body),
      'member.leave': ({ configurationId, reason }) => this.#onLeave(from, configurationId, reason),
      'form.tell': (body) => this.#onTell(from, run, body),
      'form.begin': ({ configurationId, session, runs }) => this.#onBegin(from, configurationId, session, runs),
      'form.ready': ({ session }) => this.#forming.onReady(from, session),
      'form.record': ({ session, time }) => this.#onRecord(session, time),
      'form.recorded': ({ session }) => this.#forming.onRecorded(from, session),
      'form.open': ({ session }) => this.#onOpen(session),
    }
    handlers[kind](body)
  }

  #onConfiguration(from: ServerId, configuration: Configuration): void {
    const stands = relation(configuration, this.known)
    if (stands === 'older') this.tellKnown(from)
    else this.learn(configuration)
    // The leader may not have known the volume yet when it was told; telling again is harmless.
    if (stands === 'same' && this.#phase === 'gathering' && from === leaderOf(this.known)) this.#sendTell()
  }

  #onLeave(from: ServerId, configurationId: string, reason: string): void {
    if (configurationId !== this.known.id) return this.tellKnown(from)
    this.decisions.removal.left(from, reason)
    // Both gave their word: the lower id takes its own back, the other one keeps to its (nobody else could decide). Planned
    // stops stand (E7): when all stop together nobody is left out, and the set stays.
    const bothPlanned = this.leaving.reason === 'left' && reason === 'left'
    if (this.#phase === 'left' && this.world.self < from && !bothPlanned) this.#beginForming()
    this.#considerRemoval()
  }

  #onTell(from: ServerId, run: number, body: MemberBody<'form.tell'>): void {
    if (body.configurationId !== this.known.id) return this.tellKnown(from)
    if (!this.leads) return
    const sessionRun = this.#session?.runs.get(from)
    const isNews = this.#forming.onTell(from, run, this.known, body.tell, body.round)
    // It has stopped in our session, so the session is over for us too.
    const formed = this.#phase === 'open' || this.#phase === 'recorded'
    if (isNews && formed && sessionRun === run) this.#beginForming()
  }

  #onBegin(
    from: ServerId,
    configurationId: string,
    number: number,
    vector: readonly { serverId: ServerId; run: number }[],
  ) {
    this.#awaitsLinks = null
    if (configurationId !== this.known.id || from !== leaderOf(this.known)) return
    const runs = new Map(vector.map(({ serverId, run }) => [serverId, run]))
    if (runs.get(this.world.self) !== this.world.selfRun) return
    const session = makeSession(this.known, runs, this.world.self)
    if (session.number !== number) return
    // E10: what is sent to a run that this server's links do not show yet is lost; it is ready once they show all, and once
    // it knows that nobody's store is an older copy of itself (C12).
    if (session.others.some((other) => this.#runOf(other) !== runs.get(other) || !this.stores.knowsOrAsks(other))) {
      this.#awaitsLinks = () => this.#onBegin(from, configurationId, number, vector)
      return
    }
    // The leader has begun anew after this server recorded: what it told before is used up, so it tells again.
    if (this.#phase === 'recorded' || this.#phase === 'open') return this.#beginForming()
    if (this.#phase !== 'gathering' && this.#phase !== 'settling') return
    const stop = ++this.#stops
    this.#host.stopServing(() => {
      if (stop !== this.#stops) return
      this.#session = session
      this.#phase = 'settling'
      this.#host.beginSettling(session)
      this.#sendOrTake(from, 'form.ready', { session: number })
    })
  }

  #onRecord(number: number, time: number): void {
    const session = this.#session
    if (this.#phase !== 'settling' || session?.number !== number) return
    const stop = this.#stops
    const failedOrStale = (failed: boolean): boolean => {
      if (stop !== this.#stops) return true
      // One that cannot leave tries again; not at once, since the disk may need a moment.
      const again = () => stop === this.#stops && this.#beginForming()
      if (failed && !this.leave('disk-failed')) this.world.clock.after(limits.returnBackoffMs, again)
      return failed
    }
    this.#host.makeSettledDurable((failed) => {
      if (failedOrStale(failed)) return
      const { configuration } = session
      const opened = { epoch: configuration.epoch, id: configuration.id, inSync: configuration.inSync }
      this.#recording = { stop, sinceMs: this.world.silence.turnedMs }
      this.world.record.save({ opened, older: false, resyncBegun: false, peers: this.stores.list() }, (failure) => {
        if (stop === this.#stops) this.#recording = null
        if (failedOrStale(failure !== null)) return
        this.#phase = 'recorded'
        this.#told = null
        this.leaving.reason = ''
        this.decisions.removal.sessionRecorded(configuration)
        this.#lease.start(session.others)
        this.#host.sessionRecorded(session, time)
        this.#sendOrTake(leaderOf(configuration), 'form.recorded', { session: number })
      })
    })
  }

  #onOpen(number: number): void {
    const session = this.#session
    if (this.#phase !== 'recorded' || session?.number !== number) return
    this.#openedByAllId = session.configuration.id
    const stop = this.#stops
    const open = () => {
      if (stop !== this.#stops || this.#phase !== 'recorded') return
      this.#phase = 'open'
      this.#openedInThisRun = true
      this.#host.sessionOpened(session)
      this.#host.tellPeople('serving', {})
      this.decisions.sessionOpened()
    }
    // E3: not before the leases of those who are no longer in the set have run out.
    const waitMs = this.decisions.removal.barrierMs(session.configuration)
    if (waitMs <= 0) open()
    else this.world.clock.after(waitMs, open)
  }

  #beginForming(): void {
    if (this.#isRetired) return
    this.#awaitsLinks = null
    const stop = ++this.#stops
    this.#phase = 'stopping'
    this.#session = null
    this.#forming.stop()
    this.#host.stopServing(() => {
      if (stop !== this.#stops) return
      this.#phase = 'gathering'
      this.#round = stop
      // E9: a member tells once; what it told stands until a session is recorded, whatever was half copied since.
      this.#told ??= this.#host.tell()
      this.#sendTell()
      if (this.leads) this.#forming.gather(this.known)
    })
  }

  #goOutside(drained = () => this.#host.outside()): void {
    this.#awaitsLinks = null
    const stop = ++this.#stops
    this.#phase = 'outside'
    this.#session = null
    this.#told = null
    this.#forming.stop()
    this.#host.stopServing(() => {
      if (stop === this.#stops) drained()
    })
  }

  /** C12: what was told of this replica holds no more; it begins anew, wholly in doubt. */
  #doubted(): void {
    if (this.#isRetired) return
    this.#told = null
    for (const { serverId } of this.known.replicas) if (serverId !== this.world.self) this.stores.tell(serverId, false)
    if (this.#phase === 'left') return
    if (this.inSet) this.#beginForming()
    else this.#goOutside()
  }

  #sendTell(): void {
    if (this.#told === null) return
    const body = { configurationId: this.known.id, tell: this.#told, round: this.#round }
    this.#sendOrTake(leaderOf(this.known), 'form.tell', body)
  }

  #considerRemoval(): void {
    this.decisions.considerRemoval(this.#others(), this.#openedInThisRun)
  }

  nothingChanged(): void {
    this.#forming.retry()
  }

  #mayBegin(): boolean {
    // Settling, too: an attempt that could not settle everything is tried again.
    const ready = this.#phase === 'gathering' || this.#phase === 'settling'
    return ready && !this.splitBrain && !this.proposer.busy && this.world.record.value.word === null
  }

  #others(): ServerId[] {
    return this.known.inSync.filter((server) => server !== this.world.self)
  }

  #runOf(server: ServerId): number | undefined {
    return server === this.world.self ? this.world.selfRun : this.world.links.peer(server)?.run
  }

  /** Shows another server the present configuration. */
  tellKnown(to: ServerId): void {
    if (to === this.world.self || this.world.record.value.prepared) return
    this.#sendOrTake(to, 'member.configuration', { configuration: this.known })
  }

  #sendOrTake<Kind extends MemberMessageKind>(to: ServerId, kind: Kind, body: MemberBody<Kind>): void {
    if (to === this.world.self) this.#take(to, this.world.selfRun, kind, body)
    else this.world.links.send(to, { type: 'control', kind, body: { ...body, volume: this.world.volumeId } })
  }
}
