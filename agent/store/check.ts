/**
 * Every block that a storage folder holds, against its checksum (R3), with no agent running there. Changes nothing.
 * What a run left marked at an unclean end has no checksums to hold against (C2): it is counted, not checked.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { VolumeId } from '../kit/ids.ts'
import { FileError } from './files.ts'
import { slotBytes } from './format.ts'
import { type BadBlock, type InspectedStore, inspectStore, type Place } from './inspect.ts'
import { SqliteOpener } from './sqlite-index.ts'
import { inUse, openingFailed } from './trouble.ts'

/** Bad blocks that are told one by one; of the others only how many. */
const mostTold = 1000

export interface FoundBad extends BadBlock {
  readonly volumeId: VolumeId
  /** In the storage folder. */
  readonly place: Place | null
}

export interface CheckReport {
  readonly volumes: readonly {
    readonly id: VolumeId
    readonly sizeBytes: number
    /** Of what is allocated: held against checksums, and in doubt anyway. */
    readonly checkedBytes: number
    readonly doubtfulBytes: number
  }[]
  /** The first thousand. */
  readonly bad: readonly FoundBad[]
  readonly badCount: number
}

export interface CheckOptions {
  /** The storage folder. */
  readonly dir: string
  readonly told: (doneBytes: number, totalBytes: number) => void
}

/** @throws UserError codes: store-in-use, store-garbage, store-version, store-damaged, and those of an unusable folder */
export async function checkStore(options: CheckOptions): Promise<CheckReport> {
  const { dir } = options
  // First: taking the lock leaves a file, also in a folder that is no store.
  inspectStore(dir).close()
  const opener = new SqliteOpener(dir, new URL('./index-thread.ts', import.meta.url))
  try {
    await lockUnlessReadOnly(opener)
    const store = inspectStore(dir)
    try {
      return await checkAll(store, options.told)
    } finally {
      store.close()
    }
  } finally {
    await new Promise<void>((resolve) => opener.unlock(() => resolve()))
  }
}

/** On a disk that can only be read no agent runs, and there is nothing to lock. */
function lockUnlessReadOnly(opener: SqliteOpener): Promise<void> {
  return new Promise((resolve, reject) => {
    opener.lock((error) => {
      if (error === null || error.code === 'EROFS') resolve()
      else reject(error.code === 'EBUSY' ? inUse() : openingFailed(new FileError(error.code, error.message)))
    })
  })
}

async function checkAll(store: InspectedStore, told: CheckOptions['told']): Promise<CheckReport> {
  const extents = store.replicas.map((replica) => [...replica.allocated()])
  const totalBytes = extents.reduce((count, of) => count + of.length, 0) * slotBytes
  const bad: FoundBad[] = []
  let badCount = 0
  let doneBytes = 0
  const volumes: { id: VolumeId; sizeBytes: number; checkedBytes: number; doubtfulBytes: number }[] = []
  for (const [index, replica] of store.replicas.entries()) {
    const { volumeId, sizeBytes } = replica
    const volume = { id: volumeId, sizeBytes, checkedBytes: 0, doubtfulBytes: 0 }
    for (const extent of extents[index] ?? []) {
      const found = replica.check(extent)
      if (found === null) volume.doubtfulBytes += slotBytes
      else volume.checkedBytes += slotBytes
      for (const block of found ?? []) {
        badCount += 1
        if (bad.length < mostTold) bad.push({ ...block, volumeId, place: replica.placeOf(block.offsetBytes) })
      }
      doneBytes += slotBytes
      told(doneBytes, totalBytes)
      await nextTurn()
    }
    volumes.push(volume)
  }
  return { volumes, bad, badCount }
}
