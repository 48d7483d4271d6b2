import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import { after, describe, it } from 'node:test'
import { crc32 } from 'node:zlib'
import { limits } from '../../../agent/limits.ts'
import { FrameEncoder } from '../../../agent/link/codec.ts'
import { Handshake } from '../../../agent/link/handshake.ts'
import type { ControlMessage, Message, WriteMessage } from '../../../agent/link/messages.ts'
import { freezingPipe, killingProxy } from './pipes.ts'
import { clock, freePort, hubOf, idOf, peerAt, type Recorded, seeded, until } from './world.ts'

const a = idOf('a')
const b = idOf('b')

const note = (number: number): ControlMessage => ({ type: 'control', kind: 'test.note', body: { number } })
const write = (number: number, chunks: readonly Uint8Array[]): WriteMessage => ({
  type: 'write',
  volumeKey: 7,
  session: 9,
  attempt: 0,
  number,
  lowWater: 0,
  time: number,
  kind: 'data',
  fua: false,
  offsetBytes: 0,
  lengthBytes: chunks.reduce((sum, chunk) => sum + chunk.length, 0),
  chunks,
})

const numberOf = (message: Message): number =>
  message.type === 'write' ? message.number : Number(JSON.parse(JSON.stringify(message)).body.number)

const open: Recorded[] = []
async function hub(...args: Parameters<typeof hubOf>): Promise<Recorded> {
  const recorded = await hubOf(...args)
  open.push(recorded)
  return recorded
}
async function closeAll(): Promise<void> {
  await Promise.all(open.splice(0).map((each) => each.hub.close()))
}

async function pair(options: { aOptions?: object; bOptions?: object } = {}): Promise<[Recorded, Recorded]> {
  const [portA, portB] = [await freePort(), await freePort()]
  const one = await hub({ name: 'a', id: a, port: portA, peers: [peerAt('b', portB)], ...options.aOptions })
  const other = await hub({ name: 'b', id: b, port: portB, peers: [peerAt('a', portA)], ...options.bOptions })
  return [one, other]
}
const connected = (one: Recorded, other: Recorded) =>
  until(() => Boolean(one.hub.peer(b)?.connected && other.hub.peer(a)?.connected), 'both connected')

describe('link over sockets', () => {
  after(closeAll)

  it('two hubs that dial each other at once end with one connection and deliver both ways in order', async () => {
    const [one, other] = await pair()
    await connected(one, other)
    for (let number = 1; number <= 500; number += 1) {
      assert.equal(one.hub.send(b, note(number)), true)
      assert.equal(other.hub.send(a, write(number, [Buffer.alloc(4096, number)])), true)
    }
    await until(() => one.received.length >= 500 && other.received.length >= 500, 'all delivered')
    const sent = Array.from({ length: 500 }, (_, index) => index + 1)
    assert.deepEqual(
      one.received.map((each) => numberOf(each.message)),
      sent,
    )
    assert.deepEqual(
      other.received.map((each) => numberOf(each.message)),
      sent,
    )
    assert.ok(one.received.every((each) => each.ordered && each.from === b && each.run === 1))
    await until(() => one.hub.unacknowledgedBytes(b) === 0 && other.hub.unacknowledgedBytes(a) === 0, 'acknowledged')
    assert.deepEqual([one.disconnected, other.disconnected], [0, 0])
    await closeAll()
  })

  it('delivers exactly once and in order through a proxy that kills connections at any byte', async () => {
    const portB = await freePort()
    const proxy = await killingProxy(() => portB, 42)
    try {
      const portA = await freePort()
      const one = await hub({ name: 'a', id: a, port: portA, peers: [peerAt('b', proxy.port)] })
      const other = await hub({ name: 'b', id: b, port: portB, peers: [peerAt('a', portA)], knownIds: { a } })
      await until(() => one.hub.peer(b) !== undefined && other.hub.peer(a) !== undefined, 'met')
      const random = seeded(43)
      for (let number = 1; number <= 300; number += 1) {
        const payload = Buffer.alloc(1 + Math.floor(random.unit() * 3000), number)
        one.hub.send(
          b,
          write(
            number,
            [payload.subarray(0, 1), payload.subarray(1)].filter((each) => each.length > 0),
          ),
        )
        other.hub.send(a, note(number))
      }
      await until(() => proxy.kills() >= 3, 'connections killed')
      proxy.calm()
      await until(() => one.received.length >= 300 && other.received.length >= 300, 'all delivered', 20_000)
      const sent = Array.from({ length: 300 }, (_, index) => index + 1)
      assert.deepEqual(
        one.received.map((each) => numberOf(each.message)),
        sent,
      )
      assert.deepEqual(
        other.received.map((each) => numberOf(each.message)),
        sent,
      )
      for (const { message } of other.received) {
        assert.ok(message.type === 'write')
        for (const chunk of message.chunks) assert.ok(chunk.every((byte) => byte === (message.number & 255)))
      }
    } finally {
      await closeAll()
      proxy.server.close()
      proxy.server.emit('close')
    }
  })

  it('a restarted peer is a new run: its stream begins anew and what waited for the old run is dropped', async () => {
    const [one, other] = await pair()
    await connected(one, other)
    const portB = other.hub.port
    const portA = one.hub.port
    await other.hub.close()
    await until(() => one.hub.peer(b)?.connected === false, 'loss seen')
    assert.equal(one.disconnected, 1)
    assert.equal(one.hub.send(b, note(1)), true)
    assert.ok(one.hub.unacknowledgedBytes(b) > 0)
    const again = await hub({ name: 'b', id: b, run: 2, port: portB, peers: [peerAt('a', portA)] })
    await connected(one, again)
    assert.deepEqual(one.runs, [1, 2])
    assert.equal(one.hub.peer(b)?.run, 2)
    assert.equal(one.hub.unacknowledgedBytes(b), 0)
    one.hub.send(b, note(2))
    await until(() => again.received.length > 0, 'delivered to the new run')
    assert.deepEqual(
      again.received.map((each) => numberOf(each.message)),
      [2],
    )
    await closeAll()
  })

  it('dialing each other at the same moment settles on one connection that both ends agree on', async () => {
    for (let round = 0; round < 10; round += 1) {
      const [portA, portB] = [await freePort(), await freePort()]
      const [one, other] = await Promise.all([
        hub({ name: 'a', id: a, port: portA, peers: [peerAt('b', portB)] }),
        hub({ name: 'b', id: b, port: portB, peers: [peerAt('a', portA)] }),
      ])
      await connected(one, other)
      one.hub.send(b, note(1))
      other.hub.send(a, note(2))
      await until(() => one.received.length > 0 && other.received.length > 0, 'delivered')
      const dialedBy = (each: Recorded) => each.logged.findLast((line) => line.message === 'peer connected')?.fields.by
      await until(() => dialedBy(one) !== dialedBy(other), 'both ends keep the same connection')
      assert.deepEqual([one.received.length, other.received.length], [1, 1])
      await closeAll()
    }
  })

  it('a new run takes over at once from a half-open connection of the old one', async () => {
    const [portA, portB] = [await freePort(), await freePort()]
    const pipe = await freezingPipe(portB)
    try {
      const one = await hub({ name: 'a', id: a, port: portA, peers: [peerAt('b', pipe.port)] })
      const other = await hub({ name: 'b', id: b, port: portB, peers: [peerAt('a', await freePort())] })
      await connected(one, other)
      pipe.freeze()
      await other.hub.close()
      assert.equal(one.hub.peer(b)?.connected, true, 'nothing tells that the old run has ended')
      const again = await hub({ name: 'b', id: b, run: 2, port: portB, peers: [peerAt('a', portA)] })
      await until(() => one.hub.peer(b)?.run === 2, 'new run known', limits.leaseMs / 2)
      one.hub.send(b, note(1))
      await until(() => again.received.length === 1, 'delivered to the new run')
      assert.equal(one.disconnected, 0)
    } finally {
      await closeAll()
      pipe.close()
    }
  })

  it('nothing is sent before the first handshake, and says so', async () => {
    const one = await hub({ name: 'a', id: a, peers: [peerAt('b', await freePort())], knownIds: { b } })
    assert.equal(one.hub.send(b, note(1)), false)
    assert.equal(one.hub.sendNow(b, note(1)), false)
    assert.equal(one.hub.peer(b), undefined)
    assert.deepEqual(
      one.hub.known().map(({ id, connected, sinceMs }) => ({ id, connected, sinceMs })),
      [{ id: b, connected: false, sinceMs: null }],
    )
    await closeAll()
  })

  it('a pulled cable is noticed within a lease by heartbeats, nothing is lost, and healing brings all', async () => {
    const [one, other] = await pair({ aOptions: { allowFaults: true } })
    await connected(one, other)
    const beat = setInterval(() => {
      one.hub.sendNow(b, note(0))
      other.hub.sendNow(a, note(0))
    }, limits.heartbeatMs)
    try {
      one.hub.cut('b', 'both')
      one.hub.send(b, note(1))
      other.hub.send(a, note(2))
      const started = performance.now()
      await until(() => !one.hub.peer(b)?.connected && !other.hub.peer(a)?.connected, 'both ends gave up')
      const tookMs = performance.now() - started
      assert.ok(tookMs > limits.leaseMs * 0.8 && tookMs < limits.leaseMs * 2, `${tookMs} ms`)
      const ordered = (all: Recorded) =>
        all.received.filter((each) => each.ordered).map((each) => numberOf(each.message))
      assert.deepEqual([ordered(one), ordered(other)], [[], []])
      one.hub.heal()
      await until(() => ordered(one).length + ordered(other).length === 2, 'what waited arrived')
      assert.deepEqual([ordered(one), ordered(other)], [[2], [1]])
    } finally {
      clearInterval(beat)
      await closeAll()
    }
  })

  it('a cable that was cut for less than a lease, one way, costs nothing but time', async () => {
    const [one, other] = await pair({ aOptions: { allowFaults: true } })
    await connected(one, other)
    const settled = () => one.hub.unacknowledgedBytes(b) + other.hub.unacknowledgedBytes(a) === 0
    for (const direction of ['out', 'in'] as const) {
      const [fromOne, fromOther] = direction === 'out' ? [one, other] : [other, one]
      const [toOther, toOne] = direction === 'out' ? [b, a] : [a, b]
      one.hub.cut('b', direction)
      const before = [one.received.length, other.received.length]
      fromOne.hub.send(toOther, note(1))
      fromOther.hub.send(toOne, note(2))
      await until(
        () => fromOne.received.length === 1 + (direction === 'out' ? (before[0] ?? 0) : (before[1] ?? 0)),
        'the other way works',
      )
      assert.equal(fromOther.received.length, direction === 'out' ? before[1] : before[0], 'nothing passed the cut')
      one.hub.heal()
      await until(settled, 'all arrived after healing')
    }
    assert.deepEqual([one.received.length, other.received.length], [2, 2])
    assert.deepEqual([one.disconnected, other.disconnected], [0, 0])
    await closeAll()
  })

  it('N4: frames of somebody who proved nothing are not looked at', async () => {
    const one = await hub({ name: 'a', id: a, peers: [peerAt('b', await freePort())] })
    const frame = new FrameEncoder(crc32).encode(note(1), 1, 0).head
    const hello = new Handshake({
      side: 'dialer',
      self: { id: b, name: 'b', role: 'storage', run: 1, instance: idOf('c') },
      secret: 'not known',
      nonce: '0'.repeat(64),
      crypto: { hmac: () => new Uint8Array(32), equal: () => true },
      owner: { expects: () => undefined, admits: () => undefined, lastReceived: () => 0 },
    }).start()
    for (const bytes of [frame, Buffer.concat([hello ?? assert.fail(), frame])]) {
      await new Promise<void>((resolve, reject) => {
        const socket = connect(one.hub.port, '127.0.0.1', () => socket.write(bytes))
        socket.on('error', reject)
        socket.on('close', () => resolve())
        socket.resume()
      })
    }
    assert.deepEqual([one.received, one.runs, one.hub.peer(b)], [[], [], undefined])
    await closeAll()
  })

  it('tells what it knows of its peers, and what went over the wire', async () => {
    const [one, other] = await pair()
    await connected(one, other)
    const [known] = one.hub.known()
    assert.deepEqual([known?.id, known?.name, known?.role, known?.connected], [b, 'b', 'storage', true])
    assert.equal(known?.address, `127.0.0.1:${other.hub.port}`)
    assert.ok(Math.abs((known?.sinceMs ?? 0) - Date.now()) < 60_000)
    const before = one.hub.bytesSent
    one.hub.send(b, write(1, [Buffer.alloc(100_000)]))
    await until(() => other.received.length === 1, 'delivered')
    assert.ok(one.hub.bytesSent - before >= 100_072 && other.hub.bytesReceived >= 100_072)
    await closeAll()
  })

  it('faults are refused where they were not allowed', async () => {
    const [one, other] = await pair()
    await connected(one, other)
    assert.throws(() => one.hub.cut('b', 'both'), /not started with faults/)
    assert.throws(() => one.hub.heal(), /not started with faults/)
    await closeAll()
  })

  it('refuses a wrong secret, an unknown name and itself, tells both ends why once, and goes on', async () => {
    const [portA, portB] = [await freePort(), await freePort()]
    const one = await hub({ name: 'a', id: a, port: portA, peers: [peerAt('b', portB), peerAt('me', portA)] })
    const wrong = await hub({ name: 'b', id: b, port: portB, secret: 'another secret', peers: [peerAt('a', portA)] })
    const told = (recorded: Recorded, reason: string) =>
      recorded.logged.filter((each) => each.level === 'warn' && String(each.fields.why).endsWith(reason))
    await until(() => told(one, 'wrong-secret').length > 1 && told(wrong, 'wrong-secret').length > 1, 'told')
    await until(() => told(one, 'connected-to-itself').length > 0, 'told of itself')
    assert.equal(told(wrong, 'by the other side: wrong-secret').length, 1)
    assert.deepEqual([one.runs, wrong.runs], [[], []])
    await wrong.hub.close()
    const stranger = await hub({ name: 'z', id: idOf('d'), port: 0, peers: [peerAt('a', portA)] })
    await until(() => told(stranger, 'by the other side: unknown-name').length > 0, 'unknown name told')
    const right = await hub({ name: 'b', id: b, port: portB, peers: [peerAt('a', portA)] })
    await connected(one, right)
    await closeAll()
  })

  it('refuses a clone: the same id under another name, another id under a pinned name, an older run', async () => {
    const [portA, portB] = [await freePort(), await freePort()]
    const one = await hub({
      name: 'a',
      id: a,
      port: portA,
      peers: [peerAt('b', portB), peerAt('c', 1)],
      knownIds: { b },
    })
    const told = (recorded: Recorded, reason: string) =>
      recorded.logged.some((each) => String(each.fields.why).endsWith(`by the other side: ${reason}`))
    const again = await hub({ name: 'b', id: b, run: 5, port: portB, peers: [peerAt('a', portA)] })
    await connected(one, again)
    const refused = async (reason: string, options: { name: string; id: typeof a; run?: number }) => {
      const clone = await hub({ ...options, peers: [peerAt('a', portA)] })
      await until(() => told(clone, reason), reason)
      assert.deepEqual(clone.runs, [])
      await clone.hub.close()
    }
    await refused('duplicate-id', { name: 'c', id: b })
    await refused('other-id', { name: 'b', id: idOf('e') })
    await refused('older-run', { name: 'b', id: b, run: 4 })
    await refused('duplicate-id', { name: 'b', id: b, run: 5 })
    assert.deepEqual([one.hub.peer(b), one.disconnected], [{ run: 5, connected: true }, 0])
    await closeAll()
  })

  it('garbage, floods of strangers and half handshakes cost nothing: peers still connect', async () => {
    const [portA, portB] = [await freePort(), await freePort()]
    const hasty = { ...clock, after: (delayMs: number, fire: () => void) => clock.after(delayMs / 10, fire) }
    const one = await hub({ name: 'a', id: a, port: portA, peers: [peerAt('b', portB)], clock: hasty })
    const sockets: Socket[] = []
    let ended = 0
    const stranger = (bytes: Buffer) => {
      const socket = connect(portA, '127.0.0.1', () => socket.write(bytes))
      socket.on('error', () => undefined)
      socket.resume()
      socket.on('close', () => {
        ended += 1
      })
      sockets.push(socket)
    }
    try {
      for (let index = 0; index < limits.linkStrangers * 3; index += 1) stranger(Buffer.from('MBLK'))
      await until(() => ended >= limits.linkStrangers * 2, 'the oldest strangers closed')
      stranger(Buffer.from('GET / HTTP/1.1\r\n\r\n'))
      stranger(Buffer.alloc(100_000, 255))
      await until(() => ended >= limits.linkStrangers * 2 + 2, 'garbage closed at once')
      const other = await hub({ name: 'b', id: b, port: portB, peers: [peerAt('a', portA)] })
      await connected(one, other)
      await until(() => ended === sockets.length, 'half handshakes closed in time', limits.linkHandshakeMs)
      assert.equal(one.hub.peer(b)?.connected, true)
    } finally {
      for (const socket of sockets) socket.destroy()
      await closeAll()
    }
  })

  it('a listener that is taken is told in words', async () => {
    const one = await hub({ name: 'a', id: a, peers: [] })
    await assert.rejects(hub({ name: 'b', id: b, port: one.hub.port, peers: [] }), /listening on .* failed/)
    await closeAll()
  })
})
