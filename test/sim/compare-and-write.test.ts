/** Compare-and-write at several servers at once, through a host, and over the end of a session (W6, R2, counterexample 39). */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { BlockClient, BlockFailure } from '../../agent/volume/block-device.ts'
import { Directed } from './directed.ts'

interface Compared {
  answer: BlockFailure | null | undefined
  differsAt: number | null
}

function compare(client: BlockClient, offsetBytes: number, expected: number, replacement: number, length = 512) {
  const asked: Compared = { answer: undefined, differsAt: null }
  const [old, fresh] = [expected, replacement].map((fill) => new Uint8Array(length).fill(fill))
  assert.ok(old && fresh)
  client.compareAndWrite(offsetBytes, old, fresh, false, (failure, differsAt) => {
    asked.answer = failure
    asked.differsAt = differsAt
  })
  return asked
}

const all = (asked: readonly Compared[]) => asked.every(({ answer }) => answer !== undefined)

describe('compare-and-write', () => {
  it('of those that expect the same at two servers at once one writes, and the others see what it wrote', async () => {
    for (let seed = 1; seed <= 20; seed += 1) {
      const cluster = await new Directed(2, seed).begin()
      const clients = [0, 1, 0, 1].map((index) => cluster.attach(index))
      const asked = clients.map((client, index) => compare(client, 3584, 0, index + 1, 1024))
      cluster.until('all are answered', () => all(asked))
      const winners = asked.filter(({ differsAt }) => differsAt === null)
      assert.equal(winners.length, 1, `seed ${seed}`)
      assert.deepEqual(
        asked.map(({ answer, differsAt }) => [answer, differsAt ?? 0]),
        asked.map(() => [null, 0]),
      )
      for (const client of clients) {
        const read = cluster.read(client, 3584, 1024)
        cluster.until('it is read', () => read.answer !== undefined)
        assert.equal(
          read.first,
          asked.findIndex(({ differsAt }) => differsAt === null) + 1,
          'not what the winner wrote',
        )
      }
      assert.ok(cluster.equal(0, 1))
      assert.deepEqual(cluster.problems, [])
    }
  })

  it('a counter that every server raises through it loses nothing, though servers come and go', async () => {
    const cluster = await new Directed(3, 5).begin()
    let raised = 0
    const raise = (index: number, from: number): void => {
      const { engine } = cluster.server(index)
      if (raised >= 60) return
      if (engine?.find('d') === undefined) return void cluster.world.after(50, () => raise(index, from))
      const client = cluster.attach(index)
      const next = new Uint8Array(512).fill(from + 1)
      client.compareAndWrite(0, new Uint8Array(512).fill(from), next, false, (failure, differsAt) => {
        assert.ok(failure === null, `${failure}`)
        if (differsAt === null) raised += 1
        const read = cluster.read(client, 0, 512)
        const look = () => {
          if (read.answer === undefined) return void cluster.world.after(1, look)
          client.detach()
          raise(index, read.first ?? 0)
        }
        look()
      })
    }
    for (const index of [0, 1]) raise(index, 0)
    cluster.until('some are raised', () => raised > 10)
    cluster.server(2).kill()
    cluster.until('more are raised', () => raised > 30)
    cluster.server(2).start()
    cluster.until('all are raised', () => raised >= 60)
    const read = cluster.read(cluster.attach(0), 0, 512)
    cluster.until('it is read', () => read.answer !== undefined)
    assert.equal(read.first, raised)
    assert.deepEqual(cluster.problems, [])
  })

  it('through a host: compared there, with the same answers', async () => {
    const cluster = await new Directed(2).begin()
    // Its disk is done for in this run: clients there are served through the other server.
    cluster.server(1).disk.fault = 'fail'
    const write = cluster.write(cluster.attach(1), 8192, 1)
    cluster.until('it went through the host', () => write.answer !== undefined && cluster.inSync(0) === 'a')
    const client = cluster.attach(1)
    const { passing } = cluster.volume(1).service
    const before = passing.counters.passed
    const equal = compare(client, 4096 - 512, 0, 5, 1024)
    cluster.until('it is answered', () => equal.answer !== undefined)
    const differs = compare(client, 4096 - 512, 0, 6, 1024)
    const half = compare(client, 0, 0, 7, 4096)
    cluster.until('they are answered', () => all([differs, half]))
    assert.deepEqual(
      [equal, differs],
      [
        { answer: null, differsAt: null },
        { answer: null, differsAt: 0 },
      ],
    )
    assert.deepEqual(half, { answer: null, differsAt: 4096 - 512 }, 'where the first byte differs')
    assert.equal(passing.counters.passed - before, 3)
    assert.deepEqual(cluster.problems, [])
  })

  it('once compared it is settled, never compared again: the end of a session gives no false miscompare (counterexample 39)', async () => {
    const cluster = await new Directed(2).begin()
    // Applied at the one server; its way to the other one is cut, and with it the session ends.
    let sent = 0
    cluster.lost = ({ kind, from }) => {
      if (kind === 'write') sent += 1
      return from === cluster.server(0) && sent > 0 && kind === 'write'
    }
    const asked = compare(cluster.attach(0), 0, 0, 9)
    cluster.until('it was sent', () => sent > 0)
    cluster.pass(20)
    cluster.server(1).kill()
    cluster.until('the other one is out', () => cluster.inSync(0) === 'a')
    cluster.until('it is answered', () => asked.answer !== undefined)
    assert.deepEqual(asked, { answer: null, differsAt: null })
    assert.deepEqual(cluster.problems, [])
  })
})
