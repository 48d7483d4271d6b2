import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { heldPieces, stretchesOf } from '../../../agent/policing/view.ts'
import { Cluster } from './world.ts'

describe('what a server may do without asking, for people', () => {
  it('holds nothing before it was answered, then what it was not asked back, towards all others at once', () => {
    const cluster = new Cluster(3).startOpen()
    const [one, second, third] = cluster.stations
    assert.ok(one && second && third)
    const told = () => stretchesOf(heldPieces(one.policing.peers), 1000, 4)
    assert.deepEqual(told(), { blocks: 250, shared: [0, 0, 0, 0], exclusive: [0, 0, 0, 0] })
    one.use('exclusive', 0)
    cluster.settle()
    assert.deepEqual(told(), { blocks: 250, shared: [0, 0, 0, 0], exclusive: [250, 250, 250, 250] })
    // What the first uses keeps its grants from growing over all of it.
    const busy = one.use('exclusive', 0, 1000)
    second.use('exclusive', 100, 10)
    third.use('shared', 600, 100)
    one.release(busy)
    cluster.settle()
    const { shared, exclusive } = told()
    assert.ok((exclusive[0] ?? 0) <= 240 && (exclusive[2] ?? 0) <= 150, `${shared} ${exclusive}`)
  })

  it('alone, all of it', () => {
    const cluster = new Cluster(1).startOpen()
    assert.deepEqual(stretchesOf(heldPieces(cluster.stations[0]?.policing.peers ?? []), 10, 64), {
      blocks: 1,
      shared: new Array(10).fill(0),
      exclusive: new Array(10).fill(1),
    })
  })

  it('cuts what reaches over several stretches, and what reaches beyond the volume', () => {
    const pieces = [
      { firstBlock: 0, lastBlock: 14, rank: 0 },
      { firstBlock: 15, lastBlock: 24, rank: 1 },
      { firstBlock: 25, lastBlock: 2 ** 40, rank: 2 },
    ] as const
    assert.deepEqual(stretchesOf(pieces, 45, 4), { blocks: 12, shared: [0, 9, 1, 0], exclusive: [0, 0, 11, 9] })
  })
})
