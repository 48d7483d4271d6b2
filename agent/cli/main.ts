/** The `mirrorbay` command's entry: joins the program to the real terminal. */
import { homedir } from 'node:os'
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

const terminal: Terminal = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  isTerminal: process.stdout.isTTY === true,
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
