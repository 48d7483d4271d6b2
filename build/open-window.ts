/**
 * Opens a window without making anybody download one. Electron's package starts a download of some 100 MB when it is
 * asked for its binary, so its files are looked at instead.
 */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { electronDir, projectDir } from './renderer.ts'

const names: Readonly<Partial<Record<NodeJS.Platform, string>>> = {
  linux: 'electron',
  win32: 'electron.exe',
  darwin: 'Electron.app/Contents/MacOS/Electron',
}

/** @returns the path of Electron's binary, null when it is not on this machine */
export function electronBinary(environment: NodeJS.ProcessEnv = process.env): string | null {
  const name = names[process.platform]
  if (name === undefined) return null
  const given = environment.ELECTRON_OVERRIDE_DIST_PATH
  if (given !== undefined && given !== '') return existsSync(join(given, name)) ? join(given, name) : null
  const dist = join(projectDir, 'node_modules', 'electron', 'dist')
  // The version file is written last: a download that was broken off does not count.
  return existsSync(join(dist, 'version')) && existsSync(join(dist, name)) ? join(dist, name) : null
}

/** Whether a window could be shown: on Linux somebody must be at a desktop. */
export const hasDisplay = (environment: NodeJS.ProcessEnv = process.env): boolean =>
  process.platform !== 'linux' || Boolean(environment.DISPLAY || environment.WAYLAND_DISPLAY)

export interface ShellOptions {
  readonly dir: string
  /** agent/cli/main.ts: what the shell starts when it finds no agent. */
  readonly agentProgram: string
}

/** Starts the shell and leaves it to itself. @throws Error when it could not be started */
export async function openElectron(binary: string, { dir, agentProgram }: ShellOptions): Promise<void> {
  const environment = { ...process.env, MIRRORBAY_NODE: process.execPath, MIRRORBAY_AGENT: agentProgram }
  await leave(binary, [join(electronDir, 'main.js'), '--dir', dir], environment)
}

/** @returns whether a program that opens addresses was found and started */
export async function openBrowser(url: string): Promise<boolean> {
  const [command, ...words] = opener()
  if (command === undefined) return false
  return leave(command, [...words, url], process.env).then(
    () => true,
    // The address is printed in any case.
    () => false,
  )
}

function opener(): string[] {
  if (process.platform === 'darwin') return ['open']
  if (process.platform === 'win32') return ['rundll32', 'url.dll,FileProtocolHandler']
  const found = (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, 'xdg-open')))
  return found ? ['xdg-open'] : []
}

function leave(command: string, words: readonly string[], environment: NodeJS.ProcessEnv): Promise<void> {
  const child = spawn(command, words, { detached: true, stdio: 'ignore', env: environment })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('spawn', () => {
      child.unref()
      resolve()
    })
  })
}
