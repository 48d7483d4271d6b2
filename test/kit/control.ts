/**
 * What a machine takes from everybody: other processes that have nothing to do with disks, asked at the same time as the
 * servers under test. Where promises are given in milliseconds, a late answer of a server is judged beside what its
 * controls lost in the same moment: a machine that runs nobody holds up all of them, a server that waits for its disk
 * only itself.
 *
 * Watched are two bare HTTP servers, since a machine with several processors may hold up what runs on one of them, and
 * the asking process itself. Each answer costs a server about as much thinking as an agent's does: who works too little
 * does not feel what it is to share a processor.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { request } from 'node:http'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** Milliseconds between two questions: the cadence of who uses this. */
const everyMs = 20
/** An answer of a control, or a turn of our own loop, may take this long: only what goes beyond it is a loss, so that
 * a machine which is merely slow excuses nothing. */
const usualMs = 50
const controls = 2
/** Rounds of a small calculation for each answer: about 2 ms on the machines of this project. */
const rounds = 200_000

interface Loss {
  readonly fromMs: number
  readonly toMs: number
}

/** A control: thinks a little and answers. Ends with its parent. */
const program = `
  const think = () => { let sum = 0; for (let at = 0; at < ${rounds}; at++) sum = (sum * 31 + at) | 0; return sum }
  require('node:http').createServer((_request, reply) => reply.end(String(think())))
    .listen(process.argv[1], () => process.send('up'))
  process.on('disconnect', () => process.exit())`

export class Control {
  readonly #folder: string
  readonly #children: ChildProcess[] = []
  readonly #losses: Loss[] = []
  #running = true
  #done: Promise<unknown> = Promise.resolve()

  static async begin(): Promise<Control> {
    const control = new Control(await mkdtemp(path.join(os.tmpdir(), 'mirrorbay-control-')))
    try {
      const sockets = await Promise.all(Array.from({ length: controls }, (_none, index) => control.#start(index)))
      control.#done = Promise.all([control.#feelOwnLoop(), ...sockets.map((socket) => control.#askAll(socket))])
      // Told by end(), perhaps after something else has failed.
      control.#done.catch(() => undefined)
      return control
    } catch (failure) {
      await control.end()
      throw failure
    }
  }

  private constructor(folder: string) {
    this.#folder = folder
  }

  /** @returns the path of its socket */
  async #start(index: number): Promise<string> {
    const socket = path.join(this.#folder, `${index}`)
    const child = spawn(process.execPath, ['-e', program, socket], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    this.#children.push(child)
    const ended = once(child, 'exit').then(() => {
      throw new Error('a control process did not come up')
    })
    // Its end is expected when the test ends.
    ended.catch(() => undefined)
    await Promise.race([once(child, 'message'), ended])
    return socket
  }

  async #askAll(socket: string): Promise<void> {
    while (this.#running) {
      const fromMs = performance.now()
      await asked(socket)
      this.#note(fromMs)
      await sleep(everyMs)
    }
  }

  async #feelOwnLoop(): Promise<void> {
    while (this.#running) {
      const fromMs = performance.now()
      await sleep(everyMs)
      this.#note(fromMs + everyMs)
    }
  }

  #note(fromMs: number): void {
    const loss = { fromMs: fromMs + usualMs, toMs: performance.now() }
    if (loss.toMs > loss.fromMs) this.#losses.push(loss)
  }

  /**
   * Milliseconds of the span in which any control, or this process, was held up. Known after end(): what holds them up
   * right now shows only when it is over.
   */
  lostMs(span: { readonly fromMs: number; readonly toMs: number }): number {
    let lostMs = 0
    let countedToMs = span.fromMs
    for (const loss of this.#losses.toSorted((first, second) => first.fromMs - second.fromMs)) {
      const fromMs = Math.max(loss.fromMs, countedToMs)
      const toMs = Math.min(loss.toMs, span.toMs)
      if (toMs <= fromMs) continue
      lostMs += toMs - fromMs
      countedToMs = toMs
    }
    return lostMs
  }

  /** Milliseconds that were lost in all. */
  get allMs(): number {
    return this.lostMs({ fromMs: 0, toMs: Number.POSITIVE_INFINITY })
  }

  /** @throws when a control failed to answer: then nothing can be judged by it */
  async end(): Promise<void> {
    this.#running = false
    try {
      await this.#done
    } finally {
      for (const child of this.#children) child.kill('SIGKILL')
      await rm(this.#folder, { recursive: true, force: true })
    }
  }
}

/** One question over a connection of its own, as the agents' API is asked. */
function asked(socketPath: string): Promise<void> {
  return new Promise((answered, failed) => {
    const question = request({ socketPath, path: '/', agent: false }, (reply) => {
      reply.resume()
      reply.once('end', answered)
      reply.once('error', failed)
    })
    question.once('error', failed)
    question.end()
  })
}
