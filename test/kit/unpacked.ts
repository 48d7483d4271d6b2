/**
 * Programs of Debian packages that bring a service along (etcd-server, tgt, glusterfs-server): downloaded and unpacked
 * into .cache/packages of the checkout, never installed, so that no daemon starts on the machine and none stays behind.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'

const cache = join(import.meta.dirname, '..', '..', '.cache', 'packages')

/** Milliseconds for one call of apt-get or dpkg-deb. */
const callMs = 5 * 60_000

export interface Unpacked {
  /** Where the packages' root file system lies. */
  readonly folder: string
  /** @returns the full path of a program, null when none of the packages has it */
  program(name: string): string | null
  /** PATH and LD_LIBRARY_PATH under which the programs find each other and their libraries. */
  environment(): NodeJS.ProcessEnv
}

/** What stands for a test that cannot have them: `skip` in the form of test/kit/needs.ts. */
export type UnpackedOrSkip =
  | { readonly packages: Unpacked; readonly skip: false }
  | { readonly packages: null; readonly skip: string }

/**
 * @param names Debian packages; what they need beyond the installed system is named too, nothing is resolved
 * @returns the packages from the cache, else freshly downloaded
 */
export function unpacked(...names: readonly string[]): UnpackedOrSkip {
  const folder = join(cache, [...names].sort().join('+'))
  if (!existsSync(folder)) {
    const problem = downloadAndUnpack(names, folder)
    if (problem !== null) {
      return { packages: null, skip: `needs the Debian package ${names.join(', ')} unpacked: ${problem}` }
    }
  }
  return { packages: describe(folder), skip: false }
}

function describe(folder: string): Unpacked {
  const programs = ['usr/sbin', 'usr/bin', 'sbin', 'bin'].map((below) => join(folder, below))
  const libraries = ['usr/lib', 'lib'].flatMap((below) => {
    const path = join(folder, below)
    const triplets = existsSync(path) ? readdirSync(path).filter((name) => name.endsWith('-linux-gnu')) : []
    return [...triplets.map((triplet) => join(path, triplet)), path]
  })
  return {
    folder,
    program: (name) => programs.map((path) => join(path, name)).find((path) => existsSync(path)) ?? null,
    environment: () => ({
      ...process.env,
      PATH: [...programs, process.env.PATH].join(':'),
      LD_LIBRARY_PATH: [...libraries, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':'),
    }),
  }
}

/** Unpacks beside the goal and renames last: a broken download never looks like a finished one. @returns the problem */
function downloadAndUnpack(names: readonly string[], goal: string): string | null {
  mkdirSync(cache, { recursive: true })
  const work = mkdtempSync(join(cache, '.new-'))
  try {
    const root = join(work, 'root')
    mkdirSync(root)
    const problem = call(work, 'apt-get', '-qq', 'download', ...names)
    if (problem !== null) return problem
    for (const file of readdirSync(work).filter((name) => name.endsWith('.deb'))) {
      const broken = call(work, 'dpkg-deb', '-x', file, root)
      if (broken !== null) return broken
    }
    // Two runs at once may both get here; the first one's result serves both.
    if (!existsSync(goal)) renameSync(root, goal)
    return null
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

function call(folder: string, program: string, ...words: readonly string[]): string | null {
  const result = spawnSync(program, words, { cwd: folder, encoding: 'utf8', timeout: callMs })
  if (result.status === 0) return null
  const line = result.stderr?.split('\n').find((text) => text.startsWith('E:'))
  return line ?? result.error?.message ?? `${program} ended with ${result.status ?? result.signal}`
}
