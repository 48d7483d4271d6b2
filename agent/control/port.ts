/** What the control API needs of the agent. main.ts joins it to the engine. Refusals are UserErrors. */
import type { Event } from '../contract/events.ts'
import type { Status } from '../contract/status.ts'

export interface AgentPort {
  /** From memory, at once: never waits for a disk, a peer or the arbiter. */
  status(): Status
  /** The last limits.events events, oldest first. */
  events(): readonly Event[]
  /** Called after anything in status() or events() changed, at most every 100 ms. @returns stop listening */
  onChange(listener: () => void): () => void
  /**
   * Creates a volume with a copy on this server and every connected storage peer.
   * @param preferredServer for arbiter `preferred`: the server that may go on alone; this one when undefined
   */
  createVolume(request: {
    name: string
    sizeBytes: number
    writeThrough: boolean
    arbiter: 'preferred' | 'witness'
    preferredServer?: string | undefined
    folder?: string | undefined
  }): Promise<void>
  /** Makes a volume larger; done when the new size is served here. */
  growVolume(volumeName: string, sizeBytes: number): Promise<void>
  /** Into "recently deleted": its clients are disconnected, its data is kept for limits.deletedKeepMs. */
  deleteVolume(volumeName: string): Promise<void>
  /** @param id of a recently deleted volume, 32 hex digits @param as another name; null: the old one */
  restoreVolume(id: string, as: string | null): Promise<void>
  /** For good. @param wipe every byte is overwritten first */
  purgeVolume(id: string, wipe: boolean): Promise<void>
  makeSnapshot(volumeName: string, snapshot: string): Promise<void>
  deleteSnapshot(volumeName: string, snapshot: string): Promise<void>
  /** Adds a storage folder; with `takeOver` one that holds data of this server. */
  addFolder(request: { name: string; path: string; takeOver: boolean }): Promise<void>
  /** `retry`: opens a missing storage folder if it is back; `remove`: takes an empty one out of use. */
  steerFolder(name: string, action: 'retry' | 'remove'): Promise<void>
  /** Reads all that every server holds of the volume, to find and repair what disks have changed. */
  scrub(volumeName: string, action: 'now' | 'stop'): Promise<void>
  /** Resync of whatever replica of the volume is out: try again at once, pause, continue. */
  resync(volumeName: string, action: 'now' | 'pause' | 'continue'): Promise<void>
  /**
   * For comparing replicas: flushes, then starts no write of any volume for `seconds` (1 to 10) or until `release`.
   * Answers when nothing is in flight and all is durable here.
   */
  hold(seconds: number): Promise<void>
  release(): Promise<void>
  /** E7: hands over, flushes, then ends the process (the answer comes before the end). */
  stop(): Promise<void>
}
