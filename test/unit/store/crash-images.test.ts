/**
 * Aim: whatever a crash leaves of any instant, what was flushed is there, marks cover every doubt, no sound block is
 * called rotten, and no slot shows another extent's bytes (C1, C2, C3, R3, W4, S2). All legal images come from a
 * record of every call that the store made; a second crash may come in the middle of the opening.
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { rounds } from '../../kit/length.ts'
import { resumable } from '../../kit/resumable.ts'
import { checkImage, type ImageSpec } from './image-check.ts'
import { powerCuts } from './image-choices.ts'
import { History, type HistoryOptions } from './recorded-history.ts'
import { seeded } from './world.ts'

const endings = ['kill', 'kill', ...Object.keys(powerCuts)]
const everything: HistoryOptions = { steps: 45, sumPages: 3, volumes: 2, lifecycle: true }

/** Throws with all that is needed to see it again. */
async function check(history: History, spec: ImageSpec): Promise<void> {
  try {
    await checkImage(history, spec)
  } catch (error) {
    const words = `history ${history.seed}, image ${JSON.stringify(spec)}: ${error instanceof Error ? error.message : error}`
    throw new Error(words, { cause: error })
  }
}

async function images(seed: number, count: number): Promise<void> {
  const history = new History(seed, { ...everything, sumPages: 1 + (seed % 4), lifecycle: seed % 3 !== 0 })
  await history.run()
  assert.deepEqual(history.wrong, [], `history ${seed}`)
  const { unit } = seeded(seed * 31)
  const ending = () => endings[Math.floor(unit() * endings.length)] ?? 'kill'
  for (let image = 0; image < count; image += 1) {
    const again = []
    while (again.length < 2 && unit() < 0.3) again.push({ events: Math.floor(unit() * 150), ending: ending() })
    const at = 1 + Math.floor(unit() * history.disk.now)
    await check(history, { at, ending: ending(), seed: seed * 1000 + image, again, goesOn: unit() < 0.3 })
  }
}

describe('crash images', () => {
  const histories = resumable({
    name: 'histories',
    count: rounds({ short: 40, full: 3_000, long: 60_000 }),
    tally: { images: 0 },
  })
  it('of random instants of random histories', async () => {
    for (const seed of histories) {
      await images(seed, 4)
      histories.tally.images += 4
    }
  })

  it('of every instant of one history, each kind', async () => {
    const history = new History(5, { steps: 30, sumPages: 1, volumes: 1, lifecycle: false })
    await history.run()
    assert.deepEqual(history.wrong, [])
    const step = rounds({ short: 40, full: 1, long: 1 })
    const kinds = ['kill', ...Object.keys(powerCuts)]
    for (let at = 1; at <= history.disk.now; at += step) {
      const ending = kinds[Math.floor(at / step) % kinds.length] ?? 'kill'
      const wanted = step === 1 ? kinds : [ending]
      for (const one of wanted) await check(history, { at, ending: one, seed: at, again: [], goesOn: at % 5 === 0 })
    }
  })

  it('of two deletions and a creation at once, and of the opening after it, at many instants', async () => {
    const history = new History(6, { steps: 0, sumPages: 2, volumes: 3, lifecycle: false })
    await history.run()
    for (const replica of history.store?.replicas() ?? []) {
      const journal = history.journal(replica)
      history.change(replica, journal, { kind: 'write', fromBytes: 4096, toBytes: 40_960 })
      await history.idle()
      history.sync(replica, journal)
    }
    await history.idle()
    const from = history.disk.now
    for (const [id, journal] of [...history.volumes].slice(0, 2)) history.delete(id, journal)
    history.create()
    await history.idle()
    const step = rounds({ short: 5, full: 1, long: 1 })
    for (let at = from; at <= history.disk.now; at += 1) {
      for (let events = at % step; events < 70; events += step) {
        const kinds = ['one kind of bytes', 'all but one kind of bytes', 'some kinds of bytes']
        const ending = kinds[(at + events) % kinds.length] ?? 'kill'
        await check(history, {
          at,
          ending: 'kill',
          seed: at * 100 + events,
          again: [{ events, ending }],
          goesOn: false,
        })
      }
    }
  })
})
