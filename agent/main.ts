/**
 * The agent: the only file that builds the real clock, disks and network, and joins the modules. It runs without a
 * window; `mirrorbay agent --dir DIR` calls runAgent.
 */

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import type { AgentConfig } from './contract/config.ts'
import type { EventKind } from './contract/events.ts'
import type { Fault } from './contract/operations.ts'
import { EnginePort } from './control/engine-port.ts'
import { ChangeNotifier, EventLog } from './control/event-log.ts'
import { startControl } from './control/server.ts'
import { startNbdServer } from './frontends/nbd/server.ts'
import { readConfig } from './host/config-file.ts'
import { consoleToken, identity, knownIds, put } from './host/identity.ts'
import { digest, realClock, realRandom } from './host/machine.ts'
import { closeStore } from './host/opening.ts'
import { refusals } from './host/refusals.ts'
import { checkFolders, Storage } from './host/storage.ts'
import { UserError } from './kit/failure.ts'
import type { ServerId } from './kit/ids.ts'
import type { Log } from './kit/world.ts'
import { checkLimits, limits } from './limits.ts'
import type { LinkEvents } from './link/messages.ts'
import { type LinkHub, startLinks } from './link/tcp.ts'
import { StoreFaults } from './store/faults.ts'
import { openStore } from './store/open-store.ts'
import type { Store } from './store/replica.ts'
import { sizeThreadPool } from './thread-pool.ts'
import { version } from './version.ts'
import { Engine } from './volume/engine.ts'
import { mainFolder } from './volume/folders.ts'
import type { VolumeEvent } from './volume/world.ts'

/** Volume events and their names in the activity list; null: not shown as such. */
const eventNames: Record<VolumeEvent | 'created', EventKind> = {
  created: 'volume-created',
  serving: 'volume-serving',
  waiting: 'volume-waiting',
  hosted: 'volume-hosted',
  left: 'server-left',
  joined: 'server-joined',
  'split-brain': 'split-brain-found',
  'register-alarm': 'split-brain-found',
  'older-store': 'older-disk-found',
  grown: 'volume-grown',
  deleted: 'volume-deleted',
  restored: 'volume-restored',
  purged: 'volume-purged',
  'image-made': 'snapshot-made',
  'image-deleted': 'snapshot-deleted',
  'resync-started': 'resync-started',
  'resync-voided': 'resync-voided',
  repaired: 'repaired',
  'scrub-ended': 'scrub-ended',
  'resync-paused': 'resync-paused',
  'resync-continued': 'resync-continued',
}

const storeWords = 'the store'
const otherStoresWords = 'the other storage folders'

class Agent {
  readonly #dir: string
  readonly #clock = realClock()
  readonly #log: Log & { flush(done: () => void): void }
  readonly #allowFaults = process.env.MIRRORBAY_FAULTS === '1'
  /** By storage folder. */
  readonly #faults = new Map<string, StoreFaults>()
  readonly #changes = new ChangeNotifier({ clock: this.#clock })
  readonly #eventLog = new EventLog({ clock: this.#clock, changed: () => this.#changes.changed() })
  readonly #startedMs = Date.now()
  #ended: () => void = () => undefined
  #stopping: Promise<void> | null = null
  #isStoreHung = false
  /** In reverse order at the end; each at most limits.stopStepMs. */
  readonly #closers: { readonly what: string; readonly close: () => Promise<void> }[] = []

  constructor(dir: string) {
    this.#dir = dir
    const level = process.env.MIRRORBAY_LOG ?? 'info'
    // Not synchronous: a log on a hung disk must not hold the event loop.
    this.#log = pino({ level, base: { pid: process.pid } }, pino.destination({ fd: 1, sync: false }))
  }

  async run(): Promise<void> {
    checkLimits()
    const config = await readConfig(this.#dir)
    checkFolders(this.#dir, config.folders)
    const faults = this.#faultsOf(mainFolder)
    const store = await openStore({
      dir: this.#dir,
      clock: this.#clock,
      log: this.#log,
      ...(faults === undefined ? {} : { faults }),
    })
    this.#closers.push({ what: storeWords, close: () => closeStore(store) })
    const ended = new Promise<void>((resolve) => {
      this.#ended = resolve
    })
    const onSignal = () => void this.stop()
    process.on('SIGTERM', onSignal)
    process.on('SIGINT', onSignal)
    try {
      await this.#join(config, store)
      await ended
    } catch (error) {
      await this.#close()
      throw error
    } finally {
      process.off('SIGTERM', onSignal)
      process.off('SIGINT', onSignal)
      await new Promise<void>((resolve) => this.#log.flush(() => resolve()))
      // A thread that hangs in a disk call would keep the process, and with it the store's lock, whatever exit says.
      if (this.#isStoreHung) process.kill(process.pid, 'SIGKILL')
    }
  }

  #faultsOf(folder: string): StoreFaults | undefined {
    if (!this.#allowFaults) return undefined
    const faults = this.#faults.get(folder) ?? new StoreFaults()
    this.#faults.set(folder, faults)
    return faults
  }

  async #join(config: AgentConfig, store: Store): Promise<void> {
    const self = await identity(store.records)
    const clock = this.#clock
    const log = this.#log
    const engineBox: { engine: Engine | null; hub: LinkHub | null } = { engine: null, hub: null }
    const hub = await this.#startLinks(config, store, self, {
      onMessage: (from, run, message, ordered) => engineBox.engine?.onMessage(from, run, message, ordered),
      onPeerRun: (peer, run) => {
        this.#peerSeen(engineBox.hub, store, peer)
        engineBox.engine?.onPeerRun(peer, run)
      },
      onPeerDisconnected: (peer) => {
        const name = engineBox.hub?.known().find((server) => server.id === peer)?.name ?? null
        this.#eventLog.append('peer-lost', { server: name })
        engineBox.engine?.onPeerDisconnected(peer)
      },
    })
    engineBox.hub = hub
    this.#closers.push({ what: 'the links', close: () => hub.close() })
    const nameOf = (id: unknown) =>
      id === self ? config.name : (hub.known().find((server) => server.id === id)?.name ?? null)
    const engine = new Engine({
      self,
      selfRun: store.run,
      clock,
      random: realRandom,
      log,
      store,
      dir: this.#dir,
      links: hub,
      digest,
      servers: () => hub.known().flatMap((server) => (server.id === null ? [] : [server.id])),
      event: (kind, volume, details) => {
        const { server, through, ...others } = details
        this.#eventLog.append(eventNames[kind], {
          volume,
          server: server === undefined ? null : nameOf(server),
          details: through === undefined ? others : { ...others, through: nameOf(through) ?? 'another server' },
        })
      },
      folderFailed: ({ name, path }) => {
        this.#eventLog.append('disk-failed', { server: config.name, details: { folder: name, path } })
      },
      changed: () => this.#changes.changed(),
    })
    const storage = await this.#openStorage(config, engine)
    engineBox.engine = engine
    this.#closers.push({ what: 'the engine', close: async () => engine.stop() })
    engine.start()
    storage.started()
    for (const damage of engine.damaged) log.error({ damage }, 'part of this folder cannot be used; it is left alone')
    if (config.role === 'storage') await this.#startNbd(config, engine)
    await this.#startControl({ config, store, engine, hub, storage })
    this.#closers.push({ what: 'the volumes', close: () => this.#leaveVolumes(engine) })
    this.#closers.push({ what: 'the look at storage folders', close: async () => storage.stopLooking() })
    this.#eventLog.append('agent-started', {
      server: config.name,
      details: { run: store.run, before: store.previousEnd },
    })
    log.info({ name: config.name, id: self, run: store.run, before: store.previousEnd }, 'the agent runs')
  }

  /** The folders beside the main one. They close after all that uses them, and before main, whose end says how all ended. */
  async #openStorage(config: AgentConfig, engine: Engine): Promise<Storage> {
    const storage = new Storage({
      dir: this.#dir,
      config,
      engine,
      clock: this.#clock,
      log: this.#log,
      faultsOf: (folder) => this.#faultsOf(folder),
      event: (kind, details) => this.#eventLog.append(kind, { server: config.name, details }),
      changed: () => this.#changes.changed(),
    })
    this.#closers.push({ what: otherStoresWords, close: () => storage.close() })
    await storage.openAll()
    return storage
  }

  async #startLinks(config: AgentConfig, store: Store, self: ServerId, events: LinkEvents): Promise<LinkHub> {
    return startLinks({
      self: { id: self, name: config.name, role: config.role, run: store.run },
      listen: { host: config.link.host, port: config.link.port },
      secret: config.link.secret,
      peers: config.peers,
      knownIds: knownIds(store.records),
      events,
      clock: this.#clock,
      random: realRandom,
      log: this.#log,
      allowFaults: this.#allowFaults,
    })
  }

  /** Remembers which id a peer of this name has shown, so that nobody else passes for it later. */
  #peerSeen(hub: LinkHub | null, store: Store, peer: ServerId): void {
    const name = hub?.known().find((server) => server.id === peer)?.name
    this.#eventLog.append('peer-connected', { server: name ?? null })
    const present = knownIds(store.records)
    if (name === undefined || present[name] === peer) return
    store.records.put('peers', { ...present, [name]: peer }, (failure) => {
      if (failure !== null) this.#log.warn({ name, failure }, 'could not remember a peer')
    })
  }

  async #startNbd(config: AgentConfig, engine: Engine): Promise<void> {
    const { host, port, unix } = config.nbd
    if (port === null && unix === null) return
    const nbd = await startNbdServer({
      devices: engine,
      host,
      port,
      unixPath: unix,
      clock: this.#clock,
      log: this.#log,
    })
    this.#closers.push({ what: 'the NBD frontend', close: () => nbd.close() })
  }

  async #startControl(parts: {
    config: AgentConfig
    store: Store
    engine: Engine
    hub: LinkHub
    storage: Storage
  }): Promise<void> {
    const { config, store, engine, hub, storage } = parts
    const consoleRecord = store.records.get('console')
    const lastPort =
      typeof consoleRecord === 'object' && consoleRecord !== null && 'port' in consoleRecord ? consoleRecord.port : null
    const port = new EnginePort({
      engine,
      clock: this.#clock,
      eventLog: this.#eventLog,
      changes: this.#changes,
      version,
      server: {
        id: engine.world.self,
        name: config.name,
        role: config.role,
        run: store.run,
        pid: process.pid,
        dir: this.#dir,
        startedMs: this.#startedMs,
      },
      servers: () => hub.known(),
      storage,
      nbdUris: (name) => nbdUris(config, name),
      stop: async () => {
        // The answer comes before the end.
        this.#clock.after(20, () => void this.stop())
      },
    })
    const options = {
      port,
      socketPath: config.control.socket ?? join(this.#dir, 'api.sock'),
      rendererDir: join(import.meta.dirname, '..', 'dist', 'renderer'),
      version,
      allowFaults: this.#allowFaults,
      setFault: (fault: Fault) => this.#setFault(fault, hub),
      clock: this.#clock,
      log: this.#log,
    }
    const console = { host: config.control.host, token: await consoleToken(this.#dir) }
    const wanted = config.control.port ?? (typeof lastPort === 'number' ? lastPort : null)
    const control = await startControl({ ...options, console: { ...console, port: wanted } }).catch(
      (error: unknown) => {
        // A port that was only remembered may have been taken meanwhile.
        if (config.control.port !== null || !(error instanceof UserError) || error.code !== 'console-port-in-use')
          throw error
        return startControl({ ...options, console: { ...console, port: null } })
      },
    )
    this.#closers.push({ what: 'the control API', close: () => control.close() })
    if (control.consolePort !== lastPort) await put(store.records, 'console', { port: control.consolePort })
  }

  async #setFault(fault: Fault, hub: LinkHub): Promise<void> {
    switch (fault.kind) {
      case 'cut':
        return hub.cut(fault.peer, fault.oneWay ? 'out' : 'both')
      case 'heal':
        return hub.heal()
      case 'disk-full':
        this.#setDiskFault(fault.kind, fault.folder)
        // C8: until credit for space that others had is back.
        return await new Promise<void>((resolve) => {
          this.#clock.after(2 * limits.heartbeatMs, resolve)
        })
      case 'disk-fail':
      case 'off':
        return this.#setDiskFault(fault.kind, fault.folder)
      case 'disk-slow':
        return this.#setDiskFault(`slow=${fault.delayMs}`, fault.folder)
    }
  }

  /** @param folder undefined: in all. @throws UserError where there is none of that name */
  #setDiskFault(fault: string, folder: string | undefined): void {
    const named = [...this.#faults].filter(([name]) => folder === undefined || name === folder)
    if (folder !== undefined && named.length === 0) throw refusals.noSuch(folder)
    for (const [, faults] of named) faults.set(fault)
  }

  /** E7: finish, flush, hand over; whoever waits is not waited for longer than limits.stopStepMs. */
  async #leaveVolumes(engine: Engine): Promise<void> {
    const endMs = this.#clock.monotonicMs() + limits.stopStepMs
    await Promise.all(
      [...engine.volumes.values()].map(async (volume) => {
        volume.stopping = true
        await new Promise<void>((resolve) => volume.hold.begin(resolve))
        if (volume.serving === null) return
        const { member } = volume
        // Who stops answers no flush: to wait until it is out would leave it out where all stop together (E7).
        let flushed = false
        volume.flusher.flush(() => {
          flushed = true
        })
        const another = () => member.removal.anyStopsAsPlanned(member.known.inSync)
        while (!flushed && !another() && this.#clock.monotonicMs() < endMs) {
          await new Promise<void>((resolve) => this.#clock.after(20, resolve))
        }
        if (!member.leave('left')) return
        // When all stop together nobody may be there to decide: then the set stays, and the process must not (E7).
        while (member.phase === 'left' && !member.everybodyStops() && this.#clock.monotonicMs() < endMs) {
          await new Promise<void>((resolve) => this.#clock.after(20, resolve))
        }
      }),
    )
  }

  /** Ends in order: clients, volumes, links, store. Said twice, done once. */
  stop(): Promise<void> {
    this.#stopping ??= this.#close().then(() => this.#ended())
    return this.#stopping
  }

  async #close(): Promise<void> {
    this.#eventLog.append('agent-stopping')
    for (const { what, close } of this.#closers.splice(0).reverse()) {
      const late = new Promise<'late'>((resolve) => this.#clock.after(limits.stopStepMs, () => resolve('late')))
      const outcome = await Promise.race([close(), late]).catch((error: unknown) => {
        this.#log.error({ what, error: String(error) }, 'did not close in order')
      })
      if (outcome === 'late') this.#log.warn({ what }, 'did not close in time; going on without it')
      if (outcome === 'late' && (what === storeWords || what === otherStoresWords)) this.#isStoreHung = true
    }
    this.#changes.close()
  }
}

function nbdUris(config: AgentConfig, name: string): { tcp: string | null; unix: string | null } {
  const { host, port, unix } = config.nbd
  return {
    tcp: port === null ? null : `nbd://${host}:${port}/${name}`,
    unix: unix === null ? null : `nbd+unix:///${name}?socket=${unix}`,
  }
}

/** Offline work for the command line, with no agent running in the folder. */
export { foundAtStart, volumeNames } from './host/offline.ts'
export { checkStore } from './store/check.ts'
export { rebuildStore } from './store/rebuild-folder.ts'

/**
 * Runs an agent in a storage folder until it is told to stop.
 * @throws UserError when it cannot start; the folder is left as it was
 */
export async function runAgent({ dir }: { dir: string }): Promise<void> {
  sizeThreadPool(dir)
  // A folder that cannot be made is reported by whoever opens it, in words.
  await mkdir(dir, { recursive: true }).catch(() => undefined)
  await new Agent(dir).run()
}
