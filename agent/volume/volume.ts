/**
 * One volume at one server: joins policing, mirror, membership and this server's replica into the virtual shared disk
 * that its clients see. A write's way: Service.submitWrite -> admission -> policing -> startWrite -> Outgoing -> acknowledged.
 */
import type { ServerId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import { volumeKeyOf } from '../link/messages.ts'
import type { BeatVolume } from '../membership/heartbeats.ts'
import { Member } from '../membership/member.ts'
import type { MemberHost } from '../membership/member-world.ts'
import type { Tell } from '../membership/messages.ts'
import type { Session } from '../membership/session.ts'
import { Copier, type CopierWorld } from '../mirror/copier.ts'
import { CopyTarget } from '../mirror/copy-target.ts'
import { Flusher } from '../mirror/flusher.ts'
import { Incoming } from '../mirror/incoming.ts'
import { JoinMember } from '../mirror/join-member.ts'
import { Joiner } from '../mirror/joiner.ts'
import { MarkKeeper } from '../mirror/marks.ts'
import type { MirrorSend } from '../mirror/messages.ts'
import { Outgoing } from '../mirror/outgoing.ts'
import { Repairs } from '../mirror/repairs.ts'
import { Resync } from '../mirror/resync.ts'
import { Settler } from '../mirror/settler.ts'
import { Space } from '../mirror/space.ts'
import { SpaceGiver } from '../mirror/space-giver.ts'
import type { Ask, Grant } from '../policing/asks.ts'
import { Policing } from '../policing/policing.ts'
import type { ReplicaStore, StoreFailure } from '../store/replica.ts'
import { beatOf } from './beat.ts'
import type { BlockDevice, ClientDescription } from './block-device.ts'
import { VolumeClient } from './client.ts'
import { Debts } from './debts.ts'
import { Growth } from './growth.ts'
import type { Hold } from './hold.ts'
import { Imaging } from './imaging.ts'
import { Lamport } from './lamport.ts'
import { Overdue } from './overdue.ts'
import type { Pages } from './pages.ts'
import { People } from './people.ts'
import { repairWorld } from './repair-world.ts'
import type { Connection } from './requests.ts'
import { ResyncView } from './resync-view.ts'
import { joinerWorld, resyncWorld } from './resync-worlds.ts'
import { Scrub } from './scrub.ts'
import { scrubWorld } from './scrub-world.ts'
import { Service } from './service.ts'
import { tellOf } from './tell.ts'
import { turnedClock, type VolumeEvent, type VolumeWorld } from './world.ts'

export class Volume implements MemberHost, BlockDevice {
  readonly world: VolumeWorld
  readonly store: ReplicaStore
  readonly key: number
  readonly readOnly = false
  readonly lamport = new Lamport()
  readonly member: Member
  readonly policing: Policing
  readonly outgoing: Outgoing
  readonly incoming: Incoming
  readonly flusher: Flusher
  readonly copier: Copier
  readonly copyTarget: CopyTarget
  readonly settler: Settler
  readonly marks: MarkKeeper
  readonly resync: Resync
  readonly joinMember: JoinMember
  readonly joiner: Joiner
  readonly resyncView = new ResyncView(this)
  readonly clients = new Set<VolumeClient>()
  readonly sendMirror: MirrorSend
  readonly people = new People(this)
  readonly #growth: Growth
  readonly imaging = new Imaging(this)
  /** Whether the other members say that they reach the arbiter, for people. */
  readonly reachingArbiter = new Map<ServerId, boolean>()
  readonly beat: BeatVolume
  readonly service: Service
  readonly space: Space
  readonly spaceGiver: SpaceGiver
  /** The session whose requests this server serves; null while it serves none. */
  #serving: Session | null = null
  /** E7: whoever has left as planned does not come back in this run. */
  stopping = false
  readonly #overdue = new Overdue(this)
  readonly #debts: Debts
  readonly scrub: Scrub
  readonly repairs: Repairs
  readonly #runs = new Map<ServerId, number>()
  /** Why this server's replica cannot stay in the set; said again until it is out (a decision may be under way). */
  #brokenBy: 'disk-full' | 'disk-failed' | null = null

  constructor(world: VolumeWorld) {
    this.world = world
    this.store = world.store
    this.key = volumeKeyOf(world.volumeId)
    const { links, clock, store, self, digest } = world
    this.#debts = new Debts(links)
    const send: MirrorSend = (to, kind, body) => world.send(to, kind, { ...body, volume: world.volumeId })
    this.sendMirror = send
    const ownReplicaFailed = (failure: StoreFailure) => this.ownReplicaFailed(failure)
    this.policing = new Policing({
      self,
      sendAsk: (peer, ask) => this.#sendPolice(peer, 'police.ask', ask),
      sendGrant: (peer, grant) => this.#sendPolice(peer, 'police.grant', grant),
      tick: () => this.lamport.tick(),
      observe: (time) => this.lamport.observe(time),
    })
    this.marks = new MarkKeeper({ clock, store, lowWaterOf: (origin) => this.#lowWaterOf(origin), ownReplicaFailed })
    const turned = turnedClock(world)
    this.outgoing = new Outgoing({
      volumeKey: this.key,
      links,
      clock: turned,
      store,
      tick: () => this.lamport.tick(),
      touched: (offsetBytes, lengthBytes, number) => this.marks.touched(self, offsetBytes, lengthBytes, number),
      ownReplicaFailed,
    })
    this.spaceGiver = new SpaceGiver({ store, send })
    this.space = new Space({ store, send })
    this.incoming = new Incoming({
      volumeKey: this.key,
      links,
      clock: turned,
      store,
      send,
      observe: (time) => this.lamport.observe(time),
      touched: (origin, offsetBytes, lengthBytes, number) =>
        this.marks.touched(origin, offsetBytes, lengthBytes, number),
      ownReplicaFailed,
      space: this.spaceGiver,
    })
    this.flusher = new Flusher({ clock: turned, store, send, ownReplicaFailed })
    const repair: CopierWorld['repair'] = (offset, length, done) => this.repairs.read(offset, length, done)
    this.copier = new Copier({ volumeKey: this.key, links, store, digest, send, repair })
    this.copyTarget = new CopyTarget({ store, digest, send, ownReplicaFailed })
    this.settler = new Settler({ self, store, sizeBytes: () => this.sizeBytes, copier: this.copier, send })
    this.#growth = new Growth(world)
    this.member = new Member(world, this)
    this.joinMember = new JoinMember({
      outgoing: this.outgoing,
      flusher: this.flusher,
      send,
      joinerRun: (joiner) => {
        const peer = links.peer(joiner)
        return peer?.connected === true ? peer.run : undefined
      },
      joinerOwesMs: (joiner) => this.owedByMs(joiner),
      saveWord: (joiner, done) =>
        world.record.save({ word: joiner === null ? null : { joiner } }, (failure) => done(failure === null)),
    })
    this.resync = new Resync(resyncWorld(this, send))
    this.joiner = new Joiner(joinerWorld(this, send))
    this.repairs = new Repairs(repairWorld(this, send))
    this.service = new Service(this, this.#overdue)
    this.beat = beatOf(this)
    this.scrub = new Scrub(scrubWorld(this))
  }

  get pages(): Pages {
    return this.service.pages
  }
  get name(): string {
    return this.member.known.volumeName
  }
  get sizeBytes(): number {
    return this.member.known.sizeBytes
  }
  get deleted(): boolean {
    return this.member.known.deletedMs !== null
  }
  get writeThrough(): boolean {
    return this.member.known.writeThrough
  }
  get hold(): Hold {
    return this.service.writes.hold
  }
  get serving(): Session | null {
    return this.#serving
  }

  // --- what clients ask -------------------------------------------------------------------------------------------

  attach(description: ClientDescription, gone: () => void): VolumeClient {
    const client = new VolumeClient(this, this.service, description, gone)
    this.clients.add(client)
    this.world.changed()
    return client
  }

  detached(client: VolumeClient, connection: Connection): void {
    this.clients.delete(client)
    this.service.detached(connection)
    this.world.changed()
  }

  /** Ends for good: calls back when nothing of it uses the replica any more. */
  retire(done: () => void): void {
    this.stopping = true
    for (const client of [...this.clients]) client.leave()
    this.#growth.giveUp()
    this.member.retire(() => this.store.whenIdle(done))
  }

  steerScrub(action: 'now' | 'stop'): void {
    if (action === 'now') this.scrub.now()
    else this.scrub.stop()
    this.world.changed()
  }

  // --- MemberHost: from one session to the next -------------------------------------------------------------------

  stopServing(drained: () => void): void {
    this.#serving = null
    this.policing.endSession()
    this.space.endSession()
    this.spaceGiver.endSession()
    this.flusher.endSession()
    this.marks.endSession()
    this.resync.endSession()
    this.joinMember.endSession()
    this.joiner.stop()
    this.settler.end()
    this.copier.end(null)
    this.service.endSession(this.member.phase === 'outside')
    let open = 5
    const one = () => {
      open -= 1
      if (open === 0) this.#growth.complete(drained)
    }
    this.outgoing.endSession(one)
    this.incoming.refuse(one)
    this.copyTarget.refuse(one)
    this.repairs.endSession(one)
    this.imaging.endSession(one)
    this.world.changed()
  }

  tell(): Tell {
    return tellOf(this)
  }

  beginSettling(session: Session): void {
    this.copyTarget.accept(session.number, 0)
    if (!this.member.leads) this.service.outcomes.forget()
  }

  settle(session: Session, tells: ReadonlyMap<ServerId, Tell>, done: (settled: boolean) => void): () => number {
    this.service.outcomes.settling(session.number, tells)
    return this.settler.settle(session.number, session.configuration.epoch, tells, done)
  }

  makeSettledDurable(done: (failed: boolean) => void): void {
    // What it could not apply before it may lack now: it opens nothing together with others (C7).
    if (this.#brokenBy !== null && this.member.known.inSync.length > 1) return done(true)
    const doubtful = [...this.store.regions()].filter(([, facts]) => facts.grade !== 'sound').map(([region]) => region)
    this.store.sync((failure) => {
      if (failure !== null || doubtful.length === 0) done(failure !== null)
      else this.store.settled(doubtful, (second) => done(second !== null))
    })
  }

  sessionRecorded(session: Session, time: number): void {
    this.lamport.observe(time)
    this.copyTarget.refuse(() => undefined)
    this.incoming.forgetNames()
    this.service.outcomes.recorded(session, (origin) => this.incoming.lowWaterOf(origin))
    this.marks.startSession()
    this.incoming.accept(session.number, 0)
    this.policing.startSession(session.others)
    this.outgoing.startSession(session.number, session.others)
    this.space.startSession(session.number, session.others)
    this.spaceGiver.startSession(session.number, session.others)
  }

  sessionOpened(session: Session): void {
    this.#brokenBy = null
    this.#serving = session
    this.outgoing.settled()
    this.marks.openSession(session.configuration.epoch)
    this.flusher.startSession(session.number, session.others)
    this.repairs.startSession(session.number, session.others)
    const members = session.configuration.inSync
    const { number, configuration } = session
    this.resync.startSession(this.member.leads ? { number, epoch: configuration.epoch, members } : null)
    this.joinMember.sessionOpened()
    this.spaceGiver.openSession()
    this.policing.openSession()
    this.service.sessionOpened(session)
    this.world.changed()
  }

  outside(): void {
    this.#brokenBy = null
    this.incoming.forgetNames()
    const slow = this.member.leaving.reason.startsWith('disk')
    if (!this.stopping) this.joiner.start(slow ? limits.returnBackoffMs * 2 : 0)
    this.world.changed()
  }

  anyLossy(): boolean {
    for (const [, facts] of this.store.regions()) if (facts.grade === 'lossy') return true
    return false
  }

  diskFailed(): boolean {
    return this.store.failed
  }

  owedByMs(member: ServerId): number {
    const waitedMs = Math.max(this.outgoing.owedByMs(member), this.flusher.owedByMs(member))
    return this.#debts.owedMs(member, waitedMs, this.world.silence.turnedMs)
  }

  tellPeople(kind: VolumeEvent, details: Record<string, string | number>): void {
    this.people.tell(kind, details)
  }

  /** Another server's link shows a run; its old one's attempt and numbers are void. */
  peerRun(peer: ServerId): void {
    const before = this.#runs.get(peer)
    const run = this.world.links.peer(peer)?.run
    this.service.peerRun(peer)
    if (run === undefined || before === run) return
    this.#runs.set(peer, run)
    if (before === undefined) return
    this.incoming.originRestarted(peer)
    this.joiner.leaderLost(peer)
    this.resync.joinerRestarted(peer)
  }

  // --- now and then -----------------------------------------------------------------------------------------------

  heartbeatAnswered(by: ServerId, session: number, sentAtMs: number): void {
    this.member.heartbeatAnswered(by, session, sentAtMs)
    this.service.leaseMayHold()
  }

  /** About eight times a second. */
  tick(): void {
    if (this.#brokenBy !== null) this.member.leave(this.#brokenBy)
    else if (this.#overdue.ownMs() > limits.diskOverdueMs) this.member.leave('disk-slow')
    this.member.tick()
    this.resync.tick()
    this.joinMember.tick()
    this.repairs.tick()
    if (this.#serving !== null && !this.stopping) this.scrub.tick()
    this.resyncView.tell()
    this.joiner.tick()
    this.marks.tick()
    this.spaceGiver.tick()
    this.service.tick()
    this.people.look()
    if (this.deleted) for (const client of [...this.clients]) client.leave()
  }

  ownReplicaFailed(failure: StoreFailure): void {
    // Alone in the set there is nobody to hand over to: clients get errors (C6), the next session is a new chance.
    if (!this.member.inSet)
      return this.joiner.diskFailed(failure === 'no-space' ? 'its disk is full' : 'its disk failed')
    if (this.member.known.inSync.length === 1) return this.resync.giveUp('the disk here failed')
    this.#brokenBy = failure === 'no-space' ? 'disk-full' : 'disk-failed'
    this.member.leave(this.#brokenBy)
  }

  #lowWaterOf(origin: ServerId): number {
    return origin === this.world.self ? this.outgoing.lowWater : this.incoming.lowWaterOf(origin)
  }

  #sendPolice(peer: ServerId, kind: 'police.ask' | 'police.grant', body: Ask | Grant): void {
    const session = this.member.session?.number ?? 0
    this.world.links.send(peer, { type: 'control', kind, body: { ...body, volume: this.world.volumeId, session } })
  }
}
