/**
 * The links between simulated servers, as agent/link promises them: one numbered stream for each pair of runs, delivered
 * once and in order whatever connections carry it, kept over lost connections while both runs live; messages outside the
 * stream now or never. Directions can be blocked one by one.
 */
import type { ServerId } from '../../agent/kit/ids.ts'
import type { ControlMessage, LinkEvents, Links, Message } from '../../agent/link/messages.ts'
import type { ServerClock } from './server-clock.ts'
import type { Chance, World } from './world.ts'

export interface NetworkWeather {
  /** Milliseconds a message takes at least and mostly at most. */
  readonly minMs: number
  readonly maxMs: number
  /** How often a message is held up for longer, and for how long at most. */
  readonly spike: number
  readonly spikeMs: number
  /** How often a message outside the stream is lost. */
  readonly loss: number
  /** Milliseconds that a link takes longer than another one, each direction its own part of it: so messages of different
   * links overtake each other. */
  readonly skewMs?: number
  readonly register?: RegisterWeather | undefined
}

/** What happens to questions to a register and its answers, beyond what happens to all messages (E2). */
export interface RegisterWeather {
  /** How often the register decides and its answer never comes, or (half as often) the question does not. */
  readonly lost: number
  /** How often either comes late, and by how many milliseconds at most: after its asker has given up. */
  readonly late: number
  readonly lateMs: number
  /** How often either comes twice, the second time later. */
  readonly twice: number
}

interface Item {
  readonly message: Message
  readonly original: Message
  readonly bytes: number
  readonly arrivesMs: number
}

/** From one run to one run. */
interface Stream {
  readonly from: End
  readonly to: End
  readonly fromRun: number
  readonly toRun: number
  queue: Item[]
  arrivedBytes: number
  lastArrivalMs: number
  pumping: boolean
  /** The sender is dead: only what was in its kernel's buffers still comes. */
  over: boolean
}

interface Shown {
  run: number
  connection: number
  stream: Stream
}

/** One life of one server. */
interface End {
  readonly id: ServerId
  readonly run: number
  readonly clock: ServerClock
  readonly events: LinkEvents
  readonly shown: Map<ServerId, Shown>
  alive: boolean
}

/** Control bodies travel as JSON; bytes are copied, so that a later change of the sender's buffers shows. */
function copyOf(message: Message): Message {
  // What JSON makes of a body is what the other end gets: `unknown` on both sides.
  if (message.type === 'control') return { ...message, body: JSON.parse(JSON.stringify(message.body)) as unknown }
  if (message.type === 'written') return { ...message, numbers: [...message.numbers] }
  return { ...message, chunks: message.chunks.map((chunk) => chunk.slice()) }
}

function bytesOf(message: Message): number {
  if (message.type === 'control' || message.type === 'written') return 200
  return 100 + message.chunks.reduce((sum, chunk) => sum + chunk.length, 0)
}

function wasChanged(item: Item): boolean {
  const { message, original } = item
  if (!('chunks' in message)) return false
  if (!('chunks' in original)) return true
  return message.chunks.some((chunk, index) => Buffer.compare(chunk, original.chunks[index] ?? chunk) !== 0)
}

export class Network {
  readonly #world: World
  readonly #chance: Chance
  readonly #registerChance: Chance
  readonly #skew = new Map<string, number>()
  readonly #ends = new Map<ServerId, End>()
  readonly #connections = new Map<string, number>()
  readonly #blocked = new Map<string, number>()
  readonly #broken: (words: string) => void
  /** Told of every control message that arrives, when somebody wants to read them. */
  readonly arrived: ((from: ServerId, to: ServerId, message: ControlMessage) => void) | null
  /** Told what happens to a question to a register, or its answer. */
  mishap: (from: ServerId, to: ServerId, words: string) => void = () => undefined
  #lastConnection = 0
  weather: NetworkWeather

  /** @param broken told when a buffer was changed while the links still had it */
  constructor(
    world: World,
    weather: NetworkWeather,
    broken: (words: string) => void,
    arrived: Network['arrived'] = null,
  ) {
    this.arrived = arrived
    this.#world = world
    this.#chance = world.chance('network')
    this.#registerChance = world.chance('register messages')
    this.#broken = broken
    this.weather = weather
  }

  /** A server's new run comes up. */
  join(id: ServerId, run: number, clock: ServerClock, events: LinkEvents): Links {
    const end: End = { id, run, clock, events, shown: new Map(), alive: true }
    this.#ends.set(id, end)
    for (const other of this.#ends.values()) if (other !== end && other.alive) this.#dial(end, other)
    return {
      send: (peer, message) => this.#send(end, peer, message),
      sendNow: (peer, message) => this.#sendNow(end, peer, message),
      peer: (peer) => {
        const shown = end.shown.get(peer)
        return shown === undefined ? undefined : { run: shown.run, connected: shown.connection !== 0 }
      },
      acknowledgedBytes: (peer) => end.shown.get(peer)?.stream.arrivedBytes ?? 0,
      unacknowledgedBytes: (peer) =>
        (end.shown.get(peer)?.stream.queue ?? []).reduce((sum, item) => sum + item.bytes, 0),
    }
  }

  /** @param keepsKernel the agent was killed, the machine goes on: some of what it had sent still arrives */
  leave(id: ServerId, keepsKernel: boolean): void {
    const end = this.#ends.get(id)
    if (end === undefined) return
    end.alive = false
    for (const [peerId, shown] of end.shown) {
      const { stream } = shown
      stream.over = true
      stream.queue = keepsKernel ? stream.queue.slice(0, this.#chance.whole(0, stream.queue.length)) : []
      const peer = this.#ends.get(peerId)
      if (peer?.alive !== true) continue
      // Without a kernel nobody says goodbye: the other end finds out by itself.
      const noticedMs = keepsKernel ? this.#chance.between(0.1, 5) : this.#chance.between(500, 4_000)
      const connection = this.#connections.get(pairKey(end, peer)) ?? 0
      this.#world.after(noticedMs, () => this.#disconnect(end, peer, connection))
    }
  }

  block(from: ServerId, to: ServerId): void {
    const key = `${from}>${to}`
    this.#blocked.set(key, (this.#blocked.get(key) ?? 0) + 1)
    const one = this.#ends.get(from)
    const other = this.#ends.get(to)
    if (one === undefined || other === undefined) return
    const connection = this.#connections.get(pairKey(one, other)) ?? 0
    // Connections through a cut cable end after a while, or last until it is mended.
    if (connection !== 0 && this.#chance.is(0.7)) {
      this.#world.after(this.#chance.between(300, 5_000), () => {
        if (this.#blocked.has(key)) this.#disconnect(one, other, connection)
      })
    }
  }

  unblock(from: ServerId, to: ServerId): void {
    const key = `${from}>${to}`
    const count = (this.#blocked.get(key) ?? 0) - 1
    if (count > 0) this.#blocked.set(key, count)
    else this.#blocked.delete(key)
    const one = this.#ends.get(from)
    const other = this.#ends.get(to)
    const stream = other === undefined ? undefined : one?.shown.get(other.id)?.stream
    if (stream !== undefined) this.#pump(stream)
  }

  #mayPass(from: End, to: End): boolean {
    return !this.#blocked.has(`${from.id}>${to.id}`)
  }

  /** Tries until both live and see each other. */
  #dial(one: End, other: End): void {
    this.#world.after(this.#chance.between(5, this.#chance.is(0.5) ? 30 : 600), () => {
      if (!this.#isPresent(one) || !this.#isPresent(other) || (this.#connections.get(pairKey(one, other)) ?? 0) !== 0)
        return
      if (!this.#mayPass(one, other) || !this.#mayPass(other, one)) return this.#dial(one, other)
      this.#lastConnection += 1
      const connection = this.#lastConnection
      this.#connections.set(pairKey(one, other), connection)
      this.#attach(one, other, connection)
      this.#attach(other, one, connection)
    })
  }

  #isPresent(end: End): boolean {
    return end.alive && this.#ends.get(end.id) === end
  }

  /** The handshake is over at one end. */
  #attach(end: End, peer: End, connection: number): void {
    this.#world.after(this.#chance.between(0.1, 3), () =>
      end.clock.arrive(() => {
        if (!end.alive || this.#connections.get(pairKey(end, peer)) !== connection) return
        const before = end.shown.get(peer.id)
        const isNew = before === undefined || before.run !== peer.run
        const stream = isNew ? newStream(end, peer) : before.stream
        if (isNew && before !== undefined) before.stream.queue = []
        end.shown.set(peer.id, { run: peer.run, connection, stream })
        // What the other end has sent meanwhile may come now.
        const incoming = peer.shown.get(end.id)?.stream
        if (incoming !== undefined) this.#pump(incoming)
        this.#pump(stream)
        end.events.onPeerRun(peer.id, peer.run)
      }),
    )
  }

  #disconnect(one: End, other: End, connection: number): void {
    const key = pairKey(one, other)
    if (connection === 0 || this.#connections.get(key) !== connection) return
    this.#connections.set(key, 0)
    for (const [end, peer] of [
      [one, other],
      [other, one],
    ] as const) {
      if (!end.alive) continue
      this.#world.after(this.#chance.between(0.1, 3), () =>
        end.clock.arrive(() => {
          const shown = end.shown.get(peer.id)
          if (!end.alive || shown?.connection !== connection) return
          shown.connection = 0
          end.events.onPeerDisconnected(peer.id)
        }),
      )
    }
    if (one.alive && other.alive) this.#dial(one, other)
  }

  #send(from: End, peer: ServerId, message: Message): boolean {
    const shown = from.shown.get(peer)
    if (shown === undefined || !from.alive) return false
    const { stream } = shown
    stream.lastArrivalMs = Math.max(stream.lastArrivalMs + 0.001, this.#world.nowMs + this.#delayMs(from, stream.to))
    stream.queue.push({
      message: copyOf(message),
      original: message,
      bytes: bytesOf(message),
      arrivesMs: stream.lastArrivalMs,
    })
    this.#pump(stream)
    return true
  }

  /** Delivers the head of the stream when its time has come and a connection carries it. */
  #pump(stream: Stream): void {
    const head = stream.queue[0]
    if (stream.pumping || head === undefined || !this.#carries(stream)) return
    stream.pumping = true
    this.#world.after(Math.max(0, head.arrivesMs - this.#world.nowMs), () => {
      stream.pumping = false
      const item = stream.queue[0]
      if (item === undefined || !this.#carries(stream)) return
      stream.queue.shift()
      stream.arrivedBytes += item.bytes
      if (wasChanged(item)) this.#broken('a buffer was changed while the links still had it')
      const { to, from } = stream
      to.clock.arrive(() => {
        if (!to.alive || to.shown.get(from.id)?.run !== stream.fromRun) return
        if (item.message.type === 'control') this.arrived?.(from.id, to.id, item.message)
        to.events.onMessage(from.id, stream.fromRun, item.message, true)
      })
      this.#pump(stream)
    })
  }

  #carries(stream: Stream): boolean {
    const { from, to } = stream
    const connection = this.#connections.get(pairKey(from, to)) ?? 0
    const there = to.shown.get(from.id)
    if (connection === 0 || !to.alive || to.run !== stream.toRun) return false
    return there?.run === stream.fromRun && there.connection === connection && this.#mayPass(from, to)
  }

  #sendNow(from: End, peer: ServerId, message: ControlMessage): boolean {
    const shown = from.shown.get(peer)
    const to = this.#ends.get(peer)
    if (shown === undefined || shown.connection === 0 || to === undefined || !from.alive) return false
    if (this.#chance.is(this.weather.loss)) return true
    const copy = copyOf(message)
    const { connection } = shown
    if (this.weather.register !== undefined && message.kind.startsWith('register.')) {
      if (this.#registerMishap(from, to, copy, this.weather.register)) return true
    }
    this.#world.after(this.#delayMs(from, to), () => {
      if (this.#connections.get(pairKey(from, to)) !== connection || !this.#mayPass(from, to)) return
      to.clock.arrive(() => {
        if (to.alive && to.shown.get(from.id)?.connection === connection)
          to.events.onMessage(from.id, from.run, copy, false)
      })
    })
    return true
  }

  /** @returns whether it does not come in the usual way */
  #registerMishap(from: End, to: End, message: Message, weather: RegisterWeather): boolean {
    const chance = this.#registerChance
    const isAnswer = message.type === 'control' && message.kind === 'register.answer'
    const what = isAnswer ? 'answer of the register' : 'question to the register'
    if (chance.is(isAnswer ? weather.lost : weather.lost / 2)) {
      this.mishap(from.id, to.id, `${what} is lost`)
      return true
    }
    const isLate = chance.is(weather.late)
    if (!isLate && !chance.is(weather.twice)) return false
    const delayMs = chance.between(0, weather.lateMs)
    this.mishap(from.id, to.id, `${what} comes ${isLate ? '' : 'again '}${delayMs.toFixed(0)} ms later`)
    // By whatever path: not only while the connection lasts that it was sent on.
    this.#world.after(delayMs, () => {
      if (!this.#mayPass(from, to)) return
      to.clock.arrive(() => {
        if (to.alive && to.shown.get(from.id)?.run === from.run)
          to.events.onMessage(from.id, from.run, copyOf(message), false)
      })
    })
    return isLate
  }

  /** What the link in that direction takes longer than the fastest one; the same all the time. */
  #skewMs(from: End, to: End): number {
    const { skewMs } = this.weather
    if (skewMs === undefined || skewMs === 0) return 0
    const key = `${from.id}>${to.id}`
    const known = this.#skew.get(key)
    if (known !== undefined) return known
    const drawn = this.#world.chance(`link ${key}`).between(0, skewMs)
    this.#skew.set(key, drawn)
    return drawn
  }

  #delayMs(from: End, to: End): number {
    const { minMs, maxMs, spike, spikeMs } = this.weather
    const usual = this.#chance.between(minMs, maxMs) + this.#skewMs(from, to)
    return this.#chance.is(spike) ? usual + this.#chance.between(0, spikeMs) : usual
  }
}

const pairKey = (one: End, other: End): string =>
  one.id < other.id ? `${one.id}/${one.run} ${other.id}/${other.run}` : `${other.id}/${other.run} ${one.id}/${one.run}`

const newStream = (from: End, to: End): Stream => ({
  from,
  to,
  fromRun: from.run,
  toRun: to.run,
  queue: [],
  arrivedBytes: 0,
  lastArrivalMs: 0,
  pumping: false,
  over: false,
})
