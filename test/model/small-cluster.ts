/**
 * A few servers' policing joined by links that keep their order, where a schedule says who moves next. The code stands
 * there twice: as it is, and opened (opened.ts) so that its whole state can be read. Both get every step, and must do the
 * same. What is checked after each step is said in words as a breach.
 */
import { type ServerId, serverId } from '../../agent/kit/ids.ts'
import type { Ask, Grant } from '../../agent/policing/asks.ts'
import type { Policing } from '../../agent/policing/policing.ts'
import { overlaps } from '../../agent/policing/span-index.ts'
import { conflicts, type Mode, Use } from '../../agent/policing/use.ts'
import { type PolicingClass, stateOf } from './opened.ts'

/** One kind of request. Blocks of 4 KiB, both included. */
export interface Wish {
  readonly mode: Mode
  readonly firstBlock: number
  readonly lastBlock: number
  /** W9: its client is gone; it ends in the moment in which it begins. */
  readonly gone?: true
}

export interface Plan {
  /** How many requests each server gets at most, a number for each server. */
  readonly uses: readonly number[]
  readonly wishes: readonly Wish[]
  /** How many times the session may end and begin anew. */
  readonly renewals: number
}

export type Step =
  | { readonly kind: 'open'; readonly server: number }
  | { readonly kind: 'hand in'; readonly server: number; readonly wish: number }
  | { readonly kind: 'carry'; readonly from: number; readonly to: number }
  | { readonly kind: 'end'; readonly server: number; readonly use: number }
  | { readonly kind: 'renew' }

type Told = { readonly kind: 'ask'; readonly body: Ask } | { readonly kind: 'grant'; readonly body: Grant }

/** What a code did: told another server something, or began the use of this number. */
type Deed = number | (Told & { readonly to: ServerId })

class PlannedUse extends Use {
  readonly number: number
  readonly gone: boolean
  readonly #onBegin: (use: PlannedUse) => void

  constructor(number: number, wish: Wish, onBegin: (use: PlannedUse) => void) {
    super(wish.mode, wish.firstBlock * 4096, (wish.lastBlock - wish.firstBlock + 1) * 4096)
    this.number = number
    this.gone = wish.gone === true
    this.#onBegin = onBegin
  }

  override begin(): void {
    this.#onBegin(this)
  }
}

interface Handlers {
  send(told: Told, to: ServerId): void
  began(use: PlannedUse): void
}

/** One server's policing, its clock and its uses. */
class Machine {
  readonly policing: Policing
  readonly uses: PlannedUse[] = []
  readonly active = new Set<PlannedUse>()
  readonly #handlers: Handlers
  time = 0

  constructor(Code: PolicingClass, self: ServerId, handlers: Handlers) {
    this.#handlers = handlers
    this.policing = new Code({
      self,
      sendAsk: (to, body) => handlers.send({ kind: 'ask', body }, to),
      sendGrant: (to, body) => handlers.send({ kind: 'grant', body }, to),
      tick: () => {
        this.time += 1
        return this.time
      },
      observe: (time) => {
        this.time = Math.max(this.time, time)
      },
    })
  }

  handIn(wish: Wish): void {
    const use = new PlannedUse(this.uses.length, wish, () => {
      this.active.add(use)
      this.#handlers.began(use)
      if (use.gone) this.end(use)
    })
    this.uses.push(use)
    this.policing.acquire(use)
  }

  end(use: PlannedUse): void {
    this.active.delete(use)
    this.policing.release(use)
  }

  /** The session is over and the next one recorded: writes are settled, reads ask again (R2). */
  renew(others: readonly ServerId[]): void {
    this.policing.endSession()
    for (const use of [...this.active]) {
      if (use.mode === 'exclusive') this.end(use)
      else {
        this.active.delete(use)
        this.policing.again(use)
      }
    }
    this.policing.startSession(others)
  }

  get finished(): boolean {
    return this.uses.every((use) => use.phase === 'idle')
  }
}

interface Server {
  readonly id: ServerId
  readonly real: Machine
  readonly opened: Machine
  isOpen: boolean
}

export class SmallCluster {
  readonly #plan: Plan
  readonly #servers: Server[] = []
  /** By `from * servers + to`. */
  readonly #links: Told[][] = []
  /** What a server was asked and has not granted, by `asked * servers + asking`; seen from outside. */
  readonly #owed: Ask[][] = []
  #renewals = 0
  /** What each of the two codes did in this step. */
  readonly #didReal: Deed[] = []
  readonly #didOpened: Deed[] = []
  breach: string | null = null

  constructor(plan: Plan, Real: PolicingClass, Opened: PolicingClass) {
    this.#plan = plan
    for (let index = 0; index < plan.uses.length; index += 1) {
      const id = serverId(String(index + 1).repeat(32))
      const real = new Machine(Real, id, {
        send: (told, to) =>
          this.#sent(
            index,
            this.#servers.findIndex((server) => server.id === to),
            told,
          ),
        began: (use) => this.#began(index, use),
      })
      const opened = new Machine(Opened, id, {
        send: (told, to) => this.#didOpened.push({ to, ...told }),
        began: (use) => this.#didOpened.push(use.number),
      })
      this.#servers.push({ id, real, opened, isOpen: false })
    }
    for (let link = 0; link < plan.uses.length ** 2; link += 1) {
      this.#links.push([])
      this.#owed.push([])
    }
    this.#begin((machine, others) => machine.policing.startSession(others))
  }

  /** Whatever could happen next. */
  steps(): Step[] {
    const found: Step[] = []
    this.#servers.forEach((server, index) => {
      if (!server.isOpen) found.push({ kind: 'open', server: index })
      for (const use of server.real.active) found.push({ kind: 'end', server: index, use: use.number })
      if (server.real.uses.length === this.#plan.uses[index]) return
      this.#plan.wishes.forEach((_, wish) => {
        found.push({ kind: 'hand in', server: index, wish })
      })
    })
    this.#links.forEach((link, index) => {
      if (link.length === 0) return
      found.push({
        kind: 'carry',
        from: Math.floor(index / this.#plan.uses.length),
        to: index % this.#plan.uses.length,
      })
    })
    if (this.#renewals < this.#plan.renewals) found.push({ kind: 'renew' })
    return found
  }

  /** Nothing is under way any more, unless clients or a new session bring something; P2: then nobody may still wait. */
  get quiet(): boolean {
    return this.steps().every(({ kind }) => kind === 'hand in' || kind === 'renew')
  }

  get allFinished(): boolean {
    return this.#servers.every(({ real }) => real.finished)
  }

  /** A step that was judged before, on the way to a state. */
  replay(step: Step): void {
    this.#apply(step)
    this.#didReal.length = 0
    this.#didOpened.length = 0
  }

  take(step: Step): void {
    this.#apply(step)
    const [real, opened] = [JSON.stringify(this.#didReal), JSON.stringify(this.#didOpened)]
    if (real !== opened) this.breach ??= `the code did (${real}), its opened copy (${opened})`
    this.breach ??= this.#exclusion() ?? this.#heldByTwo()
    if (this.quiet && !this.allFinished) this.breach ??= 'P2: nothing moves any more and somebody waits'
  }

  #apply(step: Step): void {
    switch (step.kind) {
      case 'open':
        this.#both(step.server, (machine) => machine.policing.openSession())
        this.#server(step.server).isOpen = true
        return
      case 'hand in': {
        const wish = this.#plan.wishes[step.wish]
        if (wish === undefined) throw new Error(`no wish ${step.wish}`)
        return this.#both(step.server, (machine) => machine.handIn(wish))
      }
      case 'carry':
        return this.#carry(step.from, step.to)
      case 'end':
        return this.#both(step.server, (machine) => {
          const use = machine.uses[step.use]
          if (use === undefined || !machine.active.has(use)) throw new Error(`use ${step.use} is not active`)
          machine.end(use)
        })
      case 'renew':
        this.#renewals += 1
        return this.#begin((machine, others) => machine.renew(others))
    }
  }

  /** All that decides what can still happen, as text. */
  key(): string {
    const servers = this.#servers.map(({ opened, isOpen }) => {
      const numbers = new Map<object, number>(opened.uses.map((use) => [use, use.number]))
      const uses = opened.uses.map((use) => [
        use.mode === 'shared' ? 0 : 1,
        use.firstBlock,
        use.lastBlock,
        use.gone ? 1 : 0,
        use.phase,
        use.blockers,
        use.dependents?.map((dependent) => numbers.get(dependent)) ?? null,
        use.askedTime,
        use.grantedIn,
      ])
      return [isOpen, opened.time, uses, stateOf(opened.policing, (value) => numbers.get(value))]
    })
    return JSON.stringify([servers, this.#links, this.#renewals])
  }

  #server(index: number): Server {
    const server = this.#servers[index]
    if (server === undefined) throw new Error(`no server ${index}`)
    return server
  }

  #both(index: number, act: (machine: Machine) => void): void {
    const { real, opened } = this.#server(index)
    act(real)
    act(opened)
  }

  /** A session that is recorded everywhere, open nowhere, with empty links (P3, E1). */
  #begin(act: (machine: Machine, others: readonly ServerId[]) => void): void {
    for (const link of this.#links) link.length = 0
    for (const owed of this.#owed) owed.length = 0
    this.#servers.forEach((server, index) => {
      server.isOpen = false
      const others = this.#servers.filter((other) => other !== server).map(({ id }) => id)
      this.#both(index, (machine) => act(machine, others))
    })
  }

  #carry(from: number, to: number): void {
    const told = this.#links[from * this.#plan.uses.length + to]?.shift()
    if (told === undefined) throw new Error(`nothing on the link from ${from} to ${to}`)
    const { id } = this.#server(from)
    if (told.kind === 'ask') this.#owed[to * this.#plan.uses.length + from]?.push(told.body)
    this.#both(to, ({ policing }) =>
      told.kind === 'ask' ? policing.onAsk(id, told.body) : policing.onGrant(id, told.body),
    )
  }

  #sent(from: number, to: number, told: Told): void {
    const link = this.#links[from * this.#plan.uses.length + to]
    if (link === undefined) throw new Error(`no link from ${from} to ${to}`)
    link.push(told)
    if (told.kind === 'grant') this.#granted(from, to, told.body)
    this.#didReal.push({ to: this.#server(to).id, ...told })
  }

  #granted(from: number, to: number, grant: Grant): void {
    const owed = this.#owed[from * this.#plan.uses.length + to] ?? []
    const place = owed.findIndex((ask) => ask.time === grant.asked)
    if (place < 0) this.breach ??= `server ${from} grants what server ${to} did not ask for`
    else owed.splice(place, 1)
  }

  #began(index: number, use: PlannedUse): void {
    this.#didReal.push(use.number)
    for (let peer = 0; peer < this.#plan.uses.length; peer += 1) {
      for (const ask of this.#owed[index * this.#plan.uses.length + peer] ?? []) {
        if (!conflicts(ask.mode, use.mode) || !overlaps(ask, use)) continue
        if (ask.time < use.askedTime || (ask.time === use.askedTime && peer < index)) {
          this.breach ??= `P1: server ${index} begins a use younger than what server ${peer} asked for`
        }
      }
    }
    // A use that is gone ends at once: it is looked at here or never.
    this.breach ??= this.#exclusion()
  }

  #heldByTwo(): string | null {
    for (const [index, one] of this.#servers.entries()) {
      for (const other of this.#servers.slice(index + 1)) {
        for (const mine of heldTowards(one, other)) {
          for (const its of heldTowards(other, one)) {
            if (mine.rank + its.rank > 2 && overlaps(mine, its)) {
              return `P5: server ${index} holds blocks ${mine.firstBlock}-${mine.lastBlock} against ${other.id}, which holds ${its.firstBlock}-${its.lastBlock}`
            }
          }
        }
      }
    }
    return null
  }

  #exclusion(): string | null {
    const active = this.#servers.flatMap(({ real }, server) => [...real.active].map((use) => ({ server, use })))
    for (const one of active) {
      for (const other of active) {
        if (one === other || !conflicts(one.use.mode, other.use.mode) || !overlaps(one.use, other.use)) continue
        return `W2: uses of servers ${one.server} and ${other.server} exclude each other and are active together`
      }
    }
    return null
  }
}

/** What one server was granted by another one and may use. */
function heldTowards(server: Server, other: Server): { firstBlock: number; lastBlock: number; rank: number }[] {
  const peer = server.real.policing.peers.find(({ id }) => id === other.id)
  return peer?.hasAnswered === true ? [...peer.holds].filter(({ rank }) => rank > 0) : []
}

const names = 'ABCDEFG'

/** @returns one line of a transcript for people */
export function stepInWords(step: Step, plan: Plan): string {
  switch (step.kind) {
    case 'open':
      return `${names[step.server]} opens the session`
    case 'hand in': {
      const wish = plan.wishes[step.wish]
      const blocks = `${wish?.mode} on blocks ${wish?.firstBlock}-${wish?.lastBlock}`
      return `${names[step.server]} is handed a request, ${blocks}${wish?.gone ? ', its client gone' : ''}`
    }
    case 'carry':
      return `what ${names[step.from]} told ${names[step.to]} first arrives`
    case 'end':
      return `request ${step.use} of ${names[step.server]} ends`
    case 'renew':
      return 'the session ends and the next one is recorded everywhere'
  }
}
