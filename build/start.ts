/**
 * `npm start`: this server's window in one command. Finds the agent of a storage folder or starts it, builds the page
 * when its sources are newer, and opens Electron where its binary is there, else a browser with the agent's console.
 * Without either the address is printed: never a reason to fail.
 */
import { existsSync } from 'node:fs'
import { homedir, hostname } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { connectAgent } from '../agent/cli/connection.ts'
import { storageFolder } from '../agent/cli/folders.ts'
import { init } from '../agent/cli/init.ts'
import { badUsage, exitCode, printError, type Terminal } from '../agent/cli/terminal.ts'
import { nameText } from '../agent/contract/config.ts'
import { statusWords } from '../agent/contract/words.ts'
import { UserError } from '../agent/kit/failure.ts'
import { agentPlace, findOrStart } from '../electron/agent-process.ts'
import { freePort } from './free-port.ts'
import { electronBinary, hasDisplay, openBrowser, openElectron } from './open-window.ts'
import { ensureElectron, ensureRenderer, projectDir } from './renderer.ts'

const help = (
  dir: string,
) => `Opens the window of this server. Finds its agent, or starts it; the agent goes on when the
window is closed.

  npm start -- [--dir FOLDER] [--browser | --no-open]

  --dir FOLDER   the storage folder of this server; without it MIRRORBAY_DIR,
                 else ${dir}
  --browser      the console in a browser, also where Electron is installed
  --no-open      only print the console's address
  --help         this text

The first start in an empty folder makes the configuration of a single server. In this version other servers are named
in its config.json. To stop the agent: node build/mirrorbay.mjs stop --dir FOLDER
`

const terminal: Terminal = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  isTerminal: process.stdout.isTTY === true,
  environment: process.env,
  platform: process.platform,
  homeDir: homedir(),
  wallMs: () => Date.now(),
  interrupted: new AbortController().signal,
}

const say = (sentence: string) => terminal.out(`${sentence}\n`)
const agentProgram = join(projectDir, 'agent', 'cli', 'main.ts')

/** A name for servers made of the machine's: "NAS_1.office.local" becomes "nas_1". */
export function serverName(machine: string): string {
  const [first = ''] = machine.toLowerCase().split('.')
  const name = first
    .replaceAll(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9]+/, '')
    .slice(0, 63)
  return nameText.safeParse(name).success ? name : 'server'
}

interface Wish {
  dir: string
  open: 'electron' | 'browser' | 'nothing'
}

/** @returns null when help was asked for @throws UserError `bad-usage` */
function readWish(words: readonly string[]): Wish | null {
  try {
    const { values } = parseArgs({
      args: [...words],
      options: {
        dir: { type: 'string' },
        browser: { type: 'boolean', default: false },
        'no-open': { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    if (values.help) return null
    const open = values['no-open'] ? 'nothing' : values.browser ? 'browser' : 'electron'
    return { dir: storageFolder({ dir: values.dir }, terminal), open }
  } catch (error) {
    throw badUsage(error instanceof Error ? error.message : String(error), 'See: npm start -- --help')
  }
}

/** The first start of a folder: one server, reachable from this machine only. */
async function configure(dir: string): Promise<void> {
  const name = serverName(hostname())
  const quiet: Terminal = { ...terminal, out: () => undefined }
  const [port, nbdPort] = [await freePort(7400), await freePort(10_809)]
  const request = { dir, name, host: '127.0.0.1', nbdHost: '127.0.0.1', peers: [], witnesses: [], json: false }
  await init({ ...request, role: 'storage', port: String(port), nbdPort: String(nbdPort) }, quiet)
  say(`This is a new server, "${name}": its configuration is ${join(dir, 'config.json')}`)
}

async function start({ dir, open }: Wish): Promise<void> {
  const rebuilt = await ensureRenderer({ announce: say })
  if (!existsSync(join(dir, 'config.json'))) await configure(dir)
  const place = await agentPlace(dir)
  const how = await findOrStart({ place, node: process.execPath, program: [agentProgram, 'agent'] })
  const client = connectAgent(place.socketPath)
  const status = await client.call('status', {})
  const { headline, second } = statusWords(status, Date.now())
  say(`Mirrorbay ${how === 'found' ? 'runs' : 'was started'} on ${status.server.name}: storage folder ${dir}`)
  say(headline === null ? second : `${headline}. ${second}`)
  if (rebuilt && how === 'found') {
    say('It shows the window that was there when it started; restart it to see the new one.')
  }
  const binary = open === 'electron' && hasDisplay() ? electronBinary() : null
  if (binary !== null) {
    await ensureElectron({ announce: say })
    await openElectron(binary, { dir, agentProgram })
    say('Opened its window. It goes on when the window is closed.')
    return
  }
  const { url } = await client.call('console', {})
  const opened = open !== 'nothing' && hasDisplay() && (await openBrowser(url))
  say(opened ? `Opened its window in the browser: ${url}` : `Open its window in a browser on this machine: ${url}`)
}

async function main(): Promise<number> {
  try {
    const wish = readWish(process.argv.slice(2))
    if (wish === null) terminal.out(help(storageFolder({}, { ...terminal, environment: {} })))
    else await start(wish)
    return exitCode.yes
  } catch (error) {
    if (error instanceof UserError) return printError(error, terminal, false)
    // What the builder or a failing agent said is in words already; a stack would only hide it.
    terminal.err(`${error instanceof Error ? error.message : String(error)}\n`)
    return exitCode.couldNot
  }
}

if (import.meta.main) process.exitCode = await main()
