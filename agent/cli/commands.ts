/** What the files that describe commands share. */
import type { Asking } from './ask.ts'
import type { ExitCode } from './terminal.ts'

/** What a command does; names are its arguments. */
export type Run<Options> = (asking: Asking, options: Options, names: readonly string[]) => Promise<ExitCode>

/** Runs a command against the agent, as commander's action. */
export type Asks = <Options>(run: Run<Options>) => (...given: unknown[]) => Promise<void>

export const examples = (lines: readonly string[]): string =>
  `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`
