/** What the two sides of a resync see of the volume that they belong to. */

import { configurationId, isIdText } from '../kit/ids.ts'
import { contains } from '../membership/configuration.ts'
import { leaderOf } from '../membership/session.ts'
import type { JoinerWorld } from '../mirror/joiner.ts'
import type { MirrorSend } from '../mirror/messages.ts'
import type { ResyncWorld } from '../mirror/resync.ts'
import type { Volume } from './volume.ts'

/** The leader's side. */
export function resyncWorld(volume: Volume, send: MirrorSend): ResyncWorld {
  const { world, member } = volume
  const { links, clock, store } = world
  return {
    clock,
    store,
    sizeBytes: () => volume.sizeBytes,
    copier: volume.copier,
    send,
    acquire: (use) => volume.policing.acquire(use),
    release: (use) => volume.policing.release(use),
    joinerAlive: (joiner) => links.peer(joiner)?.connected === true,
    joinerOwesMs: (joiner) => volume.owedByMs(joiner),
    inHistory: (openedId) =>
      openedId === null || (isIdText(openedId) && contains(member.known, configurationId(openedId))),
    arbiterAnswers: (done) => member.proposer.read(member.known, (current) => done(current !== null)),
    propose: (joiner, decided) => member.decisions.proposeJoin(joiner, decided),
    tellPeople: (kind, joiner, details) => volume.tellPeople(`resync-${kind}`, { server: joiner, ...details }),
  }
}

/** The returning replica's side. */
export function joinerWorld(volume: Volume, send: MirrorSend): JoinerWorld {
  const { world, member } = volume
  return {
    self: world.self,
    clock: world.clock,
    store: world.store,
    incoming: volume.incoming,
    copyTarget: volume.copyTarget,
    send,
    whomToAsk: () => {
      const { known, opened } = world.record.value
      const leader = leaderOf(known)
      // A store that failed takes nothing more in this run.
      if (world.store.failed || member.splitBrain || world.links.peer(leader)?.connected !== true) return null
      return { leader, request: { knownId: known.id, openedId: opened?.id ?? null, openedEpoch: opened?.epoch ?? 0 } }
    },
    saveResyncBegun: (done) => world.record.save({ resyncBegun: true }, (failure) => done(failure === null)),
  }
}
