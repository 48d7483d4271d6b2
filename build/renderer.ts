/** Builds the window's page when it is missing or older than its sources; used by `npm start`, lab and tests. */
import { spawn } from 'node:child_process'
import { mkdir, open, readdir, readFile, rename, rm, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export const projectDir = fileURLToPath(new URL('..', import.meta.url))
export const rendererDir = join(projectDir, 'dist', 'renderer')
export const electronDir = join(projectDir, 'dist', 'electron')

/** All that the page is made of. The lock file stands for the packages. */
const rendererSources = ['renderer', 'agent/contract', 'vite.config.ts', 'package-lock.json']
const electronSources = ['electron', 'agent/contract', 'vite.config.ts', 'package-lock.json']

/** Milliseconds one waits for another process that builds already; a build takes a few seconds. */
const patienceMs = 180_000

async function newestMs(path: string): Promise<number> {
  const own = await stat(path)
  if (!own.isDirectory()) return own.mtimeMs
  const inside = await readdir(path)
  return Math.max(0, ...(await Promise.all(inside.map((name) => newestMs(join(path, name))))))
}

/** @returns whether `made` is missing or older than one of `sources` (paths in the project) */
export async function isStale(made: string, sources: readonly string[]): Promise<boolean> {
  const madeMs = await stat(made).then(
    (found) => found.mtimeMs,
    () => null,
  )
  if (madeMs === null) return true
  const sourceMs = await Promise.all(sources.map((source) => newestMs(join(projectDir, source))))
  return Math.max(...sourceMs) > madeMs
}

export interface BuildOptions {
  /** Told before a build begins, for whoever waits for it. */
  announce: (sentence: string) => void
}

/** @returns whether it had to be built @throws Error with the builder's own words */
export async function ensureRenderer(options: BuildOptions): Promise<boolean> {
  return once('renderer', async () => {
    if (!(await isStale(join(rendererDir, 'index.html'), rendererSources))) return false
    options.announce('Building the window (a few seconds) ...')
    // Made beside and put in place whole: an agent that starts meanwhile never finds half a page.
    const fresh = `${rendererDir}.new`
    const old = `${rendererDir}.old`
    await vite(['build', '--outDir', fresh, '--emptyOutDir', '--logLevel', 'error'])
    await rm(old, { recursive: true, force: true })
    await rename(rendererDir, old).catch(ignoreMissing)
    await rename(fresh, rendererDir)
    await rm(old, { recursive: true, force: true })
    return true
  })
}

/** Electron's main process and preload. @returns whether they had to be built */
export async function ensureElectron(options: BuildOptions): Promise<boolean> {
  return once('electron', async () => {
    const stale = await Promise.all(
      ['main.js', 'preload.cjs'].map((file) => isStale(join(electronDir, file), electronSources)),
    )
    if (!stale.includes(true)) return false
    options.announce('Building the shell of the window ...')
    await vite(['build', '--mode', 'main', '--logLevel', 'error'])
    await vite(['build', '--mode', 'preload', '--logLevel', 'error'])
    return true
  })
}

const ignoreMissing = (error: NodeJS.ErrnoException): void => {
  if (error.code !== 'ENOENT') throw error
}

async function vite(parameters: readonly string[]): Promise<void> {
  const program = join(projectDir, 'node_modules', 'vite', 'bin', 'vite.js')
  const child = spawn(process.execPath, [program, ...parameters], {
    cwd: projectDir,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_ENV: 'production' },
  })
  const said: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => said.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => said.push(chunk))
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  if (code !== 0) throw new Error(`The window could not be built.\n${Buffer.concat(said).toString()}`)
}

/** One build at a time, also over processes: a file names the builder; a dead builder's file does not count. */
async function once<Result>(name: string, work: () => Promise<Result>): Promise<Result> {
  await mkdir(join(projectDir, 'dist'), { recursive: true })
  const lock = join(projectDir, 'dist', `.building-${name}`)
  const until = Date.now() + patienceMs
  while (!(await taken(lock))) {
    if (Date.now() > until) throw new Error(`Another process has been building for minutes; if not, delete ${lock}`)
    await sleep(100)
  }
  try {
    return await work()
  } finally {
    await unlink(lock)
  }
}

async function taken(lock: string): Promise<boolean> {
  try {
    const file = await open(lock, 'wx')
    await file.writeFile(String(process.pid))
    await file.close()
    return true
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    const holder = await readFile(lock, 'utf8').catch(() => '')
    if (holder !== '' && !isAlive(Number(holder))) await unlink(lock).catch(ignoreMissing)
    return false
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // EPERM: it lives, as somebody else.
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
