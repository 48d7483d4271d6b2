/**
 * Clients at a server whose copy is not in sync, on real agents: they work through the other server, without an error,
 * from the failure of a disk to the end of the resync (C5, C6); and their data is what everybody reads.
 */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { type ServerName, type TestLab, withLab } from '../kit/lab.ts'
import { mustExit } from '../kit/lab-command.ts'
import { Load } from '../kit/load.ts'
import { connectNbd } from '../kit/nbd-client.ts'
import { until, within } from '../kit/until.ts'
import { resync as steerResync } from '../lab/api.ts'
import { memberNamed } from '../lab/state.ts'

const MiB = 1024 * 1024
const stepMs = 30_000
const both = ['a', 'b'] as const

const serversOf = (lab: TestLab) => both.map((name) => ({ name, uri: lab.uri(name) }))

/** Clients at both servers, gone again whatever happens. */
async function withLoad(lab: TestLab, seed: number, use: (load: Load) => Promise<void>): Promise<void> {
  const load = await Load.begin({ servers: serversOf(lab), blocks: 256, connectionsPerServer: 2, depth: 8, seed })
  try {
    await use(load)
  } finally {
    await load.stop([])
  }
}

const goesOn = (load: Load, name: ServerName, writes = 100): Promise<unknown> => {
  const before = load.report(name).writes
  return until(`more writes at ${name}`, stepMs, () => load.report(name).writes > before + writes)
}

const isInSync = async (lab: TestLab, name: ServerName): Promise<boolean> =>
  (await lab.volume('a')).replicas.some((replica) => replica.serverName === name && replica.state === 'in-sync')

const steer = async (lab: TestLab, action: 'pause' | 'continue'): Promise<void> =>
  steerResync(memberNamed(lab.state, 'a'), (await lab.volume('a')).name, action)

/** Nobody saw an error, and what everybody saw has an order. @param lost connections of `b` that may have ended */
async function judge(t: TestContext, lab: TestLab, load: Load, lost = 0): Promise<void> {
  const violations = await load.stop(serversOf(lab))
  const [a, b] = [load.report('a'), load.report('b')]
  t.diagnostic(
    `${load.answered()} requests, ${b.writes} writes at b; longest wait at a ${Math.round(a.longestMs)} ms, at b ${Math.round(b.longestMs)} ms`,
  )
  assert.deepEqual(violations.slice(0, 5), [])
  assert.deepEqual([a.refusals, b.refusals, a.lost, b.lost], [[], [], 0, lost])
  await lab.mustBeEqual()
}

/** Large requests, and requests of other kinds, through the host and back. */
async function everyKind(lab: TestLab): Promise<void> {
  const [here, there] = [await connectNbd(lab.uri('b')), await connectNbd(lab.uri('a'))]
  try {
    const written = Buffer.alloc(9 * MiB + 512)
    for (let at = 0; at < written.length; at += 4) written.writeUInt32LE(at, at)
    const at = 32 * MiB + 1_024
    await within('a large write', stepMs, here.write(at, written))
    await within('a flush', stepMs, here.flush())
    assert.equal(Buffer.compare(await here.read(at, written.length), written), 0, 'read through the host')
    assert.equal(Buffer.compare(await there.read(at, written.length), written), 0, 'read at the host')
    await within('zeroes', stepMs, here.zero(at, 5 * MiB))
    await within('a trim', stepMs, here.trim(48 * MiB, MiB))
    written.fill(0, 0, 5 * MiB)
    assert.equal(Buffer.compare(await there.read(at, written.length), written), 0)
  } finally {
    here.destroy()
    there.destroy()
  }
}

async function failedDisk(t: TestContext, lab: TestLab, load: Load): Promise<void> {
  for (const name of both) await goesOn(load, name)
  await mustExit(0, 'fault', lab.dir, 'b', 'disk-fail')
  await until('b leaves', stepMs, async () => !(await isInSync(lab, 'b')))
  for (const name of both) await goesOn(load, name)
  assert.equal((await lab.volume('b')).via, 'a')
  assert.equal((await lab.volume('a')).via, null)
  const told = (await lab.events('b')).findLast(({ kind }) => kind === 'volume-hosted' || kind === 'volume-waiting')
  assert.deepEqual([told?.kind, told?.server, told?.details.through], ['volume-hosted', 'b', 'a'])
  await everyKind(lab)
  for (const name of both) await goesOn(load, name)
  assert.deepEqual([load.report('b').lost, load.report('b').refusals], [0, []], 'before its agent is ended')
  // The fault ends with the process; its connections end with it.
  await lab.kill('b')
  await lab.start('b')
  await lab.wait('Protected')
  for (const name of both) await goesOn(load, name)
  assert.equal((await lab.volume('b')).via, null)
  await judge(t, lab, load, 2)
}

/** Its clients stay connected from before it is cut off until after it is in sync again. */
async function resync(t: TestContext, lab: TestLab, load: Load): Promise<void> {
  for (const name of both) await goesOn(load, name)
  await mustExit(0, 'cut', lab.dir, 'b', 'witness')
  await mustExit(0, 'cut', lab.dir, 'a', 'b')
  await lab.waitAt('a', 'One copy')
  await goesOn(load, 'a')
  await steer(lab, 'pause')
  await mustExit(0, 'heal', lab.dir)
  await until('b works through a', stepMs, async () => (await lab.volume('b')).via === 'a')
  await goesOn(load, 'b', 500)
  assert.equal(await isInSync(lab, 'b'), false, 'the resync is paused')
  await steer(lab, 'continue')
  await lab.wait('Protected')
  await goesOn(load, 'b')
  assert.equal((await lab.volume('b')).via, null)
  await judge(t, lab, load)
}

test('clients at a server whose copy is not in sync', async (t) => {
  await withLab({ witness: true }, async (lab) => {
    await t.test('its disk fails under load: no client sees it (C6)', (t) =>
      withLoad(lab, 11, (load) => failedDisk(t, lab, load)),
    )
    await t.test('cut off, and during the whole resync: no client sees more than a wait (C5)', (t) =>
      withLoad(lab, 12, (load) => resync(t, lab, load)),
    )
  })
})
