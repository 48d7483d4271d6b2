/** A small project with a long entry, run by the real runner in a process of its own, to be stopped and started again. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inFolder } from '../../kit/folder.ts'
import { type JournalLine, readLines } from '../../kit/journal.ts'
import { until } from '../../kit/until.ts'

const address = (path: string) => JSON.stringify(pathToFileURL(join(import.meta.dirname, '../..', path)))

/** Above the folders that count as code, so that it changes while the code does not. */
const traceFile = 'out/trace'

const runner = `
  import { runEntry } from ${address('run/entry.ts')}
  const part = (glob) => ({ kind: 'files', about: glob, glob, concurrency: 1, fileMinutes: 1, tools: [] })
  const parts = [['early', part('test/early/*.test.mjs')], ['late', part('test/late/*.test.mjs')]]
  const run = { root: import.meta.dirname, name: 'test:long', entry: { minutes: 1, length: 'long' }, parts }
  try {
    process.exitCode = await runEntry({ ...run, file: undefined, restart: process.argv.includes('--restart') })
  } catch (error) {
    console.log(error.message)
    process.exitCode = 2
  }`

const head = `
  import { appendFileSync, existsSync, readFileSync } from 'node:fs'
  import { test } from 'node:test'
  import { setTimeout as sleep } from 'node:timers/promises'
  import { resumable } from ${address('kit/resumable.ts')}
  const trace = (words) => appendFileSync(${JSON.stringify(traceFile)}, words + '\\n')
  const isOpen = () => existsSync('out/open-gate')
  const stoppedBefore = () => readFileSync(${JSON.stringify(traceFile)}, 'utf8').includes('round 4')`

/** 'late' waits in its round 4 until the test lets it go on. */
const files = {
  'runner.mjs': runner,
  'test/early/one.test.mjs': `${head}
    test('early one', () => trace('early one'))`,
  'test/late/loop.test.mjs': `${head}
    test('fails at first', () => { if (!isOpen() && !stoppedBefore()) throw new Error('boom') })
    test('loop', async (t) => {
      const loop = resumable({ name: 'rounds', count: 6, tally: { sum: 0 } })
      for (const round of loop) {
        trace('round ' + round)
        loop.tally.sum += round
        while (round === 4 && !isOpen()) await sleep(20)
      }
      trace('sum ' + loop.tally.sum)
    })`,
  'test/late/zlast.test.mjs': `${head}
    test('late last', () => trace('late last'))`,
}

interface Ended {
  readonly code: number | null
  readonly said: string
}

export class LongRun {
  readonly folder: string
  constructor(folder: string) {
    this.folder = folder
  }

  /** What the test files did, in order, over all runs. */
  trace(): string[] {
    const path = join(this.folder, traceFile)
    return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : []
  }

  /** Lets round 4 go on. */
  openGate(): void {
    writeFileSync(join(this.folder, 'out/open-gate'), '')
  }

  get journal(): string {
    return join(this.folder, '.cache/journal/test-long.jsonl')
  }

  /** Whether the runner has written such a line: what tests tell takes a moment to get there. */
  hasTold(kind: JournalLine['kind']): boolean {
    return readLines(this.journal).lines.some((line) => line.kind === kind)
  }

  change(file: string, words: string): void {
    appendFileSync(join(this.folder, file), words)
  }

  begin(...words: readonly string[]): Started {
    return new Started(this.folder, words)
  }

  run(...words: readonly string[]): Promise<Ended> {
    return this.begin(...words).end()
  }
}

export class Started {
  readonly #child: ChildProcess
  readonly #closed: Promise<unknown>
  #said = ''

  constructor(folder: string, words: readonly string[]) {
    const environment: NodeJS.ProcessEnv = { ...process.env }
    delete environment.NODE_TEST_CONTEXT // says "inside a test"
    delete environment.CI
    this.#child = spawn(process.execPath, ['runner.mjs', ...words], {
      cwd: folder,
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#said += chunk.toString()
      })
    }
    // Not 'close': what a killed runner leaves behind keeps its output open.
    this.#closed = once(this.#child, 'exit')
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  async end(): Promise<Ended> {
    await this.#closed
    return { code: this.#child.exitCode, said: this.#said }
  }
}

export async function withLongRun(use: (run: LongRun) => Promise<void>): Promise<void> {
  await inFolder(files, async (folder) => {
    mkdirSync(join(folder, 'out'))
    await use(new LongRun(folder))
  })
}

/** Starts it and stops it in the middle of round 4. @returns what it said */
export async function stoppedInRound4(run: LongRun, signal: NodeJS.Signals): Promise<Ended> {
  const started = run.begin()
  try {
    await until('round 4', 20_000, () => run.trace().includes('round 4') && run.hasTold('failed'))
  } finally {
    started.signal(signal)
  }
  return started.end()
}
