/** The `mirrorbay` command's entry: joins the program to the real terminal. */
import { homedir } from 'node:os'
import { createInterface } from 'node:readline/promises'
import { runCli } from './program.ts'
import type { Terminal } from './terminal.ts'

const words = process.argv.slice(2)
const interruption = new AbortController()

/** Ctrl-C ends a command's waiting; asked for by commands that wait, so that the agent's own handling is not touched. */
function interrupted(): AbortSignal {
  if (process.listenerCount('SIGINT') === 0) process.once('SIGINT', () => interruption.abort())
  return interruption.signal
}

// A reader like `head` that has seen enough is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit(0)
})

/** No line, because the input ended or Ctrl-C was pressed, is an empty one. */
async function ask(question: string): Promise<string> {
  const reader = createInterface({ input: process.stdin, output: process.stdout })
  const ended = new Promise<string>((resolve) => reader.once('close', () => resolve('')))
  try {
    return await Promise.race([reader.question(question), ended])
  } finally {
    reader.close()
  }
}

const terminal: Terminal = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  isTerminal: process.stdout.isTTY === true,
  ask: process.stdin.isTTY === true && process.stdout.isTTY === true ? ask : undefined,
  environment: process.env,
  platform: process.platform,
  homeDir: homedir(),
  wallMs: () => Date.now(),
  get interrupted() {
    return interrupted()
  },
}

// exitCode, not exit(): what was written to a pipe still has to leave.
process.exitCode = await runCli(words, terminal)
