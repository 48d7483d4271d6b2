/** Volumes whose end is decided: each server ends its part and removes its replica, overwritten first where that was asked. */
import type { VolumeId } from '../kit/ids.ts'
import type { StoreFailure } from '../store/replica.ts'
import type { DeletedVolume } from './changes.ts'
import type { Engine } from './engine.ts'
import type { OpenFolder } from './folders.ts'
import type { Volume } from './volume.ts'

export class Removals {
  readonly #engine: Engine
  readonly #under = new Map<VolumeId, DeletedVolume>()

  constructor(engine: Engine) {
    this.#engine = engine
  }

  wiping(): readonly DeletedVolume[] {
    return [...this.#under.values()]
  }

  begin(volume: Volume): void {
    const folder = this.#engine.folderOf(volume.world.volumeId)
    const { volumeId, volumeName, sizeBytes, deletedMs, purge } = volume.member.known
    if (folder === undefined || this.#under.has(volumeId)) return
    const about = { id: volumeId, name: volumeName, sizeBytes, deletedMs: deletedMs ?? 0, goneMs: deletedMs ?? 0 }
    this.#under.set(volumeId, { ...about, wiping: null })
    volume.retire(() => {
      this.#engine.forget(volume)
      const removed = (failure: StoreFailure | null) => this.#removed(volume, folder, failure)
      if (purge !== 'wipe') return folder.store.deleteReplica(volumeId, removed)
      const progress = (doneBytes: number, totalBytes: number) => {
        this.#under.set(volumeId, { ...about, wiping: { doneBytes, totalBytes } })
        this.#engine.world.changed()
      }
      folder.store.wipeReplica(volumeId, progress, removed)
    })
  }

  /** First the replica is gone, then its record: a start in between finds the record alone, and what it says. */
  #removed(volume: Volume, { store }: OpenFolder, failure: StoreFailure | null): void {
    const { volumeId } = volume.world
    const { log, event, changed } = this.#engine.world
    // What is left is still listed, and found at the next start, which tries again.
    if (failure !== null) return log.error({ volume: volume.name, failure }, 'a deleted volume could not be removed')
    this.#under.delete(volumeId)
    store.records.put(`scrub-${volumeId}`, null, () => undefined)
    volume.world.record.remove(() => undefined)
    this.#engine.folders.remember(() => undefined)
    event('purged', volume.name, {})
    changed()
  }
}
