/** Rules of hosts and unknown outcomes (W8), of rotten data (R3), of the register (E11) and of older stores (C12), broken on purpose. */
import { crowd, edit, type Mutant } from './kind.ts'

const outside = { faults: { 'disk-fail': 2, isolate: 2, cut: 1 }, faultsEveryMs: 1_500, thinkMs: 20 } as const

export const hosts: readonly Mutant[] = [
  {
    rule: 'W1, C6',
    what: 'acknowledges what it has only passed to its host',
    edits: [
      edit(
        'volume/passing.ts',
        '      chunks: wish.chunks,\n    })\n',
        '      chunks: wish.chunks,\n    })\n    if (request.isWrite) this.#answer(request, null, [])\n',
      ),
    ],
    weather: { faults: { isolate: 1, 'disk-fail': 2 } },
  },
  {
    rule: 'W8',
    what: 'says "applied" of a write that nobody has applied',
    edits: [edit('volume/outcomes.ts', "return known.doubtful.has(number) ? 'unknown' : 'barred'", "return 'applied'")],
    weather: { ...crowd, faults: { isolate: 1 } },
  },
  {
    rule: 'W8',
    what: 'says "barred" of a write that is applied: it is executed twice',
    edits: [
      edit(
        'volume/outcomes.ts',
        "if (known.applied.has(number)) return 'applied'",
        "if (known.applied.has(number)) return 'barred'",
      ),
    ],
    weather: { ...crowd, faults: { 'disk-fail': 1 }, faultsEveryMs: 1_500 },
  },
  {
    rule: 'W8',
    what: 'says "barred" of a write of which it knows nothing',
    edits: [
      edit(
        'volume/outcomes.ts',
        "|| number < known.lowWater) return 'unknown'",
        "|| number < known.lowWater) return 'barred'",
      ),
    ],
    weather: { ...crowd, faults: { isolate: 2, kill: 1 }, faultsEveryMs: 700, servers: 3 },
  },
  {
    rule: 'W8',
    what: 'passes a write again whose host is gone',
    edits: [
      edit(
        'volume/passing.ts',
        'if (request.isWrite) this.#unknown(request)\n    else this.#again(request)',
        'this.#again(request)',
      ),
    ],
    weather: { ...crowd, faults: { 'disk-fail': 2, kill: 2, isolate: 1 }, faultsEveryMs: 700, servers: 3 },
  },
  {
    rule: 'W8',
    what: 'a host says "dropped" of a write that it has started',
    edits: [
      edit('volume/hosting.ts', 'if (hosted.isStarted || !which(hosted)) continue', 'if (!which(hosted)) continue'),
    ],
    weather: { ...crowd, ...outside, servers: 3 },
  },
  {
    rule: 'W8',
    what: 'a host starts what was passed in another session',
    edits: [edit('volume/hosting.ts', 'if (this.#session?.number !== session || isTooMuch)', 'if (isTooMuch)')],
    weather: { ...crowd, ...outside, servers: 3 },
  },
  {
    rule: 'R1, P5',
    what: 'begins reads without permission',
    edits: [
      edit(
        'policing/permission.ts',
        '      if (!peer.granted(use)) return false\n',
        "      if (use.mode === 'shared') continue\n      if (!peer.granted(use)) return false\n",
      ),
    ],
    weather: { ...crowd, faults: { 'cut-witness': 1 } },
  },
  {
    rule: 'W3, P1',
    what: 'starts younger uses once asked',
    edits: [
      edit(
        'policing/permission.ts',
        'if (isOlder(ask.time, peer.id, use.askedTime, this.#world.self)) return true',
        'if (ask.time < 0) return true',
      ),
    ],
    weather: { ...crowd, faults: { 'cut-witness': 1 } },
  },
]

export const rotten: readonly Mutant[] = [
  {
    rule: 'W4, A2',
    what: 'calls durable what is in the cache only',
    edits: [
      edit(
        'store/replica-disk.ts',
        '    this.parts.syncs.request((error) => {\n      if (error',
        '    ;((then: (error: null) => void) => this.parts.queue.turn(() => then(null)))((error) => {\n      if (error',
      ),
    ],
    weather: { faults: { power: 1, 'power-all': 1 } },
  },
  {
    rule: 'C1, C2',
    what: 'forgets its marks',
    edits: [
      edit(
        'store/replica-disk.ts',
        '    return this.parts.marks.facts(index)\n',
        "    return { ...this.parts.marks.facts(index), marked: false, grade: 'sound' }\n",
      ),
      edit(
        'store/replica-disk.ts',
        'yield [index, this.parts.marks.facts(index)]',
        "yield [index, { ...this.parts.marks.facts(index), marked: false, grade: 'sound' }]",
      ),
    ],
    weather: { faults: { kill: 1, power: 1, 'end-all': 1 } },
  },
  {
    rule: 'C4',
    what: 'calls a replica equal without comparing it',
    edits: [
      edit(
        'mirror/copy-target.ts',
        'answer(digest(data) === body.digest ? null : blockDigests(data, digest), false)',
        'answer(digest(data) === body.digest || blockDigests(data, digest).length > 0 ? null : [], false)',
      ),
    ],
  },
  {
    rule: 'R3',
    what: 'hands out rotten data',
    edits: [
      edit(
        'store/fetch.ts',
        'const isSound = !this.#failed && this.#compare()',
        'const isSound = !this.#failed && (this.#compare() || true)',
      ),
    ],
    weather: { mishap: 'rot' },
  },
  {
    rule: 'R3',
    what: 'lets the range go before it has repaired',
    edits: [
      edit(
        'mirror/repairs.ts',
        '    store.write(offsetBytes, [data], data.length, (failure) => {',
        '    done(data)\n    store.write(offsetBytes, [data], data.length, (failure) => {',
      ),
      edit('mirror/repairs.ts', '      done(data)\n      // A disk that', '      // A disk that'),
    ],
    weather: { ...crowd, mishap: 'rot', faults: { 'disk-slow': 1 }, faultsEveryMs: 700 },
  },
  {
    rule: 'R3',
    what: 'does not write repaired data back',
    edits: [
      edit(
        'mirror/repairs.ts',
        '    store.write(offsetBytes, [data], data.length, (failure) => {',
        '    ;((then: (failure: StoreFailure | null) => void) => then(null))((failure) => {',
      ),
    ],
    weather: { mishap: 'rot' },
  },
  {
    rule: 'E11',
    what: 'its register begins anew when it is empty',
    edits: [
      edit(
        'membership/register.ts',
        'if (current === null || current.id !== expectedId) return null',
        'if (current === null) return configuration\n      if (current.id !== expectedId) return null',
      ),
    ],
    weather: { mishap: 'register-empty', faults: { isolate: 1, kill: 1 }, faultsEveryMs: 1_500 },
  },
  {
    rule: 'E11',
    what: 'tells nobody of a register that is older than it was',
    edits: [edit('membership/proposer.ts', '    this.#alarm(words)\n', '')],
    weather: { mishap: 'register-older', faults: { isolate: 1, kill: 1 }, faultsEveryMs: 1_500 },
  },
  {
    rule: 'C12',
    what: 'believes a store that returned older than it was',
    edits: [
      edit('membership/stores.ts', '      facts.found < before.commits\n', '      facts.found < 0\n'),
      edit(
        'membership/stores.ts',
        '|| commits <= known || this.#isDoubting) return',
        '|| commits >= known || this.#isDoubting) return',
      ),
    ],
    weather: { mishap: 'store-older' },
  },
  {
    rule: 'E2, C10',
    what: 'forms a session while a word is open, without asking what became of it',
    edits: [
      edit(
        'membership/decisions.ts',
        "    if (this.#world.record.value.word === null || phase === 'open' || phase === 'outside') return\n    this.renew()",
        '    void phase',
      ),
    ],
    weather: { ...crowd, faults: { cut: 3, kill: 2, isolate: 1 }, servers: 2, faultsEveryMs: 1_000 },
  },
  {
    rule: 'C4',
    what: 'begins to copy before everybody sends its writes to the joiner',
    edits: [
      edit(
        'mirror/resync.ts',
        "if (!this.#expects('mirroring', body) || !this.#lastAwaited(from)) return",
        "if (!this.#expects('mirroring', body)) return",
      ),
    ],
    weather: { ...crowd, faults: { kill: 1, isolate: 1 }, servers: 3, faultsEveryMs: 2_000 },
  },
]
