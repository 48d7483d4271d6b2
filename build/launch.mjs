/**
 * Starts this project's programs under Node 24, whatever Node the person at the keyboard has.
 *
 * Plain ES2020, no dependency: it must run on Node 18 and before `npm ci`, if only to say one clear sentence. Node 24
 * comes from npm (packages node-<os>-<arch>); npm 10 makes no node_modules/.bin/node for them, so they are looked up
 * by folder. Why it is done this way: agent/decisions/0002-launcher.md.
 */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { isatty } from 'node:tty'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** better-sqlite3 13 needs Node-API 10 and crashes an older Node; TypeScript files need 24 to run as they are. */
const neededMajor = 24
const neededNodeApi = 10

/** Exit code of everything that could not even start. */
const couldNot = 2

/** A reason not to start, as one sentence for a person. */
export class CannotStart extends Error {}

/** @param {unknown} version */
const major = (version) => Number(String(version).replace(/^v/, '').split('.')[0])

/**
 * @param {string} folder
 * @returns {string | null} the version of an installed package, null when it is absent
 */
function packageVersion(folder) {
  try {
    return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version
  } catch (error) {
    if (!existsSync(join(folder, 'package.json'))) return null
    throw new CannotStart(`${join(folder, 'package.json')} cannot be read (${error}): run \`npm ci\` again.`)
  }
}

/**
 * Which Node runs the programs: the one from npm, else the one that runs this file if it is new enough (macOS).
 * @param {{ folder: string, current: { path: string, version: string, nodeApi: string | undefined } }} where `folder`
 *   holds node_modules; `current` is the Node that runs the launcher
 * @returns {string} the path of its binary
 * @throws {CannotStart}
 */
export function chooseNode({ folder, current }) {
  const modules = join(folder, 'node_modules')
  if (!existsSync(modules)) {
    throw new CannotStart(`Mirrorbay's packages are not installed yet: run \`npm ci\` in ${folder} first.`)
  }
  const os = process.platform === 'win32' ? 'win' : process.platform
  const delivered = join(modules, `node-${os}-${process.arch}`)
  const binary = join(delivered, 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
  const version = packageVersion(delivered)
  if (version !== null && major(version) >= neededMajor && existsSync(binary)) return binary
  if (major(current.version) >= neededMajor && Number(current.nodeApi) >= neededNodeApi) return current.path
  if (process.platform === 'darwin') {
    throw new CannotStart(
      `Mirrorbay needs Node ${neededMajor} or newer and this is ${current.version}: install it from nodejs.org.`,
    )
  }
  throw new CannotStart(
    `Mirrorbay needs Node ${neededMajor} or newer, this is ${current.version} and ` +
      `node_modules/node-${os}-${process.arch} is ${version === null ? 'missing' : 'incomplete or too old'}: ` +
      `run \`npm ci\` in ${folder} (without --omit=optional), or install Node ${neededMajor}.`,
  )
}

/**
 * @param {string} node
 * @param {string} folder
 * @param {NodeJS.ProcessEnv} environment
 * @returns {NodeJS.ProcessEnv} a copy of `environment` in which Node 24 and the installed tools come first on PATH
 */
export function environmentFor(node, folder, environment) {
  // Windows spells it Path; a second spelling beside it would be ignored.
  const key = Object.keys(environment).find((name) => name.toUpperCase() === 'PATH') || 'PATH'
  const path = [dirname(node), join(folder, 'node_modules', '.bin'), environment[key]].filter(Boolean).join(delimiter)
  return { ...environment, [key]: path }
}

/** Tools whose package has another name. @type {Record<string, string>} */
const packages = { tsc: 'typescript', biome: '@biomejs/biome' }

/**
 * What to hand to Node: a script as it is, a tool's own JavaScript entry (no shell, no `env` in between).
 * @param {string} name
 * @param {string} folder
 * @returns {string[]}
 */
export function resolveProgram(name, folder) {
  if (name === 'node') return []
  if (/\.(ts|mjs|cjs|js)$/.test(name)) {
    const script = existsSync(name) ? name : join(folder, name)
    if (!existsSync(script)) throw new CannotStart(`${name} does not exist in this version of Mirrorbay.`)
    return [script]
  }
  const tool = join(folder, 'node_modules', packages[name] || name)
  const { bin } = packageVersion(tool) === null ? {} : JSON.parse(readFileSync(join(tool, 'package.json'), 'utf8'))
  const entry = typeof bin === 'string' ? bin : bin?.[name]
  if (!entry)
    throw new CannotStart(`There is no tool called ${name}: run \`npm ci\` in ${folder}, or mind the spelling.`)
  return [join(tool, entry)]
}

/**
 * A terminal sends Ctrl-C to the whole group, so the program has it already; passing it on would make it two, and
 * two mean "at once" to many programs. Without a terminal only the launcher was told.
 */
const onTerminal = () => [0, 1, 2].some((descriptor) => isatty(descriptor))

/**
 * Runs until the program ends, then ends the same way: its exit code, or its signal.
 * @param {import('node:child_process').ChildProcess} child
 */
function follow(child) {
  const passOn = {
    SIGINT: () => onTerminal() || child.kill('SIGINT'),
    SIGTERM: () => child.kill('SIGTERM'),
    SIGHUP: () => onTerminal() || child.kill('SIGHUP'),
  }
  for (const [signal, handler] of Object.entries(passOn)) process.on(signal, handler)
  child.on('error', (error) => {
    // A Node made for another C library starts with ENOENT although the file is there.
    process.stderr.write(`${child.spawnfile} does not start on this machine: ${error.message}.\n`)
    process.exit(couldNot)
  })
  child.on('exit', (code, signal) => {
    for (const [name, handler] of Object.entries(passOn)) process.off(name, handler)
    if (signal === null) process.exit(code ?? couldNot)
    process.kill(process.pid, signal)
    // Not every signal ends us (one that is blocked or handled above); then the shell's way to say the same.
    setTimeout(() => process.exit(128 + constants.signals[signal]), 1000)
  })
}

/**
 * @param {string[]} command a tool or script, then its arguments
 * @param {string} folder the checkout
 */
export function launch(command, folder = root) {
  try {
    const [name, ...rest] = command
    if (name === undefined) throw new CannotStart('Usage: node build/run.mjs TOOL-OR-SCRIPT [ARGUMENTS]')
    const current = { path: process.execPath, version: process.version, nodeApi: process.versions.napi }
    const node = chooseNode({ folder, current })
    const commandLine = [...resolveProgram(name, folder), ...rest]
    follow(spawn(node, commandLine, { stdio: 'inherit', env: environmentFor(node, folder, process.env) }))
  } catch (error) {
    if (!(error instanceof CannotStart)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exitCode = couldNot
  }
}
