/** The code of agent/policing itself through every schedule of small clusters (P4), and broken copies of it. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { inFolder } from '../kit/folder.ts'
import { type Explored, explore } from './explore.ts'
import { type Edit, openedPolicing } from './opened.ts'
import type { Plan, Wish } from './small-cluster.ts'

const read: Wish = { mode: 'shared', firstBlock: 0, lastBlock: 1 }
const write: Wish = { mode: 'exclusive', firstBlock: 0, lastBlock: 1 }
/** Overlaps the first two in part. */
const beside: Wish = { mode: 'exclusive', firstBlock: 1, lastBlock: 2 }
/** Overlaps none of them. */
const apart: Wish = { mode: 'exclusive', firstBlock: 9, lastBlock: 9 }
const gone: Wish = { ...write, gone: true }
/** As apart, and so far away that it takes the first ones' seat in the memory of recent uses: grants grow over them. */
const far: Wish = { mode: 'exclusive', firstBlock: 256 * 1024, lastBlock: 256 * 1024 }
const farRead: Wish = { ...far, mode: 'shared' }
/** One end and the other of `write`. */
const left: Wish = { mode: 'exclusive', firstBlock: 0, lastBlock: 0 }
const right: Wish = { mode: 'exclusive', firstBlock: 1, lastBlock: 1 }

const judge = (plan: Plan): Promise<Explored> =>
  inFolder({}, async (folder) => explore(plan, await openedPolicing(folder)))

const judgeBroken = (plan: Plan, edits: readonly Edit[]): Promise<Explored> =>
  inFolder({}, async (folder) => {
    const broken = await openedPolicing(folder, edits)
    return explore(plan, broken, broken)
  })

const inWords = ({ breach }: Explored) => (breach === null ? '' : [breach.what, ...breach.schedule].join('\n  '))

describe('every schedule of the code itself', () => {
  for (const [name, plan] of [
    ['two servers, two requests each', { uses: [2, 2], wishes: [read, write, beside], renewals: 0 }],
    ['two servers, requests that are apart', { uses: [2, 2], wishes: [read, write, apart], renewals: 0 }],
    ['two servers, grants that grow', { uses: [2, 2], wishes: [read, write, far, farRead], renewals: 0 }],
    ['two servers, one comes often', { uses: [3, 1], wishes: [left, write, far], renewals: 0 }],
    ['two servers, clients that are gone (W9)', { uses: [2, 2], wishes: [read, apart, gone], renewals: 0 }],
    ['two servers, three writes each', { uses: [3, 3], wishes: [write], renewals: 0 }],
    ['two servers and a new session (P3)', { uses: [2, 2], wishes: [read, write], renewals: 1 }],
    ['three servers', { uses: [1, 1, 1], wishes: [read, write], renewals: 0 }],
    ['three servers, one comes again', { uses: [2, 1, 1], wishes: [write], renewals: 0 }],
  ] as const satisfies readonly (readonly [string, Plan])[]) {
    it(`${name}: exclusion, no younger use once asked, everybody in the end`, async () => {
      const began = performance.now()
      const explored = await judge(plan)
      const seconds = ((performance.now() - began) / 1000).toFixed(1)
      const { states, steps, depth } = explored
      console.log(`${name}: ${states} states, ${steps} steps, depth ${depth}, ${seconds} s`)
      assert.equal(explored.breach, null, inWords(explored))
      assert.ok(states > 1000, 'so few states cannot be all')
    })
  }
})

const permission = (from: string, to: string): Edit => ({ file: 'permission.ts', from, to })

const one: Plan = { uses: [1, 1], wishes: [read, write], renewals: 0 }
const two: Plan = { uses: [2, 2], wishes: [write, apart], renewals: 0 }
/** A server uses one end while the other one asks for both. */
const ends: Plan = { uses: [2, 1], wishes: [left, right, write], renewals: 0 }
const growing: Plan = { uses: [2, 2], wishes: [write, far], renewals: 0 }
const growingReads: Plan = { uses: [2, 2], wishes: [write, far, farRead], renewals: 0 }
/** The second ask of the first server is answered before it arrives: the first answer has grown over it. */
const stale: Plan = { uses: [2, 1], wishes: [write, far], renewals: 0 }
/** The first has used it before and still holds what the others granted: only then can one who waits be asked to yield. */
const three: Plan = { uses: [2, 1, 1], wishes: [write], renewals: 0 }

describe('a broken copy of the code is found', () => {
  for (const [name, plan, breach, edits] of [
    ['yields while it uses', one, /^W2/, [permission('own.some((use) => this.isHeld(use))', 'false')]],
    [
      'yields while it reads',
      one,
      /^W2/,
      [permission('.filter((use) => conflicts(use.mode, ask.mode))', ".filter((use) => use.mode === 'exclusive')")],
    ],
    [
      'ties broken by nobody',
      one,
      /^W2/,
      [permission('(time === otherTime && server < other)', '(time === otherTime && server < server)')],
    ],
    [
      'keeps what it yielded',
      { ...one, uses: [2, 2] },
      /^P5/,
      [permission("ask.mode === 'exclusive' ? 0 : 1)", "ask.mode === 'exclusive' ? 2 : 1)")],
    ],
    [
      'keeps what it has grown a grant by',
      growing,
      /^P5/,
      [permission('peer.holds.lower(firstBlock, lastBlock,', 'peer.holds.lower(ask.firstBlock, ask.lastBlock,')],
    ],
    [
      'grows over what it uses',
      growing,
      /^W2/,
      [{ file: 'growth.ts', from: 'if (conflicts(other.mode, ask.mode)) keep', to: 'if (false) keep' }],
    ],
    [
      'grows over what nobody holds yet, at both servers',
      growing,
      /^P5/,
      [{ file: 'growth.ts', from: ": rankOf('exclusive')", to: ': (0 as 1)' }],
    ],
    [
      'grows over what both may read, while it asks itself',
      growingReads,
      /^P5/,
      [{ file: 'growth.ts', from: "peer.asked.size === 0 ? rankOf('shared')", to: "true ? rankOf('shared')" }],
    ],
    [
      'of two asks that cross, none goes first, when one is there for a use that has begun by another grant',
      stale,
      /^P5/,
      [permission('if (crossing.some((mine) => conflicts(mine.mode, ask.mode) && older(mine.time))) return false', '')],
    ],
    [
      'begins younger uses once asked',
      ends,
      /^P1/,
      [permission('if (peer.deferred.size > 0 && this.#comesFirst(peer, use)) return false', '')],
    ],
    [
      'what was yielded is not asked for again',
      ends,
      /^P2/,
      [permission('for (const use of this.#oldestFirst(own)) if (this.#waiting.has(use)) this.#askFor(use)', '')],
    ],
    [
      'who waits keeps what it was granted',
      three,
      /^P2/,
      [
        permission(
          'if (own.some((use) => this.#waiting.has(use) && older(use.askedTime))) return false',
          'if (own.some((use) => this.#waiting.has(use) && peer.granted(use))) return false',
        ),
      ],
    ],
    [
      'what was put off is not yielded after the grant',
      stale,
      /^P2/,
      [permission('    this.#yieldOver(peer, ask.firstBlock, ask.lastBlock)\n', '')],
    ],
    [
      'overlapping writes of one server together',
      two,
      /^W2/,
      [{ file: 'ranges.ts', from: 'use.blockers += 1', to: 'use.blockers += 0' }],
    ],
    [
      'both servers of a pair begin with something held (P3)',
      { ...one, renewals: 1 },
      /^P5/,
      [permission('new Peer(id, this.#world.self < id)', 'new Peer(id, true)')],
    ],
  ] as const satisfies readonly (readonly [string, Plan, RegExp, readonly Edit[]])[]) {
    it(name, async () => {
      const explored = await judgeBroken(plan, edits)
      console.log(`${name}: ${inWords(explored)}`)
      assert.match(explored.breach?.what ?? 'nothing was found', breach)
    })
  }

  it('an edit that no longer fits the code breaks nothing, and is said', async () => {
    await assert.rejects(judgeBroken(one, [permission('what no file says', '')]), /0 times, not once/)
  })
})
