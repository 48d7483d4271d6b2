/** What each operation of the contract does: a call of the agent, or a look at what it keeps in memory. */
import type { Fault, OperationId, operations, ParsedRequestOf, ResponseOf } from '../contract/operations.ts'
import { refusals } from '../contract/refusals.ts'
import { statusWords } from '../contract/words.ts'
import type { Clock } from '../kit/world.ts'
import type { AgentPort } from './port.ts'

/** Operations answered with one JSON body. */
export type JsonOperationId = {
  [Id in OperationId]: (typeof operations)[Id]['answers'] extends 'json' ? Id : never
}[OperationId]

/** Where a call came in: `socket` is the local user who may read the storage folder, `console` a browser. */
export type Via = 'socket' | 'console'

export type Handlers = {
  readonly [Id in JsonOperationId]: (request: ParsedRequestOf<Id>, via: Via) => ResponseOf<Id> | Promise<ResponseOf<Id>>
}

export interface HandlerOptions {
  readonly port: AgentPort
  readonly clock: Clock
  readonly consoleUrl: () => string
  readonly allowFaults: boolean
  /** Refusals are UserErrors; `not-built` for a fault that this version cannot make. */
  readonly setFault?: ((fault: Fault) => Promise<void>) | undefined
}

const done = { done: true } as const

export function makeHandlers({ port, clock, consoleUrl, allowFaults, setFault }: HandlerOptions): Handlers {
  return {
    status: () => port.status(),
    health: () => {
      const words = statusWords(port.status(), clock.wallMs())
      const volumes = words.volumes.map(({ name, headline, second, toDo }) => ({ name, headline, second, toDo }))
      return { headline: words.headline, second: words.second, volumes }
    },
    events: ({ after }) => ({ events: port.events().filter((event) => event.number > after) }),
    createVolume: async ({ name, sizeBytes, writeThrough, arbiter, preferredServer, folder }) => {
      const chosen = folder === undefined ? {} : { folder }
      await port.createVolume({ name, sizeBytes, writeThrough, arbiter, preferredServer, ...chosen })
      return done
    },
    growVolume: async ({ volume, sizeBytes }) => {
      await port.growVolume(volume, sizeBytes)
      return done
    },
    deleteVolume: async ({ volume }) => {
      await port.deleteVolume(volume)
      return done
    },
    restoreVolume: async ({ id, as }) => {
      await port.restoreVolume(id, as)
      return done
    },
    purgeVolume: async ({ id, wipe }) => {
      await port.purgeVolume(id, wipe)
      return done
    },
    makeSnapshot: async ({ volume, name }) => {
      await port.makeSnapshot(volume, name)
      return done
    },
    deleteSnapshot: async ({ volume, snapshot }) => {
      await port.deleteSnapshot(volume, snapshot)
      return done
    },
    addFolder: async ({ name, path, takeOver }) => {
      await port.addFolder({ name, path, takeOver })
      return done
    },
    steerFolder: async ({ folder, action }) => {
      await port.steerFolder(folder, action)
      return done
    },
    scrub: async ({ volume, action }) => {
      await port.scrub(volume, action)
      return done
    },
    resync: async ({ volume, action }) => {
      await port.resync(volume, action)
      return done
    },
    hold: async ({ seconds }) => {
      await port.hold(seconds)
      return done
    },
    release: async () => {
      await port.release()
      return done
    },
    stop: async () => {
      await port.stop()
      return done
    },
    console: (_request, via) => {
      if (via !== 'socket') throw refusals.socketOnly()
      return { url: consoleUrl() }
    },
    setFault: async (fault) => {
      if (!allowFaults) throw refusals.faultsNotAllowed()
      if (setFault === undefined) throw refusals.notBuilt('Making faults')
      await setFault(fault)
      return done
    },
  }
}
