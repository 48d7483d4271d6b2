/** Who sends what to whom: the engines of both servers, seen from outside by what they count and what their disks hold. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ServerName, type TestLab, withLab } from '../kit/lab.ts'
import { connectNbd } from '../kit/nbd-client.ts'

const blockBytes = 4096
const MiB = 1024 * 1024

const pattern = (seed: number, lengthBytes: number): Buffer =>
  Buffer.from(Uint8Array.from({ length: lengthBytes }, (_value, index) => (seed * 31 + index * 7) & 0xff))

async function mirrored(lab: TestLab, name: ServerName): Promise<number> {
  return (await lab.volume(name)).counters.mirroredWrites
}

/** Every request a write of its own, at offsets that belong to no extent's start. */
async function writeSome(lab: TestLab, name: ServerName, first: number, count: number): Promise<void> {
  const client = await connectNbd(lab.uri(name))
  try {
    for (let index = 0; index < count; index += 1) {
      await client.write((first + index) * (MiB + blockBytes) + 512, pattern(first + index, 5000))
    }
  } finally {
    await client.disconnect()
  }
}

async function mustRead(lab: TestLab, name: ServerName, first: number, count: number): Promise<void> {
  const client = await connectNbd(lab.uri(name))
  try {
    for (let index = 0; index < count; index += 1) {
      const bytes = await client.read((first + index) * (MiB + blockBytes) + 512, 5000)
      assert.deepEqual(Buffer.from(bytes), pattern(first + index, 5000), `write ${first + index} at ${name}`)
    }
  } finally {
    await client.disconnect()
  }
}

test('each server has a mirror engine, and the one whose client writes sends a copy of each request', async (t) => {
  await withLab({ witness: true }, async (lab) => {
    const before = { a: await mirrored(lab, 'a'), b: await mirrored(lab, 'b') }

    await t.test('what clients write at the first server, its engine sends and the second one applies', async () => {
      await writeSome(lab, 'a', 0, 12)
      assert.equal((await mirrored(lab, 'b')) - before.b, 12)
      assert.equal(await mirrored(lab, 'a'), before.a, 'nobody sent the first server anything')
    })

    await t.test('and the other way round, with the engine of the second server', async () => {
      await writeSome(lab, 'b', 12, 9)
      assert.equal((await mirrored(lab, 'a')) - before.a, 9)
      assert.equal((await mirrored(lab, 'b')) - before.b, 12)
    })

    await t.test(
      'the copy is the request itself: the same bytes at the same place, no more, on both disks',
      async () => {
        for (const name of ['a', 'b'] as const) {
          const place = 3 * (MiB + blockBytes)
          const found = lab.onDisk(name, place, 2 * blockBytes)
          const expected = Buffer.alloc(2 * blockBytes)
          pattern(3, 5000).copy(expected, 512)
          assert.deepEqual(found, expected, `the disk of ${name}`)
        }
      },
    )

    await t.test('to both servers it is one disk: each reads what the other one took', async () => {
      await mustRead(lab, 'a', 0, 21)
      await mustRead(lab, 'b', 0, 21)
      const [a, b] = [await lab.volume('a'), await lab.volume('b')]
      assert.equal(a.id, b.id)
      assert.equal(a.sizeBytes, b.sizeBytes)
    })

    await t.test('before the second write at the other server, permission went over: asked and yielded', async () => {
      const [a, b] = [await lab.volume('a'), await lab.volume('b')]
      assert.ok(b.counters.permissionsAsked > 0, 'the second server asked before it wrote')
      assert.ok(a.counters.permissionsYielded > 0, 'the first server yielded')
    })

    await t.test('while the first server writes and the second wants nothing, policing sends no message', async () => {
      await writeSome(lab, 'a', 21, 1)
      const asked = (await lab.volume('a')).counters.permissionsAsked
      await writeSome(lab, 'a', 22, 20)
      assert.equal((await lab.volume('a')).counters.permissionsAsked, asked)
    })

    await t.test(
      'the first server is killed: its data and the data the second one took are read from the second',
      async () => {
        await lab.kill('a')
        await mustRead(lab, 'b', 0, 42)
      },
    )

    await t.test(
      'back in sync, the second is killed: what it had taken from its clients is read from the first',
      async () => {
        await lab.start('a')
        await lab.wait('Protected')
        await lab.kill('b')
        await mustRead(lab, 'a', 0, 42)
      },
    )
  })
})
