import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { describe, it } from 'node:test'
import { InvariantBroken } from '../../../agent/kit/failure.ts'
import { adoptIntoSlabs, connectIntoSlabs } from '../../../agent/kit/slab-socket.ts'
import { handBack, handBackBytes, SlabPieces, SlabPool, SlabReader } from '../../../agent/kit/slabs.ts'
import { limits } from '../../../agent/limits.ts'

/** Fills the reader's slab to where it goes on to another one. @returns what was read */
function fillSlab(reader: SlabReader): Buffer[] {
  const views: Buffer[] = []
  const pieceBytes = limits.slabRoomBytes
  for (let left = limits.slabBytes; left >= pieceBytes; left -= pieceBytes) {
    reader.room()
    views.push(reader.took(pieceBytes))
  }
  reader.room()
  return views
}

describe('slabs, read into again', () => {
  it('are not read into while one of their bytes is kept', () => {
    const pool = new SlabPool()
    const reader = new SlabReader(pool)
    reader.room().write('kept and given')
    const kept = reader.took(4)
    const given = reader.took(10)
    handBack([given])
    const memory = reader.room().buffer
    assert.equal(memory, kept.buffer, 'the slab has room left')
    assert.equal(reader.room().byteOffset, 14, 'behind what was read')
    handBackBytes(kept, 3)
    assert.equal(reader.room().byteOffset, 14)
    assert.equal(kept.toString(), 'kept')
    handBackBytes(kept, 1)
    assert.equal(reader.room().byteOffset, 0, 'everything is back')
  })

  it('come back through the pool in whatever order their bytes do', () => {
    const pool = new SlabPool()
    const reader = new SlabReader(pool)
    const views = fillSlab(reader)
    const memory = views[0]?.buffer
    assert.notEqual(reader.room().buffer, memory, 'a full slab is left')
    for (const view of views.reverse()) {
      assert.notEqual(pool.take() as ArrayBuffer, memory, 'not before the last byte is back')
      handBack([view])
    }
    assert.equal(pool.take() as ArrayBuffer, memory)
  })

  it('that miss a byte are left to the garbage collector', () => {
    const pool = new SlabPool()
    const reader = new SlabReader(pool)
    const [lost, ...others] = fillSlab(reader)
    handBack(others)
    reader.end()
    const seen = [pool.take(), pool.take(), pool.take()] as ArrayBuffer[]
    assert.ok(lost && !seen.some((slab) => slab === lost.buffer))
  })

  it('that get a byte back twice stop the agent (K2)', () => {
    const reader = new SlabReader(new SlabPool())
    reader.room()
    const view = reader.took(8)
    handBack([view])
    assert.throws(() => handBack([view]), InvariantBroken)
  })

  it('leave memory of other kinds alone', () => {
    const other = Buffer.from('not from a socket')
    handBack([other, other, new Uint8Array(3)])
    assert.equal(other.toString(), 'not from a socket')
  })
})

describe('pieces of slabs', () => {
  it('are apart while they are kept, and used again when handed back; larger ones are memory of their own', () => {
    const pieces = new SlabPieces()
    const kept = pieces.take(1000).fill(1)
    const next = pieces.take(limits.slabBytes - 1000).fill(2)
    assert.equal(next.buffer, kept.buffer)
    const other = pieces.take(1000).fill(3)
    assert.notEqual(other.buffer, kept.buffer, 'the first slab is full')
    assert.ok(kept.every((byte) => byte === 1) && next.every((byte) => byte === 2))
    handBack([next, kept])
    assert.equal(pieces.take(limits.slabBytes).buffer, kept.buffer)
    assert.equal(pieces.take(limits.slabBytes + 1).length, limits.slabBytes + 1)
  })
})

describe('sockets read into slabs', () => {
  it('give the bytes to either end, use one memory again, and end in order', async () => {
    const pool = new SlabPool()
    const accepted: Socket[] = []
    const memories = new Set<unknown>()
    let got = 0
    let mirrored = 0
    const server = createServer({ noDelay: true, pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
      const adopted = adoptIntoSlabs(socket, { pool, allowHalfOpen: true })
      accepted.push(adopted)
      adopted.on('data', (bytes: Buffer) => {
        got += bytes.length
        memories.add(bytes.buffer)
        adopted.write(Buffer.from(bytes))
        handBack([bytes])
      })
      adopted.on('end', () => adopted.end())
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    try {
      const { port } = server.address() as AddressInfo // listening on TCP
      const client = connectIntoSlabs({ host: '127.0.0.1', port }, pool)
      const closed = once(client, 'close')
      client.on('data', (bytes: Buffer) => {
        mirrored += bytes.length
        assert.ok(bytes.every((byte) => byte === 7))
        handBack([bytes])
        if (mirrored === total) client.end()
        else if (mirrored % piece.length === 0) client.write(piece)
      })
      const piece = Buffer.alloc(1000, 7)
      const total = 400 * piece.length
      client.write(piece)
      await closed
      assert.equal(got, total)
      assert.equal(memories.size, 1, 'this Node lets us read into memory of our own')
      assert.equal(accepted[0]?.destroyed, true)
    } finally {
      for (const socket of accepted) socket.destroy()
      server.close()
      await once(server, 'close')
    }
  })

  it('can be paused: nothing is read meanwhile', async () => {
    const pool = new SlabPool()
    const server = createServer({ pauseOnConnect: true })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo // listening on TCP
    const client = connectIntoSlabs({ host: '127.0.0.1', port }, pool)
    const [socket] = (await once(server, 'connection')) as [Socket] // the event's one argument
    const adopted = adoptIntoSlabs(socket, { pool, allowHalfOpen: false })
    try {
      const got: string[] = []
      let paused = false
      adopted.on('data', (bytes: Buffer) => {
        assert.equal(paused, false)
        got.push(bytes.toString())
        handBack([bytes])
      })
      client.write('one ')
      while (got.join('') !== 'one ') await once(adopted, 'data')
      adopted.pause()
      paused = true
      client.write('two')
      // Another connection's whole life passes: what was written before it has long arrived.
      const other = connectIntoSlabs({ host: '127.0.0.1', port }, pool)
      const [witness] = (await once(server, 'connection')) as [Socket] // the event's one argument
      other.destroy()
      await once(witness.resume(), 'close')
      paused = false
      adopted.resume()
      while (got.join('') !== 'one two') await once(adopted, 'data')
    } finally {
      client.destroy()
      adopted.destroy()
      server.close()
      await once(server, 'close')
    }
  })
})
