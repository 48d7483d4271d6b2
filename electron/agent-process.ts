/**
 * Finds the agent of a storage folder, or starts it so that it outlives whoever started it: closing a window or a
 * terminal must never stop the storage. Used by Electron's main process and by `npm start`.
 */
import { spawn } from 'node:child_process'
import { open, readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { agentConfig } from '../agent/contract/config.ts'

/** Milliseconds a starting agent gets to open its socket: it looks over its storage folder first. */
const startMs = 60_000

export interface AgentPlace {
  readonly dir: string
  readonly socketPath: string
  readonly logPath: string
}

/** @param dir a storage folder with its config.json @throws Error where that file is missing or wrong */
export async function agentPlace(dir: string): Promise<AgentPlace> {
  const path = join(dir, 'config.json')
  const config = agentConfig.safeParse(parseJson(await readFile(path, 'utf8'), path))
  if (!config.success) {
    const issue = config.error.issues[0]
    throw new Error(`The configuration ${path} is wrong: ${issue?.path.join('.')}: ${issue?.message}`)
  }
  return placeOf(dir, config.data.control.socket)
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Error(`The configuration ${path} is not JSON: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function placeOf(dir: string, socket: string | null): AgentPlace {
  return { dir, socketPath: socket ?? join(dir, 'api.sock'), logPath: join(dir, 'agent.log') }
}

/** @returns whether somebody accepts connections there now */
export function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath)
    const end = (found: boolean) => {
      socket.destroy()
      resolve(found)
    }
    socket.once('connect', () => end(true))
    // No file, nobody behind it, no right to it: in any case not an agent for us.
    socket.once('error', () => end(false))
  })
}

export interface StartOptions {
  readonly place: AgentPlace
  /** The Node that runs agents, and the arguments before `--dir`: the program and its word for "run". */
  readonly node: string
  readonly program: readonly string[]
}

/** @throws Error with the end of its log when it does not come up */
export async function findOrStart({ place, node, program }: StartOptions): Promise<'found' | 'started'> {
  if (await answers(place.socketPath)) return 'found'
  const log = await open(place.logPath, 'a', 0o600)
  const from = (await log.stat()).size
  const child = spawn(node, [...program, '--dir', place.dir], {
    detached: true,
    stdio: ['ignore', log.fd, log.fd],
    cwd: place.dir,
  })
  let ended: string | null = null
  child.once('error', (error) => {
    ended = error.message
  })
  child.once('exit', (code, signal) => {
    ended = code === null ? `signal ${signal}` : `exit code ${code}`
  })
  child.unref()
  await log.close()
  const until = Date.now() + startMs
  while (!(await answers(place.socketPath))) {
    if (ended !== null || Date.now() > until) throw await notUp(place, { from, ended })
    await sleep(50)
  }
  return 'started'
}

async function notUp(place: AgentPlace, start: { from: number; ended: string | null }): Promise<Error> {
  const said = (await readFile(place.logPath)).subarray(start.from).toString().trim().split('\n').slice(-8).join('\n')
  const what = start.ended === null ? `it did not answer for ${startMs / 1000} s` : `it ended (${start.ended})`
  return new Error(`Mirrorbay's agent could not be started: ${what}.\nIts log, ${place.logPath}, ends with:\n${said}`)
}
