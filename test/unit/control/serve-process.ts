/** A control API over a RecordingPort as a process of its own: `serve-process.ts SOCKET [broken]`. */
import { startControl } from '../../../agent/control/server.ts'
import { InvariantBroken } from '../../../agent/kit/failure.ts'
import { RecordingPort, realClock, silentLog } from './recording-port.ts'
import { token } from './serving.ts'

const [socketPath = '', mode] = process.argv.slice(2)
const port = new RecordingPort()
if (mode === 'broken') port.refusal = new InvariantBroken('W1', 'planted by a test')
await startControl({
  port,
  socketPath,
  console: { host: '127.0.0.1', port: null, token },
  rendererDir: '/nonexistent',
  version: '0.1.0',
  allowFaults: false,
  clock: realClock,
  log: silentLog,
})
process.stdout.write('ready\n')
// It ends with the test that started it, whatever happens to that one.
process.stdin.on('end', () => process.exit(0)).resume()
