/** The lab as outside programs use it: its commands and their exit codes, each a process of its own. */
import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { type Ran, runTool } from './tools.ts'

const entry = fileURLToPath(new URL('../lab/main.ts', import.meta.url))
/** No command takes longer, also on a busy two-core machine; milliseconds. */
const limitMs = 90_000

export const labCommand = (...words: string[]): Promise<Ran> => runTool(process.execPath, [entry, ...words], limitMs)

/** @returns what the command said @throws when it ended otherwise */
export async function mustExit(code: number, ...words: string[]): Promise<string> {
  const ran = await labCommand(...words)
  assert.equal(ran.code, code, `lab ${words.join(' ')} ended with ${ran.code}: ${ran.said}`)
  return ran.said
}
