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
/** The first has used it before and still holds what the others granted: only then can one who waits be asked to yield. */
const three: Plan = { uses: [2, 1, 1], wishes: [write], renewals: 0 }

describe('a broken copy of the code is found', () => {
  for (const [name, plan, breach, edits] of [
    ['yields while it writes', one, /^W2/, [permission('if (this.#activeExclusive > 0) return\n', '')]],
    ['yields while it reads', one, /^W2/, [permission("ask.mode === 'exclusive' && this.#activeShared > 0", 'false')]],
    [
      'ties broken by nobody',
      one,
      /^W2/,
      [permission('(time === otherTime && server < other)', '(time === otherTime && server < server)')],
    ],
    [
      'keeps what it yielded',
      { ...one, uses: [2, 2] },
      /^W2/,
      [permission("|| peer.hold === 'none' ? 'none'", "|| peer.hold === 'none' ? peer.hold")],
    ],
    [
      'begins younger uses once asked',
      two,
      /^P1/,
      [permission('if (this.#isOlder(peer.deferred.time, peer.id, use.askedTime, this.#world.self)) return false', '')],
    ],
    [
      'what was yielded is not asked for again',
      three,
      /^P2/,
      [
        permission('      head.begin()\n    }\n    this.#askForQueue()\n', '      head.begin()\n    }\n'),
        permission(
          'if (this.#queue.length === 1) this.#pump()\n',
          'if (this.#queue.length === 1) { this.#pump(); if (this.#open) this.#askForQueue() }\n',
        ),
        permission('this.#open = true\n', 'this.#open = true\n    this.#askForQueue()\n'),
      ],
    ],
    [
      'who waits keeps what it was granted',
      three,
      /^P2/,
      [
        permission(
          'if (this.#queue.some(older)) {',
          'if (this.#queue.some(older) || (peer.hold === "exclusive" && this.#queue.length > 0)) {',
        ),
      ],
    ],
    [
      'overlapping writes of one server together',
      two,
      /^W2/,
      [{ file: 'ranges.ts', from: 'use.blockers += 1', to: 'use.blockers += 0' }],
    ],
    [
      'a session begins with something held (P3)',
      { ...one, renewals: 1 },
      /^W2/,
      [permission("({ id, hold: 'none', asked", "({ id, hold: 'exclusive', asked")],
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
