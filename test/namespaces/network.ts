/**
 * A small office network for one test: each machine in its own network namespace with its own cable (a veth pair) to
 * one in the middle that forwards. No interface of it is in the machine's own network, which so stays as it is.
 *
 * Loss in one direction is a blackhole in the middle: the sender notices nothing, as with a broken cable.
 */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { findTool } from '../kit/needs.ts'
import type { Place } from '../lab/layout.ts'
import { identify, isRunning } from '../lab/processes.ts'

/** Names are `prefix-PID-START-RANDOM-MACHINE`: PID and START tell whether the test that made it still lives. */
const prefix = 'mirrorbay-test'
const middle = 'middle'
/** The cable's end in a machine. */
const cable = 'cable'
/** Milliseconds that one call of ip or tc may take. */
const callMs = 10_000
/** A rule before those that the kernel has by itself. */
const lossPreference = '100'

function call(program: 'ip' | 'tc' | 'nsenter', ...words: readonly string[]): string {
  const result = spawnSync(findTool(program) ?? program, words, { encoding: 'utf8', timeout: callMs })
  if (result.status === 0) return result.stdout
  throw new Error(`${program} ${words.join(' ')}: ${result.error?.message ?? result.stderr.trim()}`)
}

/** The namespaces that now exist, by name. */
const namespaces = (): string[] =>
  call('ip', 'netns', 'list')
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '')
    .filter((name) => name !== '')

/**
 * Removes what a killed test left behind: namespaces of ours whose maker is gone and in which nothing runs any more.
 * @returns their names
 */
export function removeStaleNamespaces(): string[] {
  const stale = namespaces().filter((name) => {
    const [, pid, startedAt] = new RegExp(`^${prefix}-(\\d+)-(\\d+)-`).exec(name) ?? []
    if (pid === undefined || startedAt === undefined || isRunning({ pid: Number(pid), startedAt })) return false
    return call('ip', 'netns', 'pids', name).trim() === ''
  })
  for (const name of stale) call('ip', 'netns', 'delete', name)
  return stale
}

/** Networks that stand now: whoever ends this process must not leave them behind. */
const standing = new Set<Network>()
process.on('exit', () => {
  for (const network of standing) network.remove()
})

export class Network {
  readonly #id: string
  readonly #machines: readonly string[]
  readonly #lost: string[][] = []

  /** @throws with the words of ip, when the machine does not allow it; nothing is left then */
  static lay(machines: readonly string[]): Network {
    removeStaleNamespaces()
    const network = new Network(machines)
    standing.add(network)
    try {
      network.#build()
      return network
    } catch (failure) {
      network.remove()
      throw failure
    }
  }

  private constructor(machines: readonly string[]) {
    const self = identify(process.pid)
    if (self === undefined) throw new Error('this process cannot be found')
    this.#id = `${prefix}-${self.pid}-${self.startedAt}-${randomBytes(3).toString('hex')}`
    this.#machines = machines
  }

  #build(): void {
    call('ip', 'netns', 'add', this.namespace(middle))
    this.#in(middle, 'link', 'set', 'lo', 'up')
    call('nsenter', ...this.enter(middle).slice(1), 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward')
    for (const machine of this.#machines) {
      const [here, there] = [this.namespace(machine), this.namespace(middle)]
      call('ip', 'netns', 'add', here)
      const far = ['peer', 'name', portTo(machine), 'netns', there]
      call('ip', 'link', 'add', cable, 'netns', here, 'type', 'veth', ...far)
      this.#in(middle, 'addr', 'add', `${this.#gateway(machine)}/24`, 'dev', portTo(machine))
      this.#in(middle, 'link', 'set', portTo(machine), 'up')
      this.#in(machine, 'addr', 'add', `${this.address(machine)}/24`, 'dev', cable)
      this.#in(machine, 'link', 'set', 'lo', 'up')
      this.#plugIn(machine)
    }
  }

  /** Interface up and a way to everybody: what a machine's own set-up does when the cable is there. */
  #plugIn(machine: string): void {
    this.#in(machine, 'link', 'set', cable, 'up')
    this.#in(machine, 'route', 'replace', 'default', 'via', this.#gateway(machine))
  }

  #in(machine: string, ...words: readonly string[]): string {
    return call('ip', '-n', this.namespace(machine), ...words)
  }

  /** 10.214.N.0/24 is the N-th machine's cable; other tests at the same time have namespaces of their own. */
  #net = (machine: string): string => {
    const index = this.#machines.indexOf(machine)
    if (index < 0) throw new Error(`there is no machine ${machine}`)
    return `10.214.${index + 1}`
  }
  #gateway = (machine: string): string => `${this.#net(machine)}.1`

  address(machine: string): string {
    return `${this.#net(machine)}.2`
  }

  namespace(machine: string): string {
    return `${this.#id}-${machine}`
  }

  /** Words before a command that is to run on a machine of this network; its process stays the same one. */
  enter(machine: string): string[] {
    return [findTool('nsenter') ?? 'nsenter', `--net=/run/netns/${this.namespace(machine)}`]
  }

  /** For the lab (test/lab/layout.ts). */
  places(...machines: readonly string[]): Record<string, Place> {
    const placeOf = (machine: string) => ({ host: this.address(machine), enter: this.enter(machine) })
    return Object.fromEntries(machines.map((machine) => [machine, placeOf(machine)]))
  }

  /** @param where at the machine's own end it sees its interface go down; at the other end it only loses its carrier */
  pull(machine: string, where: 'here' | 'middle' = 'here'): void {
    if (where === 'here') this.#in(machine, 'link', 'set', cable, 'down')
    else this.#in(middle, 'link', 'set', portTo(machine), 'down')
  }

  plug(machine: string): void {
    this.#in(middle, 'link', 'set', portTo(machine), 'up')
    this.#plugIn(machine)
  }

  /** Nothing that one machine sends to another arrives any more; the other direction stays. */
  lose(from: string, to: string): void {
    const rule = ['iif', portTo(from), 'to', `${this.#net(to)}.0/24`, 'pref', lossPreference, 'type', 'blackhole']
    this.#in(middle, 'rule', 'add', ...rule)
    this.#lost.push(rule)
  }

  loseNothing(): void {
    for (const rule of this.#lost.splice(0)) this.#in(middle, 'rule', 'delete', ...rule)
  }

  /** Both directions of a machine's cable carry only so much, and keep what waits for at most a fifth of a second. */
  slow(machine: string, megabitsPerSecond: number): void {
    const shape = ['root', 'tbf', 'rate', `${megabitsPerSecond}mbit`, 'burst', '32kb', 'latency', '200ms']
    call('tc', '-n', this.namespace(middle), 'qdisc', 'replace', 'dev', portTo(machine), ...shape)
    call('tc', '-n', this.namespace(machine), 'qdisc', 'replace', 'dev', cable, ...shape)
  }

  /** Bytes that a machine's cable has carried to it so far. */
  bytesTo(machine: string): number {
    const text = this.#in(middle, '-s', '-j', 'link', 'show', 'dev', portTo(machine))
    // What ip prints; a missing member fails right here.
    const [link] = JSON.parse(text) as { stats64: { tx: { bytes: number } } }[]
    if (link === undefined) throw new Error(`ip shows no ${portTo(machine)}: ${text}`)
    return link.stats64.tx.bytes
  }

  /** Cables and addresses go with their namespaces. Again is no error. */
  remove(): void {
    standing.delete(this)
    const ours = namespaces().filter((name) => name.startsWith(`${this.#id}-`))
    for (const name of ours) call('ip', 'netns', 'delete', name)
  }
}

/** The middle's end of a machine's cable; names of interfaces have at most 15 characters. */
const portTo = (machine: string): string => `to-${machine}`
