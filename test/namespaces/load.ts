/** The load of test/kit/load.ts in a process of its own, on another machine of the network. */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Violation } from '../kit/history.ts'
import type { LoadOptions, LoadServer, ServerReport } from '../kit/load.ts'
import { until, within } from '../kit/until.ts'

const program = fileURLToPath(new URL('./load-client.ts', import.meta.url))

export type LoadQuestion =
  | { readonly ask: 'begin'; readonly options: LoadOptions }
  | { readonly ask: 'report' }
  | { readonly ask: 'stop'; readonly finallyReadAt: readonly LoadServer[] }

/** What its clients have seen so far, and in the end the judgement. */
export interface LoadAnswer {
  readonly reports: Readonly<Record<string, ServerReport>>
  readonly values: number
  /** Null until it has stopped. */
  readonly violations: readonly Violation[] | null
  /** What went wrong with the question; then the rest says nothing. */
  readonly failure: string | null
}

/** Starting Node and connecting; and the end, with its last answers, and reading everything at both servers. */
const beginMs = 20_000
const reportMs = 5_000
const stopMs = 40_000
const stepMs = 30_000

export class RemoteLoad {
  readonly #child: ChildProcess
  readonly #options: LoadOptions
  #turn: Promise<unknown> = Promise.resolve()

  /** @param enter words that lead to the machine */
  static async begin(enter: readonly string[], options: LoadOptions): Promise<RemoteLoad> {
    const [way = process.execPath, ...words] = [...enter, process.execPath]
    const load = new RemoteLoad(fork(program, [], { execPath: way, execArgv: words }), options)
    try {
      await load.#ask({ ask: 'begin', options }, beginMs)
      return load
    } catch (failure) {
      load.kill()
      throw failure
    }
  }

  private constructor(child: ChildProcess, options: LoadOptions) {
    this.#child = child
    this.#options = options
  }

  /** One question at a time: answers carry no number. */
  #ask(question: LoadQuestion, limitMs: number): Promise<LoadAnswer> {
    const asked = this.#turn.then(() =>
      within(`the load's answer to "${question.ask}"`, limitMs, this.#answer(question)),
    )
    this.#turn = asked.catch(() => undefined)
    return asked
  }

  #answer(question: LoadQuestion): Promise<LoadAnswer> {
    return new Promise((answered, failed) => {
      const ended = () => failed(new Error('the process of the load has ended'))
      this.#child.once('exit', ended)
      this.#child.once('message', (message) => {
        this.#child.off('exit', ended)
        const answer = message as LoadAnswer // the form that load-client.ts sends
        if (answer.failure === null) answered(answer)
        else failed(new Error(answer.failure))
      })
      this.#child.send(question, (failure) => {
        if (failure !== null) failed(failure)
      })
    })
  }

  async reports(): Promise<Record<'a' | 'b', ServerReport>> {
    return reportsIn(await this.#ask({ ask: 'report' }, reportMs))
  }

  /** Waits until clients of a server have got that many more writes acknowledged. */
  async goesOn(name: 'a' | 'b', writes = 50): Promise<void> {
    const goal = (await this.reports())[name].writes + writes
    await until(`more writes at ${name}`, stepMs, async () => (await this.reports())[name].writes >= goal)
  }

  /** Ends the load, reads everything once more at both servers, and judges all that was seen. */
  async stop(): Promise<{ a: ServerReport; b: ServerReport; values: number; violations: readonly Violation[] }> {
    const answer = await this.#ask({ ask: 'stop', finallyReadAt: this.#options.servers }, stopMs)
    this.kill()
    return { ...reportsIn(answer), values: answer.values, violations: answer.violations ?? [] }
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }
}

function reportsIn({ reports }: LoadAnswer): { a: ServerReport; b: ServerReport } {
  const { a, b } = reports
  if (a === undefined || b === undefined) throw new Error('the load reports only one server')
  return { a, b }
}

/** Requests that were answered to the clients of a server. */
export const answersIn = ({ reads, writes, flushes }: ServerReport): number => reads + writes + flushes
