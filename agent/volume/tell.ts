import type { Doubt, Tell, WriteName } from '../membership/messages.ts'
import type { Volume } from './volume.ts'

/** What this server tells when a session is formed (E9): doubts, names, last opened, clock; as after draining. */
export function tellOf(volume: Volume): Tell {
  return {
    openedId: volume.world.record.value.opened?.id ?? null,
    doubts: doubts(volume),
    names: names(volume),
    time: volume.lamport.now,
  }
}

function doubts(volume: Volume): Doubt[] {
  const ranges: Doubt[] = []
  for (const [region, { grade }] of volume.store.regions()) {
    if (grade === 'sound') continue
    const last = ranges.at(-1)
    if (last !== undefined && last.grade === grade && last.last + 1 === region) last.last = region
    else ranges.push({ first: region, last: region, grade })
  }
  return ranges
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
