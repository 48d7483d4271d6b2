/** What a command needs of its surroundings, and how it ends. Exit codes: 0 yes, 1 no, 2 could not. */
import { toErrorBody } from '../contract/errors.ts'
import { UserError } from '../kit/failure.ts'

export interface Terminal {
  /** Writes to standard output, exactly this text. */
  out(text: string): void
  /** Writes to standard error, exactly this text. */
  err(text: string): void
  /** Whether standard output is a person's terminal: then a line may be overwritten. */
  readonly isTerminal: boolean
  /** Asks a person and gives their line; absent where nobody sits. */
  readonly ask?: ((question: string) => Promise<string>) | undefined
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly platform: NodeJS.Platform
  readonly homeDir: string
  /** Milliseconds since 1970. */
  wallMs(): number
  /** Aborts when the person presses Ctrl-C. */
  readonly interrupted: AbortSignal
}

export const exitCode = { yes: 0, no: 1, couldNot: 2 } as const
export type ExitCode = (typeof exitCode)[keyof typeof exitCode]

/** Everything that keeps a question from being asked or its answer from being understood; any other error is a "no". */
const couldNotCodes: ReadonlySet<string> = new Set([
  'agent-lost',
  'agent-not-running',
  'agent-silent',
  'bad-answer',
  'bad-request',
  'bad-size',
  'bad-usage',
  'internal',
  'not-your-agent',
])

/** Three lines: what happened, is my data safe, what next; as JSON for programs. @returns the exit code */
export function printError(error: unknown, terminal: Terminal, json: boolean): ExitCode {
  if (!(error instanceof UserError)) {
    // A bug of ours: with its stack, so that it can be reported.
    terminal.err(`Mirrorbay's command failed: ${error instanceof Error ? (error.stack ?? error.message) : error}\n`)
    return exitCode.couldNot
  }
  if (json) terminal.err(`${JSON.stringify(toErrorBody(error))}\n`)
  else terminal.err(`${error.message}\n${error.dataIsSafe}\n${error.next}\n`)
  return couldNotCodes.has(error.code) ? exitCode.couldNot : exitCode.no
}

/** The person's command line makes no sense. */
export const badUsage = (happened: string, next: string): UserError =>
  new UserError({ code: 'bad-usage', happened, dataIsSafe: 'Nothing was changed.', next })
