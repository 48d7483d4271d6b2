/** Aim: a question to the arbiter that was never sent, and has no reason any more, keeps no session from forming (E4). */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { Directed } from './directed.ts'

for (const seed of [1, 2, 3]) {
  it(`all is well again while the arbiter is away, then a server restarts (seed ${seed})`, async () => {
    const cluster = await new Directed(3, seed).begin()
    const write = cluster.write(cluster.attach(0), 0, 7)
    cluster.until('written', () => write.answer === null)
    cluster.server(2).kill()
    cluster.until('a and b go on', () => cluster.serves(0) && cluster.inSync(0) === 'ab')
    cluster.lost = ({ kind, from }) => kind === 'join.worded' && from === cluster.server(1)
    cluster.server(2).start()
    const gaveWord = (index: number) => cluster.volume(index).world.record.value.word !== null
    cluster.until('a and b have given their word', () => [0, 1].every(gaveWord))
    cluster.witness.kill()
    cluster.pass(500)
    const [one, other] = [cluster.server(0), cluster.server(1)]
    for (const [from, to] of [
      [one, other],
      [other, one],
    ] as const)
      cluster.network.block(from.id, to.id)
    cluster.pass(4_000)
    for (const [from, to] of [
      [one, other],
      [other, one],
    ] as const)
      cluster.network.unblock(from.id, to.id)
    cluster.server(2).kill()
    cluster.pass(90_000)
    cluster.lost = () => false
    other.kill()
    cluster.pass(300)
    other.start()
    cluster.pass(60_000)
    assert.deepEqual([cluster.serves(0), cluster.serves(1)], [true, true])
  })
}
