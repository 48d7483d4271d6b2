import { handBack } from '../kit/slabs.ts'
import type { ScrubWorld } from './scrub.ts'
import type { Volume } from './volume.ts'

/** Requests of clients under way beyond which the scrub goes at its slowest. */
const busyRequests = 4

/** What the scrub sees of its volume: it reads as one more client, whose reads are not counted as clients' are. */
export function scrubWorld(volume: Volume): ScrubWorld {
  const { world, store } = volume
  const connection = { closed: false, isInternal: true }
  const key = `scrub-${world.volumeId}`
  return {
    clock: world.clock,
    store,
    read: (offsetBytes, lengthBytes, done) =>
      volume.service.submitRead(connection, offsetBytes, lengthBytes, (failure, chunks) => {
        handBack(chunks)
        done(failure === null)
      }),
    isBusy: () => volume.service.underWay > busyRequests,
    repairedBytes: () => volume.repairs.repairedBytes,
    load: () => world.records.get(key),
    save: (state) =>
      world.records.put(key, state, (failure) => {
        if (failure !== null) world.log.warn({ volume: volume.name, failure }, 'how far the scrub is could not be kept')
      }),
    ended: (details) => volume.tellPeople('scrub-ended', { server: world.self, ...details }),
  }
}
