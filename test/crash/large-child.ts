/** Of large.test.ts: opens the store in argv[2] and says how long that took and what memory it holds then. */
import { performance } from 'node:perf_hooks'
import { openStore } from '../../agent/store/open-store.ts'
import { until } from '../kit/until.ts'
import { quiet, realClock } from '../unit/store/world.ts'

const [dir = ''] = process.argv.slice(2)
const startMs = performance.now()
const store = await openStore({ dir, clock: realClock, log: quiet })
const openMs = performance.now() - startMs
const openBytes = process.memoryUsage.rss()
// The collector gives pages back by and by.
let leastBytes = openBytes
let rounds = 0
await until('the collector has been through', 20_000, () => {
  globalThis.gc?.()
  leastBytes = Math.min(leastBytes, process.memoryUsage.rss())
  rounds += 1
  return rounds >= 10
})
const allocatedBytes = store.replicas().reduce((sum, replica) => sum + replica.allocatedBytes(), 0)
process.send?.({ openMs, openBytes, leastBytes, allocatedBytes })
await new Promise((done) => store.close(done))
