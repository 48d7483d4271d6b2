/** W9: clients that connect, ask and give up, again and again, while nothing is served, leave nothing behind. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { limits } from '../../agent/limits.ts'
import { Directed } from './directed.ts'

it('what closed connections asked for is forgotten; who stays is served, in order', async () => {
  const cluster = await new Directed(2).begin()
  const before = cluster.write(cluster.attach(0), 0, 1)
  cluster.until('the write is done', () => before.answer === null)
  // The server alone, after a restart: it may serve nothing.
  cluster.witness.kill()
  cluster.server(0).kill()
  cluster.server(1).kill()
  cluster.server(1).start()
  cluster.until('it is up', () => cluster.server(1).volume?.member.phase === 'gathering')
  const volume = cluster.volume(1)

  // What comes to its turn once it serves again.
  let begun = 0
  const { service } = volume
  const mayStart = service.mayStart.bind(service)
  service.mayStart = (request, start) => {
    begun += 1
    mayStart(request, start)
  }
  let flushes = 0
  cluster.lost = ({ from, kind }) => {
    if (from === cluster.server(1) && kind === 'flush.ask') flushes += 1
    return false
  }

  const stays = cluster.attach(1)
  const order: number[] = []
  const ask = (value: number) => {
    const bytes = new Uint8Array(4096).fill(value)
    stays.write(8192, [bytes], bytes.length, false, (failure) => order.push(failure === null ? value : -value))
  }
  const rounds = 200
  const each = 50
  for (let round = 0; round < rounds; round += 1) {
    if (round % 20 === 0) ask(2 + round / 20)
    const gone = cluster.attach(1)
    for (let times = 0; times < each; times += 1) {
      cluster.read(gone, times * 4096)
      cluster.write(gone, times * 4096, 66)
    }
    cluster.flush(gone)
    cluster.pass(1)
    gone.detach()
  }
  const flush = cluster.flush(stays)
  assert.equal(volume.clients.size, 1)
  assert.deepEqual([begun, flushes, order], [0, 0, []], 'nothing is served')

  cluster.witness.start()
  cluster.server(0).start()
  cluster.until('who stayed is answered', () => order.length === rounds / 20 && flush.answer === null)
  cluster.pass(1_000)
  assert.deepEqual(order, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
  assert.equal(flushes, 1)
  // Those with credit come to their turn and go; of the others, nothing is left.
  assert.ok(begun <= 2 * limits.volumeRequests + 20, `${begun} of ${2 * rounds * each} came to their turn`)
  const reads = [0, 8192].map((offset) => cluster.read(cluster.attach(0), offset))
  cluster.until('it is read', () => reads.every(({ answer }) => answer === null))
  assert.deepEqual(
    reads.map(({ first }) => first),
    [1, 11],
    'nothing of a closed connection was executed',
  )
})
