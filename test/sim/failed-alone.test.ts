/** C6, C7: a server that is alone in the set cannot apply a write that a joiner applies: an error for the client, and never
 * two in-sync replicas that differ. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Directed } from './directed.ts'

const KiB = 1024
const MiB = 1024 * KiB

/** `a` serves alone, `b` has got everything and waits to be taken in. */
async function joining(hold: (cluster: Directed) => void): Promise<Directed> {
  const cluster = await new Directed(2).begin(4 * MiB)
  const write = cluster.write(cluster.attach(0), 0, 7)
  cluster.until('the write is done', () => write.answer === null)
  cluster.server(1).kill()
  cluster.until('a goes on alone', () => cluster.serves(0) && cluster.inSync(0) === 'a')
  hold(cluster)
  cluster.server(1).start()
  return cluster
}

/** A write for which `a` has no space, then others that it has, whose messages carry the low-water mark (C1). */
function refusedWrite(cluster: Directed): void {
  const client = cluster.attach(0)
  const { disk } = cluster.server(0)
  disk.fault = 'full'
  const refused = cluster.write(client, MiB, 99)
  cluster.until('the write is refused', () => refused.answer !== undefined)
  assert.equal(refused.answer, 'io')
  cluster.pass(20)
  disk.fault = 'none'
  for (let round = 0; round < 3; round += 1) {
    const write = cluster.write(client, 4096, 8 + round)
    cluster.until('a later write is done', () => write.answer !== undefined)
    assert.equal(write.answer, null)
    cluster.pass(400)
  }
}

function sameForAll(cluster: Directed): void {
  cluster.until('both are in sync', () => cluster.isWhole(), 120_000)
  const reads = [0, 1].map((index) => cluster.read(cluster.attach(index), MiB))
  cluster.until('both are read', () => reads.every(({ answer }) => answer === null))
  assert.equal(reads[0]?.first, reads[1]?.first, 'one value at every frontend (R1, W5)')
  assert.ok(cluster.equal(0, 1))
  assert.deepEqual(cluster.problems, [])
}

describe('a write that only the joiner applies (C6, C7)', () => {
  it('before anything is proposed: the attempt is void, the next one makes both equal', async () => {
    // Words are asked for only once the arbiter answers (C10).
    const cluster = await joining(({ witness }) => witness.kill())
    const step = () => cluster.volume(0).resync.progress()?.phase
    cluster.until('b has been given everything', () => step() === 'joining')
    refusedWrite(cluster)
    assert.ok(
      cluster.story.lines.some((line) => line.includes('resync-voided') && line.includes('the disk here failed')),
    )
    cluster.witness.start()
    sameForAll(cluster)
  })

  it('after it was proposed: if the joiner is in, its application decides', async () => {
    let swaps = 0
    const cluster = await joining((held) => {
      held.lost = ({ kind, message }) => {
        const isSwap = kind === 'register.ask' && JSON.stringify(message).includes('"operation":"swap"')
        if (isSwap) swaps += 1
        return isSwap
      }
    })
    cluster.until('b is proposed', () => swaps > 0)
    refusedWrite(cluster)
    cluster.lost = () => false
    sameForAll(cluster)
    const read = cluster.read(cluster.attach(0), MiB)
    cluster.until('it is read', () => read.answer === null)
    assert.equal(read.first, 99, 'b had applied it: what it holds is copied to all (C7)')
  })

  it('a disk that fails for good: errors until the agent comes anew, then both are equal (counterexample 44)', async () => {
    const cluster = await joining(({ witness }) => witness.kill())
    cluster.until('b has been given everything', () => cluster.volume(0).resync.progress()?.phase === 'joining')
    const client = cluster.attach(0)
    const { disk } = cluster.server(0)
    disk.fault = 'fail'
    const failed = cluster.write(client, 0, 99)
    cluster.until('it failed', () => failed.answer !== undefined)
    assert.equal(failed.answer, 'io')
    disk.fault = 'none'
    cluster.pass(1_000)
    cluster.witness.start()
    cluster.server(0).kill()
    cluster.server(0).start()
    sameForAll(cluster)
  })
})
