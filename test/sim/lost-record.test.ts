/** Aim: only what was never finished is removed at a start; a replica whose record cannot be read is kept, and told of. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { recordKey } from '../../agent/membership/record.ts'
import { Directed } from './directed.ts'

it('a record that cannot be read keeps its replica, also one in which nothing was written', async () => {
  const cluster = await new Directed(2).begin()
  const id = cluster.volume(1).world.volumeId
  cluster.server(1).engine?.world.store.records.put(recordKey(id), { of: 'another kind' }, () => undefined)
  cluster.pass(1_000)
  cluster.server(1).kill()
  cluster.server(1).start()
  cluster.pass(5_000)
  const { engine } = cluster.server(1)
  assert.equal(engine?.world.store.replicas().length, 1)
  assert.deepEqual(engine?.damaged, [recordKey(id)])
})
