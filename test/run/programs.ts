/** Runs a part that is one program: its exit code is the test. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { TestResult } from './outcome.ts'

interface ProgramRun {
  readonly part: string
  readonly root: string
  readonly command: readonly string[]
  readonly signal: AbortSignal
  readonly environment: NodeJS.ProcessEnv
}

export async function runProgram({ part, root, command, signal, environment }: ProgramRun): Promise<TestResult[]> {
  const child = spawn(process.execPath, [join(root, 'build/run.mjs'), ...command], {
    cwd: root,
    stdio: 'inherit',
    env: environment,
  })
  const stop = () => child.kill('SIGTERM')
  signal.addEventListener('abort', stop)
  const [code, deadly] = await once(child, 'exit')
  signal.removeEventListener('abort', stop)
  const common = { part, file: command.join(' '), name: 'is content' }
  if (code === 0) return [{ ...common, outcome: 'passed', reason: '' }]
  return [{ ...common, outcome: 'failed', reason: deadly === null ? `exit code ${code}` : `ended by ${deadly}` }]
}
