/**
 * Rules broken on purpose, from outside: something stands between an engine and its world and lies. The simulator must
 * find out. Production code knows nothing of this.
 */
import type { ServerId } from '../../agent/kit/ids.ts'
import type { ControlMessage, Links, Message } from '../../agent/link/messages.ts'
import type { RegionFacts, ReplicaStore, Store, StoreDone } from '../../agent/store/replica.ts'
import type { Engine, EngineWorld } from '../../agent/volume/engine.ts'
import type { FaultKind } from './faults.ts'
import type { MishapKind } from './mishaps.ts'
import type { Tampering } from './server.ts'

export interface Mutation {
  readonly rule: string
  readonly what: string
  readonly tampering: Tampering
  /** The weather in which it shows soonest; the seed's own when not given. */
  readonly faults?: Partial<Record<FaultKind, number>>
  /** What must go wrong strangely for it to show. */
  readonly mishap?: MishapKind
  /** False where a short history ends before it can show. */
  readonly short?: boolean
}

/** @returns the same object, some of whose methods are others */
function overlay<T extends object>(target: T, changes: Partial<T>): T {
  return new Proxy(target, {
    get: (_, name) => {
      // A name of T or none; whatever stands there is handed on as it is.
      const key = name as keyof T
      const value = changes[key] ?? target[key]
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

type Intercept = (peer: ServerId, message: Message, pretend: (message: Message) => void) => 'send' | 'swallow'

/** @param intercept sees what is sent on the stream; `pretend` makes the peer seem to have said something */
function onLinks(intercept: Intercept): Tampering {
  return {
    world: (world: EngineWorld, engine: () => Engine | undefined): EngineWorld => {
      const { links, clock } = world
      const send: Links['send'] = (peer, message) => {
        const run = links.peer(peer)?.run ?? 0
        const pretend = (said: Message) => clock.nextTurn(() => engine()?.onMessage(peer, run, said, true))
        return intercept(peer, message, pretend) === 'swallow' ? true : links.send(peer, message)
      }
      return { ...world, links: { ...links, send } }
    },
  }
}

const isControl = (message: Message, kind: string): message is ControlMessage =>
  message.type === 'control' && message.kind === kind

/** Answers a question of ours in the peer's place. */
function answered(kind: string, answer: string, more: Record<string, unknown>): Tampering {
  return onLinks((_, message, pretend) => {
    if (!isControl(message, kind)) return 'send'
    // Every body of ours is an object.
    pretend({ type: 'control', kind: answer, body: { ...(message.body as object), ...more } })
    return 'swallow'
  })
}

/** @param change what every replica of every store becomes */
function onReplicas(change: (replica: ReplicaStore, world: EngineWorld) => Partial<ReplicaStore>): Tampering {
  return {
    world: (world) => {
      const changed = (replica: ReplicaStore): ReplicaStore => overlay(replica, change(replica, world))
      const createReplica: Store['createReplica'] = (id, size, done) =>
        world.store.createReplica(id, size, (failure, replica) => {
          if (replica === undefined) done(failure)
          else done(failure, changed(replica))
        })
      const replicas = () => world.store.replicas().map(changed)
      return { ...world, store: overlay(world.store, { replicas, createReplica }) }
    },
  }
}

/** Answers a server's question about its writes in the peer's place: all became of one kind. */
const outcomes = (outcome: 'applied' | 'barred'): Tampering =>
  onLinks((_, message, pretend) => {
    if (!isControl(message, 'outcome.ask')) return 'send'
    // The body of that kind.
    const body = message.body as { volume: string; writes: { number: number }[] }
    const writes = body.writes.map(({ number }) => ({ number, outcome }))
    pretend({ type: 'control', kind: 'outcome.answer', body: { ...body, writes } })
    return 'swallow'
  })

const withoutMarks = (facts: RegionFacts): RegionFacts => ({ ...facts, marked: false, grade: 'sound' })

export const mutations: readonly Mutation[] = [
  {
    rule: 'W1',
    what: 'acknowledges before the others have applied',
    tampering: onLinks((_, message, pretend) => {
      if (message.type !== 'write') return 'send'
      const { volumeKey, session, number } = message
      pretend({ type: 'written', volumeKey, session, numbers: [number] })
      return 'send'
    }),
  },
  {
    rule: 'W1, C6',
    what: 'acknowledges what it has only passed to its host',
    tampering: onLinks((_, message, pretend) => {
      if (message.type !== 'pass' || message.kind === 'read') return 'send'
      const { volumeKey, session, request } = message
      const answer = { volumeKey, session, request, sentMs: 0, lengthBytes: 0, chunks: [] } as const
      pretend({ type: 'passed', outcome: 'done', ...answer })
      return 'send'
    }),
    faults: { isolate: 1, 'disk-fail': 2 },
  },
  {
    rule: 'W8',
    what: 'starts writes again that were done before their server fell out',
    tampering: outcomes('barred'),
    faults: { 'disk-fail': 1 },
  },
  {
    rule: 'W8, C7',
    what: 'acknowledges writes that nobody had when their server fell out',
    tampering: outcomes('applied'),
    faults: { isolate: 1 },
  },
  {
    rule: 'W2, P5',
    what: 'takes permission without asking',
    tampering: onLinks((_, message, pretend) => {
      if (!isControl(message, 'police.ask')) return 'send'
      const ask = message.body as { time: number }
      pretend({ type: 'control', kind: 'police.grant', body: { ...ask, asked: ask.time } })
      return 'swallow'
    }),
  },
  {
    rule: 'W4',
    what: 'acknowledges a flush that the others have not done',
    tampering: answered('flush.ask', 'flush.done', { failed: false }),
  },
  {
    rule: 'W4, A2',
    what: 'calls durable what is in the cache only',
    tampering: onReplicas((_, { clock }) => ({ sync: (done: StoreDone) => clock.nextTurn(() => done(null)) })),
  },
  {
    rule: 'R2, E3',
    what: 'serves reads with a lease that never ends',
    tampering: { world: (world) => ({ ...world, clock: { ...world.clock, leaseMs: () => 0 } }) },
    faults: { isolate: 1 },
    short: false,
  },
  {
    rule: 'C1, C2',
    what: 'forgets its marks',
    tampering: onReplicas((replica) => ({
      region: (index) => withoutMarks(replica.region(index)),
      *regions() {
        for (const [index, facts] of replica.regions()) yield [index, withoutMarks(facts)]
      },
    })),
  },
  {
    rule: 'C4',
    what: 'calls a replica equal without comparing it',
    tampering: answered('copy.compare', 'copy.compared', { blocks: null, failed: false }),
  },
  {
    rule: 'C7',
    what: 'does not tell which writes it has applied',
    tampering: onLinks((_, message, pretend) => {
      void pretend
      if (!isControl(message, 'form.tell')) return 'send'
      // Bodies are built for one sending: nobody else looks at this one.
      const body = message.body as { tell: { names: unknown[] } }
      body.tell = { ...body.tell, names: [] }
      return 'send'
    }),
  },
]

/** What no short history shows: the scenarios that were written for the rule must find it out. */
export const forScenarios = {
  passed: {
    rule: 'W9',
    what: 'says of everything that it passes that it is just being sent',
    tampering: onLinks((_, message, pretend) => {
      void pretend
      // Messages are built for one sending: nobody else looks at this one.
      if (message.type === 'pass') Object.assign(message, { heardMs: 2 ** 40 })
      return 'send'
    }),
  },
  space: {
    rule: 'C8',
    what: 'executes a write although another server has not set space aside for it',
    tampering: answered('space.ask', 'space.answer', { granted: true }),
  },
  olderStore: {
    rule: 'C12',
    what: 'tells its peers that its store has all that it ever had',
    tampering: {
      world: (world) => {
        const foundCommitCount = 2 ** 40
        return { ...world, store: overlay(world.store, { foundCommitCount }) }
      },
    },
  },
} as const satisfies Record<string, Mutation>
