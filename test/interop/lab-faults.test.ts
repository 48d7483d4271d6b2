/**
 * The lab's `fault`, given as a command, under clients at both servers: a disk that is slow, full or failing takes at
 * most its own server out; clients at the other one see no error, and nobody ever sees an older value (R1, C6, C8, E8).
 *
 * As far as built: a store whose disk failed returns with the next run (agent/store/README.md).
 */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { type TestContext, test } from 'node:test'
import { inspectStore } from '../../agent/store/inspect.ts'
import { type ServerName, type TestLab, withLab } from '../kit/lab.ts'
import { mustExit } from '../kit/lab-command.ts'
import { Load } from '../kit/load.ts'
import { connectNbd, NbdError } from '../kit/nbd-client.ts'
import { until, within } from '../kit/until.ts'
import { memberNamed } from '../lab/state.ts'

const MiB = 1024 * 1024
/** The longest that a client of the healthy server may wait: a joiner that hangs is sent away after 5 s (C4, P7). */
const stallMs = 8_000
const stepMs = 30_000
const both = ['a', 'b'] as const

const serversOf = (lab: TestLab) => both.map((name) => ({ name, uri: lab.uri(name) }))

const loadAt = (lab: TestLab, seed: number, connectionsPerServer = 2, depth = 2): Promise<Load> =>
  Load.begin({ servers: serversOf(lab), blocks: 256, connectionsPerServer, depth, seed })

const goesOn = (load: Load, name: ServerName, writes = 30): Promise<unknown> => {
  const before = load.report(name).writes
  return until(`more writes at ${name}`, stepMs, () => load.report(name).writes > before + writes)
}

const isInSync = async (lab: TestLab, at: ServerName, name: ServerName): Promise<boolean> =>
  (await lab.volume(at)).replicas.some((replica) => replica.serverName === name && replica.state === 'in-sync')

/** The reason that b's activity list gives for the last time that somebody left. */
async function lastLeft(lab: TestLab): Promise<unknown> {
  const left = (await lab.events('b')).findLast((event) => event.kind === 'server-left')
  return left === undefined ? undefined : { server: left.server, reason: left.details.reason }
}

async function judge(t: TestContext, lab: TestLab, load: Load): Promise<void> {
  const violations = await load.stop(serversOf(lab))
  const [a, b] = [load.report('a'), load.report('b')]
  t.diagnostic(
    `${load.answered()} requests; longest wait at a ${Math.round(a.longestMs)} ms, at b ${Math.round(b.longestMs)} ms; a refused ${a.refusals.length}, closed ${a.lost}`,
  )
  assert.deepEqual(violations.slice(0, 5), [])
  assert.deepEqual(b.refusals, [], 'the healthy server refused requests')
  assert.equal(b.lost, 0, 'the healthy server closed connections')
  await lab.mustBeEqual()
}

async function slowDisk(t: TestContext, lab: TestLab): Promise<void> {
  // Few requests: each of them waits for several calls of the slow disk.
  const load = await loadAt(lab, 1, 1, 1)
  for (const name of both) await goesOn(load, name)
  const { epoch } = await lab.volume('a')
  await mustExit(0, 'fault', lab.dir, 'a', 'slow=2000')
  await until('a request that felt it', stepMs, () => both.some((name) => load.report(name).longestMs > 1_900))
  await lab.stays('Protected', 5_000)
  await mustExit(0, 'fault', lab.dir, 'a', 'off')
  for (const name of both) await goesOn(load, name)
  await judge(t, lab, load)
  assert.equal((await lab.volume('b')).epoch, epoch, 'somebody was removed')
  assert.deepEqual([load.report('a').refusals, load.report('a').lost], [[], 0])
}

async function fullDisk(t: TestContext, lab: TestLab): Promise<void> {
  const load = await loadAt(lab, 2)
  const { epoch } = await lab.volume('a')
  await mustExit(0, 'fault', lab.dir, 'a', 'disk-full')
  // What needs no new space goes on, at both.
  for (const name of both) await goesOn(load, name, 100)
  await lab.stays('Protected', 1_000)
  assert.equal((await lab.volume('b')).epoch, epoch)
  const client = await connectNbd(lab.uri('b'))
  try {
    const written = new Uint8Array(MiB).fill(0x51)
    const noSpace = (failure: unknown) => failure instanceof NbdError && failure.code === 'ENOSPC'
    for (let at = 32 * MiB; at < 40 * MiB; at += MiB) {
      await assert.rejects(within('a first write at b', stallMs, client.write(at, written)), noSpace)
    }
    for (const name of both) {
      await readsAt(lab, name, 32 * MiB, new Uint8Array(8 * MiB))
      await goesOn(load, name, 50)
    }
    await lab.stays('Protected', 1_000)
    assert.equal((await lab.volume('b')).epoch, epoch, 'somebody left')
    await mustExit(0, 'fault', lab.dir, 'a', 'off')
    await until('space again', stepMs, () =>
      client.write(32 * MiB, written).then(
        () => true,
        () => false,
      ),
    )
    await goesOn(load, 'a')
    await judge(t, lab, load)
    await readsAt(lab, 'a', 32 * MiB, written)
  } finally {
    client.destroy()
  }
}

/** Of each server's clients, before a disk fails: each at a place of its own. */
const taken = {
  a: { at: 48 * MiB, bytes: new Uint8Array(MiB).fill(0x61) },
  b: { at: 49 * MiB, bytes: new Uint8Array(MiB).fill(0x62) },
}

async function writeAt(lab: TestLab, name: ServerName): Promise<void> {
  const client = await connectNbd(lab.uri(name))
  try {
    await client.write(taken[name].at, taken[name].bytes)
    await client.flush()
  } finally {
    client.destroy()
  }
}

async function failingDisk(t: TestContext, lab: TestLab): Promise<void> {
  const load = await loadAt(lab, 3)
  for (const name of both) {
    await goesOn(load, name)
    await writeAt(lab, name)
  }
  await mustExit(0, 'fault', lab.dir, 'a', 'disk-fail')
  await until('a leaves', stepMs, async () => !(await isInSync(lab, 'b', 'a')))
  assert.deepEqual(await lastLeft(lab), { server: 'a', reason: 'disk-failed' })
  await goesOn(load, 'b', 100)
  // C6: its clients go on through the other one.
  await goesOn(load, 'a', 100)
  assert.equal((await lab.volume('a')).via, 'b')
  // What either server's clients had written, from the disk that is left: asked there, and at the server without one.
  for (const name of both) {
    for (const { at, bytes } of Object.values(taken)) await readsAt(lab, name, at, bytes)
  }
  assert.ok(load.report('b').longestMs < stallMs, `a client of b waited ${load.report('b').longestMs} ms`)
  // The fault ends with the agent's process; the copy that missed writes is brought back.
  await lab.kill('a')
  await lab.start('a')
  await lab.wait('Protected')
  for (const name of both) await goesOn(load, name)
  await judge(t, lab, load)
}

async function readsAt(lab: TestLab, name: ServerName, offsetBytes: number, expected: Uint8Array): Promise<void> {
  const client = await connectNbd(lab.uri(name))
  try {
    const found = await client.read(offsetBytes, expected.length)
    assert.equal(Buffer.compare(found, expected), 0, `${name} does not hold what was written meanwhile`)
  } finally {
    client.destroy()
  }
}

test('faults of one disk, under clients at both servers', async (t) => {
  await withLab({ witness: true }, async (lab) => {
    await t.test('slow by 2 s a call: everybody waits, nobody is removed', (t) => slowDisk(t, lab))
    await t.test('full: a first write is refused at both servers, all else goes on, nobody leaves (C8)', (t) =>
      fullDisk(t, lab),
    )
    await t.test('failing: its server leaves; clients at both go on without an error (C6)', (t) => failingDisk(t, lab))
  })
})

const bitAt = 2 * MiB + 4096 + 77
const blockAt = 2 * MiB + 4096
const content = (fill: number) => new Uint8Array(MiB).fill(fill)

/** Until the mark of the first region came off at a: from then on its checksums are held against the disk (C1, C2). */
const quietAtA = (lab: TestLab) =>
  until('the first region unmarked at a', stepMs, () => {
    const store = inspectStore(memberNamed(lab.state, 'a').dir)
    try {
      return store.replicas[0]?.region(0).marked === false
    } finally {
      store.close()
    }
  })

async function writtenAndQuiet(lab: TestLab, fill: number): Promise<void> {
  const client = await connectNbd(lab.uri('b'))
  try {
    await client.write(2 * MiB, content(fill))
    await client.flush()
  } finally {
    client.destroy()
  }
  await quietAtA(lab)
}

const flipAtA = (lab: TestLab) => mustExit(0, 'fault', lab.dir, 'a', `bitflip=${bitAt}`)
const logNames = (lab: TestLab, offsetBytes: number) =>
  until('the block in the log of a', stepMs, async () => {
    const lines = (await readFile(memberNamed(lab.state, 'a').log, 'utf8')).split('\n')
    return lines.some((line) => line.includes(`"offsetBytes":${offsetBytes}`) && /checksum/.test(line))
  })

async function flippedBit(lab: TestLab): Promise<void> {
  await writtenAndQuiet(lab, 0x33)
  await lab.mustBeEqual()
  assert.match(await flipAtA(lab), /a bit of byte 2101325 is flipped \(data\/00000\.slots, byte \d+\)/)
  const found = await mustExit(1, 'equal', lab.dir)
  assert.match(found, new RegExp(`the block at byte ${blockAt} on a does not fit its checksum`))
  // R3: from the other copy, and written over.
  await readsAt(lab, 'a', 2 * MiB, content(0x33))
  await readsAt(lab, 'b', 2 * MiB, content(0x33))
  await logNames(lab, blockAt)
  await until('equal again', stepMs, async () => (await lab.equal()).yes)
}

/** Nobody is there to ask: an error, never wrong bytes; what is written over the block is good again. */
async function flippedBitAlone(lab: TestLab): Promise<void> {
  await writtenAndQuiet(lab, 0x44)
  await lab.kill('b')
  await lab.waitAt('a', 'One copy')
  await flipAtA(lab)
  const client = await connectNbd(lab.uri('a'))
  try {
    await assert.rejects(client.read(blockAt, 4096), (failure) => failure instanceof NbdError && failure.code === 'EIO')
    await assert.rejects(client.read(bitAt, 1), (failure) => failure instanceof NbdError && failure.code === 'EIO')
    await assert.rejects(client.write(bitAt, Uint8Array.of(1)), NbdError)
    const [before, after] = [await client.read(2 * MiB, 4096), await client.read(blockAt + 4096, 4096)]
    assert.ok(Buffer.concat([before, after]).every((byte) => byte === 0x44))
    await client.write(blockAt, new Uint8Array(4096).fill(0x45))
    assert.ok((await client.read(blockAt, 4096)).every((byte) => byte === 0x45))
  } finally {
    client.destroy()
  }
  await lab.start('b')
  await lab.wait('Protected')
  await lab.mustBeEqual()
}

/** The disk rots while no agent looks: found by `equal`, healed by the first read. */
async function flippedBitAtRest(lab: TestLab): Promise<void> {
  await writtenAndQuiet(lab, 0x55)
  await lab.stop('a')
  await flipAtA(lab)
  await lab.start('a')
  await lab.wait('Protected')
  await readsAt(lab, 'a', 2 * MiB, content(0x55))
  await until('equal again', stepMs, async () => (await lab.equal()).yes)
}

test('a bit that the disk turns over never reaches a client', async (t) => {
  await withLab({ witness: true }, async (lab) => {
    await t.test('seen by equal; read from the other copy, repaired, named in the log', () => flippedBit(lab))
    await t.test('while the agent is down', () => flippedBitAtRest(lab))
    await t.test('with no other copy: an error; an overwrite heals', () => flippedBitAlone(lab))
  })
})

test('faults that cannot be made: exit 2 with a sentence', async (t) => {
  await withLab({ witness: true }, async (lab) => {
    const wrong: readonly (readonly [string, readonly string[], RegExp])[] = [
      ['no fault', ['fault', lab.dir, 'a'], /fault takes 3 words, not 2/],
      ['an unknown one', ['fault', lab.dir, 'a', 'rust'], /a fault is disk-fail, .* or off, not "rust"/],
      ['slow by nothing', ['fault', lab.dir, 'a', 'slow=0'], /not "slow=0"/],
      ['slow by a word', ['fault', lab.dir, 'a', 'slow=very'], /not "slow=very"/],
      ['slower than anybody waits', ['fault', lab.dir, 'a', 'slow=600001'], /a did not take "disk-slow": .*600000/s],
      ['a bit of no place', ['fault', lab.dir, 'a', 'bitflip=-1'], /not "bitflip=-1"/],
      ['a bit in a hole', ['fault', lab.dir, 'a', 'bitflip=4096'], /byte 4096 of disk is in a hole on a/],
      ['a bit behind the end', ['fault', lab.dir, 'a', `bitflip=${64 * MiB}`], /outside of disk, which has 67108864/],
      ['a bit of a witness', ['fault', lab.dir, 'witness', 'bitflip=0'], /no volume "disk"/],
      ['a server that is none', ['fault', lab.dir, 'z', 'off'], /no "z", only a, b, witness/],
      ['a folder without a lab', ['fault', '/nonexistent/lab', 'a', 'off'], /no lab in/],
    ]
    for (const [what, words, about] of wrong) {
      await t.test(what, async () => assert.match(await mustExit(2, ...words), about))
    }
    await t.test('a server that is down, and after its return', async () => {
      await lab.kill('b')
      assert.match(await mustExit(2, 'fault', lab.dir, 'b', 'disk-fail'), /b is not running/)
      await lab.start('b')
      await lab.wait('Protected')
      await mustExit(0, 'fault', lab.dir, 'b', 'off')
      // Nothing of what was refused is left behind.
      const client = await connectNbd(lab.uri('b'))
      try {
        await within('a write', stepMs, client.write(MiB, new Uint8Array(4096).fill(7)))
      } finally {
        client.destroy()
      }
      await lab.mustBeEqual()
    })
  })
})
