/** An agent's configuration file (config.json in its storage folder). Parsed once, at start. */
import { z } from 'zod'
import { limits } from '../limits.ts'

/** Names of servers and volumes: what fits a host name, an NBD export and a file name alike. */
export const nameText = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'use 1 to 63 of: a-z 0-9 . _ - (starting with a letter or digit)')

/** Names of snapshots, within their volume; an export is named `volume@snapshot`, so neither may contain '@'. */
export const snapshotName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'use 1 to 63 of: a-z 0-9 - (starting with a letter or digit)')

const port = z.number().int().min(1).max(65_535)

/** The folder that holds config.json; every server has it, and it is named nowhere. */
const ownFolder = 'main'

/** @returns the path in its shortest form (the root is an empty text), or null when it is not an absolute one */
function normalPath(path: string): string | null {
  const unified = path.replaceAll('\\', '/')
  if (!/^(\/|[A-Za-z]:\/)/.test(unified)) return null
  const parts = unified.split('/').filter((part) => part !== '' && part !== '.')
  if (parts.includes('..')) return null
  return parts.map((part) => `/${part}`).join('')
}

/** @returns whether one path is the other, or lies inside it. Both absolute. */
export function pathsOverlap(one: string, other: string): boolean {
  const [a, b] = [normalPath(one), normalPath(other)]
  return a !== null && b !== null && (`${a}/`.startsWith(`${b}/`) || `${b}/`.startsWith(`${a}/`))
}

/** @returns what is wrong with a list of storage folders, with the index of the wrong one; null when nothing is */
export function folderListProblem(
  folders: readonly { readonly name: string; readonly path: string }[],
): { index: number; field: 'name' | 'path'; words: string } | null {
  for (const [index, { name, path }] of folders.entries()) {
    if (name === ownFolder)
      return { index, field: 'name', words: `"${ownFolder}" is the name of the folder with config.json` }
    if (normalPath(path) === null)
      return { index, field: 'path', words: 'write the whole path, from the root on and without ".."' }
    const before = folders.slice(0, index)
    if (before.some((other) => other.name === name))
      return { index, field: 'name', words: `two storage folders are named ${name}` }
    const overlapped = before.find((other) => pathsOverlap(other.path, path))
    if (overlapped !== undefined)
      return { index, field: 'path', words: `it is the same folder as ${overlapped.name}, or one is inside the other` }
  }
  return null
}

export const storageFolder = z.strictObject({ name: nameText, path: z.string().min(1).max(1024) })

export const agentConfig = z.strictObject({
  version: z.literal(1),
  name: nameText,
  /** `storage` holds replicas; `tiebreaker` (the witness) only keeps registers. */
  role: z.enum(['storage', 'tiebreaker']).default('storage'),
  link: z.strictObject({
    /** Loopback unless an administrator says otherwise: the link is authenticated but not yet encrypted. */
    host: z.string().min(1).default('127.0.0.1'),
    port,
    /** Shared by all servers of a cluster. */
    secret: z.string().min(16),
  }),
  /** The other servers. Both ends name each other. */
  peers: z
    .array(
      z.strictObject({
        name: nameText,
        role: z.enum(['storage', 'tiebreaker']).default('storage'),
        host: z.string().min(1),
        port,
      }),
    )
    .max(8)
    .default([]),
  /** Storage folders beside this one, each on a disk of its own and each a whole store. */
  folders: z
    .array(storageFolder)
    .max(limits.folders)
    .superRefine((folders, context) => {
      const problem = folderListProblem(folders)
      if (problem !== null)
        context.addIssue({ code: 'custom', path: [problem.index, problem.field], message: problem.words })
    })
    .default([]),
  nbd: z
    .strictObject({
      host: z.string().min(1).default('127.0.0.1'),
      /** Null: no TCP listener. */
      port: port.nullable().default(null),
      /** Path of a Unix socket; null: none. */
      unix: z.string().nullable().default(null),
    })
    .prefault({}),
  control: z
    .strictObject({
      /** Path of the API's Unix socket; null: api.sock in the storage folder. */
      socket: z.string().nullable().default(null),
      /** Loopback address of the console; null port: any free one, kept for later starts. */
      host: z.enum(['127.0.0.1', '::1']).default('127.0.0.1'),
      port: port.nullable().default(null),
    })
    .prefault({}),
})

export type AgentConfig = z.infer<typeof agentConfig>
