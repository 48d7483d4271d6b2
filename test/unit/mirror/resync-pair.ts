/** A serves alone, T is to come back: the real parts of both over replicas in memory, joined by links in order. */
import type { ServerId } from '../../../agent/kit/ids.ts'
import type { Links, Message } from '../../../agent/link/messages.ts'
import { Copier } from '../../../agent/mirror/copier.ts'
import { CopyTarget } from '../../../agent/mirror/copy-target.ts'
import { Flusher } from '../../../agent/mirror/flusher.ts'
import { Incoming } from '../../../agent/mirror/incoming.ts'
import { JoinMember } from '../../../agent/mirror/join-member.ts'
import { Joiner } from '../../../agent/mirror/joiner.ts'
import {
  type MirrorBody,
  type MirrorMessageKind,
  type MirrorSend,
  mirrorMessages,
} from '../../../agent/mirror/messages.ts'
import { ClientWrite, Outgoing } from '../../../agent/mirror/outgoing.ts'
import { Resync } from '../../../agent/mirror/resync.ts'
import { Policing } from '../../../agent/policing/policing.ts'
import type { StoreFailure } from '../../../agent/store/replica.ts'
import { bytes, type Disk, digest, idOf, MiB, openDisk, reopen, VirtualClock, volume } from './world.ts'

export const [a, t] = [idOf(0), idOf(1)]
export const session = 9
const epoch = 4

/** A client's write that goes through policing, and remembers what became of it. */
export class Write extends ClientWrite {
  answers: (StoreFailure | null)[] = []
  readonly #pair: ResyncPair

  constructor(pair: ResyncPair, offsetBytes: number, fill: number, lengthBytes = 4096) {
    super('data', offsetBytes, lengthBytes, [bytes(lengthBytes, fill)], false)
    this.#pair = pair
  }
  override begin(): void {
    this.#pair.outgoing.execute(this)
  }
  override acknowledge(failure: StoreFailure | null): void {
    this.answers.push(failure)
  }
  override end(): void {
    this.#pair.policing.release(this)
  }
}

export class ResyncPair {
  readonly clock = new VirtualClock()
  readonly source: Disk
  target: Disk
  readonly policing: Policing
  readonly outgoing: Outgoing
  readonly flusher: Flusher
  readonly copier: Copier
  readonly joinMember: JoinMember
  readonly resync: Resync
  incoming: Incoming
  copyTarget: CopyTarget
  joiner: Joiner
  /** What people were told. */
  readonly said: string[] = []
  readonly words: (ServerId | null)[] = []
  /** Kinds of messages in the order in which they were sent. */
  readonly kinds: string[] = []
  connected = true
  targetRun = 1
  arbiterAnswers = true
  wordIsSaved = true
  proposable = true
  openedId: string | null = 'd'.repeat(32)
  openedEpoch = 3
  known = true
  decided: ((joined: boolean) => void) | null = null
  /** Messages of these kinds are kept back. */
  readonly held = new Set<string>()
  readonly kept: (() => void)[] = []

  constructor(sizeBytes = 36 * MiB) {
    this.source = openDisk(this.clock, sizeBytes, 1)
    this.target = openDisk(this.clock, sizeBytes, 2)
    const { clock } = this
    const store = this.source.replica
    const send = this.#mirrorSend(a)
    const links = this.#links(a)
    const ownReplicaFailed = () => undefined
    let time = 0
    const tick = () => {
      time += 1
      return time
    }
    this.policing = new Policing({ self: a, sendAsk: fail, sendGrant: fail, tick, observe: () => undefined })
    this.outgoing = new Outgoing({
      volumeKey: 1,
      links,
      clock,
      store,
      tick,
      touched: () => undefined,
      ownReplicaFailed,
    })
    this.flusher = new Flusher({ clock, store, send, ownReplicaFailed })
    this.copier = new Copier({ volumeKey: 1, links, store, digest, send })
    const joinerOwesMs = (joiner: ServerId) => Math.max(this.outgoing.owedByMs(joiner), this.flusher.owedByMs(joiner))
    this.joinMember = new JoinMember({
      outgoing: this.outgoing,
      flusher: this.flusher,
      send,
      joinerRun: () => (this.connected ? this.targetRun : undefined),
      joinerOwesMs,
      saveWord: (joiner, done) => {
        this.words.push(joiner)
        clock.after(1, () => done(this.wordIsSaved))
      },
    })
    this.resync = new Resync({
      clock,
      store,
      copier: this.copier,
      send,
      sizeBytes: () => this.source.replica.sizeBytes,
      acquire: (use) => this.policing.acquire(use),
      release: (use) => this.policing.release(use),
      joinerAlive: () => this.connected,
      joinerOwesMs,
      inHistory: () => this.known,
      arbiterAnswers: (done) => void clock.after(1, () => done(this.arbiterAnswers)),
      propose: (_joiner, decided) => {
        if (this.proposable) this.decided = decided
        return this.proposable
      },
      tellPeople: (kind, _joiner, details) => this.said.push([kind, ...Object.values(details)].join(': ')),
    })
    const made = this.#makeTarget()
    this.incoming = made.incoming
    this.copyTarget = made.copyTarget
    this.joiner = made.joiner
    this.policing.startSession([])
    this.policing.openSession()
    this.outgoing.startSession(session, [])
    this.flusher.startSession(session, [])
    this.resync.startSession({ number: session, epoch, members: [a] })
  }

  #makeTarget() {
    const { clock } = this
    const store = this.target.replica
    const send = this.#mirrorSend(t)
    const incoming = new Incoming({
      volumeKey: 1,
      links: this.#links(t),
      clock,
      store,
      send,
      observe: () => undefined,
      touched: () => undefined,
      ownReplicaFailed: () => undefined,
      space: { cover: () => undefined },
    })
    const copyTarget = new CopyTarget({
      store,
      digest,
      send,
      ownReplicaFailed: () => {
        throw new Error('a joiner is no member')
      },
    })
    const joiner = new Joiner({
      self: t,
      clock,
      store,
      incoming,
      copyTarget,
      send,
      whomToAsk: () => {
        const { openedId, openedEpoch } = this
        return this.connected ? { leader: a, request: { knownId: 'a'.repeat(32), openedId, openedEpoch } } : null
      },
      saveResyncBegun: (done) => void clock.after(1, () => done(true)),
    })
    return { incoming, copyTarget, joiner }
  }

  /** The returning agent dies and comes back as another run. */
  restartTarget(how: 'kill' | 'powerCut'): void {
    this.target.disk[how]()
    this.targetRun += 1
    this.resync.joinerRestarted(t)
    this.target = reopen(this.clock, this.target.disk)
    Object.assign(this, this.#makeTarget())
    this.joiner.start(0)
  }

  #mirrorSend(from: ServerId): MirrorSend {
    return (to, kind, body) => {
      const parsed = mirrorMessages[kind].safeParse({ ...body, volume })
      if (!parsed.success) throw new Error(`${kind}: ${parsed.error.message}`)
      this.kinds.push(kind)
      this.#deliver(from, to, kind, () => this.#take(from, to, kind, body))
    }
  }

  #links(from: ServerId): Links {
    const send = (to: ServerId, message: Message): boolean => {
      this.kinds.push(message.type)
      this.#deliver(from, to, message.type, () => {
        if (message.type === 'write') this.incoming.onWrite(from, 1, message)
        else if (message.type === 'written') this.outgoing.onWritten(from, message.session, message.numbers)
        else if (message.type === 'copy') this.copyTarget.onCopy(from, message)
      })
      return true
    }
    return {
      send,
      sendNow: send,
      unacknowledgedBytes: () => 0,
      acknowledgedBytes: () => 0,
      peer: () => ({ run: 1, connected: this.connected }),
    }
  }

  #deliver(from: ServerId, to: ServerId, kind: string, take: () => void): void {
    const run = this.targetRun
    const arrive = () => {
      if (from === to || (this.connected && run === this.targetRun)) take()
    }
    if (this.held.has(kind)) this.kept.push(arrive)
    else this.clock.after(0.5, arrive)
  }

  #take<Kind extends MirrorMessageKind>(from: ServerId, to: ServerId, kind: Kind, body: MirrorBody<Kind>): void {
    const handlers: { [K in MirrorMessageKind]?: (body: MirrorBody<K>) => void } = {
      'copy.compare': (b) => this.copyTarget.onCompare(from, b),
      'copy.compared': (b) => this.copier.onCompared(from, b),
      'copy.applied': (b) => this.copier.onApplied(from, b),
      'flush.ask': (b) => this.incoming.onFlush(from, b),
      'flush.done': (b) => this.flusher.onDone(from, b),
      'join.request': (b) => this.resync.onRequest(from, b),
      'join.refused': (b) => this.joiner.onRefused(b.why),
      'join.begin': (b) => this.joiner.onBegin(from, b),
      'join.ready': (b) => this.resync.onReady(from, b),
      'join.mirror': (b) => this.joinMember.onMirror(from, b),
      'join.mirroring': (b) => this.resync.onMirroring(from, b),
      'join.sync': (b) => this.joiner.onSync(from, b),
      'join.synced': (b) => this.resync.onSynced(from, b),
      'join.word': (b) => this.joinMember.onWord(from, b),
      'join.worded': (b) => this.resync.onWorded(from, b),
      'join.trouble': (b) => this.resync.onTrouble(from, b),
      'join.void': (b) => (to === a ? this.joinMember.onVoid(b) : this.joiner.onVoid(b)),
    }
    handlers[kind]?.(body)
  }

  write(offsetBytes: number, fill: number, lengthBytes = 4096): Write {
    const write = new Write(this, offsetBytes, fill, lengthBytes)
    this.policing.acquire(write)
    return write
  }

  /** Lets time pass, with ticks as a volume has them. */
  run(ms: number): void {
    for (let passed = 0; passed < ms; passed += 125) {
      this.clock.pass(125)
      this.resync.tick()
      this.joinMember.tick()
      this.joiner.tick()
    }
  }

  /** Runs until a message of this kind was sent. */
  until(kind: string): void {
    this.kinds.length = 0
    for (let steps = 0; !this.kinds.includes(kind); steps += 1) {
      if (steps > 20_000) throw new Error(`no ${kind} came`)
      if (!this.clock.step()) this.run(125)
    }
  }

  /** Whether both replicas hold the same bytes. */
  equal(): boolean {
    const { sizeBytes } = this.source.replica
    let same = 0
    for (let offset = 0; offset < sizeBytes; offset += 4 * MiB) {
      const length = Math.min(4 * MiB, sizeBytes - offset)
      this.source.replica.read(offset, length, (_failure, one) => {
        this.target.replica.read(offset, length, (_second, other) => {
          if (Buffer.compare(one, other) === 0) same += length
        })
      })
    }
    this.clock.pass(1_000)
    return same === sizeBytes
  }
}

function fail(): never {
  throw new Error('a lone server asks nobody')
}
