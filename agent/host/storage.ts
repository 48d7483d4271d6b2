/**
 * The storage folders beside the main one: opens what is there, leaves alone what does not belong there, and looks now
 * and then whether a missing one is back and how much space is left. None of them keeps the agent from starting.
 */
import { mkdir, statfs } from 'node:fs/promises'
import { type AgentConfig, folderListProblem, pathsOverlap } from '../contract/config.ts'
import type { EventKind } from '../contract/events.ts'
import { UserError } from '../kit/failure.ts'
import type { Clock, Log } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { StoreFaults } from '../store/faults.ts'
import { peekStore } from '../store/peek.ts'
import type { Engine } from '../volume/engine.ts'
import { mainFolder, rememberedFolders, StorageFolder } from '../volume/folders.ts'
import { writeFolders } from './config-file.ts'
import { describeFound, foundWords, isBlank } from './found.ts'
import { closeStore, openFolder, stateOfRefusal } from './opening.ts'
import { refusals } from './refusals.ts'
import { isSpaceLow } from './space.ts'

export interface StorageWorld {
  /** The main folder's path. */
  readonly dir: string
  readonly config: Pick<AgentConfig, 'folders'>
  readonly engine: Engine
  readonly clock: Clock
  readonly log: Log
  /** Undefined where the agent takes no faults. */
  faultsOf(folder: string): StoreFaults | undefined
  event(
    kind: Extract<EventKind, `folder-${string}` | `space-${string}`>,
    details: Record<string, string | number>,
  ): void
  changed(): void
}

export class Storage {
  readonly #world: StorageWorld
  #config: AgentConfig['folders']
  /** Folders that are being opened now: a hung disk is asked once. */
  readonly #opening = new Set<string>()
  /** Stores that are open or being opened, and for which folder: no clone of one is opened beside it. */
  readonly #claims = new Map<string, string>()
  readonly #measuring = new Set<string>()
  /** Folders that people were told to be away. */
  readonly #toldAway = new Set<string>()
  #isStarted = false
  #isClosed = false
  #looks = 0

  constructor(world: StorageWorld) {
    this.#world = world
    this.#config = world.config.folders
    const { folders, world: engineWorld } = world.engine
    this.#claims.set(engineWorld.store.storeId, mainFolder)
    const remembered = rememberedFolders(engineWorld.store)
    for (const { name, path } of this.#config) {
      const volumes = remembered.find((folder) => folder.name === name)?.volumes ?? []
      folders.add(new StorageFolder({ name, path, volumes }))
    }
    for (const { name, path, volumes } of remembered) {
      if (volumes.length === 0 || folders.named(name) !== undefined) continue
      const folder = new StorageFolder({ name, path, volumes })
      folder.notOpened('missing', 'It was taken out of config.json while shared disks lay in it.')
      folders.add(folder)
    }
  }

  /** Opens all that is there; a disk that does not answer is not waited for longer than limits.folderAnswerMs. */
  async openAll(): Promise<void> {
    const { clock } = this.#world
    const late = new Promise<void>((resolve) => clock.after(limits.folderAnswerMs, resolve))
    await Promise.race([Promise.all(this.#away().map((folder) => this.#open(folder))), late])
    for (const folder of this.#away()) {
      if (this.#opening.has(folder.name)) folder.notOpened('missing', 'Its disk does not answer.')
      this.#toldAway.add(folder.name)
      this.#tell('folder-away', folder, { state: folder.state })
    }
  }

  /** The engine has opened what was there; folders that come from now on are opened as they come. */
  started(): void {
    this.#isStarted = true
    // Those that came while the engine started.
    this.#look()
  }

  /** @throws UserError when it still cannot be used, with the reason */
  async retry(name: string): Promise<void> {
    const folder = this.#named(name)
    if (folder.state === 'ok') return
    if (folder.store !== null) throw refusals.needsRestart(folder)
    await this.#open(folder)
    if (folder.store === null) throw refusals.notBack(folder)
  }

  /** Opens a folder, or makes it a store, and writes it into config.json. @throws UserError; then nothing has changed */
  async add(request: { readonly name: string; readonly path: string; readonly takeOver: boolean }): Promise<void> {
    const { engine, dir } = this.#world
    const { name, path } = request
    const folders = [...this.#config, { name, path }]
    this.#checkList(folders)
    await this.#checkContent(path, request)
    const folder = engine.folders.named(name) ?? new StorageFolder({ name, path })
    engine.folders.add(folder)
    await this.#open(folder)
    try {
      if (folder.store === null) throw refusals.notBack(folder)
      await writeFolders(dir, folders)
    } catch (error) {
      // What was found there is served already, or known to be away; only the file does not name it.
      if (folder.volumes().length === 0) await this.#letGo(folder)
      throw error
    }
    this.#config = folders
    engine.folders.remember(() => undefined)
    this.#world.changed()
  }

  /** Takes an empty folder out of use; its files stay. @throws UserError while something lies in it */
  async remove(name: string): Promise<void> {
    const { engine, dir } = this.#world
    if (name === mainFolder) throw refusals.mainStays()
    const folder = this.#named(name)
    if (this.#opening.has(name)) throw refusals.notBack(folder)
    if (engine.usesFolder(folder)) throw refusals.notEmpty(folder)
    const folders = this.#config.filter((each) => each.name !== name)
    // Before anything waits, so that no volume is put there meanwhile.
    engine.folders.remove(name)
    try {
      await writeFolders(dir, folders)
    } catch (error) {
      engine.folders.add(folder)
      throw error
    }
    this.#config = folders
    await this.#letGo(folder)
    engine.folders.remember(() => undefined)
    this.#world.changed()
  }

  /** The agent stops: what comes back from now on waits for the next start. */
  stopLooking(): void {
    this.#isClosed = true
  }

  /** Closes the stores of all folders but main's. */
  async close(): Promise<void> {
    this.stopLooking()
    const folders = this.#world.engine.folders.open().filter(({ name }) => name !== mainFolder)
    const ends = await Promise.allSettled(folders.map(({ store }) => closeStore(store)))
    for (const end of ends) if (end.status === 'rejected') throw end.reason
  }

  #named(name: string): StorageFolder {
    const folder = this.#world.engine.folders.named(name)
    if (folder === undefined) throw refusals.noSuch(name)
    return folder
  }

  #away(): StorageFolder[] {
    const isConfigured = ({ name }: StorageFolder) => this.#config.some((each) => each.name === name)
    return this.#world.engine.folders.all().filter((folder) => folder.store === null && isConfigured(folder))
  }

  /** Opens a folder if what belongs there is there; else the folder says why not. Never rejects. */
  async #open(folder: StorageFolder): Promise<void> {
    const { log, engine, clock } = this.#world
    if (this.#opening.has(folder.name) || folder.store !== null) return
    this.#opening.add(folder.name)
    const remembered = rememberedFolders(engine.world.store).find(({ name }) => name === folder.name)
    try {
      const store = await openFolder({
        path: folder.path,
        expectedId: remembered?.storeId,
        self: engine.world.self,
        clock,
        log,
        faults: this.#world.faultsOf(folder.name),
        claim: (storeId) => this.#claim(storeId, folder.name),
      })
      if (this.#isClosed) return await closeStore(store)
      folder.opened(store)
      this.#came(folder)
    } catch (error) {
      this.#release(folder.name)
      const [state, why] = stateOfRefusal(error)
      if (folder.why !== why) log.warn({ folder: folder.name, path: folder.path, state, why }, 'a folder is away')
      folder.notOpened(state, why)
      this.#world.changed()
    } finally {
      this.#opening.delete(folder.name)
    }
  }

  #came(folder: StorageFolder): void {
    const { engine } = this.#world
    const open = engine.folders.open().find(({ name }) => name === folder.name)
    if (!this.#isStarted || open === undefined) return
    engine.openFolder(open)
    if (this.#toldAway.delete(folder.name)) this.#tell('folder-back', folder, {})
  }

  #claim(storeId: string, name: string): string | null {
    const other = this.#claims.get(storeId)
    if (other !== undefined && other !== name) return other
    this.#claims.set(storeId, name)
    return null
  }

  #release(name: string): void {
    for (const [storeId, holder] of this.#claims) if (holder === name) this.#claims.delete(storeId)
  }

  async #letGo(folder: StorageFolder): Promise<void> {
    this.#world.engine.folders.remove(folder.name)
    this.#release(folder.name)
    if (folder.store === null) return
    await closeStore(folder.store).catch((error: unknown) =>
      this.#world.log.warn({ folder: folder.name, error: String(error) }, 'did not close in order'),
    )
  }

  #checkList(folders: AgentConfig['folders']): void {
    const { engine, dir } = this.#world
    if (folders.length > limits.folders) throw refusals.list(`a server has at most ${limits.folders} of them`)
    const added = folders.at(-1)
    if (added === undefined) return
    const problem = folderListProblem(folders)
    if (problem !== null) throw refusals.list(problem.words)
    const other = engine.folders.named(added.name)
    // Taken out of config.json by hand, it may come back to where it was.
    if (other !== undefined && other.path !== added.path) throw refusals.nameTaken(added.name)
    if (pathsOverlap(dir, added.path)) throw refusals.list('it is the main folder, or one is inside the other')
  }

  /** Makes the last folder of the path where it is not there, and looks what lies there. */
  async #checkContent(path: string, request: { readonly name: string; readonly takeOver: boolean }): Promise<void> {
    await mkdir(path, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw refusals.notMade(path, error.message)
    })
    const peeked = await peekStore(path)
    if (peeked.kind !== 'store') return
    const found = describeFound(peeked.store)
    const words = foundWords(found, this.#world.clock.wallMs())
    const user = this.#claims.get(found.storeId)
    if (user !== undefined) throw refusals.clone(user)
    if (isBlank(found)) return
    if (found.kind === 'main' || found.serverId !== this.#world.engine.world.self) throw refusals.elsewhere(words)
    const command = `mirrorbay folder add ${request.name} ${path} --take-over`
    if (!request.takeOver) throw refusals.hasData(words, command)
  }

  // --- now and then ---------------------------------------------------------------------------------------------------

  #look(): void {
    if (this.#isClosed) return
    this.#looks += 1
    for (const folder of this.#away()) if (this.#isWorthTrying(folder)) void this.#open(folder)
    for (const folder of this.#world.engine.folders.open()) void this.#measure(folder)
    this.#world.clock.after(limits.folderLookMs, () => this.#look())
  }

  /** By itself only what costs a look into the folder: opening a damaged one again and again helps nobody. */
  #isWorthTrying({ state }: StorageFolder): boolean {
    return state === 'missing' || state === 'foreign' || (state === 'in-use' && this.#looks % 2 === 0)
  }

  async #measure(folder: StorageFolder): Promise<void> {
    if (this.#measuring.has(folder.name)) return
    this.#measuring.add(folder.name)
    try {
      const { blocks, bsize } = await statfs(folder.path)
      const freeBytes = folder.store?.freeBytes() ?? null
      const totalBytes = blocks * bsize
      const wasLow = folder.space.isLow
      const isLow = isSpaceLow(wasLow, { freeBytes, totalBytes })
      folder.space = { freeBytes, totalBytes, isLow }
      if (isLow !== wasLow) this.#tell(isLow ? 'space-low' : 'space-ok', folder, { freeBytes: freeBytes ?? 0 })
    } catch (error) {
      this.#world.log.debug({ folder: folder.name, error: String(error) }, 'free space is not known')
    } finally {
      this.#measuring.delete(folder.name)
    }
  }

  #tell(
    kind: 'folder-away' | 'folder-back' | 'space-low' | 'space-ok',
    folder: StorageFolder,
    details: Record<string, string | number>,
  ): void {
    this.#world.event(kind, { folder: folder.name, path: folder.path, ...details })
    this.#world.changed()
  }
}

/** @throws UserError `config-refused` for a folder that is, holds, or lies in the main one */
export function checkFolders(dir: string, folders: AgentConfig['folders']): void {
  const wrong = folders.find(({ path }) => pathsOverlap(path, dir))
  if (wrong === undefined) return
  throw new UserError({
    code: 'config-refused',
    happened: `The storage folder ${wrong.name} (${wrong.path}) is the main folder ${dir}, or one is inside the other.`,
    dataIsSafe: 'Nothing was touched.',
    next: 'Give it a folder of its own in config.json, best on another disk.',
  })
}
