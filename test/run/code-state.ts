/** Which state of the code is tested: results of one say nothing about another. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { codeFolders, filesBelow } from '../../build/source.ts'

/** Pages for people change nothing that a test sees. */
const tested = /(?<!\.md)$/

/** @returns a checksum of every file that may matter, committed or not, and of their names */
export function codeState(root: string): string {
  const atTop = readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.') && tested.test(entry.name))
    .map((entry) => entry.name)
    .sort()
  const hash = createHash('sha256')
  for (const file of [...atTop, ...codeFolders.flatMap((folder) => filesBelow(root, folder, tested))]) {
    const content = createHash('sha256').update(readFileSync(join(root, file)))
    hash.update(`${file}\0${content.digest('hex')}\n`)
  }
  return hash.digest('hex')
}
