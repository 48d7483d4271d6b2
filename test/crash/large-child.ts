/** Of large.test.ts: opens the store in argv[2] and says how long that took and what memory it holds then; argv[3]: makes an image. */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { openStore } from '../../agent/store/open-store.ts'
import { until } from '../kit/until.ts'
import { quiet, realClock } from '../unit/store/world.ts'

const [dir = '', imageName] = process.argv.slice(2)
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
/** How long writes are held for it, and how long the event loop was away at most meanwhile. */
async function makeImage(name: string) {
  const { volumeId } = store.replicas()[0] ?? { volumeId: null }
  if (volumeId === null) throw new Error('there is no volume')
  const loop = monitorEventLoopDelay({ resolution: 5 })
  loop.enable()
  const startedMs = performance.now()
  const failure = await new Promise((done) => store.createImage(volumeId, name, 1, done))
  const heldMs = performance.now() - startedMs
  await new Promise((resolve) => setTimeout(resolve, 20))
  loop.disable()
  return { failure, heldMs, awayMs: loop.max / 1e6 }
}
const image = imageName === undefined ? null : await makeImage(imageName)
const allocatedBytes = store.replicas().reduce((sum, replica) => sum + replica.allocatedBytes(), 0)
process.send?.({ image, openMs, openBytes, leastBytes, allocatedBytes })
await new Promise((done) => store.close(done))
