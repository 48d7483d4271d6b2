/**
 * The one table of test entries (HOUSE rule 15): which parts each npm script runs. ARCHITECTURE.md shows the same
 * table; the part `docs` compares them.
 */

import type { Tool } from '../kit/needs.ts'

/** A program that ends with 0 when all is well; counted as one test. */
interface ProgramPart {
  readonly kind: 'program'
  /** Given to build/run.mjs. */
  readonly command: readonly string[]
}

/** Files of node:test. */
interface FilesPart {
  readonly kind: 'files'
  readonly glob: string
  /** Files run at once: 1 where tests measure time or use the whole machine. */
  readonly concurrency: number
  /** A file that takes longer is stopped and has failed, minutes. */
  readonly fileMinutes: number
  /** The same in `test:full`, where a file tries much more than in short entries. */
  readonly fullFileMinutes?: number
  /** Commands that these tests call and that `npm test` may install (names of test/kit/needs.ts). */
  readonly tools: readonly Tool[]
}

export type Part = (ProgramPart | FilesPart) & { readonly about: string }

const program = (about: string, ...command: readonly string[]): Part => ({ kind: 'program', about, command })

/** Two on every machine: more makes real agents on a small one miss their heartbeats. */
const filesAtOnce = 2

/** In the order in which they run: what fails fastest comes first. */
export const parts = {
  lint: program('style and format', 'biome', 'check', '--error-on-warnings', '--diagnostic-level=warn', '.'),
  types: program('strict types', 'tsc', '-p', '.'),
  modules: program('who may import whom', 'build/modules.ts'),
  duplicates: program('no text twice', 'build/duplicates.ts'),
  docs: program('links, READMEs, tables', 'build/docs.ts'),
  unit: {
    kind: 'files',
    about: 'each module by itself',
    glob: 'test/unit/**/*.test.ts',
    concurrency: filesAtOnce,
    fileMinutes: 1,
    fullFileMinutes: 15,
    tools: [],
  },
  sim: {
    kind: 'files',
    about: 'a cluster in a simulated world',
    glob: 'test/sim/**/*.test.ts',
    concurrency: filesAtOnce,
    fileMinutes: 5,
    fullFileMinutes: 20,
    tools: [],
  },
  model: {
    kind: 'files',
    about: 'policing, every state: as a model (spin), and the code itself',
    glob: 'test/model/**/*.test.ts',
    // One file runs two searches at once, each with up to 2 GB of memory.
    concurrency: 1,
    fileMinutes: 10,
    tools: ['spin', 'gcc'],
  },
  crash: {
    kind: 'files',
    about: 'kill -9, frozen and full disks',
    glob: 'test/crash/**/*.test.ts',
    concurrency: 1,
    fileMinutes: 5,
    tools: [],
  },
  interop: {
    kind: 'files',
    about: 'the lab with real agents and real clients',
    glob: 'test/interop/**/*.test.ts',
    concurrency: 1,
    fileMinutes: 4,
    tools: ['qemu-io', 'nbdcopy', 'nbdfuse', 'fusermount3', 'fio', 'mkfs.ext4', 'fsck.ext4'],
  },
  namespaces: {
    kind: 'files',
    about: 'real agents on machines with networks of their own: cables pulled, slow, deaf in one direction',
    glob: 'test/namespaces/**/*.test.ts',
    concurrency: 1,
    fileMinutes: 5,
    tools: ['ip', 'tc', 'nsenter', 'unshare', 'qemu-io'],
  },
  ui: {
    kind: 'files',
    about: 'the window in a browser',
    glob: 'test/ui/**/*.test.ts',
    concurrency: 1,
    fileMinutes: 4,
    tools: ['chromium', 'qemu-io'],
  },
  judges: {
    kind: 'files',
    about: 'judges from outside: protocol, file systems, a kernel in a virtual machine',
    glob: 'test/judges/**/*.test.ts',
    concurrency: 1,
    fileMinutes: 8,
    tools: [
      'nbdsh',
      'nbdinfo',
      'nbdcopy',
      'qemu-img',
      'qemu-io',
      'fio',
      'nbd-client',
      'nbdfuse',
      'mkfs.ext4',
      'fsck.ext4',
    ],
  },
  install: {
    kind: 'files',
    about: 'npm ci with npm 10 and 11, the demo with each client, bare machine',
    glob: 'test/run/**/*.test.ts',
    concurrency: 1,
    fileMinutes: 8,
    tools: ['qemu-io', 'nbdcopy'],
  },
  claims: program('every claim has its tests', 'build/claims.ts'),
} as const satisfies Record<string, Part>

export type PartName = keyof typeof parts

export interface Entry {
  readonly script: string
  /** What it should take at most on two cores, minutes; more is said, not failed. */
  readonly minutes: number
  /** Handed to the tests as MIRRORBAY_TEST_LENGTH: how many seeds and rounds they take. */
  readonly length: 'short' | 'full' | 'long'
  readonly parts: readonly PartName[]
}

const everyDay = ['lint', 'types', 'modules', 'unit', 'sim', 'interop', 'ui', 'claims'] as const
const withHouse = ['lint', 'types', 'modules', 'duplicates', 'docs', 'unit', 'sim', 'interop', 'ui', 'claims'] as const

export const entries = {
  test: { script: 'npm test', minutes: 8, length: 'short', parts: everyDay },
  check: { script: 'npm run check', minutes: 8, length: 'short', parts: withHouse },
  'test:full': {
    script: 'npm run test:full',
    minutes: 60,
    length: 'full',
    parts: [...withHouse.slice(0, 7), 'model', 'crash', 'interop', 'namespaces', 'judges', 'ui', 'install', 'claims'],
  },
  'test:long': { script: 'npm run test:long', minutes: 600, length: 'long', parts: ['sim', 'crash', 'interop'] },
} as const satisfies Record<string, Entry>

export type EntryName = keyof typeof entries

/** The same as a table for people, as ARCHITECTURE.md shows it. */
export function entriesTable(): string {
  const rows = Object.values(entries).map(
    (entry: Entry) => `| \`${entry.script}\` | ${entry.minutes} min | ${entry.parts.join(', ')} |`,
  )
  return ['| entry | at most | parts |', '| --- | --- | --- |', ...rows].join('\n')
}
