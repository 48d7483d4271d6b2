/**
 * Claims 4, 5, 14, 19 and 33: clients at both servers on the same blocks, either server killed under them (kill -9).
 * The survivor's clients see no error, nobody ever sees an older value again (R1), nothing acknowledged is lost.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type TestLab, withLab } from '../kit/lab.ts'
import { rounds } from '../kit/length.ts'
import { Load } from '../kit/load.ts'
import { resumable } from '../kit/resumable.ts'
import { until } from '../kit/until.ts'

/** The longest that a survivor's client may wait: lease, 5 %, the arbiter, forming, and a busy machine. */
const stallMs = 8_000
const stepMs = 30_000
const count = rounds({ short: 1, full: 4, long: 40 })

const serversOf = (lab: TestLab) => (['a', 'b'] as const).map((name) => ({ name, uri: lab.uri(name) }))

function loadAt(lab: TestLab, seed: number): Promise<Load> {
  return Load.begin({ servers: serversOf(lab), blocks: 512, connectionsPerServer: 2, depth: 4, seed })
}

const goesOn = (load: Load, name: string): Promise<unknown> => {
  const { writes } = load.report(name)
  return until(`more writes at ${name}`, stepMs, () => load.report(name).writes > writes + 50)
}

async function killAndReturn(lab: TestLab, names: { victim: 'a' | 'b'; survivor: 'a' | 'b' }, seed: number) {
  const { victim, survivor } = names
  const load = await loadAt(lab, seed)
  await until('load at both servers', stepMs, () => ['a', 'b'].every((name) => load.report(name).writes > 100))
  await lab.kill(victim)
  await goesOn(load, survivor)
  await lab.waitAt(survivor, 'One copy')
  await goesOn(load, survivor)
  await lab.start(victim)
  // Under load all the while: writes go on during the resync.
  await lab.wait('Protected')
  await goesOn(load, victim)
  const violations = await load.stop(serversOf(lab))
  return { load, violations, report: load.report(survivor) }
}

test('either server killed under load: the other goes on without an error, the killed one comes back', async (t) => {
  await withLab({ witness: true }, async (lab) => {
    for (const round of resumable({ name: 'one killed', count, tally: {} })) {
      for (const names of [
        { victim: 'b', survivor: 'a' },
        { victim: 'a', survivor: 'b' },
      ] as const) {
        await t.test(`round ${round}: ${names.victim} is killed`, async (inner) => {
          const { load, violations, report } = await killAndReturn(
            lab,
            names,
            round * 2 + (names.victim === 'a' ? 1 : 0),
          )
          const { blocks, values } = load.history.size()
          inner.diagnostic(
            `${load.answered()} requests, ${values} values in ${blocks} blocks; longest wait at ${names.survivor}: ${Math.round(report.longestMs)} ms`,
          )
          assert.deepEqual(report.refusals, [], 'the survivor refused requests')
          assert.equal(report.lost, 0, 'the survivor closed connections')
          assert.deepEqual(violations.slice(0, 5), [])
          assert.ok(report.longestMs < stallMs, `a client of the survivor waited ${report.longestMs} ms`)
          await lab.mustBeEqual()
        })
      }
    }
  })
})

test('both servers killed at once and started again: everything acknowledged is there', async (t) => {
  await withLab({ witness: false }, async (lab) => {
    for (const round of resumable({ name: 'both killed', count, tally: {} })) {
      const load = await loadAt(lab, 100 + round)
      await until('load at both servers', stepMs, () => ['a', 'b'].every((name) => load.report(name).writes > 200))
      await Promise.all([lab.kill('a'), lab.kill('b')])
      await Promise.all([lab.start('b'), lab.start('a')])
      await lab.wait('Protected')
      await goesOn(load, 'a')
      await goesOn(load, 'b')
      const violations = await load.stop(serversOf(lab))
      t.diagnostic(`round ${round}: ${load.answered()} requests before and after`)
      assert.deepEqual(violations.slice(0, 5), [])
      await lab.mustBeEqual()
    }
  })
})
