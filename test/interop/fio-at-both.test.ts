/** Claims 20 and 25: both servers take clients at once. fio verifies every block that it wrote. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { withLab } from '../kit/lab.ts'
import { needs } from '../kit/needs.ts'
import { launchFio, runFio } from '../kit/tools.ts'

const MiB = 1024 * 1024
const fioMs = 90_000

const verified = (uri: string, at: { offsetBytes: number; sizeBytes: number }, seed: number) => ({
  uri,
  rw: 'randwrite',
  blockSize: '4k',
  depth: 16,
  ...at,
  more: ['--verify=crc32c', '--do_verify=1', '--verify_fatal=1', `--randseed=${seed}`, '--fsync=64'],
})

test('fio writes and verifies at both servers at once, in different ranges', needs('fio'), async (t) => {
  await withLab({ witness: false }, async (lab) => {
    const halves = [
      { name: 'a', offsetBytes: 0, sizeBytes: 24 * MiB },
      { name: 'b', offsetBytes: 32 * MiB, sizeBytes: 24 * MiB },
    ] as const
    const running = halves.map(({ name, ...at }, index) => launchFio(verified(lab.uri(name), at, index + 1), fioMs))
    const results = await Promise.all(running.map(({ result }) => result))
    for (const [index, { code, said, write }] of results.entries()) {
      assert.equal(code, 0, said)
      assert.equal(write.operations, (24 * MiB) / 4096)
      t.diagnostic(`${halves[index]?.name}: ${Math.round(write.iops)} writes/s beside the other`)
    }
    // What one wrote, the other one's server shows: fio only reads and verifies.
    for (const [index, { name, ...at }] of halves.entries()) {
      const other = name === 'a' ? 'b' : 'a'
      const job = verified(lab.uri(other), at, index + 1)
      const { code, said, read } = await runFio({ ...job, more: [...job.more, '--verify_only'] }, fioMs)
      assert.equal(code, 0, said)
      assert.ok(read.operations > 0, 'fio read nothing')
    }
    await lab.mustBeEqual()
  })
})

test('fio verifies at one server while the other is killed and comes back', needs('fio'), async (t) => {
  await withLab({ witness: true }, async (lab) => {
    for (const [victim, survivor] of [
      ['b', 'a'],
      ['a', 'b'],
    ] as const) {
      const at = { offsetBytes: 0, sizeBytes: 24 * MiB }
      const job = verified(lab.uri(survivor), at, victim === 'a' ? 3 : 4)
      // Slow enough to last over the kill and into the resync.
      const fio = launchFio({ ...job, more: [...job.more, '--rate_iops=1000'] }, fioMs)
      await lab.kill(victim)
      await lab.waitAt(survivor, 'One copy')
      await lab.start(victim)
      const { code, said, write } = await fio.result
      assert.equal(code, 0, said)
      t.diagnostic(`${victim} killed: longest write at ${survivor} ${Math.round(write.longestMs)} ms`)
      await lab.wait('Protected')
      const again = verified(lab.uri(victim), at, victim === 'a' ? 3 : 4)
      const reread = await runFio({ ...again, more: [...again.more, '--verify_only'] }, fioMs)
      assert.equal(reread.code, 0, reread.said)
      await lab.mustBeEqual()
    }
  })
})
