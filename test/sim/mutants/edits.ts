/**
 * Rules broken on purpose: one small edit of a copy of the code each (mutant.ts). The text to be replaced must stand in its
 * file exactly once, so that nobody believes a rule broken that is not. Production code knows nothing of this.
 */

import { hosts, rotten } from './edits-hosts.ts'
import { crashes, epochs } from './edits-membership.ts'
import { crowd, edit, type Mutant, slowLinks } from './kind.ts'

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
    weather: { faults: { 'power-all': 1 }, servers: 2, faultsEveryMs: 1_000, habits: { read: 3, write: 6, flush: 3 } },
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
    weather: { faults: { isolate: 1 } },
    short: false,
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
    edits: [edit('policing/permission.ts', 'own.some((use) => this.isHeld(use))', 'false')],
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
    weather: { ...crowd, faults: { kill: 1 }, servers: 3, habits: { read: 6, write: 4, many: 3 } },
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
    weather: {
      faults: { kill: 1 },
      faultsEveryMs: 1_500,
      shape: slowLinks,
      thinkMs: 100,
      habits: { read: 3, write: 6 },
    },
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

export const mutants: readonly Mutant[] = [...writes, ...reads, ...policing, ...epochs, ...crashes, ...hosts, ...rotten]
