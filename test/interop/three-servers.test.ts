/** Claims 23 and 24: a third server with a disk and an engine of its own, and clients of its own. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type AnyServer, stepMs, type TestLab, withLab } from '../kit/lab.ts'
import { connectNbd } from '../kit/nbd-client.ts'
import { until } from '../kit/until.ts'

const MiB = 1024 * 1024
const all = ['a', 'b', 'c'] as const

async function counts(lab: TestLab, name: AnyServer): Promise<{ asked: number; granted: number; copies: number }> {
  const { permissionsAsked, permissionsYielded, mirroredWrites } = (await lab.volume(name)).counters
  return { asked: permissionsAsked, granted: permissionsYielded, copies: mirroredWrites }
}

const bytesOf = (byte: number): Buffer => Buffer.alloc(12 * 1024, byte)

async function writeAt(lab: TestLab, name: AnyServer, count: number, byte: number): Promise<void> {
  const client = await connectNbd(lab.uri(name))
  try {
    for (let index = 0; index < count; index += 1) await client.write(index * MiB, bytesOf(byte + index))
  } finally {
    await client.disconnect()
  }
}

test('a third server has a disk and an engine, too', async (t) => {
  await withLab({ witness: true, servers: 3 }, async (lab) => {
    await t.test("the third server's engine sends what its clients write to the first and to the second", async () => {
      await writeAt(lab, 'c', 7, 0x21)
      const own = await counts(lab, 'c')
      assert.deepEqual({ ...own, asked: 0 }, { asked: 0, granted: 0, copies: 0 })
      // Both for the block, and perhaps for the page that says who may write at all (W10).
      assert.ok(own.asked >= 2 && own.asked <= 4, `${own.asked} asks`)
      const answers = await until('an answer to each ask', stepMs, async () => {
        const [a, b] = [await counts(lab, 'a'), await counts(lab, 'b')]
        return a.granted + b.granted === own.asked && { a, b }
      })
      for (const name of ['a', 'b'] as const) {
        assert.deepEqual({ ...answers[name], granted: 0 }, { asked: 0, granted: 0, copies: 7 }, name)
        assert.ok(answers[name].granted > 0, `${name} was not asked`)
      }
      for (const name of all)
        assert.deepEqual(lab.onDisk(name, 3 * MiB, 12 * 1024), bytesOf(0x24), `the disk of ${name}`)
    })

    await t.test('each server shows what the others took, and the three disks are equal', async () => {
      await writeAt(lab, 'a', 3, 0x41)
      await writeAt(lab, 'b', 2, 0x51)
      for (const name of all) {
        const client = await connectNbd(lab.uri(name))
        for (const [index, byte] of [0x51, 0x52, 0x43, 0x24].entries()) {
          assert.deepEqual(await client.read(index * MiB, 12 * 1024), bytesOf(byte), `${index} at ${name}`)
        }
        await client.disconnect()
      }
      await lab.mustBeEqual()
    })

    await t.test('any one of them is killed: what its clients wrote is read from the others', async () => {
      await lab.kill('c')
      for (const name of ['a', 'b'] as const) {
        const client = await connectNbd(lab.uri(name))
        assert.deepEqual(await client.read(6 * MiB, 12 * 1024), bytesOf(0x27), name)
        await client.disconnect()
      }
    })
  })
})
