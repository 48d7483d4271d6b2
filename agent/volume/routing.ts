/** Hands a message about a volume to the part of it that the message is for; wrong or old ones are dropped (E1). */
import { z } from 'zod'
import type { ServerId } from '../kit/ids.ts'
import type { Log } from '../kit/world.ts'
import type { Message } from '../link/messages.ts'
import { type MemberMessageKind, memberMessages } from '../membership/messages.ts'
import { type MirrorBody, type MirrorMessageKind, mirrorMessages } from '../mirror/messages.ts'
import { type HostBody, type HostMessageKind, hostMessages, isHostKind } from './host-messages.ts'
import type { Volume } from './volume.ts'

const block = z.number().int().min(0)
const police = z.object({
  session: z.number().int().min(1),
  mode: z.enum(['shared', 'exclusive']),
  firstBlock: block,
  lastBlock: block,
  time: z.number().int().min(0),
})
const policeGrant = police.extend({ asked: z.number().int().min(0) })

const isMemberKind = (kind: string): kind is MemberMessageKind => Object.hasOwn(memberMessages, kind)
const isMirrorKind = (kind: string): kind is MirrorMessageKind => Object.hasOwn(mirrorMessages, kind)

/** @returns false when it is no message that any version of a volume takes */
export function routeControl(
  volume: Volume,
  from: ServerId,
  run: number,
  kind: string,
  body: unknown,
  log: Log,
): boolean {
  if (isMemberKind(kind)) volume.member.onMessage(from, run, kind, body)
  else if (kind === 'police.ask' || kind === 'police.grant') return routePolice(volume, from, kind, body)
  else if (isHostKind(kind)) return routeHost(volume, from, run, kind, body)
  else if (isMirrorKind(kind)) {
    const parsed = mirrorMessages[kind].safeParse(body)
    if (!parsed.success) {
      log.warn({ from, kind, problem: parsed.error.message }, 'a message that is no such message: ignored')
      return false
    }
    // The schema was chosen by the kind, so the data has that kind's shape; TypeScript cannot follow the table.
    takeMirror(volume, from, kind, parsed.data as never)
  } else return false
  return true
}

function routePolice(volume: Volume, from: ServerId, kind: 'police.ask' | 'police.grant', body: unknown): boolean {
  const ask = kind === 'police.ask' ? police.safeParse(body).data : null
  const grant = kind === 'police.grant' ? policeGrant.safeParse(body).data : null
  const session = (ask ?? grant)?.session
  if (session === undefined) return false
  const phase = volume.member.phase
  const formed = phase === 'open' || phase === 'recorded'
  // E1: permissions belong to one session; whoever is in another one asks again there (P3).
  if (!formed || volume.member.session?.number !== session) return true
  if (ask) volume.policing.onAsk(from, ask)
  if (grant) volume.policing.onGrant(from, grant)
  return true
}

type HostHandlers = {
  readonly [Kind in HostMessageKind]: (volume: Volume, from: ServerId, run: number, body: HostBody<Kind>) => void
}

const hostHandlers: HostHandlers = {
  'host.find': ({ service }, from) => service.hosting.onFind(from),
  'host.offer': ({ service }, from, run, body) => service.onOffer(from, run, body),
  'host.ask': ({ service }, from, run, body) => service.passing.onAsk(from, run, body),
  'host.alive': ({ service }, from, run, body) => service.hosting.onAlive(from, run, body),
  'host.closed': ({ service }, from, run, body) => service.hosting.onClosed(from, run, body),
  'outcome.ask': ({ service }, from, run, body) => service.onOutcomeAsked(from, run, body),
  'outcome.answer': ({ service }, from, run, body) => service.onOutcome(from, run, body),
}

function routeHost(volume: Volume, from: ServerId, run: number, kind: HostMessageKind, body: unknown): boolean {
  const parsed = hostMessages[kind].safeParse(body)
  if (!parsed.success) return false
  // The schema was chosen by the kind, so the data has that kind's shape; TypeScript cannot follow the table.
  hostHandlers[kind](volume, from, run, parsed.data as never)
  return true
}

type Handlers = {
  readonly [Kind in MirrorMessageKind]: (volume: Volume, from: ServerId, body: MirrorBody<Kind>) => void
}

const isCurrent = (volume: Volume, session: number): boolean => volume.serving?.number === session

const handlers: Handlers = {
  'copy.compare': (volume, from, body) => volume.copyTarget.onCompare(from, body),
  'copy.compared': (volume, from, body) => volume.copier.onCompared(from, body),
  'copy.applied': (volume, from, body) => volume.copier.onApplied(from, body),
  'settle.order': (volume, from, body) => onSettleOrder(volume, from, body),
  'settle.done': (volume, from, body) => volume.settler.onDone(from, body),
  'repair.ask': (volume, from, body) => onRepairAsk(volume, from, body),
  'repair.failed': (volume, from, body) => volume.repairs.onFailed(from, body),
  'space.ask': (volume, from, body) => volume.spaceGiver.onAsk(from, body),
  'space.answer': (volume, from, body) => volume.space.onAnswer(from, body),
  'space.drop': (volume, from, body) => volume.spaceGiver.onDrop(from, body),
  'space.credit': (volume, from, body) => volume.space.onCredit(from, body),
  'space.recall': (volume, from, body) => volume.space.onRecall(from, body),
  'space.return': (volume, from, body) => volume.spaceGiver.onReturn(from, body),
  'flush.ask': (volume, from, body) => volume.incoming.onFlush(from, body),
  'flush.done': (volume, from, body) => volume.flusher.onDone(from, body),
  'join.request': (volume, from, body) => onJoinRequest(volume, from, body),
  'join.refused': (volume, _from, body) => volume.joiner.onRefused(body.why),
  'join.begin': (volume, from, body) => volume.joiner.onBegin(from, body),
  'join.ready': (volume, from, body) => volume.resync.onReady(from, body),
  'join.mirror': (volume, from, body) => {
    if (isCurrent(volume, body.session)) volume.joinMember.onMirror(from, body)
    else if (volume.member.phase === 'recorded' && volume.member.session?.number === body.session) {
      volume.joinMember.onEarlyMirror(from, body)
    }
  },
  'join.mirroring': (volume, from, body) => volume.resync.onMirroring(from, body),
  'join.sync': (volume, from, body) => volume.joiner.onSync(from, body),
  'join.synced': (volume, from, body) => volume.resync.onSynced(from, body),
  'join.word': (volume, from, body) => {
    if (isCurrent(volume, body.session)) volume.joinMember.onWord(from, body)
  },
  'join.worded': (volume, from, body) => volume.resync.onWorded(from, body),
  'join.trouble': (volume, from, body) => volume.resync.onTrouble(from, body),
  'join.void': (volume, _from, body) => {
    volume.joinMember.onVoid(body)
    volume.joiner.onVoid(body)
  },
  'join.progress': (volume, from, body) => volume.resyncView.hear(from, body),
  'scrub.steer': (volume, _from, body) => volume.steerScrub(body.action),
  'resync.steer': (volume, _from, body) => volume.resyncView.steer(body.action),
}

function takeMirror<Kind extends MirrorMessageKind>(
  volume: Volume,
  from: ServerId,
  kind: Kind,
  body: MirrorBody<Kind>,
): void {
  handlers[kind](volume, from, body)
}

function onSettleOrder(volume: Volume, from: ServerId, body: MirrorBody<'settle.order'>): void {
  const { session, attempt, order } = body
  const present = volume.member.session
  if (volume.member.phase !== 'settling' || present?.number !== session) return
  volume.settler.copyOut(session, present.configuration.epoch, body, (failed) => {
    volume.sendMirror(from, 'settle.done', { session, attempt, order, failed })
  })
}

/** R3: whoever serves in the session that this server has recorded holds `shared` there; this copy is the present one. */
function onRepairAsk(volume: Volume, from: ServerId, body: MirrorBody<'repair.ask'>): void {
  const { phase, session } = volume.member
  const isIn = (phase === 'open' || phase === 'recorded') && session?.number === body.session
  if (isIn && session.others.includes(from)) volume.repairs.onAsk(from, body)
  else volume.sendMirror(from, 'repair.failed', { session: body.session, attempt: 0, request: body.request })
}

function onJoinRequest(volume: Volume, from: ServerId, body: MirrorBody<'join.request'>): void {
  const { known } = volume.member
  const hasReplica = known.replicas.some((replica) => replica.serverId === from)
  // E1: whoever asks on the ground of another configuration is first told of this one; it asks again.
  if (body.knownId !== known.id) volume.member.tellKnown(from)
  else if (!hasReplica || known.inSync.includes(from)) return
  // C12: first it must be known whether its store is an older copy of itself. It asks again.
  else if (volume.member.stores.knowsOrAsks(from)) volume.resync.onRequest(from, body)
}

/** The hot messages: writes, confirmations, copies. */
export function routeHot(
  volume: Volume,
  from: ServerId,
  run: number,
  message: Exclude<Message, { type: 'control' }>,
): void {
  switch (message.type) {
    case 'write':
      return volume.incoming.onWrite(from, run, message)
    case 'written':
      return volume.outgoing.onWritten(from, message.session, message.numbers)
    case 'pass':
      return volume.service.hosting.onPass(from, run, message)
    case 'passed':
      return volume.service.passing.onPassed(from, run, message)
    case 'copy':
      if (!volume.repairs.onCopy(from, message)) volume.copyTarget.onCopy(from, message)
      return
  }
}
