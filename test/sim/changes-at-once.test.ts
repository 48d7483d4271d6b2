/** Two people change one volume at once: what one was told is done is never undone by what the other asked for before. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../agent/limits.ts'
import { Directed } from './directed.ts'

const MiB = 1024 * 1024

const changesAt = (cluster: Directed, index: number) => {
  const { engine } = cluster.server(index)
  assert.ok(engine !== null)
  return engine.changes
}

/** Runs until all promises are settled. @returns null, or its error's code, of each */
async function settled(cluster: Directed, ...promises: Promise<void>[]): Promise<(string | null)[]> {
  const outcomes = new Map<number, string | null>()
  promises.forEach((promise, at) => {
    promise.then(
      () => outcomes.set(at, null),
      (error: Error & { code?: string }) => outcomes.set(at, error.code ?? error.message),
    )
  })
  await cluster.untilSettled(() => outcomes.size === promises.length)
  return promises.map((_, at) => outcomes.get(at) ?? null)
}

describe('two changes of one volume at once', () => {
  it('two growths: a volume never gets smaller, wherever they are asked', async () => {
    for (const [first, second] of [
      [0, 0],
      [0, 1],
      [1, 0],
    ] as const) {
      const cluster = await new Directed(2).begin(5 * MiB)
      let most = 0
      let shrunk = ''
      const larger = changesAt(cluster, first).grow('d', 40 * MiB)
      const smaller = changesAt(cluster, second).grow('d', 20 * MiB)
      const watch = () => {
        const { sizeBytes } = cluster.volume(0)
        if (sizeBytes < most) shrunk = `${most / MiB} MiB, then ${sizeBytes / MiB}, asked at ${first} and ${second}`
        most = Math.max(most, sizeBytes)
        cluster.world.after(1, watch)
      }
      watch()
      await settled(cluster, larger, smaller)
      assert.equal(shrunk, '')
    }
  })

  it('restored and purged at once: who was told that it is restored has it', async () => {
    for (const [restorer, purger] of [
      [0, 0],
      [0, 1],
      [1, 0],
    ] as const) {
      for (const purgeFirst of [false, true]) {
        const cluster = await new Directed(2).begin(5 * MiB)
        const id = cluster.volume(0).world.volumeId
        assert.deepEqual(await settled(cluster, changesAt(cluster, 0).remove('d')), [null])
        cluster.until('open again', () => cluster.isWhole())
        const purge = () => changesAt(cluster, purger).purge(id, false)
        const early = purgeFirst ? purge() : null
        const restore = changesAt(cluster, restorer).restore(id, null)
        const [restored, purged] = await settled(cluster, restore, early ?? purge())
        cluster.pass(5_000)
        const there = cluster.server(0).engine?.find('d') !== undefined
        const words = `at ${restorer} restored: ${restored}, at ${purger} purged: ${purged}, there: ${there}`
        assert.ok(restored !== null || there, words)
      }
    }
  })
})

describe('names', () => {
  it('restored where the taker of its name has no replica: not two in use under one name', async () => {
    const cluster = await new Directed(3).begin(5 * MiB)
    const id = cluster.volume(0).world.volumeId
    assert.deepEqual(await settled(cluster, changesAt(cluster, 0).remove('d')), [null])
    cluster.until('open again', () => cluster.isWhole())
    const arbiter = { kind: 'witness', serverId: cluster.witness.id } as const
    const servers = [cluster.server(0).id, cluster.server(1).id]
    const make = cluster
      .server(0)
      .engine?.creations.create({ name: 'd', sizeBytes: MiB, writeThrough: false, arbiter, servers })
    assert.ok(make !== undefined)
    assert.deepEqual(
      await settled(
        cluster,
        make.then(() => undefined),
      ),
      [null],
    )
    cluster.pass(5_000)
    await settled(cluster, changesAt(cluster, 2).restore(id, null))
    cluster.pass(5_000)
    const named = cluster
      .server(0)
      .engine?.list()
      .filter(({ name }) => name === 'd')
    assert.equal(named?.length, 1)
  })
})

describe('the end of a volume', () => {
  it('deleted at a server whose calendar is years behind: it is kept for the same time', async () => {
    const cluster = await new Directed(2).begin(5 * MiB)
    cluster.server(1).clock.wallAheadMs = -2 * limits.deletedKeepMs
    const id = cluster.volume(0).world.volumeId
    assert.deepEqual(await settled(cluster, changesAt(cluster, 1).remove('d')), [null])
    cluster.pass(20_000)
    assert.ok(cluster.server(0).engine?.volumes.get(id) !== undefined, 'gone at once')
  })

  it('removed for good while the disk here takes nothing for a while: removed once it does', async () => {
    const cluster = await new Directed(2).begin(5 * MiB)
    const id = cluster.volume(0).world.volumeId
    assert.deepEqual(await settled(cluster, changesAt(cluster, 0).remove('d')), [null])
    cluster.until('open again', () => cluster.isWhole())
    cluster.server(1).disk.fault = 'hang'
    const { store } = cluster.volume(1)
    let synced = false
    store.write(0, [new Uint8Array(4096).fill(1)], 4096, () => {
      synced = true
    })
    void changesAt(cluster, 0)
      .purge(id, false)
      .catch(() => undefined)
    for (let turn = 0; turn < 8; turn += 1) await null
    cluster.pass(15_000)
    cluster.server(1).disk.fault = 'none'
    cluster.pass(60_000)
    assert.ok(synced)
    for (const index of [0, 1]) assert.equal(cluster.server(index).engine?.volumes.size, 0, `${index} holds it still`)
  })

  it('a replica that cannot grow, its disk being full, is removed for good all the same', async () => {
    const cluster = await new Directed(2).begin(5 * MiB)
    const id = cluster.volume(0).world.volumeId
    cluster.server(1).kill()
    cluster.until('a goes on alone', () => cluster.serves(0) && cluster.inSync(0) === 'a')
    assert.deepEqual(await settled(cluster, changesAt(cluster, 0).grow('d', 40 * MiB)), [null])
    cluster.server(1).disk.leave(limits.diskReserveBytes / 2)
    cluster.server(1).start()
    cluster.pass(10_000)
    assert.equal(cluster.volume(1).store.sizeBytes, 5 * MiB)
    assert.deepEqual(await settled(cluster, changesAt(cluster, 0).remove('d')), [null])
    cluster.until('open again', () => cluster.serves(0))
    assert.deepEqual(await settled(cluster, changesAt(cluster, 0).purge(id, false)), [null])
    cluster.pass(60_000)
    for (const index of [0, 1]) assert.equal(cluster.server(index).engine?.volumes.size, 0, `${index} holds it still`)
  })

  it('removed for good while a write here hangs in its disk and the other one leaves this server out', async () => {
    for (const hangMs of [500, 3_000, 20_000]) {
      const cluster = await new Directed(3).begin(5 * MiB)
      const id = cluster.volume(0).world.volumeId
      cluster.until('written', () => true)
      cluster.server(1).disk.fault = 'hang'
      const write = cluster.write(cluster.attach(0), 0, 1)
      cluster.pass(20)
      assert.equal(write.answer, undefined)
      const removed = changesAt(cluster, 0).remove('d')
      removed.catch(() => undefined)
      for (let turn = 0; turn < 8; turn += 1) await null
      cluster.pass(100)
      const purged = changesAt(cluster, 0).purge(id, false)
      purged.catch(() => undefined)
      for (let at = 0; at < hangMs; at += 100) {
        cluster.pass(100)
        for (let turn = 0; turn < 8; turn += 1) await null
      }
      cluster.server(1).disk.fault = 'none'
      for (let at = 0; at < 600; at += 1) {
        cluster.pass(100)
        for (let turn = 0; turn < 8; turn += 1) await null
      }
      await settled(cluster, removed)
      if (cluster.server(0).engine?.changes.deleted().length === 1) {
        await settled(cluster, changesAt(cluster, 0).purge(id, false))
        cluster.pass(60_000)
      }
      for (const index of [0, 1, 2])
        assert.equal(cluster.server(index).engine?.volumes.size, 0, `${hangMs}: ${index} holds it still`)
    }
  })

  it('removed for good where the arbiter is a member that removes its own copy first: the other one learns it later', async () => {
    const cluster = new Directed(2).start()
    const servers = cluster.servers.map(({ id }) => id)
    const arbiter = { kind: 'preferred', serverId: cluster.server(0).id } as const
    const make = cluster
      .server(0)
      .engine?.creations.create({ name: 'd', sizeBytes: MiB, writeThrough: false, arbiter, servers })
    assert.ok(make !== undefined)
    assert.deepEqual(await settled(cluster, make), [null])
    cluster.until('open', () => cluster.isWhole())
    const id = cluster.volume(0).world.volumeId
    assert.deepEqual(await settled(cluster, changesAt(cluster, 0).remove('d')), [null])
    cluster.server(1).powerCut()
    cluster.until('a goes on alone', () => cluster.inSync(0) === 'a' && cluster.serves(0), 60_000)
    assert.deepEqual(await settled(cluster, changesAt(cluster, 0).purge(id, false)), [null])
    cluster.pass(5_000)
    assert.equal(cluster.server(0).engine?.volumes.size, 0)
    cluster.server(0).powerCut()
    cluster.server(0).start()
    cluster.pass(5_000)
    cluster.server(1).start()
    cluster.pass(60_000)
    assert.equal(cluster.server(1).engine?.volumes.size, 0)
  })

  it('restored while the time of it runs out: gone or there, the same at both', async () => {
    for (let round = 0; round < 20; round += 1) {
      const cluster = await new Directed(2, round + 1).begin(MiB)
      const id = cluster.volume(0).world.volumeId
      assert.deepEqual(await settled(cluster, changesAt(cluster, 0).remove('d')), [null])
      cluster.until('open again', () => cluster.isWhole())
      cluster.server(0).clock.wallAheadMs = limits.deletedKeepMs
      cluster.pass(round * 8)
      const volume = cluster.server(round % 2).engine?.volumes.get(id)
      if (volume === undefined) continue
      const [outcome] = await settled(cluster, changesAt(cluster, round % 2).restore(id, 'again'))
      cluster.pass(20_000)
      const there = [0, 1].map((index) => cluster.server(index).engine?.find('again') !== undefined)
      assert.ok(there[0] === there[1] && there[0] === (outcome === null), `${round}: ${outcome} ${there}`)
    }
  })
})
