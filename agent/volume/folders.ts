/**
 * The storage folders of one server, as the engine sees them: each is a whole store, and a volume lies with its replica
 * and its records in one of them. One that is missing or failed takes its own volumes down and no others.
 */
import { z } from 'zod'
import { isIdText, type ServerId, type VolumeId, volumeId } from '../kit/ids.ts'
import type { Clock, Log } from '../kit/world.ts'
import { limits } from '../limits.ts'
import type { Configuration } from '../membership/configuration.ts'
import { readVolumeRecords } from '../membership/record.ts'
import type { Store, StoreDone } from '../store/replica.ts'

/** The agent's own folder: the server's identity, known peers and registers are there. */
export const mainFolder = 'main'

/**
 * `ok` open; `missing` not there, or an empty mount point; `failed` its disk gave an error; `in-use` another agent has it;
 * `damaged` not readable as a store; `foreign` another store than the one that belongs there.
 */
export type FolderState = 'ok' | 'missing' | 'failed' | 'in-use' | 'damaged' | 'foreign'

/** A volume that lies in a folder, as main remembers it while the folder is away. */
export interface FolderVolume {
  readonly id: VolumeId
  readonly name: string
}

/** What main remembers of every other folder, so that an empty mount point is not taken for a new folder. */
export interface RememberedFolder {
  readonly name: string
  readonly path: string
  readonly storeId: string
  readonly volumes: readonly FolderVolume[]
}

const recordKey = 'folders'
const recordSchema = z.object({
  folders: z.array(
    z.object({
      name: z.string(),
      path: z.string(),
      storeId: z.string(),
      volumes: z.array(
        z.object({
          id: z
            .string()
            .refine(isIdText)
            .transform((text) => volumeId(text)),
          name: z.string(),
        }),
      ),
    }),
  ),
})

/** One folder. `store` is null while it cannot be used; once open it stays open for the rest of this run. */
export class StorageFolder {
  readonly name: string
  readonly path: string
  /** Of its volumes: records or replicas that do not fit together; shown, never touched. */
  readonly damaged: string[] = []
  /** In words, why it cannot be used; null while it can. */
  why: string | null = null
  space: { readonly freeBytes: number | null; readonly totalBytes: number | null; readonly isLow: boolean } = {
    freeBytes: null,
    totalBytes: null,
    isLow: false,
  }
  #store: Store | null = null
  #state: Exclude<FolderState, 'ok'> = 'missing'
  #remembered: readonly FolderVolume[]

  constructor(folder: { name: string; path: string; volumes?: readonly FolderVolume[] }) {
    this.name = folder.name
    this.path = folder.path
    this.#remembered = folder.volumes ?? []
  }

  get store(): Store | null {
    return this.#store
  }

  get state(): FolderState {
    if (this.#store === null) return this.#state
    return this.#store.failed ? 'failed' : 'ok'
  }

  opened(store: Store): void {
    this.#store = store
    this.why = null
  }

  notOpened(state: Exclude<FolderState, 'ok'>, why: string): void {
    this.#state = state
    this.why = why
  }

  /** What lies in it; while it is away, what lay in it when it was seen last. */
  volumes(): readonly FolderVolume[] {
    const store = this.#store
    if (store === null) return this.#remembered
    const here = new Set(store.replicas().map((replica) => replica.volumeId))
    const { found } = readVolumeRecords(store.records)
    return found
      .filter(({ known }) => here.has(known.volumeId))
      .map(({ known }) => ({ id: known.volumeId, name: known.volumeName }))
  }
}

/** A folder that is open. */
export interface OpenFolder extends StorageFolder {
  readonly store: Store
}

const isOpen = (folder: StorageFolder): folder is OpenFolder => folder.store !== null

export interface FoldersWorld {
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
}

export class Folders {
  readonly #world: FoldersWorld
  readonly #folders = new Map<string, StorageFolder>()
  readonly #toldFailed = new Set<string>()
  #savedText: string
  #lookedMs = 0

  /** @param path of the main folder, for people */
  constructor(world: FoldersWorld, path: string) {
    this.#world = world
    const main = new StorageFolder({ name: mainFolder, path })
    main.opened(world.store)
    this.#folders.set(mainFolder, main)
    this.#savedText = JSON.stringify(rememberedFolders(world.store))
  }

  /** Main first, then in the order in which they were added. */
  all(): readonly StorageFolder[] {
    return [...this.#folders.values()]
  }

  open(): readonly OpenFolder[] {
    return this.all().filter(isOpen)
  }

  named(name: string): StorageFolder | undefined {
    return this.#folders.get(name)
  }

  get main(): OpenFolder {
    const main = this.#folders.get(mainFolder)
    // Put there by the constructor, open, and never removed.
    return main as OpenFolder
  }

  add(folder: StorageFolder): void {
    this.#folders.set(folder.name, folder)
  }

  remove(name: string): void {
    this.#folders.delete(name)
  }

  /** @returns the sound folder with the most free space; of those that have about as much (one disk) the first */
  roomiest(): OpenFolder {
    let best = this.main
    for (const folder of this.open()) {
      if (folder.state !== 'ok') continue
      const isBetter = best.state !== 'ok' || freeBytesOf(folder) > 1.01 * freeBytesOf(best)
      if (isBetter) best = folder
    }
    return best
  }

  /** The folder in which a volume lies that cannot be opened now. */
  absent(id: VolumeId): StorageFolder | undefined {
    return this.#away().find((folder) => folder.volumes().some((volume) => volume.id === id))
  }

  /** Whether a volume of this name lies in a folder that is away. */
  absentName(name: string): boolean {
    return this.#away().some((folder) => folder.volumes().some((volume) => volume.name === name))
  }

  #away(): readonly StorageFolder[] {
    return this.all().filter((folder) => !isOpen(folder))
  }

  /** @returns folders that failed since it was asked last */
  newlyFailed(): readonly StorageFolder[] {
    const failed = this.open().filter((folder) => folder.store.failed && !this.#toldFailed.has(folder.name))
    for (const folder of failed) this.#toldFailed.add(folder.name)
    return failed
  }

  /** Writes down in main what lies where, when it has changed; looks at most every limits.folderLookMs. */
  tick(): void {
    const now = this.#world.clock.monotonicMs()
    if (now - this.#lookedMs < limits.folderLookMs) return
    this.#lookedMs = now
    this.remember(() => undefined)
  }

  /** Writes down in main what lies where. @param done durable, or nothing had changed; else main's disk failed */
  remember(done: StoreDone): void {
    const before = new Map(rememberedFolders(this.#world.store).map((folder) => [folder.name, folder]))
    const folders = this.all().flatMap((folder) => {
      const { name, path } = folder
      const storeId = folder.store?.storeId ?? before.get(name)?.storeId
      return name === mainFolder || storeId === undefined ? [] : [{ name, path, storeId, volumes: folder.volumes() }]
    })
    const text = JSON.stringify(folders)
    if (text === this.#savedText) return this.#world.clock.nextTurn(() => done(null))
    this.#world.store.records.put(recordKey, { folders }, (failure) => {
      if (failure === null) this.#savedText = text
      else this.#world.log.warn({ failure }, 'could not record what lies in which storage folder')
      done(failure)
    })
  }
}

const freeBytesOf = (folder: OpenFolder): number => folder.store.freeBytes() ?? 0

/** What main remembers of the other folders; nothing where it never had one. */
export function rememberedFolders(main: {
  readonly records: { get(key: string): unknown }
}): readonly RememberedFolder[] {
  const parsed = recordSchema.safeParse(main.records.get(recordKey))
  return parsed.success ? parsed.data.folders : []
}

/**
 * What a server says about a volume whose folder is away: it takes no part, as a leave says (E8), so that the others need
 * not wait for it. It holds no session that could still answer: this run never opened the volume.
 * @returns the configuration that it leaves, or null where it is in none
 */
export function leftByAbsence({ inSync, id }: Configuration, self: ServerId): Configuration['id'] | null {
  return inSync.includes(self) ? id : null
}
