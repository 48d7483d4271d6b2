/** Growing, deleting, restoring and removing a volume: decided once, done at every server, whoever was away. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../agent/limits.ts'
import { keepingKey } from '../../agent/volume/keeping.ts'
import { rounds } from '../kit/length.ts'
import { type Asked, Directed } from './directed.ts'

const MiB = 1024 * 1024

const changesAt = (cluster: Directed, index: number) => {
  const { engine } = cluster.server(index)
  assert.ok(engine !== null)
  return engine.changes
}

/** Runs until the promise is settled. @returns null, or its error's code */
async function settled(cluster: Directed, promise: Promise<void>): Promise<string | null> {
  let outcome: { code: string | null } | null = null
  promise.then(
    () => {
      outcome = { code: null }
    },
    (error: Error & { code?: string }) => {
      outcome = { code: error.code ?? error.message }
    },
  )
  await cluster.untilSettled(() => outcome !== null)
  // Set by one of the two above; TypeScript cannot see that.
  return (outcome as unknown as { code: string | null }).code
}

function answered(cluster: Directed, asked: Asked): Asked['answer'] {
  cluster.until('an answer', () => asked.answer !== undefined)
  return asked.answer
}

function reads(cluster: Directed, index: number, offsetBytes: number): number | undefined {
  const read = cluster.read(cluster.attach(index), offsetBytes)
  assert.equal(answered(cluster, read), null)
  return read.first
}

describe('a volume grows', () => {
  it('under a client, at every server; the new part reads as zeros and takes writes', async () => {
    const cluster = await new Directed(2).begin(5 * MiB)
    const client = cluster.attach(0)
    assert.equal(answered(cluster, cluster.write(client, 4 * MiB, 7)), null)
    assert.equal(await settled(cluster, changesAt(cluster, 1).grow('d', 40 * MiB)), null)
    cluster.until('both serve', () => cluster.isWhole())
    for (const index of [0, 1]) {
      assert.equal(cluster.volume(index).sizeBytes, 40 * MiB)
      assert.equal(reads(cluster, index, 30 * MiB), 0)
    }
    assert.equal(answered(cluster, cluster.write(client, 0, 9)), null, 'the old client goes on')
    assert.equal(answered(cluster, cluster.write(cluster.attach(1), 39 * MiB, 8)), null)
    assert.equal(reads(cluster, 0, 39 * MiB), 8)
    assert.equal(reads(cluster, 1, 4 * MiB), 7)
    assert.ok(cluster.equal(0, 1))
    assert.deepEqual(cluster.problems, [])
  })

  it('a server that was away grows when it returns, and gets what was written there (counterexample 46)', async () => {
    const cluster = await new Directed(2).begin(5 * MiB)
    cluster.server(1).kill()
    cluster.until('a goes on alone', () => cluster.serves(0) && cluster.inSync(0) === 'a')
    assert.equal(await settled(cluster, changesAt(cluster, 0).grow('d', 20 * MiB)), null)
    assert.equal(answered(cluster, cluster.write(cluster.attach(0), 19 * MiB, 5)), null)
    cluster.server(1).start()
    cluster.until('both are in sync', () => cluster.isWhole(), 120_000)
    assert.equal(cluster.volume(1).store.sizeBytes, 20 * MiB)
    assert.equal(reads(cluster, 1, 19 * MiB), 5)
    assert.ok(cluster.equal(0, 1))
  })

  it('killed at any moment of it: the old size or the new one, the same for both', async () => {
    for (let round = 0; round < rounds({ short: 8, full: 24, long: 200 }); round += 1) {
      const cluster = await new Directed(2, round + 1).begin(5 * MiB)
      assert.equal(answered(cluster, cluster.write(cluster.attach(0), MiB, 3)), null)
      changesAt(cluster, 0)
        .grow('d', 20 * MiB)
        .catch(() => undefined)
      for (let turn = 0; turn < 4; turn += 1) await null
      cluster.pass(round * 0.7)
      const victim = cluster.server(round % 2)
      if (round % 3 === 0) victim.powerCut()
      else victim.kill()
      cluster.pass(50)
      victim.start()
      cluster.until('both are in sync', () => cluster.isWhole(), 120_000)
      const sizes = [0, 1].map((index) => cluster.volume(index).sizeBytes)
      assert.ok(sizes[0] === sizes[1] && [5 * MiB, 20 * MiB].includes(sizes[0] ?? 0), `${sizes}`)
      assert.equal(reads(cluster, 1, MiB), 3)
      const last = (sizes[0] ?? 0) - 4096
      assert.equal(answered(cluster, cluster.write(cluster.attach(1), last, 4)), null)
      assert.equal(reads(cluster, 0, last), 4)
    }
  })

  it('refuses what is not larger, not whole, too large, and a volume that is none', async () => {
    const cluster = await new Directed(2).begin(5 * MiB)
    const changes = changesAt(cluster, 0)
    assert.equal(await settled(cluster, changes.grow('d', 5 * MiB)), 'not-larger')
    assert.equal(await settled(cluster, changes.grow('d', 4 * MiB)), 'not-larger')
    assert.equal(await settled(cluster, changes.grow('d', 5 * MiB + 1)), 'not-larger')
    assert.equal(await settled(cluster, changes.grow('d', Number.NaN)), 'not-larger')
    assert.equal(await settled(cluster, changes.grow('d', limits.volumeMaxBytes + 4096)), 'bad-size')
    assert.equal(await settled(cluster, changes.grow('e', 6 * MiB)), 'no-such-volume')
    assert.equal(cluster.volume(0).sizeBytes, 5 * MiB)
  })
})

describe('a volume is deleted', () => {
  it('offered nowhere, its clients are told; kept and mirrored; restored under another name', async () => {
    const cluster = await new Directed(2).begin(5 * MiB)
    let gone = 0
    const client = cluster
      .server(1)
      .engine?.find('d')
      ?.attach({ protocol: 'sim', address: 'x' }, () => {
        gone += 1
      })
    assert.ok(client !== undefined)
    assert.equal(answered(cluster, cluster.write(client, MiB, 6)), null)
    const id = cluster.volume(0).world.volumeId
    assert.equal(await settled(cluster, changesAt(cluster, 0).remove('d')), null)
    cluster.until('the client was told', () => gone === 1)
    for (const index of [0, 1]) {
      assert.equal(cluster.server(index).engine?.find('d'), undefined)
      assert.deepEqual(
        changesAt(cluster, index)
          .deleted()
          .map(({ id, name }) => [id, name]),
        [[id, 'd']],
      )
    }
    // A server that is away meanwhile is brought back in sync all the same.
    cluster.server(1).kill()
    cluster.pass(20_000)
    cluster.server(1).start()
    cluster.until('both hold it', () => cluster.isWhole(), 120_000)
    assert.equal(await settled(cluster, changesAt(cluster, 1).restore(id, 'again')), null)
    cluster.until('it is there again', () => cluster.server(0).engine?.find('again') !== undefined)
    const read: Asked = { answer: undefined, first: undefined }
    cluster
      .server(0)
      .engine?.find('again')
      ?.attach({ protocol: 'sim', address: 'y' }, () => undefined)
      .read(MiB, 4096, (failure, chunks) => {
        read.answer = failure
        read.first = chunks[0]?.[0]
      })
    assert.equal(answered(cluster, read), null)
    assert.equal(read.first, 6)
    assert.deepEqual(cluster.problems, [])
  })

  for (const wipe of [false, true])
    it(`removed for good${wipe ? ', wiped,' : ''} at every server, also one that was away; its name may be used again at once`, async () => {
      const cluster = await new Directed(2).begin(5 * MiB)
      assert.equal(answered(cluster, cluster.write(cluster.attach(0), MiB, 6)), null)
      const id = cluster.volume(0).world.volumeId
      assert.equal(await settled(cluster, changesAt(cluster, 0).purge(id, false)), 'not-deleted')
      assert.equal(await settled(cluster, changesAt(cluster, 0).remove('d')), null)
      cluster.server(1).kill()
      cluster.until('a goes on alone', () => cluster.inSync(0) === 'a' && cluster.serves(0), 60_000)
      assert.equal(await settled(cluster, changesAt(cluster, 0).purge(id, wipe)), null)
      const left = (index: number) => cluster.server(index).engine?.world.store.replicas().length
      cluster.until('a has removed it', () => left(0) === 0)
      const made = cluster.create()
      await cluster.untilSettled(() => made.outcome !== null)
      assert.equal(made.outcome, 'server-refused', 'b is away')
      cluster.server(1).start()
      cluster.until('b has removed it', () => left(1) === 0, 60_000)
      cluster.pass(1_000)
      for (const index of [0, 1]) {
        assert.deepEqual(changesAt(cluster, index).deleted(), [])
        const keys = cluster.server(index).engine?.world.store.records.keys() ?? []
        const records = keys.filter((key) => key.includes(id) && !key.startsWith('register'))
        const { records: kept } = cluster.server(index).engine?.world.store ?? {}
        assert.deepEqual(
          records.filter((key) => kept?.get(key) !== null),
          [],
        )
      }
      const again = cluster.create()
      await cluster.untilSettled(() => again.outcome !== null)
      assert.equal(again.outcome, 'made')
      assert.deepEqual(cluster.problems, [])
    })

  it('killed in the middle of its end: the next start finishes it', async () => {
    for (let round = 0; round < rounds({ short: 6, full: 16, long: 100 }); round += 1) {
      const cluster = await new Directed(2, round + 1).begin(5 * MiB)
      assert.equal(answered(cluster, cluster.write(cluster.attach(0), MiB, 6)), null)
      const id = cluster.volume(0).world.volumeId
      assert.equal(await settled(cluster, changesAt(cluster, 0).remove('d')), null)
      cluster.until('both serve it', () => cluster.isWhole())
      changesAt(cluster, 0)
        .purge(id, round % 2 === 0)
        .catch(() => undefined)
      for (let turn = 0; turn < 4; turn += 1) await null
      cluster.pass(round * 1.5)
      for (const index of [0, 1]) cluster.server(index).kill()
      for (const index of [0, 1]) cluster.server(index).start()
      cluster.pass(3_000)
      // Decided or not, it is the same at both.
      if (changesAt(cluster, 0).deleted().length > 0) {
        cluster.until('both serve it', () => cluster.isWhole(), 60_000)
        assert.equal(await settled(cluster, changesAt(cluster, 1).purge(id, false)), null)
      }
      const left = (index: number) => cluster.server(index).engine?.world.store.replicas().length
      cluster.until('nothing is left', () => left(0) === 0 && left(1) === 0, 60_000)
      for (const index of [0, 1]) assert.deepEqual(cluster.server(index).engine?.damaged, [])
    }
  })

  it('after its time it goes by itself, and not before', async () => {
    const cluster = await new Directed(2).begin(5 * MiB)
    assert.equal(await settled(cluster, changesAt(cluster, 0).remove('d')), null)
    const left = () => [0, 1].map((index) => cluster.server(index).engine?.world.store.replicas().length)
    cluster.pass(60_000)
    assert.deepEqual(left(), [1, 1])
    const [gone] = changesAt(cluster, 0).deleted()
    assert.ok(gone !== undefined && gone.goneMs - gone.deletedMs === limits.deletedKeepMs)
    // Both calendars leap: nobody asks them.
    for (const index of [0, 1]) cluster.server(index).clock.wallAheadMs = 2 * limits.deletedKeepMs
    cluster.pass(10_000)
    assert.deepEqual(left(), [1, 1])
    const { volumeId } = cluster.volume(0).world
    const { deletedMs } = cluster.volume(0).member.known
    for (const index of [0, 1]) {
      const keptMs = limits.deletedKeepMs - 30_000
      cluster
        .server(index)
        .engine?.world.store.records.put(keepingKey(volumeId), { deletedMs, keptMs }, () => undefined)
    }
    cluster.pass(1_000)
    for (const index of [0, 1]) cluster.server(index).kill()
    for (const index of [0, 1]) cluster.server(index).start()
    cluster.pass(15_000)
    assert.deepEqual(left(), [1, 1])
    cluster.until('it is gone', () => left().every((count) => count === 0))
  })
})
