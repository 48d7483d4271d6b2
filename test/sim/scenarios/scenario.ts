/** What the named histories of COUNTEREXAMPLES.md are steered with: a directed cluster, and words for its awkward moments. */
import assert from 'node:assert/strict'
import { limits } from '../../../agent/limits.ts'
import type { Configuration } from '../../../agent/membership/configuration.ts'
import { registerIn } from '../../../agent/membership/register.ts'
import type { BlockClient } from '../../../agent/volume/block-device.ts'
import { type Asked, Directed, type Sending } from '../directed.ts'
import type { SimServer } from '../server.ts'

export const MiB = 1024 * 1024
export const block = 4096

export class Scenario extends Directed {
  /** Nothing goes from one to the other any more; what is on the stream waits. @returns what mends it */
  oneWay(from: SimServer, to: SimServer): () => void {
    this.network.block(from.id, to.id)
    return () => this.network.unblock(from.id, to.id)
  }

  /** A cable is out. @returns what mends it */
  cut(one: SimServer, other: SimServer): () => void {
    const mend = [this.oneWay(one, other), this.oneWay(other, one)]
    return () => {
      for (const each of mend) each()
    }
  }

  /** Nobody sees it, and it sees nobody. @returns what mends it */
  isolate(server: SimServer): () => void {
    const mend = this.all.filter((other) => other !== server).map((other) => this.cut(server, other))
    return () => {
      for (const each of mend) each()
    }
  }

  /** Waits for a request that must end well. */
  done(asked: Asked, what = 'the request is done', limitMs?: number): Asked {
    this.until(what, () => asked.answer !== undefined, limitMs)
    assert.equal(asked.answer, null, what)
    return asked
  }

  put(index: number, offsetBytes: number, fill: number, lengthBytes = block): void {
    this.done(this.write(this.attach(index), offsetBytes, fill, lengthBytes), `${fill} is written`)
  }

  get(index: number, offsetBytes = 0): number | undefined {
    return this.done(this.read(this.attach(index), offsetBytes), 'it is read').first
  }

  /** The byte that lies on that server's own disk now, whatever it may serve. */
  lies(index: number, offsetBytes = 0): number | undefined {
    const found: { first?: number | undefined } = {}
    this.volume(index).store.read(offsetBytes, block, (_, data) => {
      found.first = data[0] ?? -1
    })
    this.until('its disk is read', () => found.first !== undefined)
    return found.first
  }

  /** Nothing is in doubt anywhere of its own accord: what was written is durable, and its marks are off. */
  quiet(): void {
    const isQuiet = ({ volume }: SimServer) =>
      volume === undefined ||
      volume.member.phase !== 'open' ||
      [...volume.store.regions()].every(([, facts]) => !facts.marked)
    this.until('no region is marked', () => this.servers.every(isQuiet), 10 * limits.markIdleMs)
    this.pass(1_000)
  }

  /** These are in sync, by names, and serve. */
  goOn(names: string, limitMs?: number): void {
    const members = [...names].map((name) => this.servers.findIndex((server) => server.name === name))
    this.until(
      `${names} go on`,
      () => members.every((index) => this.serves(index) && this.inSync(index) === names),
      limitMs,
    )
  }

  /** All are back in sync; every replica and every frontend has the same. */
  whole(expected: Readonly<Record<number, number>> = {}): void {
    this.until('all are in sync', () => this.isWhole(), 180_000)
    for (const [offset, fill] of Object.entries(expected))
      for (const index of this.servers.keys()) assert.equal(this.get(index, Number(offset)), fill, `read at ${index}`)
    for (const index of this.servers.keys()) assert.ok(this.equal(0, index), `replicas 0 and ${index} differ`)
    assert.deepEqual(this.problems, [])
  }

  /** What the witness's register holds. */
  get register(): Configuration {
    const records = this.witness.engine?.world.store.records
    const volumeId = this.servers.find(({ volume }) => volume !== undefined)?.volume?.world.volumeId
    const found = records === undefined || volumeId === undefined ? null : registerIn(records, volumeId)
    assert.ok(found !== null, 'the register is there')
    return found
  }

  namesOf(configuration: Configuration): string {
    return this.servers
      .filter(({ id }) => configuration.inSync.includes(id))
      .map(({ name }) => name)
      .join('')
  }

  /** Swaps that are sent from now on are kept back, by whatever path they would go. */
  holdSwaps(): Sending[] {
    const held: Sending[] = []
    this.lost = (sending) => {
      if (!isSwap(sending)) return false
      held.push(sending)
      return true
    }
    return held
  }

  /** What was kept back arrives. */
  deliver({ from, to, message }: Sending): void {
    to.engine?.onMessage(from.id, from.run, message, false)
  }

  told(kind: string): boolean {
    return this.story.lines.some((line) => line.includes(` ${kind} `))
  }

  /** Requests one after the other at one server, each begun before the one before it has ended. */
  stream(client: BlockClient, offsetBytes: number, fills: readonly number[]): Asked[] {
    return fills.map((fill) => this.write(client, offsetBytes, fill))
  }
}

export const isSwap = ({ kind, message }: Sending): boolean =>
  kind === 'register.ask' && JSON.stringify(message).includes('"operation":"swap"')

export const scenario = (count: number, seed = 1, sizeBytes = MiB): Promise<Scenario> =>
  new Scenario(count, seed).begin(sizeBytes)
