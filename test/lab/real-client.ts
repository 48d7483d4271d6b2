/**
 * The demo's clients: whichever of other people's NBD clients this machine has, else the project's own. They write
 * pieces, and read them back comparing every byte.
 */
import { createReadStream } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import path from 'node:path'
import { connectNbd } from '../kit/nbd-client.ts'
import { findTool } from '../kit/needs.ts'
import { mustRun, qemuIo } from '../kit/tools.ts'

/** A stretch of the disk that is filled with one byte. */
export interface Piece {
  readonly offsetBytes: number
  readonly lengthBytes: number
  /** 1 to 255: never the zero of what was never written. */
  readonly fill: number
}

export interface RealClient {
  readonly name: string
  /** Writes and flushes. @throws when the client reports an error */
  write(uri: string, pieces: readonly Piece[]): Promise<void>
  /** @throws unless every byte of every piece is there */
  verify(uri: string, pieces: readonly Piece[]): Promise<void>
}

const qemuIoClient: RealClient = {
  name: 'qemu-io',
  async write(uri, pieces) {
    const commands = pieces.map((piece) => `write -P ${piece.fill} ${piece.offsetBytes} ${piece.lengthBytes}`)
    await qemuIo(uri, [...commands, 'flush'])
  },
  async verify(uri, pieces) {
    // `read -P` compares; qemu-io ends with 1 where a byte differs.
    await qemuIo(
      uri,
      pieces.map((piece) => `read -P ${piece.fill} ${piece.offsetBytes} ${piece.lengthBytes}`),
    )
  },
}

/**
 * nbdcopy copies whole disks only. A piece is written from an image that holds nothing else: told that the disk is zero
 * already, nbdcopy leaves out the image's holes, so that what others write meanwhile is not overwritten.
 */
function nbdcopyClient(folder: string): RealClient {
  const image = path.join(folder, 'nbdcopy.img')
  return {
    name: 'nbdcopy',
    async write(uri, pieces) {
      const file = await open(image, 'w')
      try {
        for (const piece of pieces) await file.write(bytesOf(piece), 0, piece.lengthBytes, piece.offsetBytes)
      } finally {
        await file.close()
      }
      await mustRun('nbdcopy', ['--destination-is-zero', '--flush', image, uri])
    },
    async verify(uri, pieces) {
      await rm(image, { force: true })
      await mustRun('nbdcopy', [uri, image])
      for (const piece of pieces) {
        const { offsetBytes: start, lengthBytes } = piece
        let at = start
        for await (const chunk of createReadStream(image, { start, end: start + lengthBytes - 1 })) {
          at = compared(piece, chunk, at)
        }
        if (at !== start + lengthBytes) throw new Error(`the copy ends at ${at}`)
      }
    },
  }
}

/** Bytes of one request of the project's own client. */
const requestBytes = 1024 * 1024

const ownClient: RealClient = {
  name: "the project's own NBD client",
  async write(uri, pieces) {
    const client = await connectNbd(uri)
    try {
      for (const { offsetBytes, lengthBytes, fill } of pieces) {
        for (let done = 0; done < lengthBytes; done += requestBytes) {
          const now = Math.min(requestBytes, lengthBytes - done)
          await client.write(offsetBytes + done, new Uint8Array(now).fill(fill))
        }
      }
      await client.flush()
    } finally {
      await client.disconnect()
    }
  },
  async verify(uri, pieces) {
    const client = await connectNbd(uri)
    try {
      for (const piece of pieces) {
        for (let done = 0; done < piece.lengthBytes; done += requestBytes) {
          const at = piece.offsetBytes + done
          compared(piece, await client.read(at, Math.min(requestBytes, piece.lengthBytes - done)), at)
        }
      }
    } finally {
      await client.disconnect()
    }
  },
}

const bytesOf = (piece: Piece): Uint8Array => new Uint8Array(piece.lengthBytes).fill(piece.fill)

/** @returns the offset behind the bytes. @throws at the first wrong one */
function compared(piece: Piece, bytes: Uint8Array, at: number): number {
  const wrong = bytes.findIndex((byte) => byte !== piece.fill)
  if (wrong >= 0) throw new Error(`byte ${at + wrong} is ${bytes[wrong]}, ${piece.fill} was written`)
  return at + bytes.length
}

/** @param folder for what the client must keep between two commands */
export function chooseClient(folder: string): RealClient {
  if (findTool('qemu-io') !== null) return qemuIoClient
  if (findTool('nbdcopy') !== null) return nbdcopyClient(folder)
  return ownClient
}
