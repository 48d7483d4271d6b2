/**
 * Installs what tests call and the machine lacks, when it may: with apt, as root or with sudo that asks nothing,
 * announced in a line. Only programs without a service of their own are in the table of parts; failing to install is
 * no error, the tests that need the tool are then skipped and say so.
 */
import { spawnSync } from 'node:child_process'
import { debianPackages, findProgram, findTool, type Tool } from '../kit/needs.ts'

/** What a tool needs beside its own package when recommended packages are left out. */
const companions: Partial<Record<Tool, readonly string[]>> = {
  'qemu-io': ['qemu-block-extra'],
  chromium: ['fonts-dejavu-core'],
  gcc: ['libc6-dev'],
}

/** Milliseconds. apt on a slow mirror; then the tests go on without. */
const aptMs = 10 * 60_000

/** @returns the words before apt-get that make it run with rights, null without them */
function asRoot(): readonly string[] | null {
  if (findProgram('apt-get') === null) return null
  if (process.getuid?.() === 0) return []
  const sudo = spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' })
  return sudo.status === 0 ? ['sudo', '-n'] : null
}

/** @returns why it failed, one line; null when it did not */
function apt(before: readonly string[], ...command: readonly string[]): string | null {
  const [program = 'env', ...rest] = [...before, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-qq', ...command]
  const result = spawnSync(program, rest, { encoding: 'utf8', timeout: aptMs })
  if (result.status === 0) return null
  const lines = `${result.stderr ?? ''}`.trim().split('\n')
  return lines.findLast((line) => line.startsWith('E:')) ?? result.error?.message ?? `exit code ${result.status}`
}

/** @param tools what the parts of this run call */
export function installMissing(tools: readonly Tool[]): void {
  const absent = tools.filter((tool) => findTool(tool) === null)
  const packages = [...new Set(absent.flatMap((tool) => [debianPackages[tool], ...(companions[tool] ?? [])]))].sort()
  if (packages.length === 0) return
  const before = asRoot()
  if (before === null) {
    console.log(`Not installed here: ${packages.join(', ')} (no right to install); tests that need them are skipped.`)
    return
  }
  console.log(`Installing with apt-get what the tests call and this machine lacks: ${packages.join(', ')}`)
  // The lists of a fresh machine are empty, and old ones name files that the mirror has no more.
  const failed =
    apt(before, 'update') ??
    apt(before, '-o', 'DPkg::Lock::Timeout=120', 'install', '-y', '--no-install-recommends', ...packages)
  if (failed !== null) console.log(`That did not work (${failed}); tests that need them are skipped.`)
}
