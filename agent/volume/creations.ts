/** The volumes that are being created, at the server that was asked and at those that prepare. */
import { UserError } from '../kit/failure.ts'
import type { ServerId, VolumeId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import type { Configuration } from '../membership/configuration.ts'
import { RecordFile, recordKey, type VolumeRecord } from '../membership/record.ts'
import type { ReplicaStore } from '../store/replica.ts'
import { type CreateRequest, checkSize, creationMessages, Preparation, plan, preparedRecord } from './creation.ts'
import type { Engine } from './engine.ts'
import type { OpenFolder, StorageFolder } from './folders.ts'

interface Prepared {
  readonly record: VolumeRecord
  readonly replica: ReplicaStore
  readonly folder: OpenFolder
  /** Who prepared it for another server looks at the register now and then: the commit may have been lost. */
  askAtMs: number
  /** When the register first said that it has no such volume; null before. */
  absentSinceMs: number | null
}

export class Creations {
  readonly #engine: Engine
  readonly #prepared = new Map<VolumeId, Prepared>()
  readonly #preparations = new Map<VolumeId, Preparation>()
  /** Names of replicas that are being made: two creations of one name must not both get through. */
  readonly #making = new Map<VolumeId, { readonly name: string; readonly folder: StorageFolder; abandoned: boolean }>()

  constructor(engine: Engine) {
    this.#engine = engine
  }

  /** Found at start: whether its volume exists is known to the register only. */
  resume(record: VolumeRecord, replica: ReplicaStore, folder: OpenFolder): void {
    this.#prepared.set(record.known.volumeId, { record, replica, folder, askAtMs: 0, absentSinceMs: null })
  }

  /** Whether a volume of this id is being made here. */
  has(id: VolumeId): boolean {
    return this.#prepared.has(id) || this.#making.has(id)
  }

  /** Where the replica of a volume lies that is being made. */
  folderOf(id: VolumeId): StorageFolder | undefined {
    return (this.#prepared.get(id) ?? this.#making.get(id))?.folder
  }

  usesFolder(folder: StorageFolder): boolean {
    return [...this.#making.values(), ...this.#prepared.values()].some((each) => each.folder === folder)
  }

  /** @throws UserError (as a rejection) when a server refuses or does not answer; then nothing remains. */
  async create(request: CreateRequest): Promise<void> {
    checkSize(request.sizeBytes)
    const { world } = this.#engine
    const configuration = plan(request, () => world.random.id())
    const id = configuration.volumeId
    if (this.#isTaken(request.name, id)) throw nameTaken(request.name)
    const folder = this.#folderFor(request.folder)
    const problems = await this.#prepareAll(configuration, folder)
    const began = problems.length > 0 ? 'no' : await this.#beginRegister(configuration)
    // Whether the register begins is still open: every server asks it now and then, and does as it says (tick).
    if (began === 'unknown') throw registerUnsure()
    if (began === 'no') {
      this.#tellOthers(configuration, 'create.abandon', { volume: id })
      this.#abandon(id)
      throw problems.length > 0 ? refused(problems) : registerFailed()
    }
    this.#tellOthers(configuration, 'create.commit', { configuration })
    this.#commit(id)
    world.event('created', configuration.volumeName, {})
  }

  /** @throws UserError when the folder that was asked for is not there or not sound */
  #folderFor(name: string | undefined): OpenFolder {
    const { folders } = this.#engine
    if (name === undefined) return folders.roomiest()
    const folder = folders.open().find((each) => each.name === name && each.state === 'ok')
    if (folder === undefined) throw folderRefused(name, folders.named(name)?.why ?? null)
    return folder
  }

  #isTaken(name: string, id: VolumeId): boolean {
    if (this.#engine.has(name, id) || this.#engine.volumes.size >= limits.volumes) return true
    return this.isMaking(name)
  }

  /** Whether a volume of that name is being made here. */
  isMaking(name: string): boolean {
    const isMade = [...this.#making.values()].some((making) => making.name === name)
    return isMade || [...this.#prepared.values()].some(({ record }) => record.known.volumeName === name)
  }

  #prepareAll(configuration: Configuration, folder: OpenFolder): Promise<{ server: ServerId; problem: string }[]> {
    return new Promise((resolve) => {
      const servers = configuration.inSync
      const { volumeId } = configuration
      const preparation = new Preparation(volumeId, servers, (problems) => {
        this.#preparations.delete(volumeId)
        resolve(problems)
      })
      this.#preparations.set(volumeId, preparation)
      this.#engine.world.clock.after(limits.createAnswerMs, () => preparation.timeOut())
      this.#tellOthers(configuration, 'create.prepare', { configuration })
      this.#prepare(configuration, folder, (problem) => preparation.answer(this.#engine.world.self, problem))
    })
  }

  /** Asked a few times: the same creation asked twice is done once, and a lost answer proves nothing (E2). */
  #beginRegister(configuration: Configuration): Promise<'yes' | 'no' | 'unknown'> {
    return new Promise((resolve) => {
      const arbiter = this.#engine.arbiters.at(configuration.arbiter.serverId, configuration.volumeId)
      let isAsked = false
      const ask = (triesLeft: number) => {
        isAsked ||= arbiter.reachable()
        arbiter.ask({ operation: 'create', configuration }, (answer) => {
          if (answer?.outcome === 'stored') resolve('yes')
          else if (answer?.outcome === 'other') resolve('no')
          else if (triesLeft === 0) resolve(isAsked ? 'unknown' : 'no')
          else ask(triesLeft - 1)
        })
      }
      ask(2)
    })
  }

  onMessage(from: ServerId, kind: keyof typeof creationMessages, body: unknown): boolean {
    switch (kind) {
      case 'create.prepare': {
        const parsed = creationMessages[kind].safeParse(body)
        if (!parsed.success) return false
        const volume = parsed.data.configuration.volumeId
        // Each server chooses its own folder: only it knows its disks.
        this.#prepare(parsed.data.configuration, this.#engine.folders.roomiest(), (problem) =>
          this.#tell(from, 'create.prepared', { volume, problem }),
        )
        return true
      }
      case 'create.prepared': {
        const parsed = creationMessages[kind].safeParse(body)
        if (parsed.success) this.#preparations.get(parsed.data.volume)?.answer(from, parsed.data.problem)
        return parsed.success
      }
      case 'create.commit': {
        const parsed = creationMessages[kind].safeParse(body)
        if (parsed.success) this.#commit(parsed.data.configuration.volumeId)
        return parsed.success
      }
      case 'create.abandon': {
        const parsed = creationMessages[kind].safeParse(body)
        if (parsed.success) this.#abandon(parsed.data.volume)
        return parsed.success
      }
    }
  }

  #prepare(configuration: Configuration, folder: OpenFolder, done: (problem: string | null) => void): void {
    const { world } = this.#engine
    const { volumeId, volumeName, sizeBytes } = configuration
    if (!configuration.inSync.includes(world.self)) return done('it is not named among the servers')
    if (this.#isTaken(volumeName, volumeId)) return done(`it already has a shared disk named ${volumeName}`)
    const making = { name: volumeName, folder, abandoned: false }
    this.#making.set(volumeId, making)
    const failed = (problem: string) => {
      this.#making.delete(volumeId)
      done(problem)
    }
    const { store } = folder
    store.createReplica(volumeId, sizeBytes, (failure, replica) => {
      if (failure !== null || replica === undefined) {
        return failed(failure === 'no-space' ? 'its disk is full' : 'its disk failed')
      }
      const record = preparedRecord(configuration)
      store.records.put(recordKey(volumeId), record, (second) => {
        if (second !== null) return failed('its disk failed')
        // What main remembers is what is known of a folder that is missing at the next start.
        this.#engine.folders.remember((third) => {
          if (third !== null) return failed('its disk failed')
          this.#making.delete(volumeId)
          const askAtMs = world.clock.monotonicMs() + 2 * limits.createAnswerMs
          this.#prepared.set(volumeId, { record, replica, folder, askAtMs, absentSinceMs: null })
          // Given up while the disk was slow: nobody will ever commit it.
          if (making.abandoned) this.#abandon(volumeId)
          done(null)
        })
      })
    })
  }

  #commit(id: VolumeId): void {
    const prepared = this.#prepared.get(id)
    if (prepared === undefined) return
    this.#prepared.delete(id)
    const record = { ...prepared.record, prepared: false }
    const file = new RecordFile(prepared.folder.store.records, id, record)
    file.save({}, (failure) => {
      // Not durable: the next start asks the register again. This run goes on with what it knows.
      if (failure !== null)
        this.#engine.world.log.warn({ volume: id, failure }, 'could not record that a volume begins')
    })
    this.#engine.open(record, prepared.replica, prepared.folder)
  }

  #abandon(id: VolumeId): void {
    const making = this.#making.get(id)
    if (making !== undefined) making.abandoned = true
    const prepared = this.#prepared.get(id)
    if (prepared === undefined) return
    this.#prepared.delete(id)
    const { log } = this.#engine.world
    const { store } = prepared.folder
    store.records.put(recordKey(id), null, () => {
      store.deleteReplica(id, (failure) => {
        if (failure !== null)
          log.warn({ volume: id, failure }, 'could not delete the replica of a volume that was not made')
      })
    })
  }

  tick(): void {
    const now = this.#engine.world.clock.monotonicMs()
    for (const [id, prepared] of this.#prepared) {
      if (now < prepared.askAtMs || this.#preparations.has(id)) continue
      prepared.askAtMs = now + limits.registerReadMs
      const arbiter = this.#engine.arbiters.at(prepared.record.known.arbiter.serverId, id)
      if (!arbiter.reachable()) continue
      arbiter.ask({ operation: 'read', volumeId: id }, (answer) => {
        if (answer?.outcome === 'stored') this.#commit(id)
        else if (answer?.outcome === 'absent') this.#foundAbsent(id, prepared)
      })
    }
  }

  /** The creation has long ended and began no register: what was prepared for it can go, nothing was ever written there. */
  #foundAbsent(id: VolumeId, prepared: Prepared): void {
    const now = this.#engine.world.clock.monotonicMs()
    prepared.absentSinceMs ??= now
    if (now - prepared.absentSinceMs > 4 * limits.createAnswerMs) this.#abandon(id)
  }

  #tellOthers(configuration: Configuration, kind: string, body: Record<string, unknown>): void {
    for (const server of configuration.inSync) if (server !== this.#engine.world.self) this.#tell(server, kind, body)
  }

  #tell(to: ServerId, kind: string, body: Record<string, unknown>): void {
    this.#engine.world.links.send(to, { type: 'control', kind, body })
  }
}

function nameTaken(name: string): UserError {
  return new UserError({
    code: 'volume-exists',
    happened: `There is already a shared disk named ${name}, or the limit of ${limits.volumes} is reached.`,
    dataIsSafe: 'Nothing was changed.',
    next: 'Choose another name.',
  })
}

function folderRefused(name: string, why: string | null): UserError {
  return new UserError({
    code: 'folder-refused',
    happened: `The shared disk was not made: the storage folder ${name} cannot be used${why === null ? '' : ` (${why})`}.`,
    dataIsSafe: 'Nothing was changed.',
    next: 'Name another one; "mirrorbay folder list" shows them all.',
  })
}

function refused(problems: readonly { server: ServerId; problem: string }[]): UserError {
  return new UserError({
    code: 'server-refused',
    happened: `The shared disk was not made: ${problems.map(({ problem }) => problem).join('; ')}.`,
    dataIsSafe: 'Nothing was changed.',
    next: 'Look after the server that refused, then try again.',
  })
}

function registerFailed(): UserError {
  return new UserError({
    code: 'arbiter-unreachable',
    happened: 'The shared disk was not made: the server that decides in a dispute did not answer.',
    dataIsSafe: 'Nothing was changed.',
    next: 'Make sure that it is running and reachable, then try again.',
  })
}

function registerUnsure(): UserError {
  return new UserError({
    code: 'arbiter-unreachable',
    happened:
      'It is not known yet whether the shared disk was made: the server that decides in a dispute was asked and did not answer.',
    dataIsSafe: 'No other shared disk was changed.',
    next: 'Make sure that it is running and reachable. The shared disk then appears by itself, or can be made anew after two minutes.',
  })
}
