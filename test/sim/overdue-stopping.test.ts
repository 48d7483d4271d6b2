/** Aim: a disk that hangs while its server drains, for a session that another one made necessary, takes the server out (E8). */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { Directed } from './directed.ts'

it('a disk that hangs while its server drains a settling takes it out (E8)', async () => {
  const cluster = await new Directed(3).begin()
  const write = cluster.write(cluster.attach(0), 0, 7)
  cluster.until('written', () => write.answer === null)
  for (const server of cluster.servers) server.kill()
  for (const server of cluster.servers) server.start()
  cluster.until('b settles', () => {
    const { volume } = cluster.server(1)
    return volume?.member.phase === 'settling' && volume.store.oldestPendingMs() > 0
  })
  cluster.server(1).disk.fault = 'hang'
  cluster.pass(3_000)
  cluster.server(2).kill()
  cluster.server(2).start()
  cluster.until('the others serve', () => cluster.serves(0) && cluster.serves(2), 60_000)
  assert.equal(cluster.inSync(0), 'ac')
})
