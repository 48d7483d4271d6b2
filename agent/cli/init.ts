/** `mirrorbay init`: checks and writes the configuration of a new server. Never touches one that is there. */
import { randomBytes } from 'node:crypto'
import { link, mkdir, open, readdir, readFile, unlink } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { type AgentConfig, agentConfig } from '../contract/config.ts'
import { UserError } from '../kit/failure.ts'
import { badUsage, type ExitCode, exitCode, type Terminal } from './terminal.ts'

export interface InitOptions {
  readonly dir: string
  readonly name: string
  readonly role: 'storage' | 'tiebreaker'
  readonly host: string
  /** As typed. */
  readonly port: string
  readonly peers: readonly string[]
  readonly witnesses: readonly string[]
  readonly secretFile?: string | undefined
  readonly nbdHost: string
  readonly nbdPort?: string | undefined
  readonly nbdSocket?: string | undefined
  readonly consolePort?: string | undefined
  /** Data that is found in the folder is to be used; else it is refused. */
  readonly takeOver?: boolean
  readonly json: boolean
}

/** What agent/main.ts exports for this; the command line may not import it (HOUSE's table). */
interface FoundAtStart {
  readonly kind: 'main' | 'more'
  readonly volumes: readonly { readonly name: string | null; readonly sizeBytes: number | null }[]
  readonly lastUsedMs: number | null
  readonly folders: AgentConfig['folders']
  readonly words: string
}
interface OfflineProgram {
  foundAtStart(dir: string, nowMs: number): Promise<FoundAtStart | null>
}

/** @throws UserError `bad-usage`, `port-in-use`, `folder-in-use`, `folder-refused`, `folder-has-data`, `folder-of-another-server` */
export async function init(options: InitOptions, terminal: Terminal): Promise<ExitCode> {
  const given = options.secretFile === undefined ? null : await readSecret(options.secretFile)
  const secret = given ?? randomBytes(32).toString('base64url')
  const found = await foundIn(options, terminal)
  const config = { ...checkedConfig(options, secret), folders: found?.folders ?? [] }
  await checkPorts(config)
  const path = join(options.dir, 'config.json')
  await mkdir(options.dir, { recursive: true, mode: 0o700 }).catch((error: unknown) => refuseFolder(options.dir, error))
  await writeNew(path, `${JSON.stringify(config, null, 2)}\n`)
  const takenOver = found === null ? null : { volumes: found.volumes, folders: found.folders }
  if (options.json) terminal.out(`${JSON.stringify({ path, takenOver })}\n`)
  else {
    const took = found === null ? '' : `Taken over: ${found.words}. Never use a copy of this folder beside it.\n`
    terminal.out(took + words(options, path, given === null))
  }
  return exitCode.yes
}

/**
 * What lies in the folder and is to be used. Nothing is changed here: the agent's first start brings it up to date.
 * @returns null where the folder is new
 */
async function foundIn({ dir, takeOver, role }: InitOptions, terminal: Terminal): Promise<FoundAtStart | null> {
  const names = await readdir(dir).catch((): string[] => [])
  // A folder with a configuration is refused as such, whatever else is there.
  if (!names.includes('store.json') || names.includes('config.json')) return null
  const program = (await import(new URL('../main.ts', import.meta.url).href)) as OfflineProgram
  const found = await program.foundAtStart(dir, terminal.wallMs())
  if (found === null) return null
  const refuse = (code: string, happened: string, next: string) =>
    new UserError({ code, happened, dataIsSafe: 'Nothing was changed.', next })
  if (found.kind === 'more') {
    throw refuse(
      'folder-of-another-server',
      `This was a second storage folder of a server, not its main one: ${found.words}.`,
      'It is served by that server alone ("mirrorbay folder add" there). If that server is lost, use an empty folder here: it gets its data from the other servers.',
    )
  }
  if (takeOver !== true) {
    throw refuse(
      'folder-has-data',
      `This folder already holds the data of a server: ${found.words}.`,
      'If this is to be that server again, add --take-over; else name an empty folder with --dir.',
    )
  }
  if (role === 'tiebreaker' && found.volumes.length > 0) {
    throw refuse(
      'bad-usage',
      `A tiebreaker keeps no data, and here is some: ${found.words}.`,
      'Leave out --role tiebreaker.',
    )
  }
  return found
}

function words(options: InitOptions, path: string, madeSecret: boolean): string {
  const secret = madeSecret
    ? `The other servers need the same secret: put the value of link.secret from this file into a file of its own there
and name it with --secret-file. Whoever knows it can change your data.\n`
    : ''
  return `${options.name} is set up: ${path}\n${secret}Start it with: mirrorbay agent --dir ${options.dir}\n`
}

function checkedConfig(options: InitOptions, secret: string): AgentConfig {
  const peers = [
    ...options.peers.map((text) => ({ ...parsePeer(text, '--peer'), role: 'storage' })),
    ...options.witnesses.map((text) => ({ ...parsePeer(text, '--witness'), role: 'tiebreaker' })),
  ]
  const storage = options.role === 'storage'
  const result = agentConfig.safeParse({
    version: 1,
    name: options.name,
    role: options.role,
    link: { host: options.host, port: portNumber(options.port, '--port'), secret },
    peers,
    nbd: {
      host: options.nbdHost,
      port: options.nbdPort === undefined ? (storage ? 10_809 : null) : portNumber(options.nbdPort, '--nbd-port'),
      unix: options.nbdSocket ?? null,
    },
    control: { port: options.consolePort === undefined ? null : portNumber(options.consolePort, '--console-port') },
  })
  if (!result.success) {
    const issue = result.error.issues[0]
    throw badUsage(`${issue?.path.join('.') ?? 'The configuration'}: ${issue?.message ?? 'is wrong'}.`, example)
  }
  const names = [options.name, ...peers.map((peer) => peer.name)]
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) throw badUsage(`Two servers are named ${twice}.`, 'Give every server a name of its own.')
  return result.data
}

const example = 'For example: mirrorbay init --name nas-1 --port 7400 --peer nas-2=192.168.1.12:7400'

/** "nas-2=192.168.1.12:7400" or "nas-2=[fd00::2]:7400" */
function parsePeer(text: string, option: string): { name: string; host: string; port: number } {
  const match = /^([^=]+)=(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text)
  const [, name, v6, host, port] = match ?? []
  if (name === undefined || port === undefined) {
    throw badUsage(`${option} takes name=host:port, not "${text}".`, example)
  }
  return { name, host: v6 ?? host ?? '', port: portNumber(port, option) }
}

function portNumber(text: string, option: string): number {
  const port = Number(text)
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535) {
    throw badUsage(`${option} takes a port from 1 to 65535, not "${text}".`, example)
  }
  return port
}

async function readSecret(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw badUsage(`The file with the secret cannot be read: ${error.message}.`, 'Name another with --secret-file.')
  })
  if (text.trim().length < 16) throw badUsage('The secret has fewer than 16 characters.', 'Use a longer one.')
  return text.trim()
}

/** Every port is tried, so that a clash is found here and not at the agent's first start. */
async function checkPorts(config: AgentConfig): Promise<void> {
  const wanted = [
    { what: 'the link to other servers', host: config.link.host, port: config.link.port },
    { what: 'clients', host: config.nbd.host, port: config.nbd.port },
    { what: 'the console', host: config.control.host, port: config.control.port },
  ]
  const used = new Set<number>()
  for (const { what, host, port } of wanted) {
    if (port === null) continue
    if (used.has(port)) throw badUsage(`Port ${port} is named twice.`, 'Give each purpose a port of its own.')
    used.add(port)
    const problem = await tryPort(host, port)
    if (problem === null) continue
    throw new UserError({
      code: 'port-in-use',
      happened: `Port ${port} at ${host} cannot be used for ${what}: ${problem}.`,
      dataIsSafe: 'Nothing was changed.',
      next: 'Choose another port, or stop the program that uses it.',
    })
  }
}

function tryPort(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code === 'EADDRINUSE' ? 'another program uses it' : (error.code ?? error.message))
    })
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)))
  })
}

/** Whole or not at all, readable by its owner only (it holds the secret), and never over another one. */
async function writeNew(path: string, text: string): Promise<void> {
  const draft = `${path}.${randomBytes(4).toString('hex')}`
  try {
    const file = await open(draft, 'wx', 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    // link() fails where the name is taken; rename() would replace.
    await link(draft, path).finally(() => unlink(draft))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') {
      throw new UserError({
        code: 'folder-in-use',
        happened: `This folder already holds a server: ${path}`,
        dataIsSafe: 'Nothing was changed.',
        next: 'Use it with "mirrorbay agent", or name another folder with --dir.',
      })
    }
    refuseFolder(path, error)
  }
}

function refuseFolder(path: string, error: unknown): never {
  throw new UserError({
    code: 'folder-refused',
    happened: `The storage folder cannot be used: ${error instanceof Error ? error.message : String(error)} (${path})`,
    dataIsSafe: 'Nothing was changed.',
    next: 'Name a folder where you may write, with --dir.',
  })
}
