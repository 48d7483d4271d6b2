/**
 * A lab for one test: real agents in a folder of their own, gone again whatever happens (a failed test, Ctrl-C). When
 * the test fails, the agents' last words are told with the failure.
 */
import { rmSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Event } from '../../agent/contract/events.ts'
import type { DeletedVolumeStatus, Status, VolumeStatus } from '../../agent/contract/status.ts'
import { type Headline, headlineOf } from '../../agent/contract/words.ts'
import { inspectStore } from '../../agent/store/inspect.ts'
import type { Answer } from '../lab/answer.ts'
import { messageOf } from '../lab/answer.ts'
import { eventsOf, setFault, statusOf } from '../lab/api.ts'
import { equal } from '../lab/equal.ts'
import { down, up, wait } from '../lab/lab.ts'
import { type Place, tcpUri, unixUri } from '../lab/layout.ts'
import { kill, runningMembers, start, stop } from '../lab/members.ts'
import { lastLines, signal } from '../lab/processes.ts'
import { type LabState, type Member, memberNamed, membersOf } from '../lab/state.ts'
import { until } from './until.ts'

export interface LabOptions {
  readonly witness?: boolean
  readonly sizeBytes?: number
  /** Storage servers: a, b and, with 3, c. */
  readonly servers?: 2 | 3
  /** Storage folders of each server beside its main one: disk1, disk2… */
  readonly folders?: number
  /** Where members live who do not live on loopback (test/lab/layout.ts). */
  readonly places?: Readonly<Record<string, Place>>
  /** Makes folders before the lab comes, e.g. mount points at DIR/a. */
  readonly prepare?: (dir: string) => Promise<void>
  /** Undoes `prepare`, after the agents are gone; called also when `prepare` failed half way. */
  readonly undo?: (dir: string) => Promise<void>
}

/** How long a step of a test may take on a busy two-core machine, milliseconds. */
export const stepMs = 60_000

const MiB = 1024 * 1024
const logLines = 12

/** The labs of this process that are up now: whoever ends this process must not leave agents behind. */
const alive = new Set<LabState>()

function endAllNow(): void {
  for (const state of alive) {
    for (const member of runningMembers(state)) if (member.process !== null) signal(member.process, 'SIGKILL')
    try {
      for (const dir of new Set([state.socketDir, state.dir])) rmSync(dir, { recursive: true, force: true })
    } catch (failure) {
      process.stderr.write(`${state.dir} stays behind: ${messageOf(failure)}\n`)
    }
  }
}
process.on('exit', endAllNow)
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => process.exit(1))

/** @throws what the test throws, with the agents' last log lines */
export async function withLab(options: LabOptions, use: (lab: TestLab) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'mirrorbay-test-'))
  let state: LabState | undefined
  try {
    await options.prepare?.(dir)
    state = await up(
      {
        dir,
        servers: options.servers ?? 2,
        witness: options.witness ?? true,
        sizeBytes: options.sizeBytes ?? 64 * MiB,
        volume: 'disk',
        client: 'tcp',
        folders: options.folders ?? 0,
        ...(options.places === undefined ? {} : { places: options.places }),
      },
      { limitMs: stepMs, begins: (begun) => alive.add(begun) },
    )
    await use(new TestLab(state))
  } catch (failure) {
    if (state === undefined) throw failure
    // Not as a cause: node would print all of it twice.
    const told = failure instanceof Error ? (failure.stack ?? failure.message) : String(failure)
    throw new Error(`${told}\n${lastWords(state)}`)
  } finally {
    if (state !== undefined) await down(state, { atOnce: true })
    for (const each of alive) if (each.dir === dir) alive.delete(each)
    await options.undo?.(dir)
    await rm(dir, { recursive: true, force: true })
  }
}

const lastWords = (state: LabState): string =>
  membersOf(state)
    .map((member) => `--- ${member.name}\n${lastLines(member.log, logLines)}`)
    .join('\n')

export type ServerName = 'a' | 'b'
/** Of a lab with three servers, too. */
export type AnyServer = ServerName | 'c'
type MemberName = AnyServer | 'witness'

export class TestLab {
  readonly state: LabState

  constructor(state: LabState) {
    this.state = state
  }

  get dir(): string {
    return this.state.dir
  }

  get sizeBytes(): number {
    return this.state.volume.sizeBytes
  }

  uri(name: AnyServer): string {
    return tcpUri(memberNamed(this.state, name), this.state.volume.name)
  }

  unixUri(name: AnyServer): string {
    return unixUri(memberNamed(this.state, name), this.state.volume.name)
  }

  pid(name: MemberName): number {
    const identity = memberNamed(this.state, name).process
    if (identity === null) throw new Error(`${name} is not running`)
    return identity.pid
  }

  /** kill -9, and gone when this returns. */
  async kill(name: MemberName, signalName = 'KILL'): Promise<void> {
    must(await kill(this.state, name, signalName))
  }

  async start(name: MemberName): Promise<void> {
    must(await start(this.state, name, stepMs))
  }

  async stop(name: MemberName): Promise<void> {
    must(await stop(this.state, name, stepMs))
  }

  /** Waits for the lab's own notion of a headline (see `lab wait`). */
  async wait(headline: Headline, limitMs = stepMs): Promise<void> {
    must(await wait(this.state, headline, limitMs))
  }

  /** @throws with the first difference */
  async mustBeEqual(): Promise<void> {
    must(await equal(this.state))
  }

  /** Bytes of a replica in the main storage folder, read behind its agent's back. */
  onDisk(name: AnyServer, offsetBytes: number, lengthBytes: number): Buffer {
    const inspection = inspectStore(memberNamed(this.state, name).dir)
    try {
      const [replica] = inspection.replicas
      if (replica === undefined) throw new Error(`${name} holds no replica`)
      return Buffer.from(replica.readBlocks(offsetBytes, lengthBytes))
    } finally {
      inspection.close()
    }
  }

  equal(): Promise<Answer> {
    return equal(this.state)
  }

  status(name: MemberName): Promise<Status> {
    return statusOf(memberNamed(this.state, name))
  }

  volume(name: AnyServer): Promise<VolumeStatus> {
    return this.#volumeAt(name)
  }

  async #volumeAt(name: string): Promise<VolumeStatus> {
    const { volumes } = await statusOf(memberNamed(this.state, name))
    const found = volumes.find((volume) => volume.name === this.state.volume.name)
    if (found === undefined) throw new Error(`${name} knows no volume "${this.state.volume.name}"`)
    return found
  }

  async headline(name: AnyServer): Promise<Headline> {
    return headlineOf(await this.volume(name))
  }

  /** Waits until this one server says so. */
  async waitAt(name: AnyServer, headline: Headline, limitMs = stepMs): Promise<void> {
    await until(`${headline} at ${name}`, limitMs, async () => (await this.headline(name)) === headline)
  }

  /** Asks again and again for that long. @throws when any server's headline is another one meanwhile */
  async stays(headline: Headline, forMs: number): Promise<void> {
    const endMs = performance.now() + forMs
    while (performance.now() < endMs) {
      for (const { name } of this.state.servers) {
        const said = headlineOf(await this.#volumeAt(name))
        if (said !== headline) throw new Error(`${name} says ${said}, not ${headline} any more`)
      }
      await sleep(50)
    }
  }

  /** A server as test/lab/api.ts takes it: what a person changes is asked of it. */
  server(name: ServerName): Member {
    return memberNamed(this.state, name)
  }

  /** Waits until this server says that it keeps a deleted disk of the lab's name. */
  async deletedAt(name: ServerName): Promise<DeletedVolumeStatus> {
    return until(`a deleted disk at ${name}`, stepMs, async () => {
      const { volumes, deletedVolumes } = await this.status(name)
      const isOffered = volumes.some((volume) => volume.name === this.state.volume.name)
      return isOffered ? undefined : deletedVolumes.find((volume) => volume.name === this.state.volume.name)
    })
  }

  events(name: MemberName): Promise<readonly Event[]> {
    return eventsOf(memberNamed(this.state, name))
  }

  fault(name: MemberName, fault: Parameters<typeof setFault>[1]): Promise<void> {
    return setFault(memberNamed(this.state, name), fault)
  }
}

function must(answer: Answer): void {
  if (!answer.yes) throw new Error(answer.says)
}
