/** Rules of epochs, leases, crashes and resync broken on purpose (edits.ts). */
import { crowd, edit, type Mutant, slowLinks, type Weather } from './kind.ts'

/** Not wrong by itself: whoever waits for the leases of those who are out may want them out as soon as it likes. */
const impatient = edit(
  'membership/removal.ts',
  "if (this.#silence.ofMs(server) > silentMs) return 'silent'",
  "if (this.#silence.ofMs(server) > silentMs / 2) return 'silent'",
)
/** Few blocks, and some clients that only read: nothing of theirs waits for a write that hangs. */
const watched: Weather = { servers: 2, shape: { arbiter: 'witness', blocks: 2 }, thinkMs: 20, faultsEveryMs: 2_000 }

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
    weather: { ...crowd, faults: { cut: 1, 'cut-one-way': 1 }, servers: 2 },
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
    what: 'wants others out sooner, answers them all the same, and waits only since it wanted that',
    edits: [
      impatient,
      edit(
        'membership/member.ts',
        '|| this.decisions.removal.isBeingLeftOut(from))\n      return false\n    this.decisions.removal.answered(from)',
        ')\n      return false\n    if (!this.decisions.removal.isBeingLeftOut(from)) this.decisions.removal.answered(from)',
      ),
    ],
    weather: { ...watched, faults: { isolate: 1, 'cut-one-way': 1 } },
  },
  {
    rule: 'E3',
    what: 'wants others out sooner, and does not wait for their leases',
    edits: [impatient, edit('membership/removal.ts', '    return waitMs\n', '    return waitMs * 0\n')],
    weather: { ...watched, faults: { isolate: 1 } },
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
    weather: { ...crowd, faults: { 'disk-slow': 4, kill: 2, 'cut-one-way': 1 }, faultsEveryMs: 700 },
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
    weather: {
      faults: { 'disk-slow': 3, power: 3, isolate: 1, kill: 1 },
      faultsEveryMs: 700,
      shape: { arbiter: 'preferred' },
    },
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
    weather: {
      faults: { cut: 2, kill: 3, power: 1, isolate: 2 },
      servers: 2,
      faultsEveryMs: 2_000,
      shape: { sizeBytes: 65 * 1024 * 1024 },
      habits: { read: 8, write: 2 },
    },
    short: false,
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
    weather: { faults: { 'end-all': 1 }, servers: 2, faultsEveryMs: 1_500 },
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
      edit('membership/forming.ts', '  return !shareRegions(all', '  return true || !shareRegions(all'),
    ],
    weather: { faults: { power: 2, isolate: 2, pause: 1 }, servers: 2, faultsEveryMs: 700 },
  },
  {
    rule: 'C4',
    what: 'compares only what is marked at the joiner',
    edits: [
      edit('mirror/resync.ts', 'if (facts.marked || facts.stamp > this.#joinerOpenedEpoch) regions.add(region)', ''),
    ],
    weather: { faults: { leave: 1 } },
  },
  {
    rule: 'C4',
    what: 'compares before everybody mirrors to the joiner',
    edits: [edit('mirror/join-member.ts', '    this.#world.outgoing.addJoiner(joiner, attempt)\n', '')],
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
    weather: { ...crowd, faults: { kill: 2, isolate: 1, power: 1 }, servers: 3, faultsEveryMs: 2_000 },
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
    weather: { ...crowd, faults: { kill: 2, isolate: 1, power: 1 }, servers: 3, faultsEveryMs: 2_000 },
  },
  {
    rule: 'C8',
    what: 'executes a write without space set aside elsewhere',
    edits: [
      edit('volume/writes.ts', 'if (!space.cover(request)) return this.#askSpace(request)', 'space.cover(request)'),
    ],
    weather: { faults: { 'disk-small': 1 }, faultsEveryMs: 2_000 },
  },
  {
    rule: 'C10',
    what: 'a word does not bind: writes are acknowledged without the joiner',
    edits: [edit('mirror/join-member.ts', '    this.#world.outgoing.needJoiner(joiner)\n', '')],
    weather: {
      ...crowd,
      faults: { kill: 2, cut: 3, isolate: 1 },
      servers: 2,
      faultsEveryMs: 1_000,
      shape: { ...slowLinks, arbiter: 'witness' },
    },
  },
  {
    rule: 'C10',
    what: 'the joiner says that it has synced before it has, and so does who records a session',
    edits: [
      edit(
        'volume/volume.ts',
        '    this.store.sync((failure) => {\n      if (failure !== null || doubtful',
        '    ;((then: (failure: null | "io") => void) => then(null))((failure) => {\n      if (failure !== null || doubtful',
      ),
      edit(
        'mirror/joiner.ts',
        '    store.sync((failure) => {',
        '    answer(false)\n    store.sync((failure) => {\n      if (failure === null && doubtful.length > 0) store.settled(doubtful, () => undefined)\n      if (session !== -1) return',
      ),
    ],
    weather: {
      faults: { kill: 3, 'power-all': 3 },
      servers: 2,
      faultsEveryMs: 1_000,
      habits: { read: 3, write: 6, flush: 3 },
    },
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
    weather: { faults: { 'disk-fail': 3, isolate: 1, leave: 1 }, faultsEveryMs: 1_000 },
  },
]
