/**
 * `npm run demo`: the whole story on this machine. Real servers, a real client, every step proved by reading bytes.
 * Exit: 0 when every step was, 1 when one was not, 130 when interrupted.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { parseArgs, styleText } from 'node:util'
import { ensureRenderer } from '../../build/renderer.ts'
import { findTool } from '../kit/needs.ts'
import { installMissing } from '../run/tools.ts'
import { messageOf } from './answer.ts'
import { describe, down, up } from './lab.ts'
import { endAll } from './members.ts'
import { lastLines } from './processes.ts'
import { chooseClient } from './real-client.ts'
import { type LabState, membersOf } from './state.ts'
import { story } from './story.ts'

const help = `npm run demo -- [--auto] [--stay] [--no-install]

Two servers and a tiebreaker on this machine become one shared disk. A client writes at one server and
reads at the other, each server is killed and comes back, and every step is proved by reading bytes.

  --auto         end when the story is told (default without a terminal)
  --stay         keep the servers up until Ctrl-C, to look at and to play with (default on a terminal)
  --no-install   call no apt: without qemu-io and nbdcopy the project's own client is taken`

const sizeBytes = 512 * 1024 * 1024
const volume = 'office'
const upMs = 60_000
const logLines = 6
const width = 76

const out = (line: string) => process.stdout.write(`${line}\n`)
const onTerminal = process.stdout.isTTY === true
const styled = (style: 'green' | 'red' | 'dim' | 'bold', text: string) => (onTerminal ? styleText(style, text) : text)

/** Runs one step, with its line and time. @throws what the step throws, after its line is marked */
async function tell(words: string, run: () => Promise<string>): Promise<void> {
  const beganMs = performance.now()
  if (onTerminal) process.stdout.write(`  ${styled('dim', '…')} ${words}`)
  const line = (mark: string) => {
    const took = `${((performance.now() - beganMs) / 1000).toFixed(1)} s`.padStart(7)
    return `${onTerminal ? '\r\u001b[K' : ''}  ${mark} ${words.padEnd(width)} ${styled('dim', took)}`
  }
  try {
    const measured = await run()
    out(line(styled('green', '✓')))
    if (measured !== '') out(styled('dim', `    ${measured}`))
  } catch (failure) {
    out(line(styled('red', '✗')))
    throw failure
  }
}

interface Wish {
  readonly stay: boolean
  /** Whether apt may be asked for a client where there is none. */
  readonly install: boolean
}

function readWish(): Wish | null {
  const { values } = parseArgs({
    options: {
      auto: { type: 'boolean', default: false },
      stay: { type: 'boolean', default: false },
      'no-install': { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return null
  const stay = values.stay || (!values.auto && onTerminal && process.stdin.isTTY === true)
  return { stay, install: !values['no-install'] }
}

/** Settles when the person presses Ctrl-C, or the machine asks the demo to end. */
function interruption(): AbortSignal {
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interrupted.abort())
  return interrupted.signal
}

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_never, reject) => {
    const stop = () => reject(new Interrupted())
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })

class Interrupted extends Error {}

async function prepare(folder: string, wish: Wish) {
  if (findTool('qemu-io') === null && findTool('nbdcopy') === null) {
    out('Neither qemu-io nor nbdcopy is here.')
    if (wish.install) installMissing(['qemu-io'])
  }
  const client = chooseClient(folder)
  try {
    await ensureRenderer({ announce: out })
  } catch (failure) {
    // The story is about data; without its window it is told all the same.
    out(`The window could not be built, so the console will be empty: ${messageOf(failure)}`)
  }
  return client
}

async function play(wish: Wish): Promise<void> {
  const interrupt = interruption()
  const interrupted = aborted(interrupt)
  // Rejects at Ctrl-C, also at moments when nobody listens.
  interrupted.catch(() => undefined)
  const folder = await mkdtemp(path.join(os.tmpdir(), 'mirrorbay-demo-'))
  let state: LabState | undefined
  try {
    const client = await prepare(folder, wish)
    out(`\n${styled('bold', 'Mirrorbay')}: two ordinary servers become one shared disk.`)
    out(`Every step is proved by reading bytes with ${styled('bold', client.name)}.\n`)
    const beganMs = performance.now()
    await tell('Two servers and a tiebreaker start, one shared disk is made and Protected', async () => {
      const request = { dir: path.join(folder, 'lab'), servers: 2, witness: true, sizeBytes, volume, client: 'tcp' }
      state = await up({ ...request, client: 'tcp' }, { limitMs: upMs, giveUp: interrupt })
      return 'agents A and B with a copy each, and a witness without data: three processes'
    })
    if (state === undefined) throw new Error('no lab')
    const steps = story(state, client)
    for (const step of steps) await Promise.race([tell(step.words, step.run), interrupted])
    const tookSeconds = ((performance.now() - beganMs) / 1000).toFixed(0)
    out(`\n${styled('green', 'All proved')}: ${steps.length + 1} steps in ${tookSeconds} s, with ${client.name}.`)
    await closing(state, wish, interrupted)
  } catch (failure) {
    if (failure instanceof Interrupted || interrupt.aborted) {
      process.exitCode = 130
      out('\nInterrupted.')
    } else {
      process.exitCode = 1
      out(`\n${styled('red', 'Not proved')}: ${messageOf(failure)}`)
      if (state !== undefined) lastWords(state)
    }
  } finally {
    if (state !== undefined) await down(state, { atOnce: true })
    await rm(folder, { recursive: true, force: true })
    out('Everything that the demo started has ended, and its data is removed.')
  }
  // A step that was interrupted may still be waiting, or have started an agent just after all were ended.
  if (interrupt.aborted) {
    if (state !== undefined) await endAll(state, 0)
    process.exit()
  }
}

function lastWords(state: LabState): void {
  for (const member of membersOf(state)) out(`--- ${member.name}\n${lastLines(member.log, logLines)}`)
}

async function closing(state: LabState, wish: Wish, interrupted: Promise<never>): Promise<void> {
  const { servers } = await describe(state)
  if (!wish.stay) return
  const [a, b] = servers
  out(`
The servers stay up. Look at them in a browser:
  ${styled('bold', `server A   ${a?.console ?? 'gives no console'}`)}
             ${styled('dim', `server B   ${b?.console ?? 'gives no console'}`)}

Try next, in another terminal in this folder:
  npm run -s lab -- kill ${state.dir} b       pull server B's plug, and watch the window
  npm run -s lab -- start ${state.dir} b      it catches up by itself
  npm run -s lab -- equal ${state.dir}        compare the copies
  qemu-io -f raw -c 'write -P 7 0 1M' ${a?.nbd}
  qemu-io -f raw -c 'read -P 7 0 1M' ${b?.nbd}

Ctrl-C ends everything.`)
  const waiting = setInterval(() => undefined, 60_000)
  try {
    await interrupted
  } catch (failure) {
    if (!(failure instanceof Interrupted)) throw failure
    out('')
  } finally {
    clearInterval(waiting)
  }
}

try {
  const wish = readWish()
  if (wish === null) out(help)
  else await play(wish)
} catch (failure) {
  process.stderr.write(`demo: ${messageOf(failure)}\n`)
  process.exitCode = 1
}
