/**
 * What a person changes of volumes that live: their size, their deletion and its taking back, their end. Each is decided
 * as a configuration (E2), so that every server does it or none, also one that was away. A growth is first made
 * everywhere, then decided; an end is first decided, then done, each server by itself.
 */
import type { ServerId, VolumeId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import type { Configuration, VolumeChange } from '../membership/configuration.ts'
import type { ReplicaImage } from '../store/replica.ts'
import {
  type ChangeProblem,
  ChangeQuestion,
  type ChangeTask,
  changeMessages,
  imageName,
  imageRefusal,
  refusalOf,
  refuse,
} from './change.ts'
import type { Engine } from './engine.ts'
import { WholeVolume } from './imaging.ts'
import { Keeping } from './keeping.ts'
import { Removals } from './removals.ts'
import type { Volume } from './volume.ts'

/** A recently deleted volume, for people. Times are wall clock ms; `goneMs`: when it is removed by itself at the earliest. */
export interface DeletedVolume {
  readonly id: VolumeId
  readonly name: string
  readonly sizeBytes: number
  readonly deletedMs: number
  readonly goneMs: number
  /** It is just being overwritten here. */
  readonly wiping: { readonly doneBytes: number; readonly totalBytes: number } | null
}

const lookAgainMs = 25

export class Changes {
  readonly #engine: Engine
  readonly #removals: Removals
  readonly #questions = new Map<number, ChangeQuestion>()
  readonly #keeping = new Map<VolumeId, Keeping>()
  #lastRequest = 0

  constructor(engine: Engine) {
    this.#engine = engine
    this.#removals = new Removals(engine)
  }

  deleted(): readonly DeletedVolume[] {
    const ending = this.#removals.wiping()
    // One whose end is decided and has not begun here is listed still: it says it is gone when it is.
    const kept = [...this.#engine.volumes.values()].flatMap(({ member: { known } }) => {
      const { volumeId: id, volumeName: name, sizeBytes, deletedMs } = known
      if (deletedMs === null || ending.some((volume) => volume.id === id)) return []
      return [{ id, name, sizeBytes, deletedMs, goneMs: deletedMs + limits.deletedKeepMs, wiping: null }]
    })
    return [...kept, ...ending]
  }

  /** @throws UserError as a rejection, here and below; done when the new size is served here */
  async grow(name: string, sizeBytes: number): Promise<void> {
    const volume = this.#inUse(name)
    if (!(sizeBytes > volume.sizeBytes) || sizeBytes % limits.blockBytes !== 0)
      throw refuse.notLarger(name, volume.sizeBytes)
    if (sizeBytes > limits.volumeMaxBytes) throw refuse.tooLarge(limits.volumeMaxBytes)
    if (volume.serving === null) throw refuse.waits(name)
    const asked = volume.member.known.inSync
    const problems = await this.#askAll(volume, asked, { kind: 'grow', sizeBytes })
    if (problems.length > 0) throw refusalOf(name, problems)
    const mayGrow = ({ inSync, deletedMs, purge }: Configuration) => {
      if (deletedMs !== null || purge !== 'no') throw refuse.noVolume(name)
      // Who joined meanwhile may not have the room: a member that cannot grow keeps all others waiting.
      if (inSync.some((server) => !asked.includes(server))) throw refuse.waits(name)
    }
    await this.#decide(volume, { sizeBytes }, (known) => known.sizeBytes >= sizeBytes, mayGrow)
    volume.people.tell('grown', { sizeBytes })
    await this.#until(() => volume.serving !== null && volume.member.waiting() === 'none')
  }

  /** Offered to nobody any more; kept, and still mirrored, until it is restored, purged, or its time is over. */
  async remove(name: string): Promise<void> {
    const volume = this.#inUse(name)
    const deletedMs = Math.floor(this.#engine.world.clock.wallMs())
    await this.#decide(volume, { deletedMs }, (known) => known.deletedMs !== null)
    volume.people.tell('deleted', {})
  }

  /** @param as another name; null: the old one */
  async restore(id: VolumeId, as: string | null): Promise<void> {
    const volume = this.#recentlyDeleted(id)
    const name = as ?? volume.name
    // Another volume of that name may lie at others only.
    const problems = await this.#askAll(volume, volume.member.known.inSync, { kind: 'take-name', name })
    if (problems.includes('taken')) throw refuse.taken(name)
    if (problems.length > 0) throw refusalOf(volume.name, problems)
    const isFree = ({ deletedMs, purge }: Configuration) => {
      if (purge !== 'no') throw refuse.noVolume(name)
      if (deletedMs !== null && this.#engine.isNamed(name)) throw refuse.taken(name)
    }
    const change = { deletedMs: null, volumeName: name }
    await this.#decide(volume, change, ({ deletedMs, purge }) => deletedMs === null && purge === 'no', isFree)
    volume.people.tell('restored', {})
  }

  /** For good. @param wipe every byte is overwritten first, at every server */
  async purge(id: VolumeId, wipe: boolean): Promise<void> {
    const volume = this.#recentlyDeleted(id)
    const isDeleted = ({ deletedMs }: Configuration) => {
      if (deletedMs === null) throw refuse.notDeleted(volume.name)
    }
    await this.#decide(volume, { purge: wipe ? 'wipe' : 'delete' }, (known) => known.purge !== 'no', isDeleted)
  }

  /** The same image at every in-sync server, of one instant between writes; they wait meanwhile. */
  async makeImage(name: string, image: string): Promise<void> {
    const volume = this.#inUse(name)
    if (!imageName.safeParse(image).success) throw refuse.badImageName()
    const { inSync } = volume.member.known
    const prepared =
      volume.serving === null ? ['busy' as const] : await this.#askAll(volume, inSync, { kind: 'prepare-image', image })
    if (prepared.length > 0) throw imageRefusal(name, image, prepared)
    const problems = await this.#makeHeld(volume, image)
    if (problems.length === 0) return volume.people.tell('image-made', { snapshot: image })
    // Somebody was faster with that name: it is theirs everywhere. Else what some have made is taken back.
    if (!problems.includes('taken'))
      await this.#askAll(volume, this.#connected(volume), { kind: 'delete-image', image })
    throw imageRefusal(name, image, problems)
  }

  /** While the whole volume is held in one session. */
  async #makeHeld(volume: Volume, image: string): Promise<readonly ChangeProblem[]> {
    const { clock } = this.#engine.world
    let session = -1
    const hold = new WholeVolume(volume, (begun) => {
      session = begun
    })
    volume.policing.acquire(hold)
    await this.#until(() => session >= 0)
    try {
      if (session <= 0) return ['busy']
      const madeMs = Math.floor(clock.wallMs())
      const { inSync } = volume.member.known
      const problems = await this.#askAll(volume, inSync, { kind: 'make-image', image, madeMs, session })
      return volume.serving?.number === session ? problems : [...problems, 'busy']
    } finally {
      hold.end()
    }
  }

  /** At every server that is there. */
  async deleteImage(name: string, image: string): Promise<void> {
    const volume = this.#inUse(name)
    const servers = this.#connected(volume)
    const problems = await this.#askAll(volume, servers, { kind: 'delete-image', image })
    const others = problems.filter((problem) => problem !== 'absent')
    if (others.length > 0) throw refusalOf(name, others)
    if (problems.length === servers.length) throw refuse.noImage(name, image)
    volume.people.tell('image-deleted', { snapshot: image })
  }

  /** Those of this server, from the oldest to the newest. */
  images(name: string): readonly ReplicaImage[] {
    const volume = [...this.#engine.volumes.values()].find((each) => each.name === name && !each.deleted)
    const id = volume?.world.volumeId
    return id === undefined ? [] : (this.#engine.folderOf(id)?.store.images(id) ?? [])
  }

  findImage(name: string, image: string): ReplicaImage | undefined {
    return this.images(name).find((each) => each.name === image)
  }

  #connected(volume: Volume): ServerId[] {
    const { self, links } = this.#engine.world
    const servers = volume.member.known.replicas.map(({ serverId }) => serverId)
    return servers.filter((server) => server === self || links.peer(server)?.connected === true)
  }

  /** Now and then: ends what is to end. */
  tick(): void {
    for (const volume of this.#engine.volumes.values()) {
      if (volume.member.known.purge !== 'no') this.#removals.begin(volume)
      const isOver = this.#isKeptLongEnough(volume)
      if (isOver && volume.member.leads) volume.member.decisions.proposeChange({ purge: 'delete' }, () => undefined)
    }
  }

  #isKeptLongEnough({ member, world: { volumeId: id, records, clock } }: Volume): boolean {
    const keeping = this.#keeping.get(id)
    const { deletedMs, purge } = member.known
    if (deletedMs === null || purge !== 'no') {
      this.#keeping.delete(id)
      keeping?.end()
      return false
    }
    if (keeping !== undefined) return keeping.isOver()
    this.#keeping.set(id, new Keeping(clock, records, id, deletedMs))
    return false
  }

  onMessage(from: ServerId, kind: keyof typeof changeMessages, body: unknown): boolean {
    if (kind === 'change.answer') {
      const parsed = changeMessages[kind].safeParse(body)
      if (parsed.success) this.#questions.get(parsed.data.request)?.answer(from, parsed.data.problem)
      return parsed.success
    }
    const parsed = changeMessages[kind].safeParse(body)
    if (!parsed.success) return false
    const { volume: id, request, task } = parsed.data
    this.#do(id, task, (problem) => {
      const answer = { volume: id, request, problem }
      this.#engine.world.links.send(from, { type: 'control', kind: 'change.answer', body: answer })
    })
    return true
  }

  /** This server's part of somebody's change. */
  #do(id: VolumeId, task: ChangeTask, done: (problem: ChangeProblem | null) => void): void {
    const volume = this.#engine.volumes.get(id)
    const store = this.#engine.folderOf(id)?.store
    if (volume === undefined || store === undefined) return done('absent')
    switch (task.kind) {
      case 'grow':
        // Asked twice, or larger already by an attempt that was not decided: nothing to do.
        if (task.sizeBytes <= volume.store.sizeBytes) return done(null)
        if (task.sizeBytes > limits.volumeMaxBytes || task.sizeBytes % limits.blockBytes !== 0) return done('busy')
        return store.growReplica(id, task.sizeBytes, done)
      case 'prepare-image':
        return volume.imaging.prepare(store, task.image, done)
      case 'take-name':
        return done(this.#engine.isNamed(task.name) || this.#engine.creations.isMaking(task.name) ? 'taken' : null)
      case 'make-image':
        return volume.imaging.make(store, task.image, task.madeMs, task.session, done)
      case 'delete-image':
        return store.deleteImage(id, task.image, (failure) => done(failure === 'no-image' ? 'absent' : failure))
    }
  }

  #askAll(volume: Volume, servers: readonly ServerId[], task: ChangeTask): Promise<readonly ChangeProblem[]> {
    const { world } = this.#engine
    this.#lastRequest += 1
    const request = this.#lastRequest
    const id = volume.world.volumeId
    return new Promise((resolve) => {
      const question = new ChangeQuestion(servers, (problems) => {
        this.#questions.delete(request)
        resolve(problems)
      })
      this.#questions.set(request, question)
      world.clock.after(limits.changeAnswerMs, () => question.timeOut())
      for (const server of servers) {
        const body = { volume: id, request, task }
        if (server === world.self) this.#do(id, task, (problem) => question.answer(world.self, problem))
        else world.links.send(server, { type: 'control', kind: 'change.ask', body })
      }
    })
  }

  /**
   * Has it decided; another decision that comes first is waited for.
   * @param stands whether it is so
   * @param mayStill throws when what was decided meanwhile forbids it
   */
  async #decide(
    volume: Volume,
    change: VolumeChange,
    stands: (known: Configuration) => boolean,
    mayStill: (known: Configuration) => void = ({ purge }) => {
      if (purge !== 'no') throw refuse.noVolume(volume.name)
    },
  ): Promise<void> {
    const { clock } = this.#engine.world
    const { member, name } = volume
    const untilMs = clock.monotonicMs() + limits.changeAnswerMs
    let isAsked = false
    while (clock.monotonicMs() < untilMs) {
      if (stands(member.known)) return
      // What is proposed replaces just what is looked at here (E2): nothing can come between.
      mayStill(member.known)
      // Taken back by the member itself, which asked for something more urgent.
      if (isAsked && !member.proposer.busy) isAsked = false
      if (!isAsked) {
        isAsked = member.decisions.proposeChange(change, () => {
          isAsked = false
        })
      }
      await new Promise<void>((resolve) => clock.after(lookAgainMs, resolve))
    }
    if (stands(member.known)) return
    throw isAsked && !member.proposer.withdraw() ? refuse.unsure(name) : refuse.waits(name)
  }

  async #until(holds: () => boolean): Promise<void> {
    const { clock } = this.#engine.world
    const untilMs = clock.monotonicMs() + limits.changeAnswerMs
    while (!holds() && clock.monotonicMs() < untilMs)
      await new Promise<void>((resolve) => clock.after(lookAgainMs, resolve))
  }

  #inUse(name: string): Volume {
    for (const volume of this.#engine.volumes.values()) if (volume.name === name && !volume.deleted) return volume
    throw refuse.noVolume(name)
  }

  #recentlyDeleted(id: VolumeId): Volume {
    const volume = this.#engine.volumes.get(id)
    if (volume === undefined || volume.member.known.purge !== 'no') throw refuse.noVolume(id)
    if (!volume.deleted) throw refuse.notDeleted(volume.name)
    return volume
  }
}
