/**
 * The lab's `cut` and `heal`, given as commands, under clients at both servers: whatever is cut between the servers, at
 * most one goes on, the other's clients wait, and nobody ever sees an older value (R1, E3, E4, E5).
 */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { mayStop } from '../../agent/contract/words.ts'
import { type ServerName, type TestLab, withLab } from '../kit/lab.ts'
import { labCommand, mustExit } from '../kit/lab-command.ts'
import { Load } from '../kit/load.ts'
import { connectNbd } from '../kit/nbd-client.ts'
import { TookTooLong, until, within } from '../kit/until.ts'

/** The longest that a client of the server that goes on may wait: lease, 5 %, the arbiter, forming, a busy machine. */
const stallMs = 8_000
const stepMs = 30_000
/** A question at a server that waits is not answered within this; short against a lease, since nothing will come. */
const unansweredMs = 1_000
const both = ['a', 'b'] as const

const otherOf = (name: ServerName): ServerName => (name === 'a' ? 'b' : 'a')
const serversOf = (lab: TestLab) => both.map((name) => ({ name, uri: lab.uri(name) }))

const loadAt = (lab: TestLab, seed: number): Promise<Load> =>
  Load.begin({ servers: serversOf(lab), blocks: 256, connectionsPerServer: 2, depth: 2, seed })

const goesOn = (load: Load, name: ServerName): Promise<unknown> => {
  const { writes } = load.report(name)
  return until(`more writes at ${name}`, stepMs, () => load.report(name).writes > writes + 30)
}

const answeredAt = (load: Load, name: ServerName): number => {
  const { reads, writes, flushes } = load.report(name)
  return reads + writes + flushes
}

/** Waits until one server serves without the other. @returns its name */
function whoGoesOn(lab: TestLab): Promise<ServerName> {
  return until('one server that goes on alone', stepMs, async () => {
    for (const name of both) {
      const { serving, waiting, replicas } = await lab.volume(name)
      const alone = replicas.every((replica) => (replica.state === 'in-sync') === (replica.serverName === name))
      if (serving && waiting === 'none' && alone) return name
    }
    return undefined
  })
}

/** A new client at a server that waits gets no answer, neither a right one nor a wrong one. */
async function waitsAt(lab: TestLab, name: ServerName): Promise<void> {
  const client = await connectNbd(lab.uri(name))
  const read = client.read(0, 4096)
  // Ended by destroy(), after the test has seen that it waits.
  read.catch(() => undefined)
  try {
    await assert.rejects(within(`a read at ${name}`, unansweredMs, read), TookTooLong)
  } finally {
    client.destroy()
  }
}

/** While the link is cut: `survivor` works, the other one's clients wait, and its facts say so. */
async function onlyOneGoesOn(lab: TestLab, load: Load, survivor: ServerName): Promise<void> {
  const loser = otherOf(survivor)
  await until(`${loser} waits`, stepMs, async () => !(await lab.volume(loser)).serving)
  const before = answeredAt(load, loser)
  await lab.waitAt(survivor, 'One copy')
  await lab.waitAt(loser, 'Waiting')
  await goesOn(load, survivor)
  await waitsAt(lab, loser)
  await goesOn(load, survivor)
  assert.equal(answeredAt(load, loser), before, `${loser} answered while ${survivor} went on`)
}

async function judge(t: TestContext, lab: TestLab, load: Load, survivor: ServerName): Promise<void> {
  const violations = await load.stop(serversOf(lab))
  const report = load.report(survivor)
  t.diagnostic(
    `${survivor} went on; ${load.answered()} requests, the longest wait there ${Math.round(report.longestMs)} ms`,
  )
  assert.deepEqual(violations.slice(0, 5), [])
  for (const name of both) assert.deepEqual(load.report(name).refusals, [], `${name} refused requests`)
  assert.equal(report.lost, 0, `${survivor} closed connections`)
  assert.ok(report.longestMs < stallMs, `a client of ${survivor} waited ${report.longestMs} ms`)
  await lab.mustBeEqual()
}

/** Cuts under load, looks, heals, and sees both work again. */
async function cutAndHeal(
  t: TestContext,
  lab: TestLab,
  of: { seed: number; cut: readonly string[]; meanwhile?: (survivor: ServerName) => Promise<void> },
): Promise<ServerName> {
  const load = await loadAt(lab, of.seed)
  for (const name of both) await goesOn(load, name)
  const { epoch } = await lab.volume('a')
  await mustExit(0, 'cut', lab.dir, ...of.cut)
  const survivor = await whoGoesOn(lab)
  await onlyOneGoesOn(lab, load, survivor)
  await of.meanwhile?.(survivor)
  await mustExit(0, 'heal', lab.dir)
  await lab.wait('Protected')
  for (const name of both) await goesOn(load, name)
  assert.ok((await lab.volume('a')).epoch >= epoch + 2, 'leaving and joining are configurations of their own')
  await judge(t, lab, load, survivor)
  return survivor
}

test('cut and heal, under clients at both servers', async (t) => {
  await withLab({ witness: true }, async (lab) => {
    await t.test('cut both ways: one goes on, also when the other one starts anew; heal brings it back', async (t) => {
      await cutAndHeal(t, lab, {
        seed: 1,
        cut: ['a', 'b'],
        meanwhile: async (survivor) => {
          const loser = otherOf(survivor)
          // The cut has two ends, so that it outlives a restart of either.
          await lab.kill(loser)
          await lab.start(loser)
          await lab.waitAt(loser, 'Waiting')
          await waitsAt(lab, loser)
          assert.equal(await lab.headline(survivor), 'One copy')
        },
      })
    })

    await t.test('a cut is held at both ends: a restart of the first one does not heal it', async () => {
      await mustExit(0, 'cut', lab.dir, 'a', 'b')
      const survivor = await whoGoesOn(lab)
      await lab.waitAt(otherOf(survivor), 'Waiting')
      await lab.kill('a')
      await lab.start('a')
      await lab.waitAt(survivor, 'One copy')
      await lab.waitAt(otherOf(survivor), 'Waiting')
      await waitsAt(lab, otherOf(survivor))
      assert.equal(await lab.headline(survivor), 'One copy')
      await mustExit(0, 'heal', lab.dir)
      await lab.wait('Protected')
      await lab.mustBeEqual()
    })

    for (const from of both) {
      await t.test(`cut one way, what ${from} sends is lost: one goes on, heal brings the other back`, async (t) => {
        await cutAndHeal(t, lab, { seed: from === 'a' ? 2 : 3, cut: [from, otherOf(from), '--one-way'] })
      })
    }

    await t.test('a server cut from the witness only: nothing happens, and nobody promises a failover', async (t) => {
      const load = await loadAt(lab, 4)
      const { epoch } = await lab.volume('a')
      await mustExit(0, 'cut', lab.dir, 'a', 'witness')
      await until('a without its witness', stepMs, async () => !(await lab.volume('a')).arbiter.reachable)
      // Longer than everything that follows a silence: lease, arbiter, forming.
      await lab.stays('Protected', 5_000)
      for (const name of both) await goesOn(load, name)
      assert.equal((await lab.volume('a')).epoch, epoch)
      assert.equal((await lab.volume('b')).arbiter.reachable, true)
      assert.deepEqual(mayStop(await lab.volume('a')), [], 'a promises what its witness would have to decide')
      await mustExit(0, 'heal', lab.dir)
      await until('a with its witness', stepMs, async () => (await lab.volume('a')).arbiter.reachable)
      await judge(t, lab, load, 'a')
      assert.equal(load.report('b').lost, 0, 'b closed connections')
      assert.equal((await lab.volume('b')).epoch, epoch)
    })
  })
})

test('cuts that cannot be made: exit 2 with a sentence', async (t) => {
  await withLab({ witness: true }, async (lab) => {
    const wrong: readonly (readonly [string, readonly string[], RegExp])[] = [
      ['only one server', ['cut', lab.dir, 'a'], /cut takes 3 words, not 2/],
      ['a server from itself', ['cut', lab.dir, 'a', 'a'], /two different servers/],
      ['a server that is none', ['cut', lab.dir, 'a', 'z'], /no "z", only a, b, witness/],
      ['one path of two', ['cut', lab.dir, 'a', 'b', '--path', 'dedicated'], /only one path/],
      ['a folder without a lab', ['heal', '/nonexistent/lab'], /no lab in/],
      ['heal with too many words', ['heal', lab.dir, 'a'], /heal takes 1 words/],
    ]
    for (const [what, words, about] of wrong) {
      await t.test(what, async () => assert.match(await mustExit(2, ...words), about))
    }
    await t.test('a server that is down: refused where it should drop, healed where it cannot be asked', async () => {
      await lab.kill('a')
      assert.match(await mustExit(2, 'cut', lab.dir, 'a', 'b'), /a is not running/)
      assert.match(await mustExit(0, 'heal', lab.dir), /at b, witness/)
      // The other end alone holds the cut until it is healed.
      await mustExit(0, 'cut', lab.dir, 'b', 'a')
      await lab.start('a')
      await lab.waitAt('a', 'Waiting')
      await waitsAt(lab, 'a')
      assert.equal((await labCommand('heal', lab.dir)).code, 0)
      await lab.wait('Protected')
      await lab.mustBeEqual()
    })
  })
})
