/**
 * A TiB that is all allocated: its index opens within 2 s, and what the store keeps of it in memory is at most 64 MiB.
 * The data files are holes: nothing of this asks for their content.
 */
import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { dataFilePath, encodeFileHeader, slotBytes, slotsPerFile } from '../../agent/store/format.ts'
import { openStore } from '../../agent/store/open-store.ts'
import { SqliteOpener } from '../../agent/store/sqlite-index.ts'
import { close, create } from '../unit/store/suite.ts'
import { quiet, realClock, temporaryFolder } from '../unit/store/world.ts'

const MiB = 1024 * 1024
const TiB = 1024 ** 4
const child = fileURLToPath(new URL('./large-child.ts', import.meta.url))
const settle = { settle: <T>(promise: Promise<T>) => promise }

/** A store with a volume of a TiB. @param extents that have a slot */
async function make(dir: string, extents: number): Promise<void> {
  fs.mkdirSync(dir)
  const store = await openStore({ dir, clock: realClock, log: quiet })
  await create(settle, store, TiB)
  await close(settle, store)
  for (let file = 0; file * slotsPerFile < extents; file += 1) {
    fs.writeFileSync(path.join(dir, dataFilePath(file)), encodeFileHeader(store.storeId, file))
  }
  const opener = new SqliteOpener(dir, new URL('../../agent/store/index-thread.ts', import.meta.url))
  await new Promise<void>((resolve, reject) => {
    opener.open(null, (error, index) => {
      if (!index) return reject(error)
      const regions = Array.from({ length: extents / 64 }, (_, region) => {
        const slots = Buffer.alloc(256)
        for (let at = 0; at < 64; at += 1) slots.writeUInt32LE(region * 64 + at + 1, at * 4)
        return { volume: 1, region, slots }
      })
      index.commit({ regions, groups: [] }, (failed) => opener.close(() => (failed ? reject(failed) : resolve())))
    })
  })
}

interface Told {
  readonly image: { readonly failure: unknown; readonly heldMs: number; readonly awayMs: number } | null
  readonly openMs: number
  readonly openBytes: number
  readonly leastBytes: number
  readonly allocatedBytes: number
}

async function opened(dir: string, ...imageName: string[]): Promise<Told> {
  const opener = fork(child, [dir, ...imageName], { execArgv: ['--expose-gc'] })
  try {
    const [told] = (await once(opener, 'message')) as [Told] // what large-child.ts sends
    await once(opener, 'exit')
    return told
  } finally {
    opener.kill('SIGKILL')
  }
}

test('a full TiB opens within 2 s and takes at most 64 MiB', async (context) => {
  const folder = temporaryFolder()
  try {
    const full = path.join(folder.dir, 'full')
    const empty = path.join(folder.dir, 'empty')
    await make(full, TiB / slotBytes)
    await make(empty, 0)
    const without = await opened(empty)
    const runs: Told[] = []
    // What else runs on this machine makes a run longer, never shorter: the best of several counts.
    const best = () => Math.min(...runs.map((run) => run.openMs))
    while (runs.length < 3 || (best() > 2000 && runs.length < 9)) runs.push(await opened(full))
    const openMs = best()
    const middle = (of: (run: Told) => number) =>
      (runs.map(of).sort((a, b) => a - b)[Math.floor(runs.length / 2)] ?? Number.NaN) / MiB
    const restMiB = middle((run) => run.leastBytes - without.leastBytes)
    const peakMiB = middle((run) => run.openBytes - without.openBytes)
    context.diagnostic(
      `opened in ${openMs.toFixed(0)} ms; ${restMiB.toFixed(1)} MiB, at once ${peakMiB.toFixed(1)} MiB`,
    )
    assert.equal(runs[0]?.allocatedBytes, TiB)
    assert.ok(openMs <= 2000, `it took ${openMs.toFixed(0)} ms (an empty one ${without.openMs.toFixed(0)} ms)`)
    assert.ok(restMiB <= 64, `it takes ${restMiB.toFixed(1)} MiB`)
    const { image } = await opened(full, 'first')
    const with1 = await opened(full)
    const imageMiB = (with1.leastBytes - without.leastBytes) / MiB
    context.diagnostic(
      `an image: ${image?.heldMs.toFixed(0)} ms, the event loop away for ${image?.awayMs.toFixed(0)}; with it opened in ${with1.openMs.toFixed(0)} ms, ${imageMiB.toFixed(1)} MiB`,
    )
    assert.equal(image?.failure, null)
    assert.ok(image.heldMs <= 2000 && image.awayMs <= 250, JSON.stringify(image))
    assert.ok(imageMiB <= 64, `with an image it takes ${imageMiB.toFixed(1)} MiB`)
  } finally {
    folder.remove()
  }
})
