/** The two disks on which a store stands: the simulator's, and files with SQLite. */
import { MemoryDisk } from '../../../agent/store/memory-store.ts'
import { openStore } from '../../../agent/store/open-store.ts'
import type { StoreWorld } from './suite.ts'
import { quiet, realClock, seeded, temporaryFolder, VirtualClock } from './world.ts'

export function memoryWorld(): StoreWorld {
  const clock = new VirtualClock()
  const disk = new MemoryDisk({ clock, random: seeded(1), log: quiet })
  return {
    open: () => clock.settle(disk.openStore()),
    settle: (promise) => clock.settle(promise),
    kill: () => disk.kill(),
    end: async () => disk.kill(),
  }
}

export function fileWorld(): StoreWorld {
  const folder = temporaryFolder()
  return {
    open: () => openStore({ dir: folder.dir, clock: realClock, log: quiet }),
    settle: (promise) => promise,
    kill: null,
    end: async () => folder.remove(),
  }
}

export const bothWorlds = [
  { name: 'in memory', make: memoryWorld },
  { name: 'on files and SQLite', make: fileWorld },
]
