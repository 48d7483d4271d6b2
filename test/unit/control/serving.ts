/** A real control API over a RecordingPort, on a socket and a port of its own, cleaned up whatever happens. */
import { mkdtemp, rm } from 'node:fs/promises'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Control, type ControlOptions, startControl } from '../../../agent/control/server.ts'
import { RecordingPort, realClock, silentLog } from './recording-port.ts'

export const token = 'f'.repeat(64)

export interface Served {
  readonly port: RecordingPort
  readonly control: Control
  readonly dir: string
  readonly socketPath: string
}

export async function serving(run: (served: Served) => Promise<void>, over: Partial<ControlOptions> = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'mirrorbay-control-'))
  try {
    const port = new RecordingPort()
    const socketPath = join(dir, 'api.sock')
    const control = await startControl({
      port,
      socketPath,
      console: { host: '127.0.0.1', port: null, token },
      rendererDir: join(dir, 'renderer'),
      version: '0.1.0',
      allowFaults: false,
      clock: realClock,
      log: silentLog,
      ...over,
    })
    try {
      await run({ port, control, dir, socketPath })
    } finally {
      await control.close()
    }
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

export interface Asking {
  readonly to: { socketPath: string } | { port: number }
  readonly method?: string
  readonly path: string
  readonly headers?: Record<string, string>
  readonly body?: string
}

/** One plain HTTP exchange, with exactly the given headers. */
export function ask({ to, method = 'GET', path, headers = {}, body }: Asking): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const target = 'socketPath' in to ? { socketPath: to.socketPath } : { host: '127.0.0.1', port: to.port }
    const request = httpRequest({ ...target, method, path, headers, agent: false }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('error', reject)
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text: Buffer.concat(parts).toString() })
      })
    })
    request.on('error', reject)
    request.end(body)
  })
}

export const json = { 'Content-Type': 'application/json' }
export const bearer = { Authorization: `Bearer ${token}` }
