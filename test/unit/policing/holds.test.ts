import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { InvariantBroken } from '../../../agent/kit/failure.ts'
import { Holds, lastOfAllBlocks, type Rank } from '../../../agent/policing/holds.ts'

const blocks = 24

describe('holds: an interval map of what was granted', () => {
  it('is what a plain table of blocks says, and as short as it can be', () => {
    const rank = fc.constantFrom<Rank>(0, 1, 2)
    const step = fc.record({
      raise: fc.boolean(),
      first: fc.nat(blocks - 1),
      count: fc.integer({ min: 1, max: 9 }),
      rank,
    })
    fc.assert(
      fc.property(rank, fc.array(step, { maxLength: 30 }), (begin, steps) => {
        const holds = new Holds()
        holds.reset(begin)
        const plain = new Array<Rank>(blocks + 10).fill(begin)
        for (const { raise, first, count, rank } of steps) {
          const last = first + count - 1
          if (raise) holds.raise(first, last, rank)
          else holds.lower(first, last, rank)
          for (let block = first; block <= last; block += 1) {
            const present = plain[block] ?? 0
            plain[block] = raise === rank > present ? rank : present
          }
        }
        const pieces = [...holds]
        for (const [index, piece] of pieces.entries()) {
          assert.notEqual(piece.rank, pieces[index + 1]?.rank, 'neighbours differ')
          assert.equal(
            piece.lastBlock + 1,
            pieces[index + 1]?.firstBlock ?? lastOfAllBlocks + 1,
            'nothing between them',
          )
        }
        for (let first = 0; first < blocks; first += 1) {
          for (const least of [1, 2] as const) {
            let above = first
            while (above + 1 < plain.length && (plain[above + 1] ?? 0) >= least) above += 1
            if (above + 1 < plain.length) assert.equal(holds.reachAbove(first, least), above)
            let below = first
            while (below > 0 && (plain[below - 1] ?? 0) >= least) below -= 1
            assert.equal(holds.reachBelow(first, least), below)
            for (let last = first; last < blocks; last += 5) {
              assert.equal(
                holds.covers(first, last, least),
                plain.slice(first, last + 1).every((held) => held >= least),
              )
            }
          }
        }
      }),
      { numRuns: 300, seed: 11 },
    )
  })

  it('keeps the largest pieces and forgets the others', () => {
    const holds = new Holds()
    for (const [first, last] of [
      [2, 3],
      [10, 19],
      [30, 30],
      [40, 44],
    ] as const) {
      holds.raise(first, last, 2)
    }
    holds.keepLargest(2)
    const held = [...holds].filter(({ rank }) => rank > 0).map(({ firstBlock, lastBlock }) => [firstBlock, lastBlock])
    assert.deepEqual(held, [
      [10, 19],
      [40, 44],
    ])
  })

  it('reaches to the last block that there can be', () => {
    const holds = new Holds()
    holds.raise(0, lastOfAllBlocks, 2)
    assert.equal(holds.pieces, 1)
    assert.ok(holds.covers(0, lastOfAllBlocks, 2))
    assert.equal(holds.reachAbove(5, 2), lastOfAllBlocks)
    holds.lower(lastOfAllBlocks, lastOfAllBlocks, 0)
    assert.equal(holds.reachAbove(5, 1), lastOfAllBlocks - 1)
  })

  it('P5a: a range that is none is found', () => {
    const holds = new Holds()
    for (const [first, last] of [
      [3, 2],
      [-1, 2],
      [0, lastOfAllBlocks + 1],
    ] as const) {
      assert.throws(() => holds.raise(first, last, 1), InvariantBroken)
    }
  })
})
