import type { BeatVolume } from '../membership/heartbeats.ts'
import type { Volume } from './volume.ts'

/** A volume's part in heartbeats (E3). */
export function beatOf(volume: Volume): BeatVolume {
  return {
    key: volume.key,
    get session() {
      return volume.member.session?.number ?? 0
    },
    get lowWater() {
      return volume.outgoing.lowWater
    },
    get reachesArbiter() {
      return volume.member.proposer.reachable()
    },
    get commits() {
      return volume.world.ownStore.commits()
    },
    heardCommits: (from, commits) => volume.member.stores.hearCommits(from, commits),
    heardReachesArbiter: (from, reaches) => {
      if (volume.reachingArbiter.get(from) === reaches) return
      volume.reachingArbiter.set(from, reaches)
      volume.world.changed()
    },
    answerHeartbeat: (from, session) => volume.member.answerHeartbeat(from, session),
    heartbeatAnswered: (by, session, sentAtMs) => volume.heartbeatAnswered(by, session, sentAtMs),
    confirmedBelow: (from, lowWater) => volume.incoming.confirmedBelow(from, lowWater),
  }
}
