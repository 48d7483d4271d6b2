/**
 * The runner's side of a journal (test/kit/journal.ts): what an earlier run has done need not be done again, what failed
 * there is shown again, and what it left running is ended.
 */
import { mkdirSync, renameSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { never } from '../../agent/kit/failure.ts'
import { addLine, type JournalLine, type RoundsLine, readLines } from '../kit/journal.ts'
import { identify, isRunning } from '../lab/processes.ts'
import { endProcesses, leftoversOf } from './leftovers.ts'
import { inSeconds, type TestResult } from './outcome.ts'

interface Opening {
  readonly path: string
  readonly entry: string
  /** See code-state.ts. */
  readonly code: string
  /** Forget what was done. */
  readonly restart: boolean
  readonly say: (words: string) => void
}

export type EndedPiece = Extract<JournalLine, { kind: 'ended' }>

/** Milliseconds between two lines that tell how far loops have come. */
const tellMs = 30_000

export class GoingOn {
  readonly path: string
  readonly #say: (words: string) => void
  readonly #ended = new Map<string, EndedPiece>()
  readonly #failed = new Map<string, TestResult[]>()
  readonly #rounds = new Map<string, RoundsLine>()
  /** When it was seen that a file's loops have come further, milliseconds of this process's clock. */
  readonly #movedAtMs = new Map<string, number>()
  #readBytes = 0

  /** @throws Error with a sentence, when another run writes the same journal just now */
  static async open(opening: Opening): Promise<GoingOn> {
    const { path, entry, code, say } = opening
    mkdirSync(dirname(path), { recursive: true })
    const found = earlierRun(opening)
    const journal = new GoingOn(path, say)
    if (typeof found === 'string') {
      say(found)
      setAside(path)
      writeFileSync(path, '')
      addLine(path, { kind: 'journal', version: 1, entry, code })
    } else {
      await journal.#takeOver(found.lines)
    }
    const self = identify(process.pid)
    if (self !== undefined) addLine(path, { kind: 'run', ...self })
    return journal
  }

  private constructor(path: string, say: (words: string) => void) {
    this.path = path
    this.#say = say
  }

  async #takeOver(found: readonly JournalLine[]): Promise<void> {
    const runner = found.findLast((line) => line.kind === 'run')
    if (runner !== undefined && isRunning(runner)) {
      throw new Error(`this is being run already, by process ${runner.pid}`)
    }
    await this.#endLeftBehind(found)
    // Only now: a file whose runner was killed may have gone on, and written, until this moment.
    const { lines, wholeBytes } = readLines(this.path)
    // What would be added behind a torn line would be torn, too.
    truncateSync(this.path, wholeBytes)
    for (const line of lines) this.#note(line)
    this.#readBytes = wholeBytes
    this.#say(`Going on where an earlier run of the same code was stopped: ${this.#summary()}. --restart begins anew.`)
  }

  async #endLeftBehind(lines: readonly JournalLine[]): Promise<void> {
    const open = new Map<string, string>()
    for (const line of lines) {
      if (line.kind === 'began') open.set(keyOf(line), line.stamp)
      if (line.kind === 'ended') open.delete(keyOf(line))
    }
    for (const stamp of open.values()) {
      const left = await leftoversOf(stamp)
      if (left.length > 0) this.#say(`Ending ${left.length} processes that the stopped run has left behind.`)
      await endProcesses(left)
    }
  }

  #summary(): string {
    const rounds = [...this.#rounds.values()].reduce((sum, { done }) => sum + done, 0)
    const failures = [...this.#ended.values()]
      .flatMap(({ tests }) => tests)
      .filter(({ outcome }) => outcome === 'failed')
    const open = [...this.#failed.values()].flat()
    return `${this.#ended.size} files and ${rounds} rounds are done, ${failures.length + open.length} failures so far`
  }

  #note(line: JournalLine): void {
    switch (line.kind) {
      case 'failed':
        this.#failed.set(keyOf(line), [...(this.#failed.get(keyOf(line)) ?? []), line.test])
        break
      case 'ended':
        this.#failed.delete(keyOf(line)) // they are among its tests
        this.#ended.set(keyOf(line), line)
        break
      case 'rounds':
        this.#movedAtMs.set(line.file, performance.now())
        this.#rounds.set(`${line.file} ${line.name}`, line)
        break
      case 'journal':
      case 'run':
      case 'began':
        break
      default:
        never(line, 'note')
    }
  }

  /** @returns what came of a file that an earlier run, or this one, has ended */
  endedBefore(part: string, file: string): EndedPiece | undefined {
    return this.#ended.get(keyOf({ part, file }))
  }

  /** Failures of a file in a run that was stopped before the file's end. */
  failedBefore(part: string, file: string): readonly TestResult[] {
    return this.#failed.get(keyOf({ part, file })) ?? []
  }

  /** Seen at most half a minute late; 0: not in this run. */
  movedAtMs(file: string): number {
    return this.#movedAtMs.get(file) ?? 0
  }

  began(part: string, file: string, stamp: string): void {
    addLine(this.path, { kind: 'began', part, file, stamp })
  }

  failed(part: string, file: string, test: TestResult): void {
    addLine(this.path, { kind: 'failed', part, file, test })
  }

  ended(piece: Omit<EndedPiece, 'kind'>): void {
    addLine(this.path, { kind: 'ended', ...piece, tests: [...piece.tests] })
  }

  /** Tells now and then how far loops have come, until it is called off. */
  tellProgress(): { stop(): void } {
    const timer = setInterval(() => this.tellRounds(), tellMs)
    return { stop: () => clearInterval(timer) }
  }

  /** Tells the loops that have come further since the last call. */
  tellRounds(): void {
    const { lines, wholeBytes } = readLines(this.path, this.#readBytes)
    this.#readBytes = wholeBytes
    const moved = new Map<string, RoundsLine>()
    for (const line of lines) {
      this.#note(line)
      if (line.kind === 'rounds') moved.set(`${line.file} ${line.name}`, line)
    }
    for (const { file, name, done, count } of moved.values()) {
      this.#say(`   ${file}: ${name}: ${done} of ${count} (${Math.floor((done * 100) / count)} %)`)
    }
  }
}

const keyOf = ({ part, file }: { part: string; file: string }): string => `${part} ${file}`

const isNoFile = (error: unknown) => error instanceof Error && 'code' in error && error.code === 'ENOENT'

/** @returns the journal to go on with, or a sentence about why all begins anew */
function earlierRun({ path, entry, code, restart }: Opening): ReturnType<typeof readLines> | string {
  if (restart) return 'Beginning anew, as wished.'
  try {
    const found = readLines(path)
    const [first] = found.lines
    if (first?.kind !== 'journal' || first.entry !== entry) throw new Error('it does not begin as one of this entry')
    if (found.lines.slice(1).some(({ kind }) => kind === 'journal')) throw new Error('it begins more than once')
    return first.code === code ? found : 'Beginning anew: the code has changed since the run before.'
  } catch (error) {
    if (isNoFile(error)) return 'Beginning: this can be stopped at any time, the same command goes on from there.'
    return `Beginning anew: the file about the run before cannot be used (${error instanceof Error ? error.message : error}).`
  }
}

/** The run before stays readable beside the new one: its failures may still be wanted. */
function setAside(path: string): void {
  try {
    renameSync(path, `${path}.before`)
  } catch (error) {
    if (!isNoFile(error)) throw error
  }
}

/** A line about a piece that need not run. */
export const toldAsDone = ({ file, durationMs, tests }: EndedPiece): string => {
  const failed = tests.filter(({ outcome }) => outcome === 'failed').length
  return `${file} (done before, ${inSeconds(durationMs)}${failed === 0 ? '' : `, ${failed} failed`})`
}
