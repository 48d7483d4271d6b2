/** Aim: the real store and the simulator's keep the same promises. */

import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import { openStore } from '../../../agent/store/open-store.ts'
import { storeSuite } from './suite.ts'
import { quiet, realClock, seeded, temporaryFolder, VirtualClock } from './world.ts'

storeSuite('store in memory', () => {
  const clock = new VirtualClock()
  const disk = new MemoryDisk({ clock, random: seeded(1), log: quiet })
  return {
    open: () => clock.settle(disk.openStore()),
    settle: (promise) => clock.settle(promise),
    kill: () => disk.kill(),
    end: async () => disk.kill(),
  }
})

storeSuite('store on files and SQLite', () => {
  const folder = temporaryFolder()
  return {
    open: () => openStore({ dir: folder.dir, clock: realClock, log: quiet }),
    settle: (promise) => promise,
    kill: null,
    end: async () => folder.remove(),
  }
})
