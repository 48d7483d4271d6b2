/**
 * What goes wrong seldom, and then strangely: a machine sleeps, its calendar is set, bits rot on a disk, a storage folder or
 * a register comes back as it was some time ago, a register is gone. In most histories none of it, in the others one kind,
 * on one machine, beside the usual faults; all from the seed.
 */
import type { VolumeId } from '../../agent/kit/ids.ts'
import type { Configuration } from '../../agent/membership/configuration.ts'
import { registerIn } from '../../agent/membership/register.ts'
import type { FaultParts } from './faults.ts'
import type { SimServer } from './server.ts'
import type { Chance } from './world.ts'

export type MishapKind = 'sleep' | 'calendar' | 'rot' | 'store-older' | 'register-older' | 'register-empty'

const usual: Readonly<Record<MishapKind | 'none', number>> = {
  none: 52,
  sleep: 16,
  calendar: 5,
  rot: 10,
  'store-older': 9,
  'register-older': 4,
  'register-empty': 4,
}

export const isMishapKind = (word: string): word is MishapKind | 'none' => Object.hasOwn(usual, word)

/** A copy of a storage folder, taken while its agent ran. */
interface Backup {
  readonly commits: number
  readonly run: number
  bringBack(): void
}

export class Mishaps {
  readonly #parts: FaultParts
  readonly #chance: Chance
  readonly kind: MishapKind | 'none'
  readonly #everyMs: number
  /** The machine that it all happens to. */
  readonly victim: SimServer
  /** Whose register decides. */
  readonly #arbiter: SimServer
  #backup: Backup | null = null
  readonly #rotten: { readonly server: SimServer; readonly block: number; readonly ends: number }[] = []
  /** What the register held when it was copied. */
  #copied: Configuration | null = null
  #over = false
  /** The register does not hold any more what it held (A3 is broken): two histories may come of it, and be found (E1). */
  registerLost = false
  /** Somebody knows what the register does not hold any more. */
  registerMissed = false
  /** A folder came back as it was, and its peers knew better. */
  storeLost = false

  /** @param kind null: the seed's own */
  constructor(parts: FaultParts, arbiter: SimServer, kind: MishapKind | 'none' | null) {
    this.#parts = parts
    this.#chance = parts.world.chance('mishaps')
    const drawn = this.#chance.weighed(usual)
    this.kind = kind ?? drawn
    this.#everyMs = this.#chance.pick([800, 2_500, 6_000])
    this.#arbiter = arbiter
    const isRegister = this.kind === 'register-older' || this.kind === 'register-empty'
    const picked = this.#chance.pick(parts.storage)
    this.victim = isRegister ? arbiter : picked
  }

  begin(): void {
    if (this.kind === 'none' || this.#over) return
    const waitMs = this.#chance.between(0.1, 1.5) * this.#everyMs
    this.#parts.world.after(waitMs, () => {
      if (this.#over) return
      this.#strike(this.kind)
      this.begin()
    })
  }

  end(): void {
    this.#over = true
  }

  #strike(kind: MishapKind | 'none'): void {
    const { victim } = this
    switch (kind) {
      case 'none':
        return
      case 'sleep':
        return this.sleep(this.#chance.pick(this.#parts.storage), this.#chance.pick([300, 1_500, 2_500, 6_000, 20_000]))
      case 'calendar':
        return this.setCalendar(
          this.#chance.pick(this.#parts.storage),
          this.#chance.pick([-3_600_000, -60_000, -1_000, 500, 60_000, 3_600_000]),
        )
      case 'rot':
        return this.rot(victim)
      case 'store-older':
        return this.#storeOlder(victim)
      case 'register-older':
        return this.#registerOlder(victim, true)
      case 'register-empty':
        return this.#registerOlder(victim, false)
    }
  }

  /** The machine is suspended: its links are dead, its monotonic clock stands still, the calendar goes on (A1). */
  sleep(server: SimServer, lastsMs: number): void {
    if (server.state !== 'up' || server.clock.stopped) return
    const { network, story, storage, witness, world } = this.#parts
    story.tell('FAULT', `${server.name} sleeps for ${lastsMs} ms`)
    const others = [...storage, ...(witness === null ? [] : [witness])].filter((other) => other !== server)
    for (const other of others) {
      network.block(server.id, other.id)
      network.block(other.id, server.id)
    }
    server.clock.sleep()
    const { run } = server
    world.after(lastsMs, () => {
      for (const other of others) {
        network.unblock(server.id, other.id)
        network.unblock(other.id, server.id)
      }
      if (server.run === run && server.clock.sleeps) server.clock.goOn(this.#chance.is(0.5))
    })
  }

  setCalendar(server: SimServer, byMs: number): void {
    this.#parts.story.tell('FAULT', `the calendar of ${server.name} is set by ${byMs} ms`)
    server.clock.wallAheadMs += byMs
  }

  /** One bit of what lies on a disk, while another server holds it too (R3). */
  rot(server: SimServer): void {
    const { volume } = server
    if (volume === undefined || !this.#heldElsewhere(server)) return
    const pages = server.disk.stored().filter(({ volumeId }) => volumeId === volume.store.volumeId)
    if (pages.length === 0) return
    // Checksums are few beside data, and as bad to lose.
    const isData = this.#chance.is(0.7)
    const right = pages.filter((page) => (page.block !== null) === isData)
    const { extent, block, bytes, flip } = this.#chance.pick(right.length > 0 ? right : pages)
    const byte = this.#chance.whole(0, bytes - 1)
    const where = block === null ? `checksums of extent ${extent}` : `block ${block}`
    this.#parts.story.tell('FAULT', `a bit rots at ${server.name}: ${where}, byte ${byte}`)
    server.everRotted = true
    if (block !== null) this.#rotten.push({ server, block, ends: server.ends })
    flip(byte, this.#chance.whole(0, 7))
  }

  /**
   * Whether what has rotted in that block may have been believed: an unclean end leaves marked regions without checksums
   * that are worth anything, and where nobody's copy is sound the lowest id's is (C2, README of agent/mirror).
   */
  mayBeBelieved(block: number): boolean {
    return this.#rotten.some((rotten) => rotten.block === block && rotten.server.ends > rotten.ends)
  }

  #heldElsewhere(server: SimServer): boolean {
    const known = server.volume?.member.known
    return server.volume?.member.phase === 'open' && known !== undefined && known.inSync.length > 1
  }

  #storeOlder(server: SimServer): void {
    const { engine } = server
    if (engine === null || server.state !== 'up') return
    const { story, storage, world } = this.#parts
    const backup = this.#backup
    if (backup === null) {
      story.tell('FAULT', `the storage folder of ${server.name} is copied`)
      this.#backup = { commits: engine.world.store.commitCount, run: server.run, bringBack: server.disk.backup() }
      this.#copied = this.#presentRegister()
      return
    }
    // Everybody must be able to find out (C12), and hold what is lost here. Each start of the copy that the links refuse
    // counts commits of its own, and would in the end hide that it is one.
    const startsCommits = 4 * (server.leastRun - backup.run)
    const others = storage.filter((other) => other !== server)
    const remembers = (other: SimServer) => {
      const peers = other.volume?.world.record.value.peers ?? []
      return (peers.find(({ serverId }) => serverId === server.id)?.commits ?? 0) > backup.commits + startsCommits
    }
    const holds = others.some((other) => this.#holdsWith(server, other))
    if (!holds || !others.every(remembers)) return
    const downMs = this.#chance.pick([20, 800, 4_000])
    story.tell('FAULT', `kill ${server.name}; its storage folder comes back as it was; back in ${downMs} ms`)
    this.storeLost = true
    if (server === this.#arbiter && this.#presentRegister()?.id !== this.#copied?.id) this.#loseRegister()
    this.#parts.powerLost(server)
    server.kill()
    backup.bringBack()
    world.after(downMs, () => server.start())
  }

  /** Whether both are in one session that is open, or the other one has gone on without the first. */
  #holdsWith(server: SimServer, other: SimServer): boolean {
    const member = other.volume?.member
    if (member?.phase !== 'open') return false
    return !member.known.inSync.includes(server.id) || server.volume?.member.session?.number === member.session?.number
  }

  /** What the register holds; null while its server is down, and where it is gone. */
  #presentRegister(): Configuration | null {
    const { engine } = this.#arbiter
    const volumeId = this.#volumeId()
    return engine === null || volumeId === null ? null : registerIn(engine.world.store.records, volumeId)
  }

  #loseRegister(): void {
    const copiedEpoch = this.#copied?.epoch ?? 0
    const others = this.#parts.storage.filter((server) => server !== this.#arbiter || this.kind !== 'store-older')
    this.registerLost = true
    this.registerMissed = others.some(({ volume }) => (volume?.member.known.epoch ?? 0) > copiedEpoch)
  }

  #volumeId(): VolumeId | null {
    return this.#parts.storage.find(({ volume }) => volume !== undefined)?.volume?.world.volumeId ?? null
  }

  /** The arbiter's disk, or only the register on it, is as it was when it was copied; or empty. */
  #registerOlder(server: SimServer, hasCopy: boolean): void {
    const volumeId = this.#volumeId()
    if (server.engine === null || server.state !== 'up' || volumeId === null || this.registerLost) return
    const { story, world, witness } = this.#parts
    const key = `register-${volumeId}`
    if (this.#backup === null && hasCopy) {
      story.tell('FAULT', `the register at ${server.name} is copied`)
      this.#backup = { commits: 0, run: 0, bringBack: server.disk.backupRecord(key) }
      this.#copied = this.#presentRegister()
      return
    }
    const present = this.#presentRegister()
    if (present === null || (hasCopy && present.id === this.#copied?.id)) return
    story.tell('FAULT', `kill ${server.name}; its register ${hasCopy ? 'comes back as it was' : 'is gone'}`)
    this.#loseRegister()
    server.kill()
    if (hasCopy) this.#backup?.bringBack()
    else if (server === witness) server.blank()
    else server.disk.forgetRecord(key)
    world.after(200, () => server.start())
  }
}
