/** A snapshot is one instant of the volume, the same at every in-sync server, whoever writes where meanwhile. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { limits } from '../../agent/limits.ts'
import type { ReplicaImage } from '../../agent/store/replica.ts'
import type { BlockClient } from '../../agent/volume/block-device.ts'
import { rounds } from '../kit/length.ts'
import { type Asked, Directed } from './directed.ts'

const MiB = 1024 * 1024
const sizeBytes = 20 * MiB

const changesAt = (cluster: Directed, index: number) => {
  const { engine } = cluster.server(index)
  assert.ok(engine !== null)
  return engine.changes
}

/** Runs until the promise is settled. @returns null, or its error's code */
async function settled(cluster: Directed, promise: Promise<void>): Promise<string | null> {
  const outcome: { code?: string | null } = {}
  promise.then(
    () => {
      outcome.code = null
    },
    (error: Error & { code?: string }) => {
      outcome.code = error.code ?? error.message
    },
  )
  await cluster.untilSettled(() => outcome.code !== undefined)
  return outcome.code ?? null
}

function imageAt(cluster: Directed, index: number, name: string): ReplicaImage {
  const image = changesAt(cluster, index).findImage('d', name)
  assert.ok(image !== undefined, `server ${index} has no image ${name}`)
  return image
}

function bytesOf(cluster: Directed, image: ReplicaImage): Uint8Array {
  let bytes: Uint8Array | null = null
  image.read(0, image.sizeBytes, (failure, data) => {
    assert.equal(failure, null)
    bytes = data
  })
  cluster.until('the image is read', () => bytes !== null)
  return bytes ?? new Uint8Array(0)
}

/** Writes the next number to the first place, and only when that is answered to the second, again and again. */
class Counter {
  value = 0
  #isWorking = true
  readonly #client: BlockClient
  readonly #places: readonly [number, number]

  constructor(client: BlockClient, places: readonly [number, number]) {
    this.#client = client
    this.#places = places
    this.#step()
  }

  stop(): void {
    this.#isWorking = false
  }

  #step(): void {
    if (!this.#isWorking) return
    const value = (this.value % 250) + 1
    const bytes = () => [new Uint8Array(4096).fill(value)]
    this.#client.write(this.#places[0], bytes(), 4096, false, () =>
      this.#client.write(this.#places[1], bytes(), 4096, false, () => {
        this.value = value
        this.#step()
      }),
    )
  }
}

describe('a snapshot', () => {
  it('is one instant, the same at both servers, while both are written to', async () => {
    for (let round = 0; round < rounds({ short: 3, full: 20, long: 200 }); round += 1) {
      const cluster = await new Directed(2, round + 1).begin(sizeBytes)
      const places: readonly (readonly [number, number])[] = [
        [MiB, 17 * MiB],
        [3 * MiB, 19 * MiB],
      ]
      const counters = places.map((pair, index) => new Counter(cluster.attach(index), pair))
      cluster.pass(300 + 13 * round)
      assert.equal(await settled(cluster, changesAt(cluster, round % 2).makeImage('d', 'one')), null)
      const before = counters.map(({ value }) => value)
      cluster.pass(500)
      assert.ok(
        counters.every(({ value }, index) => value !== before[index]),
        'writes go on',
      )
      for (const counter of counters) counter.stop()
      cluster.pass(500)
      const images = [0, 1].map((index) => bytesOf(cluster, imageAt(cluster, index, 'one')))
      const [first, second] = images
      assert.ok(first !== undefined && second !== undefined)
      assert.equal(Buffer.compare(first, second), 0, `round ${round}: two servers, two instants`)
      for (const [one, two] of places) {
        const [ahead = 0, behind = 0] = [first[one], first[two]]
        assert.ok(
          ahead === behind || ahead === (behind % 250) + 1,
          `round ${round}: ${ahead} and ${behind} were never there together`,
        )
      }
      assert.ok(cluster.equal(0, 1))
      assert.deepEqual(cluster.problems, [])
    }
  })

  it('keeps what it held while the volume is overwritten, zeroed and discarded, also over a restart', async () => {
    const cluster = await new Directed(2).begin(sizeBytes)
    const client = cluster.attach(0)
    const done = (asked: Asked) => {
      cluster.until('an answer', () => asked.answer !== undefined)
      assert.equal(asked.answer, null)
    }
    for (let at = 0; at < 6; at += 1) done(cluster.write(client, at * MiB, 10 + at))
    assert.equal(await settled(cluster, changesAt(cluster, 1).makeImage('d', 'kept')), null)
    const held = bytesOf(cluster, imageAt(cluster, 0, 'kept'))
    done(cluster.write(client, 0, 99))
    done(cluster.write(cluster.attach(1), MiB, 98))
    const cleared: Asked = { answer: undefined, first: undefined }
    client.writeZeroes(2 * MiB, MiB, true, false, (failure) => {
      client.trim(3 * MiB, MiB, false, (second) => {
        cleared.answer = failure ?? second
      })
    })
    done(cleared)
    done(cluster.flush(client))
    for (const index of [0, 1]) cluster.server(index).powerCut()
    for (const index of [0, 1]) cluster.server(index).start()
    cluster.until('both are in sync', () => cluster.isWhole(), 120_000)
    for (const index of [0, 1]) {
      assert.equal(Buffer.compare(bytesOf(cluster, imageAt(cluster, index, 'kept')), held), 0)
    }
    const read = cluster.read(cluster.attach(1), 0)
    done(read)
    assert.equal(read.first, 99)
    assert.equal(await settled(cluster, changesAt(cluster, 0).deleteImage('d', 'kept')), null)
    for (const index of [0, 1]) assert.deepEqual(changesAt(cluster, index).images('d'), [])
    assert.ok(cluster.equal(0, 1))
  })

  it('is refused with a name that is taken, wrong or of none, and beyond the limit; nothing stays of it', async () => {
    const cluster = await new Directed(2).begin(sizeBytes)
    const changes = changesAt(cluster, 0)
    assert.equal(await settled(cluster, changes.makeImage('e', 'x')), 'no-such-volume')
    assert.equal(await settled(cluster, changes.makeImage('d', 'Not A Name')), 'bad-request')
    assert.equal(await settled(cluster, changes.makeImage('d', 'x')), null)
    assert.equal(await settled(cluster, changes.makeImage('d', 'x')), 'image-exists')
    assert.equal(await settled(cluster, changes.deleteImage('d', 'y')), 'no-such-image')
    for (let more = 1; ; more += 1) {
      const code = await settled(cluster, changes.makeImage('d', `more-${more}`))
      if (code === null) continue
      assert.equal(code, 'too-many-images')
      break
    }
    const names = [0, 1].map((index) =>
      changesAt(cluster, index)
        .images('d')
        .map(({ name }) => name),
    )
    assert.deepEqual(names[0], names[1])
  })

  it('two at once at two servers: each is whole, one after the other', async () => {
    const cluster = await new Directed(2).begin(sizeBytes)
    const counter = new Counter(cluster.attach(0), [MiB, 17 * MiB])
    cluster.pass(200)
    const codes = await Promise.all([
      settled(cluster, changesAt(cluster, 0).makeImage('d', 'left')),
      settled(cluster, changesAt(cluster, 1).makeImage('d', 'right')),
    ])
    counter.stop()
    cluster.pass(300)
    assert.deepEqual(codes, [null, null])
    for (const name of ['left', 'right']) {
      const [one, other] = [0, 1].map((index) => bytesOf(cluster, imageAt(cluster, index, name)))
      assert.ok(one !== undefined && other !== undefined && Buffer.compare(one, other) === 0, name)
    }
  })

  it('a server is killed in the middle of it: refused or made; writes go on, and no two differ', async () => {
    for (let round = 0; round < rounds({ short: 5, full: 24, long: 200 }); round += 1) {
      const cluster = await new Directed(2, round + 1).begin(sizeBytes)
      const counter = new Counter(cluster.attach(0), [MiB, 17 * MiB])
      cluster.pass(100)
      const making = settled(cluster, changesAt(cluster, 0).makeImage('d', 'cut'))
      cluster.world.after(round * 0.8, () => cluster.server(1).kill())
      const code = await making
      cluster.pass(100)
      cluster.server(1).start()
      cluster.until('both are in sync', () => cluster.isWhole(), 120_000)
      const value = counter.value
      cluster.pass(500)
      assert.notEqual(counter.value, value, 'writes go on')
      counter.stop()
      cluster.pass(300)
      const images = [0, 1].flatMap((index) => changesAt(cluster, index).findImage('d', 'cut') ?? [])
      // At least at those that were in sync when it was made: perhaps only at the one that was left.
      if (code === null) assert.ok(images.length >= 1, `round ${round}`)
      const [one, other] = images.map((image) => bytesOf(cluster, image))
      if (one !== undefined && other !== undefined) assert.equal(Buffer.compare(one, other), 0)
      assert.ok(cluster.equal(0, 1))
      assert.deepEqual(cluster.problems, [])
    }
  })
})

describe('a snapshot on a disk that is full (C8)', () => {
  it('an overwrite of what a snapshot holds needs space: refused at both alike, nothing is lost, nobody leaves', async () => {
    const cluster = await new Directed(2).begin(sizeBytes)
    const client = cluster.attach(0)
    const answer = (asked: Asked) => {
      cluster.until('an answer', () => asked.answer !== undefined)
      return asked.answer
    }
    for (let at = 0; at < 4; at += 1) assert.equal(answer(cluster.write(client, at * MiB, 20 + at)), null)
    assert.equal(await settled(cluster, changesAt(cluster, 0).makeImage('d', 'full')), null)
    const { epoch } = cluster.volume(0).member.known
    const held = bytesOf(cluster, imageAt(cluster, 1, 'full'))
    cluster.server(1).disk.leave(limits.diskReserveBytes)
    cluster.pass(limits.freeSpaceMs + 1_000)
    assert.equal(answer(cluster.write(client, MiB, 99)), 'no-space')
    assert.equal(answer(cluster.write(cluster.attach(1), 2 * MiB, 98)), 'no-space')
    for (const index of [0, 1]) {
      assert.equal(Buffer.compare(bytesOf(cluster, imageAt(cluster, index, 'full')), held), 0)
      const read = cluster.read(cluster.attach(index), MiB)
      assert.equal(answer(read), null)
      assert.equal(read.first, 21)
    }
    assert.equal(cluster.volume(0).member.known.epoch, epoch, 'nobody left')
    // Without the snapshot they need none.
    assert.equal(await settled(cluster, changesAt(cluster, 0).deleteImage('d', 'full')), null)
    assert.equal(answer(cluster.write(client, MiB, 97)), null)
    assert.ok(cluster.equal(0, 1))
    assert.deepEqual(cluster.problems, [])
  })
})
