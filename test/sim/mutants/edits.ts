/**
 * Rules broken on purpose: one small edit of a copy of the code each (mutant.ts). The text to be replaced must stand in its
 * file exactly once, so that nobody believes a rule broken that is not. Production code knows nothing of this.
 */
import type { FaultKind } from '../faults.ts'

export interface Edit {
  /** Below `agent/`. */
  readonly file: string
  readonly from: string
  readonly to: string
}

export interface Mutant {
  readonly rule: string
  readonly what: string
  readonly edits: readonly Edit[]
  /** The weather in which it shows soonest; the seed's own when not given. */
  readonly faults?: Partial<Record<FaultKind, number>>
  /** False where a short history ends before it can show. */
  readonly short?: boolean
}

const edit = (file: string, from: string, to: string): Edit => ({ file, from, to })

const writes: readonly Mutant[] = [
  {
    rule: 'W1',
    what: 'acknowledges when its own disk has it',
    edits: [
      edit(
        'mirror/outgoing.ts',
        '    if (write.needed === 0 && !write.acknowledged) {',
        '    if (!write.acknowledged) {',
      ),
    ],
  },
  {
    rule: 'W2, P5',
    what: 'begins a use without a grant',
    edits: [edit('policing/peer.ts', 'return this.hasAnswered && this.holds', 'return this.hasAnswered || this.holds')],
  },
  {
    rule: 'W3',
    what: 'gives the range back when the client has its answer, not when every replica has the write',
    edits: [
      edit(
        'mirror/outgoing.ts',
        '      write.acknowledge(null)\n    }\n    if (write.missing',
        '      write.acknowledge(null)\n      write.end()\n    }\n    if (write.missing',
      ),
      edit(
        'mirror/outgoing.ts',
        '    if (!this.#inFlight.delete(write.number)) return\n    write.end()',
        '    if (!this.#inFlight.delete(write.number)) return',
      ),
    ],
  },
  {
    rule: 'W3, R4',
    what: 'lets overlapping uses of one server begin together',
    edits: [edit('policing/ranges.ts', 'use.blockers += 1', 'use.blockers += 0')],
  },
  {
    rule: 'W4',
    what: 'acknowledges a flush that it asked nobody else for',
    edits: [
      edit(
        'mirror/flusher.ts',
        'for (const member of this.#members) {\n      flush.missing.add',
        'for (const member of this.#members.slice(0, 0)) {\n      flush.missing.add',
      ),
    ],
  },
  {
    rule: 'W4',
    what: 'acknowledges a flush that its own disk was not asked for',
    edits: [
      edit(
        'mirror/flusher.ts',
        '    this.#world.store.sync((failure) => {\n      // An answer',
        '    ;((then: (failure: StoreFailure | null) => void) => then(null))((failure) => {\n      // An answer',
      ),
    ],
  },
  {
    rule: 'W4, E1',
    what: 'answers a flush in another session than it was asked in',
    edits: [
      edit(
        'mirror/incoming.ts',
        '      if (session === this.#session) {\n        this.#world.send',
        '      {\n        this.#world.send',
      ),
    ],
  },
  {
    rule: 'W9',
    what: 'starts requests of clients that have gone',
    edits: [
      edit('volume/service.ts', '    if (connection.closed) return this.ended(request)\n', ''),
      edit('volume/service.ts', '      if (request.connection.closed) this.ended(request)\n      else if', '      if'),
    ],
  },
]

const reads: readonly Mutant[] = [
  {
    rule: 'R2, E3',
    what: 'answers reads without looking at its lease',
    edits: [
      edit(
        'membership/member.ts',
        "return this.#phase === 'open' && this.#lease.valid(this.world.clock.leaseMs())",
        'return true',
      ),
    ],
    faults: { isolate: 1 },
    short: false,
  },
  {
    rule: 'R2',
    what: 'answers a read that began in an older session',
    edits: [
      edit(
        'volume/reads.ts',
        'const isOver = () => session === 0 || session !== this.#world.session()',
        'const isOver = () => false',
      ),
    ],
  },
  {
    rule: 'R4',
    what: 'lets a read begin beside a write of its own server',
    edits: [
      edit(
        'policing/ranges.ts',
        'for (const earlier of found) if (conflicts(earlier.mode, use.mode)) this.#block(use, earlier)',
        "for (const earlier of found) if (conflicts(earlier.mode, use.mode) && use.mode !== 'shared') this.#block(use, earlier)",
      ),
    ],
  },
]

const policing: readonly Mutant[] = [
  {
    rule: 'P1',
    what: 'yields while it uses the range',
    edits: [
      edit(
        'policing/permission.ts',
        "own.some((use) => use.phase === 'active' && use.grantedIn === this.#generation)",
        'false',
      ),
    ],
  },
  {
    rule: 'P1',
    what: 'of two asks that cross, none goes first',
    edits: [
      edit(
        'policing/permission.ts',
        'if (crossing.some((mine) => conflicts(mine.mode, ask.mode) && older(mine.time))) return false',
        '',
      ),
    ],
  },
  {
    rule: 'P1, P2',
    what: 'what was yielded is not asked for again',
    edits: [
      edit(
        'policing/permission.ts',
        'for (const use of this.#oldestFirst(own)) if (this.#waiting.has(use)) this.#askFor(use)',
        '',
      ),
    ],
  },
  {
    rule: 'P3',
    what: 'what was granted in one session counts in the next',
    edits: [
      edit(
        'policing/permission.ts',
        'this.#peers = others.map((id) => new Peer(id, this.#world.self < id))',
        'this.#peers = [...this.#peers.filter((peer) => others.includes(peer.id)), ...others.filter((id) => !this.#peers.some((peer) => peer.id === id)).map((id) => new Peer(id, this.#world.self < id))]',
      ),
      edit('policing/permission.ts', '    this.startSession([])', '    this.#open = false\n    this.#generation += 1'),
    ],
  },
  {
    rule: 'P3',
    what: 'both servers of a pair begin with all',
    edits: [edit('policing/permission.ts', 'new Peer(id, this.#world.self < id)', 'new Peer(id, true)')],
  },
  {
    rule: 'P5',
    what: 'keeps what it has grown a grant by',
    edits: [
      edit(
        'policing/permission.ts',
        'peer.holds.lower(firstBlock, lastBlock,',
        'peer.holds.lower(ask.firstBlock, ask.lastBlock,',
      ),
    ],
  },
  {
    rule: 'P5',
    what: 'grows a grant over what it uses',
    edits: [
      edit(
        'policing/growth.ts',
        'if (conflicts(other.mode, ask.mode)) keep(other',
        'if (conflicts(other.mode, ask.mode) && false) keep(other',
      ),
      edit('policing/growth.ts', '  recent?.eachAgainst(ask.mode, keep)\n', ''),
    ],
  },
  {
    rule: 'P6',
    what: 'takes shared permission for a write',
    edits: [
      edit(
        'mirror/outgoing.ts',
        "super('exclusive', offsetBytes, lengthBytes)",
        "super('shared', offsetBytes, lengthBytes)",
      ),
    ],
  },
]

const epochs: readonly Mutant[] = [
  {
    rule: 'E1',
    what: 'executes writes of another session',
    edits: [
      edit(
        'mirror/incoming.ts',
        'if (message.session !== this.#session || this.#session === 0 || message.attempt !== this.#attempt) return',
        'if (this.#session === 0 || message.attempt !== this.#attempt) return',
      ),
    ],
  },
  {
    rule: 'E2',
    what: 'takes an unanswered proposal for lost',
    edits: [
      edit(
        'membership/proposer.ts',
        'if (current === null || !(won || lost)) return this.#later(proposal)',
        "if (current === null) return this.#end(proposal, 'lost', present)\n      if (!(won || lost)) return this.#later(proposal)",
      ),
    ],
  },
  {
    rule: 'E3',
    what: 'answers the heartbeats of whom it wants out',
    edits: [
      edit(
        'membership/member.ts',
        "if (this.#phase !== 'open' || this.#session?.number !== session || this.decisions.removal.isBeingLeftOut(from))",
        "if (this.#phase !== 'open' || this.#session?.number !== session)",
      ),
      edit(
        'membership/removal.ts',
        'waitMs = Math.max(waitMs, untilMs - this.#clock.monotonicMs())',
        'waitMs = Math.max(waitMs, untilMs - this.#clock.monotonicMs()) * 0',
      ),
    ],
    short: false,
  },
  {
    rule: 'E3',
    what: 'does not wait for the leases of those who are out',
    edits: [edit('membership/removal.ts', '    return waitMs\n', '    return waitMs * 0\n')],
    faults: { isolate: 1 },
    short: false,
  },
  {
    rule: 'E5',
    what: 'goes on serving outside the configuration',
    edits: [
      edit(
        'membership/member.ts',
        '    if (this.inSet) this.#beginForming()\n    else this.#goOutside()\n    this.decisions.proposer',
        '    if (this.inSet) this.#beginForming()\n    this.decisions.proposer',
      ),
    ],
  },
  {
    rule: 'E9',
    what: 'tells before its executions have ended',
    edits: [
      edit(
        'mirror/incoming.ts',
        'if (drained === null || this.#executing.size > 0) return',
        'if (drained === null) return',
      ),
    ],
  },
  {
    rule: 'E9',
    what: 'opens without settling',
    edits: [
      edit(
        'mirror/settler.ts',
        'const plan = planSettling(tells, this.#world.sizeBytes())',
        'const plan = planSettling(tells, this.#world.sizeBytes()).slice(0, 0)',
      ),
    ],
  },
  {
    rule: 'E2',
    what: 'its register swaps whatever it holds',
    edits: [
      edit(
        'membership/register.ts',
        'if (current === null || current.id !== expectedId) return null',
        'if (current === null || expectedId === "") return null',
      ),
      edit('membership/register.ts', 'configuration.epoch === current.epoch + 1 &&', 'configuration.epoch > 0 &&'),
      edit(
        'membership/register.ts',
        '        contains(configuration, current.id)\n',
        '        current.id !== configuration.id\n',
      ),
    ],
  },
  {
    rule: 'A3',
    what: 'its register answers before what it holds is durable',
    edits: [
      edit(
        'membership/register.ts',
        'records.put(keyOf(volumeId), { current: next }, (failure) => {\n',
        "end({ outcome: 'stored', current: next })\n      records.put(keyOf(volumeId), { current: next }, (failure) => {\n        if (this.#busy.size >= 0) return\n",
      ),
    ],
  },
  {
    rule: 'E8',
    what: 'bears with a server whose disk hangs',
    edits: [
      edit(
        'membership/removal.ts',
        "return this.#owedByMs(server) > limits.memberOverdueMs ? 'disk-slow' : null",
        'return null',
      ),
      edit(
        'volume/volume.ts',
        "else if (this.#overdue.ownMs() > limits.diskOverdueMs) this.member.leave('disk-slow')",
        '',
      ),
    ],
  },
]

const crashes: readonly Mutant[] = [
  {
    rule: 'C1',
    what: 'takes marks off before the writes are confirmed',
    edits: [
      edit(
        'mirror/marks.ts',
        'if (number >= this.#world.lowWaterOf(origin)) return false',
        'if (number < 0) return false',
      ),
      edit('mirror/marks.ts', 'now - touch.lastMs < limits.markIdleMs', 'now < 0'),
    ],
  },
  {
    rule: 'C2',
    what: 'copies from the lowest id, whatever its grade',
    edits: [
      edit(
        'mirror/settle-plan.ts',
        'const source = members.find((server) => rank[gradeOf(server)] === best)',
        'const source = best < 9 ? members[0] : undefined',
      ),
    ],
  },
  {
    rule: 'C2',
    what: 'goes on with copies that all may lack something',
    edits: [
      edit(
        'membership/decisions.ts',
        '!this.proposer.reachable() || this.#host.anyLossy()',
        '!this.proposer.reachable()',
      ),
    ],
  },
  {
    rule: 'C3',
    what: "a copy does not take its source's stamp",
    edits: [
      edit(
        'mirror/copy-target.ts',
        '    store.raiseStamp(Math.floor(offsetBytes / limits.regionBytes), body.stamp, () => undefined)\n',
        '',
      ),
    ],
    short: false,
  },
  {
    rule: 'C4',
    what: 'compares only what is marked at the joiner',
    edits: [
      edit('mirror/resync.ts', 'if (facts.marked || facts.stamp > this.#joinerOpenedEpoch) regions.add(region)', ''),
    ],
  },
  {
    rule: 'C4',
    what: 'compares before everybody mirrors to the joiner',
    edits: [edit('mirror/join-member.ts', '    this.#world.outgoing.addJoiner(joiner, attempt)\n', '')],
  },
  {
    rule: 'C4',
    what: 'begins to compare while older writes are in flight',
    edits: [
      edit(
        'mirror/outgoing.ts',
        '    this.#endWaits.push({ below: this.#nextNumber, done })',
        '    this.#endWaits.push({ below: 0, done })',
      ),
    ],
  },
  {
    rule: 'C7',
    what: 'tells no names',
    edits: [
      edit(
        'mirror/incoming.ts',
        'return [...this.#origins.values()].flatMap((origin) => [...origin.names.values()])',
        'return []',
      ),
    ],
  },
  {
    rule: 'C7',
    what: 'of overlapping writes the earlier one wins',
    edits: [
      edit(
        'mirror/settle-plan.ts',
        'one.name.time !== other.name.time ? other.name.time - one.name.time',
        'one.name.time !== other.name.time ? one.name.time - other.name.time',
      ),
    ],
  },
  {
    rule: 'C8',
    what: 'executes a write without space set aside elsewhere',
    edits: [
      edit(
        'volume/writes.ts',
        'if (space.cover(request)) return outgoing.execute(request)',
        'if (space.cover(request) || true) return outgoing.execute(request)',
      ),
    ],
  },
  {
    rule: 'C10',
    what: 'a word does not bind: writes are acknowledged without the joiner',
    edits: [edit('mirror/join-member.ts', '    this.#world.outgoing.needJoiner(joiner)\n', '')],
  },
  {
    rule: 'C10',
    what: 'the joiner says that it has synced before it has',
    edits: [
      edit(
        'mirror/joiner.ts',
        '    store.sync((failure) => {',
        '    answer(false)\n    store.sync((failure) => {\n      if (failure === null && doubtful.length > 0) store.settled(doubtful, () => undefined)\n      if (session !== -1) return',
      ),
    ],
    short: false,
  },
  {
    rule: 'C6',
    what: 'acknowledges what its failing disk refused',
    edits: [
      edit(
        'mirror/outgoing.ts',
        "write.acknowledge(this.#targets.length === 0 ? failure : 'io')",
        'write.acknowledge(null)',
      ),
    ],
  },
]

export const mutants: readonly Mutant[] = [...writes, ...reads, ...policing, ...epochs, ...crashes]
