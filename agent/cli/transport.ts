/** HTTP over an agent's Unix socket, in the shape that contract/client.ts wants. */
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import type { Transport } from '../contract/client.ts'
import { UserError } from '../kit/failure.ts'

/**
 * @param socketPath the agent's control socket
 * @returns a transport; it throws UserError `agent-not-running`, `agent-silent` (nothing within the call's limit),
 * `not-your-agent` (no right to open the socket) or `agent-lost` (it ended in the middle)
 */
export function socketTransport(socketPath: string): Transport {
  return (path, { method, headers, body, signal }) =>
    new Promise((resolve, reject) => {
      const failed = (error: NodeJS.ErrnoException) =>
        reject(signal?.aborted ? silent(signal) : lost(error, socketPath))
      const length = body === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(body)) }
      const request = httpRequest(
        // A connection of its own: nothing is left open that would keep a finished command alive.
        { socketPath, path, method, agent: false, headers: { Host: 'localhost', ...headers, ...length } },
        (response) => {
          const readable = readableBody(response, { socketPath, signal })
          resolve({
            status: response.statusCode ?? 0,
            text: () => text(readable),
            body: readable,
          })
        },
      )
      signal?.addEventListener('abort', () => request.destroy(), { once: true })
      if (signal?.aborted) request.destroy()
      request.on('error', failed)
      request.end(body)
    })
}

/** The body's chunks; the errors of a broken connection in people's words. An abort by the caller just ends it. */
async function* readableBody(
  response: IncomingMessage,
  from: { socketPath: string; signal: AbortSignal | undefined },
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for await (const chunk of response) yield chunk
  } catch (error) {
    if (from.signal?.aborted) {
      if (isTimeout(from.signal)) throw silent(from.signal)
      return
    }
    // Streams of node throw Errors with a code.
    throw lost(error as NodeJS.ErrnoException, from.socketPath)
  }
}

const isTimeout = (signal: AbortSignal): boolean =>
  signal.reason instanceof DOMException && signal.reason.name === 'TimeoutError'

function silent(signal: AbortSignal): Error {
  if (!isTimeout(signal)) return new DOMException('ended by the caller', 'AbortError')
  return new UserError({
    code: 'agent-silent',
    happened: 'Mirrorbay runs here but did not answer in time.',
    dataIsSafe: 'What was saved is kept. What was just asked for may still be carried out.',
    next: 'Look with "mirrorbay status", then try again.',
  })
}

function lost(error: NodeJS.ErrnoException, socketPath: string): UserError {
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'ENOTSOCK') {
    return new UserError({
      code: 'agent-not-running',
      happened: `Mirrorbay does not run here: nobody answers at ${socketPath}`,
      dataIsSafe: 'What was saved is kept on the disks.',
      next: 'Start it with "mirrorbay agent", or name another storage folder with --dir.',
    })
  }
  if (error.code === 'EACCES' || error.code === 'EPERM') {
    return new UserError({
      code: 'not-your-agent',
      happened: `You may not command the Mirrorbay at ${socketPath}`,
      dataIsSafe: 'Nothing was changed.',
      next: 'Run this as the user that runs Mirrorbay, for example with sudo.',
    })
  }
  return new UserError({
    code: 'agent-lost',
    happened: `The connection to Mirrorbay ended in the middle (${error.code ?? error.message}).`,
    dataIsSafe: 'What was saved is kept. What was just asked for may or may not have been carried out.',
    next: 'Look with "mirrorbay status", then try again.',
  })
}
