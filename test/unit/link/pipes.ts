/** Bad cables for the tests of the link. */
import { connect, createServer, type Server, type Socket } from 'node:net'
import { seeded } from './world.ts'

/** Forwards to a port and destroys every connection after a random number of bytes. */
export async function killingProxy(
  target: () => number,
  seed: number,
): Promise<{ server: Server; port: number; kills: () => number; calm: () => void }> {
  const random = seeded(seed)
  let kills = 0
  let calm = false
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(target(), '127.0.0.1')
    let leftBytes = 500 + Math.floor(random.unit() * 60_000)
    const end = () => {
      client.destroy()
      upstream.destroy()
    }
    const forward = (from: Socket, to: Socket) => {
      sockets.add(from)
      from.on('error', end)
      from.on('close', end)
      from.on('data', (chunk: Buffer) => {
        if (calm || chunk.length < leftBytes) {
          leftBytes -= chunk.length
          to.write(chunk)
          return
        }
        to.write(chunk.subarray(0, leftBytes), end)
        from.pause()
        kills += 1
      })
    }
    forward(client, upstream)
    forward(upstream, client)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  server.on('close', () => {
    for (const socket of sockets) socket.destroy()
  })
  return {
    server,
    port: typeof address === 'object' && address ? address.port : 0,
    kills: () => kills,
    calm: () => {
      calm = true
    },
  }
}

/** Forwards to a port until frozen: then both ends stay connected and hear nothing any more. */
export async function freezingPipe(target: number): Promise<{ port: number; freeze: () => void; close: () => void }> {
  const sockets = new Set<Socket>()
  let frozen = false
  const server = createServer((client) => {
    const upstream = connect(target, '127.0.0.1')
    const forward = (from: Socket, to: Socket) => {
      sockets.add(from)
      from.on('data', (chunk: Buffer) => void (frozen || to.write(chunk)))
      for (const ending of ['error', 'close']) from.on(ending, () => void (frozen || to.destroy()))
    }
    forward(client, upstream)
    forward(upstream, client)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    freeze: () => {
      frozen = true
      for (const socket of sockets) socket.pause()
    },
    close: () => {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
