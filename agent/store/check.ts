/**
 * Every block that a storage folder holds, against its checksum (R3), with no agent running there. Changes nothing.
 * What a run left marked at an unclean end has no checksums to hold against (C2): it is counted, not checked.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { VolumeId } from '../kit/ids.ts'
import { limits } from '../limits.ts'
import { FileError } from './files.ts'
import { slotBytes } from './format.ts'
import { type BadBlock, type InspectedBlocks, type InspectedStore, inspectStore, type Place } from './inspect.ts'
import { SqliteOpener } from './sqlite-index.ts'
import { inUse, openingFailed } from './trouble.ts'

/** Bad blocks that are told one by one; of the others only how many. */
const mostTold = 1000

export interface FoundBad extends BadBlock {
  readonly volumeId: VolumeId
  /** The name of the image that alone holds the block; null: it is the volume's. */
  readonly image: string | null
  /** In the storage folder. */
  readonly place: Place | null
}

export interface CheckReport {
  readonly volumes: readonly {
    readonly id: VolumeId
    readonly sizeBytes: number
    /** Of what is allocated, images included: held against checksums, and in doubt anyway. */
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

/** It is told as its volume's (decision 0012). */
const hiddenPart = (hidden: InspectedBlocks) => ({
  blocks: hidden,
  image: null,
  extents: [...hidden.allocated()],
  startBytes: limits.hiddenStartBytes,
})

async function checkAll(store: InspectedStore, told: CheckOptions['told']): Promise<CheckReport> {
  const parts = store.replicas.map((replica) => [
    { blocks: replica as InspectedBlocks, image: null, extents: [...replica.allocated()], startBytes: 0 },
    ...replica.images.map((image) => ({ blocks: image, image: image.name, extents: [...image.own()], startBytes: 0 })),
    ...(replica.hidden === null ? [] : [hiddenPart(replica.hidden)]),
  ])
  const totalBytes = parts.flat().reduce((count, { extents }) => count + extents.length, 0) * slotBytes
  const bad: FoundBad[] = []
  let badCount = 0
  let doneBytes = 0
  const volumes: { id: VolumeId; sizeBytes: number; checkedBytes: number; doubtfulBytes: number }[] = []
  for (const [index, { volumeId, sizeBytes }] of store.replicas.entries()) {
    const volume = { id: volumeId, sizeBytes, checkedBytes: 0, doubtfulBytes: 0 }
    for (const { blocks, image, extents, startBytes } of parts[index] ?? []) {
      for (const extent of extents) {
        const found = blocks.check(extent)
        if (found === null) volume.doubtfulBytes += slotBytes
        else volume.checkedBytes += slotBytes
        for (const block of found ?? []) {
          badCount += 1
          if (bad.length >= mostTold) continue
          const offsetBytes = startBytes + block.offsetBytes
          bad.push({ ...block, offsetBytes, volumeId, image, place: blocks.placeOf(block.offsetBytes) })
        }
        doneBytes += slotBytes
        told(doneBytes, totalBytes)
        await nextTurn()
      }
    }
    volumes.push(volume)
  }
  return { volumes, bad, badCount }
}
