/** A control server with the built page, on free ports, for one test file. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import type { Status } from '../../agent/contract/status.ts'
import { type Control, startControl } from '../../agent/control/server.ts'
import type { Clock, Log } from '../../agent/kit/world.ts'
import { ensureRenderer, rendererDir } from '../../build/renderer.ts'
import { RecordingPort } from './recording-port.ts'

const clock: Clock = {
  monotonicMs: () => performance.now(),
  leaseMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, fire) {
    const timer = setTimeout(fire, delayMs)
    return { cancel: () => clearTimeout(timer) }
  },
  nextTurn: (fire) => setImmediate(fire),
}

/** Only trouble is worth reading in a test's output. */
const log: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: (fields, message) => console.error(message, fields),
  error: (fields, message) => console.error(message, fields),
}

const token = 'token-of-a-test-and-long-enough-for-it'

export interface TestConsole extends AsyncDisposable {
  readonly port: RecordingPort
  readonly url: string
  readonly socketPath: string
  /** Closes the doors, as a stopped agent does. */
  stop(): Promise<void>
  /** Opens them again at the same places. */
  start(): Promise<void>
}

export async function openConsole(status: Status): Promise<TestConsole> {
  await ensureRenderer({ announce: (sentence) => console.log(sentence) })
  const dir = await mkdtemp(join(tmpdir(), 'mirrorbay-ui-'))
  const port = new RecordingPort(status)
  const socketPath = join(dir, 'api.sock')
  let consolePort: number | null = null
  let control: Control | null = null
  const start = async () => {
    control = await startControl({
      port,
      socketPath,
      console: { host: '127.0.0.1', port: consolePort, token },
      rendererDir,
      version: '0.1.0',
      allowFaults: false,
      clock,
      log,
    })
    consolePort = control.consolePort
  }
  const stop = async () => {
    await control?.close()
    control = null
  }
  await start()
  return {
    port,
    socketPath,
    get url() {
      return `http://127.0.0.1:${consolePort}/?token=${token}`
    },
    start,
    stop,
    async [Symbol.asyncDispose]() {
      await stop()
      await rm(dir, { recursive: true, force: true })
    },
  }
}
