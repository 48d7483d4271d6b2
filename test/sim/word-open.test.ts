/** Aim: a word that is open holds nobody back when a member goes: it is ended by a decision, then the member is left out (E2, C10). */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { Directed } from './directed.ts'

for (const how of ['killed', 'leaves as planned while the arbiter is away'] as const) {
  it(`the leader is ${how} after another member has given its word: the others go on (E2, C10)`, async () => {
    const cluster = await new Directed(3).begin()
    const write = cluster.write(cluster.attach(0), 0, 7)
    cluster.until('written', () => write.answer === null)
    cluster.server(2).kill()
    cluster.until('a and b go on', () => cluster.serves(0) && cluster.inSync(0) === 'ab')
    cluster.server(2).start()
    cluster.until('b has given its word', () => cluster.volume(1).world.record.value.word !== null)
    if (how === 'killed') cluster.server(0).kill()
    else {
      cluster.witness.kill()
      cluster.pass(1_000)
      cluster.server(0).leave(() => undefined)
      cluster.pass(30_000)
      cluster.witness.start()
    }
    const read = cluster.read(cluster.attach(1), 0)
    cluster.until('b serves', () => cluster.serves(1) && read.answer === null, 120_000)
    assert.equal(read.first, 7)
  })
}

it('a member dies while the leader waits for its word: the leader goes on within seconds, not after joinStepMs (60 s)', async () => {
  const cluster = await new Directed(3).begin()
  const write = cluster.write(cluster.attach(0), 0, 7)
  cluster.until('written', () => write.answer === null)
  cluster.server(2).kill()
  cluster.until('a and b go on', () => cluster.serves(0) && cluster.inSync(0) === 'ab')
  cluster.lost = ({ kind, to }) => kind === 'join.word' && to === cluster.server(1)
  cluster.server(2).start()
  cluster.until('a has given its word', () => cluster.volume(0).world.record.value.word !== null)
  cluster.server(1).kill()
  const fromMs = cluster.world.nowMs
  const later = cluster.write(cluster.attach(0), 0, 8)
  cluster.until('a serves', () => cluster.serves(0) && later.answer === null, 120_000)
  assert.ok(cluster.world.nowMs - fromMs < 20_000, `${cluster.world.nowMs - fromMs} ms`)
})
