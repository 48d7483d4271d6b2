/** E8 in whole clusters: a disk that owes what somebody waits for takes its server out within seconds; a disk that owes
 * nothing to anybody does not, and neither does a pause of the own process. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../agent/limits.ts'
import { Directed } from './directed.ts'

/** Disk overdue, seen for a moment, told, decided, and the session of those who stay. */
const outMs = limits.diskOverdueMs + 3_000

const written = async (count: number): Promise<Directed> => {
  const cluster = await new Directed(count).begin()
  const write = cluster.write(cluster.attach(0), 0, 7)
  cluster.until('the write is done', () => write.answer === null)
  return cluster
}

const hasLeft = (cluster: Directed, name: string): boolean =>
  cluster.story.lines.some((line) => line.includes(` ${name} `) && line.includes('leaving the in-sync set'))

/** All agents die and come back: what was marked is to be settled. */
const restartAll = (cluster: Directed): void => {
  for (const server of cluster.servers) server.kill()
  for (const server of cluster.servers) server.start()
}

const untilSettling = (cluster: Directed, index: number): void =>
  cluster.until('it settles and waits for its disk', () => {
    const { volume } = cluster.server(index)
    return volume?.member.phase === 'settling' && volume.store.oldestPendingMs() > 0
  })

const untilRecording = (cluster: Directed, index: number): void =>
  cluster.until('it records the session', () => {
    const { volume } = cluster.server(index)
    const { opened, known } = volume?.world.record.value ?? {}
    return volume?.member.phase === 'settling' && opened?.id === known?.id
  })

describe('a disk that hangs takes its server out (E8)', () => {
  for (const index of [0, 1]) {
    it(`while ${index === 0 ? 'the leader settles' : 'a member settles'}: the others go on, and it comes back`, async () => {
      const cluster = await written(3)
      restartAll(cluster)
      untilSettling(cluster, index)
      const victim = cluster.server(index)
      victim.disk.fault = 'hang'
      const other = 1 - index
      cluster.until('the others serve', () => cluster.serves(other) && cluster.serves(2), outMs)
      assert.equal(cluster.inSync(other), index === 0 ? 'bc' : 'ac')
      assert.ok(hasLeft(cluster, victim.name), 'by its own word')
      const read = cluster.read(cluster.attach(other), 0)
      cluster.until('it is read', () => read.answer === null)
      assert.equal(read.first, 7)
      victim.disk.fault = 'none'
      cluster.until('all are in sync again', () => cluster.isWhole())
      assert.ok(cluster.equal(0, 1))
    })
  }

  it('while it records an opened session: the other one goes on alone', async () => {
    const cluster = await written(3)
    cluster.server(2).kill()
    untilRecording(cluster, 1)
    cluster.server(1).disk.fault = 'hang'
    cluster.until('the other one serves', () => cluster.serves(0), outMs)
    assert.equal(cluster.inSync(0), 'a')
    assert.ok(hasLeft(cluster, 'b'), 'by its own word')
  })

  it('while a client waits for a read: the client gets its data later, no error', async () => {
    const cluster = await written(2)
    cluster.server(1).disk.fault = 'hang'
    const read = cluster.read(cluster.attach(1), 0)
    cluster.until('the other one goes on', () => cluster.serves(0) && cluster.inSync(0) === 'a', outMs)
    assert.equal(read.answer, undefined)
    cluster.server(1).disk.fault = 'none'
    cluster.until('it is answered', () => read.answer !== undefined)
    assert.deepEqual([read.answer, read.first], [null, 7])
  })
})

describe('what is no reason to leave (E8)', () => {
  it('a disk that hangs while nobody asks anything of it', async () => {
    const cluster = await written(2)
    // The mark of the write is to come off meanwhile: the disk owes that, to nobody.
    cluster.server(1).disk.fault = 'hang'
    cluster.pass(4 * limits.diskOverdueMs)
    assert.ok(cluster.volume(1).store.oldestPendingMs() > 3 * limits.diskOverdueMs, 'the disk owes something')
    assert.ok(cluster.isWhole())
    assert.ok(!hasLeft(cluster, 'b'))
  })

  it('a pause of the own process in the middle of settling', async () => {
    const cluster = await written(2)
    // Without an arbiter the other one cannot leave it out for its silence: its own word is all there may be.
    cluster.witness.kill()
    restartAll(cluster)
    untilSettling(cluster, 1)
    const { clock, disk } = cluster.server(1)
    disk.fault = 'hang'
    clock.stop()
    cluster.pass(limits.diskOverdueMs + 4_000)
    clock.goOn(true)
    // Timers come before the disk's answers.
    cluster.pass(500)
    assert.ok(cluster.volume(1).store.oldestPendingMs() > limits.diskOverdueMs, 'looks as if the disk owed for long')
    disk.fault = 'none'
    cluster.until('they serve', () => cluster.isWhole())
    assert.ok(!hasLeft(cluster, 'b'))
  })

  it('a pause of the own process while a client waits for a read', async () => {
    const cluster = await written(2)
    cluster.witness.kill()
    const { clock, disk } = cluster.server(1)
    disk.fault = 'hang'
    const read = cluster.read(cluster.attach(1), 0)
    cluster.pass(1_000)
    clock.stop()
    cluster.pass(limits.diskOverdueMs + 4_000)
    clock.goOn(true)
    cluster.pass(500)
    disk.fault = 'none'
    cluster.until('it is answered', () => read.answer === null)
    assert.ok(!hasLeft(cluster, 'b'))
  })
})
