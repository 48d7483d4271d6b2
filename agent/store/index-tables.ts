/** What commits lead to, in memory: the tables of the simulator's index, row by row those of SQLite. */
import { never } from '../kit/failure.ts'
import type { GroupRow, IndexBatch, IndexContents, IndexImage, IndexVolume, RegionRow, VolumeChange } from './index.ts'

export class IndexTables {
  readonly storeId: string
  #lastVolume = 0
  #commits = 0
  readonly #volumes = new Map<number, IndexVolume>()
  readonly #images = new Map<number, IndexImage>()
  readonly #regions = new Map<string, RegionRow>()
  readonly #groups = new Map<number, GroupRow>()

  constructor(storeId: string) {
    this.storeId = storeId
  }

  copy(): IndexTables {
    const copy = new IndexTables(this.storeId)
    copy.#lastVolume = this.#lastVolume
    copy.#commits = this.#commits
    for (const [number, volume] of this.#volumes) copy.#volumes.set(number, volume)
    for (const [number, image] of this.#images) copy.#images.set(number, image)
    for (const [key, row] of this.#regions) copy.#regions.set(key, row)
    for (const [group, row] of this.#groups) copy.#groups.set(group, row)
    return copy
  }

  apply(batch: IndexBatch): void {
    this.#commits = batch.number ?? this.#commits
    for (const row of batch.regions) {
      const key = `${row.volume}/${row.region}`
      if (row.slots) this.#regions.set(key, { ...row, slots: row.slots.slice() })
      else this.#regions.delete(key)
    }
    for (const row of batch.groups) {
      if (row.doubtful) this.#groups.set(row.group, { ...row, doubtful: row.doubtful.slice() })
      else this.#groups.delete(row.group)
    }
    if (batch.change !== undefined) this.#change(batch.change)
  }

  contents(): IndexContents {
    return {
      storeId: this.storeId,
      lastVolume: this.#lastVolume,
      commits: this.#commits,
      volumes: [...this.#volumes.values()],
      images: [...this.#images.values()],
      regions: [...this.#regions.values()].map((row) => ({ ...row, slots: row.slots?.slice() ?? null })),
      groups: [...this.#groups.values()].map((row) => ({ ...row, doubtful: row.doubtful?.slice() ?? null })),
    }
  }

  #change(change: VolumeChange): void {
    switch (change.kind) {
      case 'add':
        this.#volumes.set(change.volume.number, change.volume)
        this.#lastVolume = Math.max(this.#lastVolume, change.volume.number)
        return
      case 'grow': {
        const volume = this.#volumes.get(change.number)
        if (volume) this.#volumes.set(change.number, { ...volume, sizeBytes: change.sizeBytes })
        return
      }
      case 'remove':
        this.#volumes.delete(change.number)
        this.#dropRows(change.number)
        for (const { number, volume } of this.#images.values()) if (volume === change.number) this.#dropImage(number)
        return
      case 'add-image': {
        const { number, volume } = change.image
        this.#images.set(number, change.image)
        this.#lastVolume = Math.max(this.#lastVolume, number)
        for (const row of [...this.#regions.values()]) {
          if (row.volume === volume) this.#regions.set(`${number}/${row.region}`, { ...row, volume: number })
        }
        return
      }
      case 'leave-images':
        for (const number of change.numbers) {
          const image = this.#images.get(number)
          if (image) this.#images.set(number, { ...image, leaving: true })
        }
        return
      case 'remove-image':
        this.#dropImage(change.number)
        return
      default:
        never(change, 'IndexTables')
    }
  }

  #dropImage(number: number): void {
    this.#images.delete(number)
    this.#dropRows(number)
  }

  #dropRows(number: number): void {
    for (const [key, row] of this.#regions) if (row.volume === number) this.#regions.delete(key)
  }
}
