import { limits } from '../limits.ts'
import type { MirrorSend } from '../mirror/messages.ts'
import type { RepairWorld } from '../mirror/repairs.ts'
import type { Volume } from './volume.ts'

/** What repairs see of the volume that they belong to. People are told of them in bundles: a dying disk has many. */
export function repairWorld(volume: Volume, send: MirrorSend): RepairWorld {
  const { clock, store, links, self } = volume.world
  let untold = { pieces: 0, bytes: 0 }
  let isPlanned = false
  const tell = (from: string) => {
    isPlanned = false
    volume.tellPeople('repaired', { server: self, from, ...untold })
    untold = { pieces: 0, bytes: 0 }
  }
  return {
    volumeKey: volume.key,
    clock,
    store,
    links,
    send,
    ownReplicaFailed: (failure) => volume.ownReplicaFailed(failure),
    // Number 0 lies below every low-water mark: whoever wrote what is repaired has it confirmed (R3).
    touched: (offsetBytes, lengthBytes) => volume.marks.touched(self, offsetBytes, lengthBytes, 0),
    repaired: (offsetBytes, lengthBytes, from, written) => {
      volume.world.log.warn({ volume: volume.name, offsetBytes, lengthBytes, from, written }, 'read from another copy')
      untold = { pieces: untold.pieces + 1, bytes: untold.bytes + lengthBytes }
      if (isPlanned) return
      isPlanned = true
      clock.after(limits.repairTellMs, () => tell(from))
    },
  }
}
