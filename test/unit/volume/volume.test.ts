import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { InvariantBroken, UserError } from '../../../agent/kit/failure.ts'
import { limits, shareOfLinks } from '../../../agent/limits.ts'
import { Admission } from '../../../agent/volume/admission.ts'
import type { BlockFailure, CompareDone } from '../../../agent/volume/block-device.ts'
import { type ClientService, VolumeClient } from '../../../agent/volume/client.ts'
import { checkSize, Preparation, plan, preparedRecord } from '../../../agent/volume/creation.ts'
import { Lamport } from '../../../agent/volume/lamport.ts'
import type { Connection, WriteWish } from '../../../agent/volume/requests.ts'
import { idOf, MiB, volume } from '../mirror/world.ts'

const KiB = 1024

describe('credit to execute (P7)', () => {
  const request = (lengthBytes: number) => ({ lengthBytes })
  const admission = (hasRoom?: () => boolean) => {
    const entered: { lengthBytes: number }[] = []
    return { entered, admission: new Admission<{ lengthBytes: number }>((one) => entered.push(one), hasRoom) }
  }

  it('lets in up to the limit of requests, the rest in order', () => {
    const { entered, admission: gate } = admission()
    const all = Array.from({ length: limits.volumeRequests + 3 }, () => request(512))
    for (const one of all) gate.admit(one)
    assert.equal(entered.length, limits.volumeRequests)
    gate.leave(entered[5] ?? request(0))
    gate.leave(entered[6] ?? request(0))
    assert.deepEqual(entered.slice(limits.volumeRequests), all.slice(limits.volumeRequests, limits.volumeRequests + 2))
    assert.equal(gate.admitted, limits.volumeRequests)
  })

  it('lets in up to the limit of bytes; nobody overtakes a large one; a large one alone always goes', () => {
    const { entered, admission: gate } = admission()
    const large = request(limits.volumeBytes)
    const small = request(4 * KiB)
    gate.admit(small)
    gate.admit(large)
    gate.admit(small)
    assert.deepEqual(entered, [small])
    gate.leave(small)
    assert.deepEqual(entered, [small, large])
    gate.leave(large)
    assert.deepEqual(entered, [small, large, small])
    const beyond = admission()
    beyond.admission.admit(request(limits.volumeBytes * 2))
    assert.equal(beyond.entered.length, 1)
  })

  it('admits nothing while it is held', () => {
    const { entered, admission: gate } = admission()
    gate.hold(true)
    gate.admit(request(1))
    assert.equal(entered.length, 0)
    gate.hold(false)
    assert.equal(entered.length, 1)
  })

  it('waits while the one who executes has no room (C7, N2), in order, until it is asked again', () => {
    let room = false
    const { entered, admission: gate } = admission(() => room)
    const [one, two] = [request(1), request(2)]
    gate.admit(one)
    gate.admit(two)
    gate.pump()
    assert.deepEqual(entered, [])
    room = true
    gate.pump()
    assert.deepEqual(entered, [one, two])
  })

  it('keeps to its share of the links, which shrinks as volumes come; one write of the smallest share always fits', () => {
    let volumes = 1
    const entered: number[] = []
    const gate = new Admission<{ lengthBytes: number }>(
      (one) => entered.push(one.lengthBytes),
      () => true,
      () => shareOfLinks(volumes),
    )
    assert.equal(shareOfLinks(1), limits.volumeBytes)
    volumes = limits.volumes
    assert.ok(shareOfLinks(volumes) * volumes <= limits.linkBacklogBytes, 'N2: all volumes together')
    gate.admit(request(limits.writePartBytes))
    gate.admit(request(512))
    assert.deepEqual(entered, [limits.writePartBytes])
    volumes = 1
    gate.pump()
    assert.equal(entered.length, 2)
  })
})

describe('a client of a volume', () => {
  const sizeBytes = 100 * MiB
  const client = (options: { writeThrough?: boolean } = {}) => {
    const writes: (WriteWish & { done: CompareDone; connection: Connection })[] = []
    let detached = 0
    const volume = {
      sizeBytes,
      writeThrough: options.writeThrough ?? false,
      detached: () => {
        detached += 1
      },
    }
    const service: ClientService = {
      submitRead: (_connection, _offset, _length, done) => done(null, []),
      submitWrite: (connection, wish, done) => writes.push({ ...wish, done, connection }),
      submitFlush: (_connection, done) => done(null),
    }
    const made = new VolumeClient(volume, service, { protocol: 'nbd', address: 'here' }, () => undefined)
    return { writes, made, detachments: () => detached }
  }

  it('V1: a request outside the volume, empty, broken or too large is found', () => {
    const { made } = client()
    const nothing = () => undefined
    for (const [offset, length] of [
      [0, 0],
      [-1, 4],
      [sizeBytes, 1],
      [sizeBytes - 1, 2],
      [0.5, 4],
      [0, Number.NaN],
      [0, limits.requestBytes + 1],
    ] as const) {
      assert.throws(() => made.read(offset, length, nothing), InvariantBroken, `${offset}+${length}`)
      assert.throws(() => made.write(offset, [], length, false, nothing), InvariantBroken)
    }
    made.read(sizeBytes - 1, 1, nothing)
    assert.throws(() => made.trim(0, sizeBytes + 1, false, nothing), InvariantBroken)
  })

  it('zeroes any length in parts, one after the other, cut at whole extents', () => {
    const { made, writes } = client()
    const answers: (BlockFailure | null)[] = []
    made.writeZeroes(MiB + 5, 70 * MiB, false, true, (failure) => answers.push(failure))
    const parts: [string, number, number][] = []
    while (answers.length === 0) {
      const part = writes.shift()
      assert.ok(part !== undefined)
      assert.equal(writes.length, 0, 'one at a time')
      parts.push([part.kind, part.offsetBytes, part.lengthBytes])
      part.done(null, null)
    }
    assert.deepEqual(answers, [null])
    assert.deepEqual(
      parts.map(([, offset, length]) => [offset, offset + length]),
      [
        [MiB + 5, 32 * MiB],
        [32 * MiB, 64 * MiB],
        [64 * MiB, 71 * MiB + 5],
      ],
    )
    assert.ok(parts.every(([kind]) => kind === 'zero-keep'))
  })

  it('executes a large write in parts that end between blocks, and answers once, when all parts have ended (W5)', () => {
    const { made, writes } = client()
    const answers: (BlockFailure | null)[] = []
    const data = Buffer.alloc(9 * MiB + 700)
    for (let at = 0; at + 4 <= data.length; at += 4) data.writeUInt32LE(at, at)
    const chunks = [data.subarray(0, 100), data.subarray(100, 5 * MiB), data.subarray(5 * MiB)]
    const fromBytes = 3 * MiB + 512
    made.write(fromBytes, chunks, data.length, true, (failure) => answers.push(failure))
    assert.deepEqual(
      writes.map(({ offsetBytes, lengthBytes }) => [offsetBytes, offsetBytes + lengthBytes]),
      [
        [fromBytes, 4 * MiB],
        [4 * MiB, 8 * MiB],
        [8 * MiB, 12 * MiB],
        [12 * MiB, fromBytes + data.length],
      ],
    )
    for (const { offsetBytes, lengthBytes, chunks: part, kind, fua } of writes) {
      const at = offsetBytes - fromBytes
      assert.ok(Buffer.concat(part).equals(data.subarray(at, at + lengthBytes)), `bytes of the part at ${offsetBytes}`)
      assert.deepEqual([kind, fua], ['data', true])
    }
    const [one, two, three, four] = writes
    three?.done(null, null)
    one?.done(null, null)
    four?.done('no-space', null)
    assert.deepEqual(answers, [])
    two?.done('io', null)
    assert.deepEqual(answers, ['no-space'])
  })

  it('asks for every change to be durable where the volume is write-through (W4)', () => {
    for (const writeThrough of [false, true]) {
      const { made, writes } = client({ writeThrough })
      const done = () => undefined
      made.write(0, [new Uint8Array(512)], 512, false, done)
      made.write(0, [new Uint8Array(5 * MiB)], 5 * MiB, false, done)
      made.writeZeroes(0, 4096, true, false, done)
      made.trim(0, 4096, false, done)
      assert.deepEqual([...new Set(writes.map(({ fua }) => fua))], [writeThrough])
      assert.equal(writes.length, 5)
    }
  })

  it('ends a request in parts with the first failure', () => {
    const { made, writes } = client()
    const answers: (BlockFailure | null)[] = []
    made.trim(0, 90 * MiB, false, (failure) => answers.push(failure))
    writes.shift()?.done(null, null)
    writes.shift()?.done('io', null)
    assert.deepEqual([answers, writes.length], [['io'], 0])
  })

  it('is closed once, and its requests know it (W9)', () => {
    const { made, writes, detachments } = client()
    made.write(0, [new Uint8Array(8)], 8, false, () => undefined)
    made.detach()
    made.detach()
    assert.deepEqual([detachments(), writes[0]?.connection.closed], [1, true])
  })
})

describe('the clock of P1 and C7', () => {
  it('is larger than any time told or seen', () => {
    const lamport = new Lamport()
    assert.equal(lamport.tick(), 1)
    lamport.observe(9)
    lamport.observe(4)
    assert.deepEqual([lamport.tick(), lamport.now], [10, 10])
  })
})

describe('creating a volume', () => {
  let ids = 0
  const newId = () => {
    ids += 1
    return ids.toString(16).padStart(32, '0')
  }
  const request = {
    name: 'orders',
    sizeBytes: MiB,
    writeThrough: false,
    arbiter: { kind: 'preferred' as const, serverId: idOf(0) },
    servers: [idOf(1), idOf(0)],
  }

  it('plans a first configuration in which nobody has opened anything; it serves nothing until its register exists', () => {
    const configuration = plan(request, newId)
    assert.deepEqual(configuration.inSync, [idOf(0), idOf(1)])
    assert.equal(configuration.epoch, 1)
    assert.notEqual(configuration.arbiter.instance, plan(request, newId).arbiter.instance)
    assert.deepEqual(preparedRecord(configuration), {
      known: configuration,
      opened: null,
      prepared: true,
      word: null,
      resyncBegun: false,
      older: false,
      peers: [],
    })
  })

  it('refuses sizes that cannot be, in words', () => {
    for (const size of [0, MiB - 4096, MiB + 1, limits.volumeMaxBytes + 4096, Number.NaN]) {
      assert.throws(() => checkSize(size), UserError, String(size))
    }
    checkSize(MiB)
    checkSize(limits.volumeMaxBytes)
  })

  it('is prepared when all have answered, once, with every problem; who is late is a problem', () => {
    const outcomes: { server: string; problem: string }[][] = []
    const preparation = new Preparation(volume, [idOf(0), idOf(1)], (problems) => outcomes.push(problems))
    preparation.answer(idOf(2), 'a stranger')
    preparation.answer(idOf(0), null)
    preparation.answer(idOf(0), 'twice')
    assert.equal(outcomes.length, 0)
    preparation.answer(idOf(1), 'its disk is full')
    preparation.timeOut()
    assert.deepEqual(outcomes, [[{ server: idOf(1), problem: 'its disk is full' }]])
    const late = new Preparation(volume, [idOf(0)], (problems) => outcomes.push(problems))
    late.timeOut()
    late.answer(idOf(0), null)
    assert.equal(outcomes[1]?.[0]?.problem, 'it did not answer in time')
    assert.equal(outcomes.length, 2)
  })
})
