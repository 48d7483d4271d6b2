/** Sockets that are read into slabs. To their users they are sockets: they emit `data`, pause, resume, end, close. */
import { connect, Socket, type TcpNetConnectOpts } from 'node:net'
import { type SlabPool, SlabReader } from './slabs.ts'

/** How node reads into memory of ours, and tells the socket that is made with it. */
function readingInto(pool: SlabPool) {
  const reader = new SlabReader(pool)
  let socket: Socket | null = null
  return {
    onread: {
      buffer: () => reader.room(),
      callback: (bytes: number): boolean => {
        socket?.emit('data', reader.took(bytes))
        return true
      },
    },
    belongsTo: (made: Socket): Socket => {
      socket = made
      return made.once('close', () => reader.end())
    },
  }
}

export function connectIntoSlabs(to: TcpNetConnectOpts, pool: SlabPool): Socket {
  const { onread, belongsTo } = readingInto(pool)
  return belongsTo(connect({ ...to, onread }))
}

/**
 * An accepted socket cannot be told where to read to, so its connection goes over to a new socket that can. Node offers
 * no public way: without its inner handle the accepted socket stays, and is read the ordinary way.
 * @param accepted nothing was read from it yet: its server has `pauseOnConnect`
 * @returns the socket to use from now on; the server counts it as closed
 */
export function adoptIntoSlabs(accepted: Socket, options: { pool: SlabPool; allowHalfOpen: boolean }): Socket {
  // `_handle` is how node itself passes connections on between sockets; its types do not show it.
  const inner = accepted as Socket & { _handle?: object | null }
  const handle = inner._handle
  if (!handle) return accepted.resume()
  const { onread, belongsTo } = readingInto(options.pool)
  inner._handle = null
  // As for `handle` and `onread`: the first is not in node's types, the second only for sockets that connect.
  const adopted: object = { handle, onread, allowHalfOpen: options.allowHalfOpen }
  const socket = belongsTo(new Socket(adopted))
  accepted.destroy()
  return socket
}
