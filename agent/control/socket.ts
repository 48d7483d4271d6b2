/** The API's Unix socket: where it may be, and what to do with one that is already there. */
import { chmod, lstat, unlink } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { UserError } from '../kit/failure.ts'
import { limits } from '../limits.ts'

const untouched = 'Your data was not touched.'

/** @throws UserError `socket-path-too-long` where the platform would cut the path off */
export function checkSocketPath(path: string, platform: NodeJS.Platform = process.platform): void {
  const limitBytes = platform === 'linux' ? limits.socketPathBytes : limits.socketPathBsdBytes
  const bytes = Buffer.byteLength(path)
  if (platform === 'win32' || bytes <= limitBytes) return
  throw new UserError({
    code: 'socket-path-too-long',
    happened: `The path of the control socket has ${bytes} bytes, and this system allows ${limitBytes}: ${path}`,
    dataIsSafe: untouched,
    next: 'Choose a storage folder with a shorter path, or set control.socket in config.json to a short one.',
  })
}

/**
 * Listens at `path` with mode 0600. A socket that nobody answers at is left over from a killed agent and is removed;
 * one that somebody answers at, and anything that is not a socket, stays.
 * @throws UserError `socket-in-use`, `not-a-socket`, `socket-path-too-long`, `socket-refused`
 */
export async function listenOnSocket(server: Server, path: string): Promise<void> {
  checkSocketPath(path)
  await removeStale(path)
  const listening = new Promise<void>((resolve, reject) => {
    server.once('listening', resolve)
    server.once('error', reject)
  })
  // bind() happens inside listen(), so the socket is never there with wider rights, not even for a moment.
  const before = process.umask(0o177)
  try {
    server.listen(path)
  } finally {
    process.umask(before)
  }
  try {
    await listening
    await chmod(path, 0o600)
  } catch (error) {
    throw refused(path, error)
  }
}

async function removeStale(path: string): Promise<void> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw refused(path, error)
  })
  if (found === null) return
  if (!found.isSocket()) {
    throw new UserError({
      code: 'not-a-socket',
      happened: `There is something else where the control socket belongs: ${path}`,
      dataIsSafe: untouched,
      next: 'Move it away, or set control.socket in config.json to another path.',
    })
  }
  if (await somebodyAnswers(path)) {
    throw new UserError({
      code: 'socket-in-use',
      happened: `Another Mirrorbay already answers at ${path}`,
      dataIsSafe: untouched,
      next: 'Use that one ("mirrorbay status"), or stop it first ("mirrorbay stop").',
    })
  }
  await unlink(path)
}

function somebodyAnswers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(false)
      // A full queue of a busy agent: somebody is there.
      else if (error.code === 'EAGAIN') resolve(true)
      else reject(refused(path, error))
    })
  })
}

const refused = (path: string, error: unknown): UserError =>
  new UserError({
    code: 'socket-refused',
    happened: `The control socket cannot be opened at ${path}: ${error instanceof Error ? error.message : String(error)}`,
    dataIsSafe: untouched,
    next: 'Check that this folder exists and that Mirrorbay may write there.',
  })
