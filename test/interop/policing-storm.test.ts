/**
 * A storm of overlapping writes, zeroes, trims and reads at all servers on the same blocks (W2, W3, R1): every read shows
 * what one disk could have shown, in the end every block holds what a write could have left there last, and the copies
 * are byte-equal; also when one server is killed in the middle of it.
 */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { type AnyServer, type TestLab, withLab } from '../kit/lab.ts'
import { rounds } from '../kit/length.ts'
import { resumable } from '../kit/resumable.ts'
import { Storm, type StormReport } from '../kit/storm.ts'
import { until, within } from '../kit/until.ts'

const KiB = 1024
/** Less than two of the largest requests: whatever is asked at one server overlaps something at the others. */
const areaBytes = 1536 * KiB
const stepMs = 60_000
const stormMs = 120_000
const count = rounds({ short: 1, full: 4, long: 100 })
/** Requests of each of a client's streams. */
const requests = 60

const stormAt = (lab: TestLab, names: readonly AnyServer[], seed: number): Promise<Storm> =>
  Storm.begin({
    servers: names.map((name) => ({ name, uri: lab.uri(name) })),
    areaBytes,
    connectionsPerServer: names.length > 2 ? 2 : 3,
    depth: 2,
    seed,
  })

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

interface Counted {
  readonly asked: number
  readonly granted: number
  readonly conflicts: number
}

async function counted(lab: TestLab, names: readonly AnyServer[]): Promise<Counted> {
  const counters = await Promise.all(names.map(async (name) => (await lab.volume(name)).counters))
  return {
    asked: sum(counters.map((each) => each.permissionsAsked)),
    granted: sum(counters.map((each) => each.permissionsYielded)),
    conflicts: sum(counters.map((each) => each.permissionConflicts)),
  }
}

/** @param killed whose clients may have lost their connections */
async function judge(t: TestContext, lab: TestLab, storm: Storm, killed: AnyServer | null): Promise<void> {
  const violations = await storm.judge()
  for (const { block } of violations.slice(0, 1)) for (const line of storm.history.tell(block)) t.diagnostic(line)
  assert.deepEqual(violations.slice(0, 3), [])
  for (const [name, report] of storm.reports) {
    t.diagnostic(`${name}: ${told(report)}`)
    assert.deepEqual(report.refusals, [], `${name} refused requests`)
    if (name !== killed) assert.equal(report.lost, 0, `${name} closed connections`)
  }
  await lab.mustBeEqual()
}

const told = ({ writes, reads, zeroes, trims, longestMs }: StormReport): string =>
  `${writes} writes, ${zeroes} zeroes, ${trims} trims, ${reads} reads; the longest waited ${Math.round(longestMs)} ms`

async function plainStorm(t: TestContext, lab: TestLab, names: readonly AnyServer[], seed: number): Promise<void> {
  const storm = await stormAt(lab, names, seed)
  const before = await counted(lab, names)
  await within('the whole storm', stormMs, storm.run(requests))
  const after = await counted(lab, names)
  const [asked, granted] = [after.asked - before.asked, after.granted - before.granted]
  t.diagnostic(`${asked} asks, ${granted} grants, ${after.conflicts - before.conflicts} of them had to wait`)
  await judge(t, lab, storm, null)
  assert.ok(after.conflicts > before.conflicts + 50, 'the servers hardly met: no storm')
  // An ask whose request could begin by another grant's growth may still be under way.
  assert.ok(granted > asked * 0.9, 'asks without an answer')
}

test('a storm of overlapping requests at two servers: linearizable, the copies are byte-equal', async (t) => {
  await withLab({ witness: true }, async (lab) => {
    for (const round of resumable({ name: 'storms', count, tally: {} })) {
      await t.test(`round ${round}`, (inner) => plainStorm(inner, lab, ['a', 'b'], round))
    }
  })
})

test('a storm of overlapping requests at three servers: linearizable, the copies are byte-equal', async (t) => {
  await withLab({ witness: true, servers: 3 }, async (lab) => {
    for (const round of resumable({ name: 'storms at three', count, tally: {} })) {
      await t.test(`round ${round}`, (inner) => plainStorm(inner, lab, ['a', 'b', 'c'], 1000 + round))
    }
  })
})

async function killedInTheMiddle(t: TestContext, lab: TestLab, victim: 'a' | 'b', seed: number): Promise<void> {
  const survivor = victim === 'a' ? 'b' : 'a'
  const storm = await stormAt(lab, ['a', 'b'], seed)
  const running = storm.run(2 * requests)
  // Awaited only after the kill.
  running.catch(() => undefined)
  await until('the middle of the storm', stepMs, () => storm.answered() > 3 * 2 * requests)
  await lab.kill(victim)
  await lab.waitAt(survivor, 'One copy')
  await lab.start(victim)
  // Under the storm all the while: it goes on during the resync, and after it at both.
  await lab.wait('Protected')
  await within('the whole storm', stormMs, running)
  await within('the rest', stormMs, storm.run(requests / 4))
  assert.ok(storm.report(victim).lost > 0, 'nobody was connected when the server was killed')
  await judge(t, lab, storm, victim)
}

test('a storm at two servers, one of them killed in the middle: linearizable, the copies are byte-equal', async (t) => {
  await withLab({ witness: true }, async (lab) => {
    for (const round of resumable({ name: 'storms with a kill', count, tally: {} })) {
      for (const victim of ['a', 'b'] as const) {
        await t.test(`round ${round}: ${victim} is killed`, (inner) =>
          killedInTheMiddle(inner, lab, victim, 2000 + 2 * round + (victim === 'a' ? 0 : 1)),
        )
      }
    }
  })
})
