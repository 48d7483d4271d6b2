/** Where everything of a lab stands, and the configuration file of each agent. Decided once, in `up`. */
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { agentConfig } from '../../agent/contract/config.ts'
import { CouldNot, messageOf } from './answer.ts'
import { freePorts } from './ports.ts'
import type { LabState, Member } from './state.ts'

/** A Unix socket's path may have 107 bytes on Linux and 103 on macOS; some clients take fewer. */
const socketPathBytes = 95
const longestSocketName = 'witness-api.sock'

/** Where a member lives, other than on this machine's loopback: for tests with networks of their own. */
export interface Place {
  /** An address that is the member's own there; loopback is there, too. */
  readonly host: string
  /** A command that becomes the command which follows it, in that place; its process stays the same one. */
  readonly enter: readonly string[]
}

export interface LabRequest {
  readonly dir: string
  readonly servers: number
  readonly witness: boolean
  readonly sizeBytes: number
  readonly volume: string
  readonly client: 'tcp' | 'unix'
  /** Storage folders of each server beside its main one; none when not given. */
  readonly folders?: number
  /** By the members' names; who is not in it lives on loopback. */
  readonly places?: Readonly<Record<string, Place>>
}

/** What stood in a folder before us; null when there was no folder. */
async function entriesOf(dir: string): Promise<string[] | null> {
  try {
    return await readdir(dir)
  } catch (failure) {
    if (failure instanceof Error && 'code' in failure && failure.code === 'ENOENT') return null
    throw new CouldNot(`${dir} cannot be used (${messageOf(failure)})`)
  }
}

async function shortFolderFor(dir: string): Promise<string> {
  const fits = (folder: string) => Buffer.byteLength(path.join(folder, longestSocketName)) <= socketPathBytes
  if (fits(dir)) return dir
  const short = await mkdtemp(path.join(os.tmpdir(), 'mbl-'))
  if (fits(short)) return short
  throw new CouldNot(`${dir} is too long for Unix sockets, and so is ${short}`)
}

/**
 * Chooses folders, sockets and ports. Makes the folders (they may stand already, also as mount points); starts nothing.
 * @throws CouldNot when a folder cannot be used or already holds a server
 */
export async function layOut(request: LabRequest): Promise<LabState> {
  const dir = path.resolve(request.dir)
  const madeDir = (await entriesOf(dir)) === null
  const names = ['a', 'b', 'c'].slice(0, request.servers)
  if (request.witness) names.push('witness')
  const found = new Map<string, string[] | null>()
  for (const name of names) {
    const entries = await entriesOf(path.join(dir, name))
    if (entries?.includes('config.json')) throw new CouldNot(`${path.join(dir, name)} already holds a server`)
    found.set(name, entries)
  }
  const ports = await freePorts(names.length * 3)
  const nextPort = (): number => {
    const port = ports.pop()
    if (port === undefined) throw new CouldNot('fewer ports were asked for than are needed')
    return port
  }
  await mkdir(dir, { recursive: true })
  const socketDir = await shortFolderFor(dir)
  const members: Member[] = []
  for (const name of names) {
    const storage = name !== 'witness'
    const place = request.places?.[name]
    await mkdir(path.join(dir, name), { recursive: true })
    const folders = []
    for (const { name: folder, path: place } of storage ? moreFolders(dir, name, request.folders ?? 0) : []) {
      folders.push({ name: folder, path: place, foundEntries: await entriesOf(place) })
      await mkdir(place, { recursive: true })
    }
    members.push({
      name,
      serverId: null,
      dir: path.join(dir, name),
      folders,
      log: path.join(dir, `${name}.log`),
      api: path.join(socketDir, `${name}-api.sock`),
      host: place?.host ?? '127.0.0.1',
      enter: [...(place?.enter ?? [])],
      linkPort: nextPort(),
      consolePort: nextPort(),
      nbdPort: storage ? nextPort() : null,
      nbdSocket: storage ? path.join(socketDir, `${name}-nbd.sock`) : null,
      process: null,
      foundEntries: found.get(name) ?? null,
    })
  }
  return {
    version: 1,
    dir,
    madeDir,
    socketDir,
    client: request.client,
    volume: { name: request.volume, sizeBytes: request.sizeBytes },
    servers: members.filter((each) => each.nbdPort !== null),
    witness: members.find((each) => each.nbdPort === null) ?? null,
  }
}

/** `disk1`, `disk2`…: as DIR/a-disk1 and so on, beside the main folder. */
const moreFolders = (dir: string, member: string, count: number) =>
  Array.from({ length: count }, (_, index) => `disk${index + 1}`).map((name) => ({
    name,
    path: path.join(dir, `${member}-${name}`),
  }))

/** Writes config.json into every storage folder; checked against the agents' own schema, so that a typo ends here. */
export async function writeConfigs(members: readonly Member[]): Promise<void> {
  const secret = randomBytes(24).toString('base64url')
  const roleOf = (member: Member) => (member.nbdPort === null ? 'tiebreaker' : 'storage')
  for (const member of members) {
    const config = agentConfig.parse({
      version: 1,
      name: member.name,
      role: roleOf(member),
      link: { host: member.host, port: member.linkPort, secret },
      peers: members
        .filter((peer) => peer !== member)
        .map((peer) => ({ name: peer.name, role: roleOf(peer), host: peer.host, port: peer.linkPort })),
      folders: member.folders.map(({ name, path: place }) => ({ name, path: place })),
      nbd: { host: member.host, port: member.nbdPort, unix: member.nbdSocket },
      control: { socket: member.api, host: '127.0.0.1', port: member.consolePort },
    })
    // The file holds the cluster's secret.
    await writeFile(path.join(member.dir, 'config.json'), `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 })
  }
}

export const tcpUri = (member: Member, volume: string): string => `nbd://${member.host}:${member.nbdPort}/${volume}`

export const unixUri = (member: Member, volume: string): string =>
  `nbd+unix:///${volume}?socket=${(member.nbdSocket ?? '').split('/').map(encodeURIComponent).join('/')}`
