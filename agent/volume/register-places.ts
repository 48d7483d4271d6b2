/**
 * Where the registers of this server lie (E4): in main, or, where a volume's replica lies in main, in another sound
 * folder. Main remembers which, before the register begins, so that one on a disk that is away is never taken for none (E11).
 */
import { z } from 'zod'
import { isIdText, type VolumeId, volumeId } from '../kit/ids.ts'
import { type RegisterPlaces as Places, registerIn } from '../membership/register.ts'
import type { Records } from '../store/replica.ts'
import type { Folders, OpenFolder, StorageFolder } from './folders.ts'

const prefix = 'register-place-'
const placeSchema = z.object({ folder: z.string(), storeId: z.string() })
type Place = z.infer<typeof placeSchema>

export class RegisterPlaces implements Places {
  readonly #folders: Folders
  readonly #replicaFolder: (volumeId: VolumeId) => StorageFolder | undefined

  /** @param replicaFolder where this server's own replica of the volume lies; undefined: it has none */
  constructor(folders: Folders, replicaFolder: (volumeId: VolumeId) => StorageFolder | undefined) {
    this.#folders = folders
    this.#replicaFolder = replicaFolder
  }

  isAway(id: VolumeId): boolean {
    const place = this.#placeOf(id)
    return place !== null && this.#open(place) === undefined
  }

  find(id: VolumeId): Records | null {
    const place = this.#placeOf(id)
    return (place === null ? this.#newest(id)?.records : this.#open(place)?.store.records) ?? null
  }

  #placeOf(id: VolumeId): Place | null {
    return placeIn(this.#folders.main.store.records, `${prefix}${id}`)
  }

  #open(place: Place): OpenFolder | undefined {
    return this.#folders.open().find(({ store }) => store.storeId === place.storeId)
  }

  /** A main that does not know the place (an older copy of it): of what the folders show, the highest epoch. */
  #newest(id: VolumeId): { readonly records: Records; readonly epoch: number } | null {
    let newest: { readonly records: Records; readonly epoch: number } | null = null
    for (const { store } of this.#folders.open()) {
      const epoch = registerIn(store.records, id)?.epoch ?? 0
      if (epoch > (newest?.epoch ?? 0)) newest = { records: store.records, epoch }
    }
    return newest
  }

  choose(id: VolumeId, done: (records: Records | null) => void): void {
    const { main } = this.#folders
    const folder = this.#best(id)
    if (folder === main) return done(main.store.records)
    const place = { folder: folder.name, storeId: folder.store.storeId }
    main.store.records.put(`${prefix}${id}`, place, (failure) => {
      done(failure === null ? folder.store.records : null)
    })
  }

  /** Main, unless it holds the replica and another sound folder does not. */
  #best(id: VolumeId): OpenFolder {
    const { main } = this.#folders
    if (this.#replicaFolder(id) !== main) return main
    return this.#folders.open().find((folder) => folder !== main && folder.state === 'ok') ?? main
  }

  /** Whether a register lies in that folder; of one that is away, as main remembers it. */
  usesFolder(folder: StorageFolder): boolean {
    const { records } = this.#folders.main.store
    const ids = records.keys().flatMap((key) => {
      const id = key.startsWith(prefix) ? key.slice(prefix.length) : ''
      return isIdText(id) && placeIn(records, key)?.folder === folder.name ? [volumeId(id)] : []
    })
    return ids.some((id) => folder.store === null || registerIn(folder.store.records, id) !== null)
  }
}

function placeIn(records: Records, key: string): Place | null {
  const parsed = placeSchema.safeParse(records.get(key))
  return parsed.success ? parsed.data : null
}
