import { limits } from '../limits.ts'
import type { Doubt, Tell, WriteName } from '../membership/messages.ts'
import { regionRanges } from '../mirror/region-ranges.ts'
import type { Volume } from './volume.ts'

/** What this server tells when a session is formed (E9): doubts, names, last opened, clock; as after draining. */
export function tellOf(volume: Volume): Tell {
  return {
    openedId: volume.world.record.value.opened?.id ?? null,
    doubts: doubts(volume),
    older: volume.world.record.value.older,
    names: names(volume),
    time: volume.lamport.now,
  }
}

function doubts(volume: Volume): Doubt[] {
  const doubtful: [number, Doubt['grade']][] = []
  for (const [region, { grade }] of volume.store.regions()) if (grade !== 'sound') doubtful.push([region, grade])
  const worse = (one: Doubt['grade'], other: Doubt['grade']) => (one === 'lossy' ? one : other)
  const ranges = regionRanges(doubtful, limits.toldRanges, worse)
  return ranges.map(({ first, last, kind }) => ({ first, last, grade: kind }))
}

/** C7: what this replica applied and does not know confirmed: its own writes and the others'. */
function names(volume: Volume): WriteName[] {
  const { self, selfRun } = volume.world
  const own = [...volume.outgoing.appliedHere()].map((write) => ({
    origin: self,
    run: selfRun,
    number: write.number,
    time: write.time,
    offsetBytes: write.offsetBytes,
    lengthBytes: write.lengthBytes,
  }))
  return [...own, ...volume.incoming.names()]
}
