/** Aim: of a write-through volume nothing acknowledged is lost when every server loses power, though nobody asked for a flush. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { Directed } from './directed.ts'

/** @returns the first byte that stands after all servers lost power right after a write was acknowledged */
async function afterPowerLoss(seed: number, writeThrough: boolean): Promise<number | undefined> {
  const cluster = await new Directed(2, seed).begin(1024 * 1024, writeThrough)
  const client = cluster.attach(0)
  const first = cluster.write(client, 4096, 7)
  cluster.until('written', () => first.answer === null)
  const second = cluster.write(client, 4096, 8)
  cluster.until('written', () => second.answer === null)
  for (const server of cluster.servers) server.powerCut()
  for (const server of cluster.servers) server.start()
  cluster.until('back', () => cluster.isWhole())
  const read = cluster.read(cluster.attach(1), 4096)
  cluster.until('read', () => read.answer === null)
  return read.first
}

it('everything acknowledged is there after a power loss of all', async () => {
  let lost = 0
  for (let seed = 1; seed <= 15; seed += 1) {
    assert.equal(await afterPowerLoss(seed, true), 8, `seed ${seed}`)
    if ((await afterPowerLoss(seed, false)) !== 8) lost += 1
  }
  assert.ok(lost > 0, 'without it some of these losses show: else this test could not fail')
})
