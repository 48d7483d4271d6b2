/** Pages of the hidden range (W10): counters raised by all servers lose nothing, writes meet no change, all copies are equal. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../agent/limits.ts'
import { hiddenRegion } from '../../agent/mirror/places.ts'
import type { BlockFailure } from '../../agent/volume/block-device.ts'
import { Directed } from './directed.ts'

const numberIn = (bytes: Uint8Array): number => Buffer.from(bytes).readUInt32LE(0)

function pageOf(value: number): Uint8Array {
  const bytes = Buffer.alloc(limits.pageBytes)
  bytes.writeUInt32LE(value, 0)
  return bytes
}

/** Raises the counter in a page as often as that, one after the other, while the server is there. */
function raise(cluster: Directed, index: number, page: number, times: number) {
  const raised = { done: 0, unknown: 0, ended: false }
  const next = (): void => {
    const { volume } = cluster.server(index)
    if (raised.done + raised.unknown >= times) {
      raised.ended = true
      return
    }
    if (volume === undefined) return void cluster.world.after(100, next)
    const life = cluster.server(index).engine
    let isAnswered = false
    const answered = (failure: BlockFailure | null) => {
      if (isAnswered) return
      isAnswered = true
      if (failure === null) raised.done += 1
      // A killed agent answers nothing: it may have been done.
      else if (failure === 'unknown-outcome') raised.unknown += 1
      cluster.world.after(failure === 'shutdown' ? 100 : 1, next)
    }
    volume.pages.change(
      page,
      (present) => pageOf(numberIn(present) + 1),
      (failure) => answered(failure),
    )
    const look = (): void => {
      if (isAnswered) return
      if (cluster.server(index).engine !== life) answered('unknown-outcome')
      else cluster.world.after(20, look)
    }
    look()
  }
  next()
  return raised
}

function readPage(cluster: Directed, index: number, page: number): Uint8Array {
  let found: Uint8Array | null = null
  cluster.volume(index).pages.read(page, (failure, bytes) => {
    assert.equal(failure, null)
    found = bytes
  })
  cluster.until('the page is read', () => found !== null)
  return found ?? assert.fail()
}

function equalHidden(cluster: Directed, indexes: readonly number[]): boolean {
  const found: Uint8Array[] = []
  for (const index of indexes) {
    cluster.volume(index).store.read(limits.hiddenStartBytes, limits.hiddenBytes, (failure, data) => {
      assert.equal(failure, null)
      found.push(data)
    })
  }
  cluster.until('the hidden ranges are read', () => found.length === indexes.length)
  return found.every((data) => Buffer.compare(data, found[0] ?? data) === 0)
}

describe('pages', () => {
  it('are zeros at first; a change is read at every server; null changes nothing', async () => {
    const cluster = await new Directed(2).begin()
    assert.equal(numberIn(readPage(cluster, 0, 255)), 0)
    assert.equal(cluster.volume(0).store.allocatedBytes(), 0, 'nobody has changed one: it costs nothing')
    const answers: unknown[] = []
    const { pages } = cluster.volume(1)
    pages.change(
      255,
      () => pageOf(77),
      (failure, isChanged) => answers.push([failure, isChanged]),
    )
    pages.change(
      255,
      () => null,
      (failure, isChanged) => answers.push([failure, isChanged]),
    )
    cluster.until('both are answered', () => answers.length === 2)
    assert.deepEqual(answers, [
      [null, true],
      [null, false],
    ])
    for (const index of [0, 1]) assert.equal(numberIn(readPage(cluster, index, 255)), 77)
    assert.equal(numberIn(readPage(cluster, 0, 254)), 0)
    assert.ok(equalHidden(cluster, [0, 1]))
    assert.throws(() => pages.read(256, () => undefined), /V3/)
    assert.throws(
      () =>
        pages.change(
          -1,
          () => null,
          () => undefined,
        ),
      /V3/,
    )
    assert.throws(
      () =>
        pages.change(
          0.5,
          () => null,
          () => undefined,
        ),
      /V3/,
    )
  })

  it('counters that all servers raise lose nothing, while clients write', async () => {
    for (let seed = 1; seed <= 10; seed += 1) {
      const cluster = await new Directed(3, seed).begin()
      const counters = [0, 1, 2].map((index) => raise(cluster, index, limits.reservationsPage, 20))
      const writes = [0, 1, 2].flatMap((index) => {
        const client = cluster.attach(index)
        return Array.from({ length: 20 }, (_, at) => cluster.write(client, (at % 3) * 4096, index + 1))
      })
      cluster.until(
        'all is done',
        () => counters.every(({ ended }) => ended) && writes.every(({ answer }) => answer === null),
      )
      assert.equal(numberIn(readPage(cluster, 0, limits.reservationsPage)), 60, `seed ${seed}`)
      assert.ok(equalHidden(cluster, [0, 1, 2]))
      assert.deepEqual(cluster.problems, [])
    }
  })

  it('a change that was done survives the loss of power at every server (W4), and a resync', async () => {
    const cluster = await new Directed(2).begin()
    const first = raise(cluster, 0, 3, 5)
    cluster.until('it is raised', () => first.ended)
    for (const server of cluster.servers) server.powerCut()
    for (const server of cluster.servers) server.start()
    cluster.until('the volume is open again', () => cluster.isWhole())
    assert.equal(numberIn(readPage(cluster, 1, 3)), 5)
    // No mark is left: only its stamp says that the page has changed since.
    cluster.pass(10_000)
    assert.equal(cluster.volume(1).store.region(hiddenRegion).marked, false)
    cluster.server(1).kill()
    cluster.until('the other one is out', () => cluster.inSync(0) === 'a')
    const second = raise(cluster, 0, 3, 5)
    cluster.until('it is raised', () => second.ended)
    cluster.server(1).start()
    cluster.until('it is back', () => cluster.isWhole())
    assert.equal(numberIn(readPage(cluster, 1, 3)), 10, 'a page was not resynced')
    assert.ok(equalHidden(cluster, [0, 1]))
    assert.deepEqual(cluster.problems, [])
  })

  it('a kill in the middle loses no change that was done, and each is done once', async () => {
    for (let seed = 1; seed <= 10; seed += 1) {
      const cluster = await new Directed(3, seed).begin()
      const counters = [0, 1, 2].map((index) => raise(cluster, index, 7, 30))
      cluster.pass(20 + seed * 3)
      cluster.server(seed % 3).kill()
      cluster.pass(seed * 100)
      cluster.server(seed % 3).start()
      cluster.until('all is done', () => counters.every(({ ended }) => ended) && cluster.isWhole(), 300_000)
      const value = numberIn(readPage(cluster, 0, 7))
      const done = counters.reduce((sum, counter) => sum + counter.done, 0)
      const unknown = counters.reduce((sum, counter) => sum + counter.unknown, 0)
      assert.ok(value >= done && value <= done + unknown, `seed ${seed}: ${value}, ${done} done, ${unknown} unknown`)
      assert.ok(equalHidden(cluster, [0, 1, 2]), `seed ${seed}`)
      assert.deepEqual(cluster.problems, [])
    }
  })

  it('a server that is not in sync says so at once; its frontends pass the whole request', async () => {
    const cluster = await new Directed(2).begin()
    cluster.server(1).disk.fault = 'fail'
    const write = cluster.write(cluster.attach(1), 8192, 1)
    cluster.until('it is out', () => write.answer !== undefined && cluster.inSync(0) === 'a')
    const answers: unknown[] = []
    const { pages } = cluster.volume(1)
    pages.read(0, (failure) => answers.push(failure))
    pages.change(
      0,
      () => null,
      (failure) => answers.push(failure),
    )
    cluster.until('both are answered', () => answers.length === 2)
    assert.deepEqual(answers, ['shutdown', 'shutdown'])
  })
})
