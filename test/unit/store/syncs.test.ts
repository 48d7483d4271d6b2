/**
 * Aim: a flush never says that all is well when the disk has forgotten a part of it (W4, C2): Linux tells a write that was
 * lost to one fdatasync of an open file only, and the next one knows nothing of it.
 */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import type { StoreFailure } from '../../../agent/store/replica.ts'
import { History } from './recorded-history.ts'

it('a sync of a data file fails in the background: every flush that was asked for by then fails too', async () => {
  let seen = 0
  for (let seed = 1; seed <= 40; seed += 1) {
    const history = new History(seed, { steps: 0, sumPages: 4, volumes: 1, lifecycle: false })
    await history.run()
    const [replica] = history.store?.replicas() ?? []
    assert.ok(replica)
    const { clock, disk } = history
    const ask = (call: (done: (failure: StoreFailure | null) => void) => void) => clock.settle(new Promise(call))
    assert.equal(await ask((done) => replica.write(0, [Buffer.alloc(4096, 1)], 4096, done)), null)
    let isFailing = false
    disk.faults = (_, what, path) => {
      if (isFailing || what !== 'sync' || !path.startsWith('data/')) return null
      isFailing = true
      return { kind: 'error', code: 'EIO', effect: 'drop' }
    }
    const answers: (StoreFailure | null)[] = []
    let asked = 0
    const flush = () => {
      asked += 1
      replica.sync((failure) => answers.push(failure))
    }
    flush()
    for (let events = 0; events < seed % 12; events += 1) clock.step()
    flush()
    flush()
    clock.pass(5_000)
    assert.equal(answers.length, asked)
    assert.ok(isFailing)
    assert.deepEqual(new Set(answers), new Set(['io']), `seed ${seed}: ${answers}`)
    if (asked === 3) seen += 1
  }
  assert.equal(seen, 40)
})
