/** C8: a disk that is full refuses first writes at every server alike, nothing of them is done anywhere, nobody leaves the
 * set for it, and all else goes on. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../agent/limits.ts'
import type { BlockClient } from '../../agent/volume/block-device.ts'
import { type Asked, Directed } from './directed.ts'
import { forScenarios } from './mutations.ts'

const MiB = 1024 * 1024
const { extentBytes } = limits
const slotBytes = extentBytes + limits.blockBytes

const whole = (count = 2) => new Directed(count).begin(64 * MiB)
/** Tried with the rule broken on purpose: one that lets it pass would say nothing. */
const seeds = [1, 2, 3]

function fill(cluster: Directed, index: number, slots: number): void {
  cluster.server(index).disk.leave(limits.diskReserveBytes + slots * slotBytes)
  // Until its store has looked, and credit that lay at others is back.
  cluster.pass(limits.freeSpaceMs + 1_000)
}

function answered(cluster: Directed, what: string, asked: Asked): Asked['answer'] {
  cluster.until(what, () => asked.answer !== undefined)
  return asked.answer
}

const write = (cluster: Directed, client: BlockClient, extent: number, fill = 1): Asked['answer'] =>
  answered(cluster, `a write to extent ${extent}`, cluster.write(client, extent * extentBytes, fill))

function firstByte(cluster: Directed, index: number, extent: number): number | undefined {
  const read = cluster.read(cluster.attach(index), extent * extentBytes)
  assert.equal(answered(cluster, 'a read', read), null)
  return read.first
}

const allocated = (cluster: Directed) => [0, 1].map((index) => cluster.volume(index).store.allocatedBytes())
const epoch = (cluster: Directed) => cluster.volume(0).member.known.epoch

function discard(cluster: Directed, client: BlockClient, extent: number): void {
  const asked: Asked = { answer: undefined, first: undefined }
  client.trim(extent * extentBytes, extentBytes, false, (failure) => {
    asked.answer = failure
  })
  assert.equal(answered(cluster, 'a discard', asked), null)
}

function otherIsFull(cluster: Directed): void {
  const [a, b] = [cluster.attach(0), cluster.attach(1)]
  for (let extent = 0; extent < 4; extent += 1) write(cluster, a, extent, 10 + extent)
  const before = epoch(cluster)
  fill(cluster, 1, 0)
  const held = allocated(cluster)
  assert.equal(write(cluster, a, 9), 'no-space')
  assert.equal(write(cluster, b, 9), 'no-space')
  assert.deepEqual(allocated(cluster), held)
  assert.equal(firstByte(cluster, 0, 9), 0)
  assert.equal(firstByte(cluster, 1, 9), 0)
  assert.equal(write(cluster, a, 1, 77), null)
  assert.equal(write(cluster, b, 2, 78), null)
  assert.equal(firstByte(cluster, 1, 1), 77)
  discard(cluster, a, 3)
  cluster.pass(500)
  // What a discard gave back may be taken again: in the simulator, zeros take none of the disk.
  cluster.server(1).disk.leave(limits.diskReserveBytes + 8 * slotBytes)
  cluster.pass(limits.freeSpaceMs + 1_000)
  assert.equal(write(cluster, a, 9, 79), null)
  assert.equal(firstByte(cluster, 1, 9), 79)
  assert.equal(epoch(cluster), before, 'nobody left')
  assert.ok(cluster.equal(0, 1))
  assert.deepEqual(cluster.problems, [])
}

describe('space (C8)', () => {
  it('with plenty of it no write asks', async () => {
    const cluster = await whole()
    const client = cluster.attach(0)
    // The session's first writes may come before the credit does.
    write(cluster, client, 0)
    cluster.pass(50)
    const { asked } = cluster.volume(0).space
    for (let extent = 1; extent < 40; extent += 1) assert.equal(write(cluster, client, extent), null)
    assert.equal(cluster.volume(0).space.asked, asked)
  })

  it('the other disk is full: refused at both servers, done nowhere; overwrites, zeros and discards go on (counterexample 47)', async () => {
    otherIsFull(await whole())
  })

  it(`broken on purpose, a server ${forScenarios.space.what}: that is found out`, async () => {
    for (const seed of seeds) {
      const cluster = await new Directed(2, seed, forScenarios.space.tampering).begin(64 * MiB)
      assert.throws(() => otherIsFull(cluster), assert.AssertionError, `seed ${seed} looked good`)
    }
  })

  it('a few slots left, both servers want them at once: as many are given as there are, never one twice', async () => {
    const cluster = await whole()
    const clients = [cluster.attach(0), cluster.attach(1)]
    write(cluster, cluster.attach(0), 0)
    const before = epoch(cluster)
    fill(cluster, 1, 5)
    const left = cluster.volume(1).store.availableSlots()
    assert.ok(left >= 3 && left <= 10, `${left} slots are left`)
    const asked = clients.flatMap((client, index) =>
      Array.from({ length: 12 }, (_, at) => cluster.write(client, (10 + 2 * at + index) * extentBytes, 5)),
    )
    cluster.until('all are answered', () => asked.every(({ answer }) => answer !== undefined))
    const taken = asked.filter(({ answer }) => answer === null).length
    assert.ok(asked.every(({ answer }) => answer === null || answer === 'no-space'))
    assert.ok(taken >= 1 && taken <= left, `${taken} of ${left} slots were given`)
    cluster.pass(1_000)
    assert.equal(cluster.volume(1).store.availableSlots(), left - taken, 'what was refused is set aside for nobody')
    assert.equal(epoch(cluster), before)
    assert.ok(cluster.equal(0, 1))
  })

  it('one of three refuses: the others set nothing aside for it', async () => {
    const cluster = await whole(3)
    write(cluster, cluster.attach(0), 0)
    fill(cluster, 1, 0)
    fill(cluster, 2, 6)
    const left = cluster.volume(2).store.availableSlots()
    assert.ok(left >= 3)
    for (let extent = 20; extent < 24; extent += 1) assert.equal(write(cluster, cluster.attach(0), extent), 'no-space')
    cluster.pass(100)
    assert.equal(cluster.volume(2).store.availableSlots(), left)
  })

  it('credit that lies idle at the other server comes back when the disk gets full', async () => {
    const cluster = await whole()
    write(cluster, cluster.attach(0), 0)
    cluster.pass(100)
    const plenty = cluster.volume(1).store.availableSlots()
    fill(cluster, 1, 30)
    assert.ok(plenty > 1000)
    const { store } = cluster.volume(1)
    assert.ok(store.availableSlots() >= 25, `${store.availableSlots()} of 30 slots are nobody's`)
  })

  it('an extent is discarded at the other server between the question and the write', async () => {
    const cluster = await whole()
    const [a, b] = [cluster.attach(0), cluster.attach(1)]
    write(cluster, a, 0)
    write(cluster, a, 1)
    const before = epoch(cluster)
    fill(cluster, 1, 0)
    for (let round = 0; round < 20; round += 1) {
      const asked: Asked = { answer: undefined, first: undefined }
      b.trim(extentBytes, extentBytes, false, (failure) => {
        asked.answer = failure
      })
      cluster.pass((round % 5) * 0.3)
      const answer = write(cluster, a, 1, 100 + round)
      answered(cluster, 'the discard', asked)
      assert.ok(answer === null || answer === 'no-space', `${answer}`)
      cluster.pass(30)
    }
    assert.equal(epoch(cluster), before, 'no write met a disk without space for it')
    assert.ok(cluster.equal(0, 1))
  })

  it('a client that goes away while its write asks leaves nothing set aside', async () => {
    const cluster = await whole()
    write(cluster, cluster.attach(0), 0)
    fill(cluster, 1, 12)
    const left = [0, 1].map((index) => cluster.volume(index).store.availableSlots())
    const client = cluster.attach(0)
    for (let extent = 20; extent < 28; extent += 1) cluster.write(client, extent * extentBytes, 3)
    client.detach()
    cluster.pass(3_000)
    const taken = (cluster.volume(1).store.allocatedBytes() - extentBytes) / extentBytes
    assert.equal(cluster.volume(1).store.availableSlots(), (left[1] ?? 0) - taken)
    assert.equal(cluster.volume(0).space.waiting, 0)
  })
})
