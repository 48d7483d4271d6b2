/** Aim: at the end a volume that was being made stands at all its servers or at none, whatever was lost (E11). */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { limits } from '../../agent/limits.ts'
import { Directed } from './directed.ts'

const replicas = (cluster: Directed): number[] =>
  cluster.servers.map(({ engine }) => engine?.world.store.replicas().length ?? -1)

it('a register whose answers are lost: at the end all have the volume, or nobody', async () => {
  const cluster = new Directed(2).start()
  const isolated = (name: string) => name === 'a'
  let began = false
  // a is cut off in the moment after its question got through.
  cluster.lost = ({ from, to, kind }) => {
    if (kind === 'register.answer') began = true
    return began && (isolated(from.name) || isolated(to.name))
  }
  const made = cluster.create()
  await cluster.untilSettled(() => made.outcome !== null)
  cluster.pass(3 * limits.createAnswerMs)
  cluster.lost = () => false
  cluster.pass(240_000)
  const [a, b] = replicas(cluster)
  assert.equal(a, b, `replicas at a ${a}, at b ${b}; a said ${made.outcome}; b serves: ${cluster.serves(1)}`)
})

it('a server that dies between replica and record keeps no replica', async () => {
  const cluster = new Directed(2).start()
  cluster.lost = ({ kind }) => kind === 'create.prepared'
  cluster.create()
  cluster.until('b has made a replica', () => replicas(cluster)[1] === 1)
  cluster.server(1).kill()
  cluster.server(0).kill()
  cluster.server(1).start()
  cluster.pass(240_000)
  assert.equal(replicas(cluster)[1], 0, 'nothing of it stays')
})
