/** E2, C2: what the register decided and nobody heard is learned as soon as a session opens, while all copies are sound. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { limits } from '../../agent/limits.ts'
import { Directed } from './directed.ts'

it('a decision whose answer was lost with its asker leaves nobody out for long, and nobody waits for ever', async () => {
  const cluster = await new Directed(2).begin()
  const [a, b] = [cluster.server(0), cluster.server(1)]
  // b asks to go on alone; the register decides so, and b is killed before it hears of it.
  let answers = 0
  cluster.lost = ({ kind, to }) => kind === 'register.answer' && to === b && ++answers > 0
  cluster.network.block(a.id, b.id)
  cluster.network.block(b.id, a.id)
  cluster.network.block(a.id, cluster.witness.id)
  cluster.until('the register has answered', () => answers > 0)
  b.kill()
  cluster.lost = () => false
  for (const [from, to] of [
    [a, b],
    [b, a],
    [a, cluster.witness],
  ] as const)
    cluster.network.unblock(from.id, to.id)
  b.start()
  const isOpen = (index: number) => cluster.server(index).volume?.member.phase === 'open'
  cluster.until('both open, as if nothing had been decided', () => isOpen(0) && isOpen(1))
  assert.equal(cluster.inSync(0), 'ab')
  cluster.until('b is alone, as was decided', () => cluster.inSync(1) === 'b', limits.registerReadMs / 10)
  cluster.until('all are in sync', () => cluster.isWhole())
  // Now either of them may lose its power, and the other one goes on.
  b.powerCut()
  cluster.until('a goes on', () => cluster.serves(0) && cluster.inSync(0) === 'a')
})
