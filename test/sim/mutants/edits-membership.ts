/** Rules of epochs, leases, crashes and resync broken on purpose (edits.ts). */
import { edit, type Mutant } from './kind.ts'

export const epochs: readonly Mutant[] = [
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
    weather: { faults: { isolate: 1 } },
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

export const crashes: readonly Mutant[] = [
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
      edit('volume/writes.ts', 'if (!space.cover(request)) return this.#askSpace(request)', 'space.cover(request)'),
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
