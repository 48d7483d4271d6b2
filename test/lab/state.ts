/** DIR/lab.json: what the lab must remember between two commands. Written whole and renamed, so never half. */
import { randomBytes } from 'node:crypto'
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { until } from '../kit/until.ts'
import { CouldNot, messageOf } from './answer.ts'

/** A process as the machine knows it: the number alone is not enough, since numbers are used again. */
const processIdentity = z.strictObject({ pid: z.number().int().positive(), startedAt: z.string() })

const member = z.strictObject({
  /** `a`, `b`, `c` or `witness`. */
  name: z.string(),
  /** The identity in its storage folder; null until it has answered for the first time. */
  serverId: z.string().nullable(),
  /** The agent's main storage folder. */
  dir: z.string(),
  /** Those beside it, as config.json has them at the beginning. */
  folders: z
    .array(
      z.strictObject({
        name: z.string(),
        path: z.string(),
        foundEntries: z.array(z.string()).nullable().default(null),
      }),
    )
    .default([]),
  log: z.string(),
  /** Path of the API's Unix socket. */
  api: z.string(),
  /** The address on which it listens for servers and clients, and where they look for it. */
  host: z.string().default('127.0.0.1'),
  /** Words before the agent's own command, e.g. those that enter a network namespace; they must become the agent. */
  enter: z.array(z.string()).default([]),
  linkPort: z.number().int(),
  consolePort: z.number().int(),
  /** Null for the witness. */
  nbdPort: z.number().int().nullable(),
  nbdSocket: z.string().nullable(),
  /** The agent as last started; null when the lab has seen it end. */
  process: processIdentity.nullable(),
  /** What stood in the folder before the lab came (lost+found of a mount point…); null when the lab made the folder. */
  foundEntries: z.array(z.string()).nullable(),
})

const labState = z.strictObject({
  version: z.literal(1),
  dir: z.string(),
  /** Whether `down` may remove DIR itself. */
  madeDir: z.boolean(),
  /** Where the Unix sockets are: DIR, or a short folder under the system's temporary one where DIR is too long. */
  socketDir: z.string(),
  client: z.enum(['tcp', 'unix']),
  volume: z.strictObject({ name: z.string(), sizeBytes: z.number() }),
  servers: z.array(member),
  witness: member.nullable(),
})

export type ProcessIdentity = z.infer<typeof processIdentity>
export type Member = z.infer<typeof member>
export type LabState = z.infer<typeof labState>

const fileOf = (dir: string) => path.join(dir, 'lab.json')

/** @throws CouldNot when there is no lab in the folder, or its file is not readable. */
export async function loadState(dir: string): Promise<LabState> {
  const file = fileOf(path.resolve(dir))
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (failure) {
    throw new CouldNot(`there is no lab in ${dir} (${messageOf(failure)})`)
  }
  try {
    return labState.parse(JSON.parse(text))
  } catch (failure) {
    throw new CouldNot(`${file} was not written by this lab (${messageOf(failure)})`)
  }
}

export async function labExists(dir: string): Promise<boolean> {
  return readFile(fileOf(path.resolve(dir))).then(
    () => true,
    () => false,
  )
}

export async function saveState(state: LabState): Promise<void> {
  const file = fileOf(state.dir)
  const fresh = `${file}.${randomBytes(4).toString('hex')}`
  await writeFile(fresh, `${JSON.stringify(state, null, 2)}\n`)
  await rename(fresh, file)
}

/** How long one command may wait for another one that writes just now, milliseconds; writing takes a moment. */
const lockMs = 5_000

/**
 * Writes what changed about one member into the file as it is now: two commands at once (`lab start a`, `lab start b`)
 * must not undo each other.
 */
export function saveMember(dir: string, changed: Member): Promise<void> {
  return change(dir, (state) => {
    const present = (each: Member) => (each.name === changed.name ? changed : each)
    const witness = state.witness === null ? null : present(state.witness)
    return { ...state, servers: state.servers.map(present), witness }
  })
}

/** Writes the shared disk's new size into the file as it is now. */
export function saveVolume(dir: string, volume: LabState['volume']): Promise<void> {
  return change(dir, (state) => ({ ...state, volume }))
}

async function change(dir: string, changed: (state: LabState) => LabState): Promise<void> {
  const lock = path.join(dir, 'lab.lock')
  await until(`turn to write (${lock} is in the way)`, lockMs, () =>
    writeFile(lock, '', { flag: 'wx' }).then(() => true),
  )
  try {
    await saveState(changed(await loadState(dir)))
  } finally {
    await rm(lock, { force: true })
  }
}

export async function forgetState(dir: string): Promise<void> {
  await rm(fileOf(dir), { force: true })
}

export const membersOf = (state: LabState): Member[] =>
  state.witness === null ? state.servers : [...state.servers, state.witness]

/** @throws CouldNot when the lab has no such member. */
export function memberNamed(state: LabState, name: string): Member {
  const found = membersOf(state).find((each) => each.name === name)
  if (found !== undefined) return found
  const known = membersOf(state).map((each) => each.name)
  throw new CouldNot(`this lab has no "${name}", only ${known.join(', ')}`)
}
