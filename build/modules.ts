/**
 * Checks who imports whom, and a little style that no linter of ours can: a module that reaches where it must not is
 * found here before a reader trips over it. Run by `npm test` (part `modules`); prints every breach, exits 1 on any.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { blankProse, codeFolders, filesBelow, type Reference, references } from './source.ts'

/** A file's module: its folder in agent/, or a top-level name. */
type Module = string

/**
 * What a module may import besides itself, as modules or as single files. agent/limits.ts is open to all of agent/.
 * A module that is not in this table is a breach in itself.
 */
const mayImport: Record<Module, readonly string[] | 'anything'> = {
  'agent/kit': [],
  'agent/limits.ts': ['agent/kit'],
  'agent/contract': ['agent/kit'],
  'agent/policing': ['agent/kit'],
  'agent/store': ['agent/kit'],
  'agent/link': ['agent/kit'],
  'agent/mirror': ['agent/policing', 'agent/kit', 'agent/store/replica.ts', 'agent/link/messages.ts'],
  'agent/membership': ['agent/policing', 'agent/kit', 'agent/store/replica.ts', 'agent/link/messages.ts'],
  'agent/volume': [
    'agent/policing',
    'agent/mirror',
    'agent/membership',
    'agent/kit',
    'agent/store/replica.ts',
    'agent/link/messages.ts',
  ],
  'agent/frontends': ['agent/volume/block-device.ts', 'agent/kit'],
  'agent/pairing': ['agent/link', 'agent/kit'],
  'agent/control': ['agent/contract', 'agent/volume', 'agent/membership', 'agent/pairing', 'agent/kit'],
  // `mirrorbay agent` is the agent, in the same process; offline work starts it, too.
  'agent/cli': ['agent/contract', 'agent/kit', 'agent/main.ts'],
  // main.ts in parts: what touches this machine and belongs to no other module.
  'agent/host': ['agent/contract', 'agent/volume', 'agent/membership', 'agent/store', 'agent/kit'],
  // What main.ts needs before it joins the modules: imported by it alone.
  'agent/thread-pool.ts': [],
  'agent/version.ts': ['package.json'],
  'agent/main.ts': 'anything',
  electron: ['agent/contract'],
  renderer: ['agent/contract'],
  build: ['agent/contract', 'agent/kit', 'agent/cli', 'electron', 'test/run/entries.ts', 'test/run/outcome.ts'],
  test: 'anything',
  'configuration of a tool': ['build', 'renderer', 'electron'],
}

/** They decide and never act: clock, random numbers, links and files are handed in. */
const thinking = [
  /^agent\/(policing|membership|mirror|volume)\//,
  /^agent\/(frontends\/.*|link\/)(codec|session)[^/]*$/,
]
const actingWords =
  /(?<![.\w$])(Date|setTimeout|setInterval|setImmediate|queueMicrotask|performance|process|globalThis|Math\s*\.\s*random)(?![\w$])(?!\s*:)/g

/** Packages: the contract is read by window and command line too; thinking modules only parse. Others are free. */
const onlyZod = [...thinking, /^agent\/contract\//]

/** HOUSE asks for about 400; a little room, so that the last line of a good file is not the problem. */
const fileLines = 450

const threadEntry = /-thread\.ts$/

export interface Breach {
  readonly file: string
  readonly line: number
  readonly what: string
}

/** @param path relative to the checkout, forward slashes */
function moduleOf(path: string): Module {
  const [top, second] = path.split('/')
  if (top === 'agent') return `agent/${second}`
  return path.includes('/') ? (top ?? path) : 'configuration of a tool'
}

const isThinking = (file: string) => thinking.some((pattern) => pattern.test(file))

function importBreach(file: string, target: string): string | null {
  const from = moduleOf(file)
  const to = moduleOf(target)
  const allowed = mayImport[from]
  if (allowed === undefined) return `${from} is not in the table of modules (build/modules.ts)`
  if (threadEntry.test(target)) return `${target} is a thread's entry file: start it, never import it`
  if (from === to || allowed === 'anything') return null
  if (target === 'agent/limits.ts' && file.startsWith('agent/')) return null
  if (allowed.includes(to) || allowed.includes(target)) return null
  return `${from} may not import ${target}; it may import ${allowed.join(', ') || 'nothing'}`
}

function packageBreach(file: string, specifier: string): string | null {
  if (!onlyZod.some((pattern) => pattern.test(file))) return null
  if (specifier === 'zod') return null
  const reason = isThinking(file) ? 'thinking modules are handed their world' : 'the contract is shared with the window'
  return `may not import ${specifier}: ${reason}`
}

function referenceBreach(file: string, reference: Reference): string | null {
  if (reference.kind === 'computed') {
    return file.startsWith('test/') || file.startsWith('build/')
      ? null
      : 'import() of a computed name cannot be checked'
  }
  const { specifier } = reference
  if (!specifier.startsWith('.')) return reference.kind === 'url' ? null : packageBreach(file, specifier)
  const target = posix.join(posix.dirname(file), specifier)
  if (reference.kind === 'import') return importBreach(file, target)
  if (!threadEntry.test(target)) return null
  const starter = file === 'agent/main.ts' || file.startsWith('test/') || dirname(file) === dirname(target)
  return starter ? null : `${target} is started by agent/main.ts or a file beside it only`
}

/** @param source the file's text @returns its breaches, by line */
export function checkFile(file: string, source: string): Breach[] {
  const bare = blankProse(source)
  const breaches: Breach[] = []
  if (mayImport[moduleOf(file)] === undefined) {
    breaches.push({ file, line: 1, what: `${moduleOf(file)} is not in the table of modules (build/modules.ts)` })
  }
  for (const reference of references(source, bare)) {
    const what = referenceBreach(file, reference)
    if (what !== null) breaches.push({ file, line: reference.line, what })
  }
  if (isThinking(file)) {
    for (const match of bare.matchAll(actingWords)) {
      const line = bare.slice(0, match.index).split('\n').length
      breaches.push({ file, line, what: `mentions ${match[1]}: thinking modules are handed clock, timers and chance` })
    }
  }
  const lines = source.split('\n').length - 1
  if (lines > fileLines) {
    breaches.push({ file, line: fileLines, what: `has ${lines} lines, more than ${fileLines}: split it by idea` })
  }
  return breaches
}

/** @param root a checkout @returns what was read, and every breach */
export function checkModules(root: string): { files: number; breaches: Breach[] } {
  const code = /\.(ts|tsx|mts|mjs)$/
  const configurations = readdirSync(root).filter((name) => code.test(name))
  const files = [...codeFolders.flatMap((folder) => filesBelow(root, folder, code)), ...configurations]
  const breaches = files.flatMap((file) => checkFile(file, readFileSync(join(root, file), 'utf8')))
  return { files: files.length, breaches }
}

if (import.meta.main) {
  const { files, breaches } = checkModules(join(import.meta.dirname, '..'))
  for (const { file, line, what } of breaches) console.log(`${file}:${line}: ${what}`)
  console.log(`modules: ${files} files read, ${breaches.length} breaches`)
  process.exitCode = files === 0 || breaches.length > 0 ? 1 : 0
}
