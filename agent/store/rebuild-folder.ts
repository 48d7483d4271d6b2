/** Rebuilding on the real disk: node:fs, and SQLite in its thread. */
import { FileError } from './files.ts'
import { NodeFiles } from './node-files.ts'
import { type RebuildOptions, type RebuildReport, rebuild } from './rebuild.ts'
import { SqliteOpener } from './sqlite-index.ts'
import { runSteps } from './steps.ts'
import { openingFailed } from './trouble.ts'

export interface RebuildFolderOptions extends Pick<RebuildOptions, 'told' | 'confirm'> {
  /** The storage folder. */
  readonly dir: string
}

/**
 * `mirrorbay store rebuild`: makes the index of a storage folder anew, with no agent running there.
 * @returns what was found, or null when it was not confirmed
 * @throws UserError codes: store-in-use, store-garbage, store-version, store-damaged, and those of an unusable folder
 */
export function rebuildStore({ dir, told, confirm }: RebuildFolderOptions): Promise<RebuildReport | null> {
  const files = new NodeFiles(dir, new URL('./small-writes-thread.ts', import.meta.url))
  const index = new SqliteOpener(dir, new URL('./index-thread.ts', import.meta.url))
  return new Promise((resolve, reject) => {
    runSteps(rebuild({ files, index, told, confirm }), (error, report) => {
      if (error) reject(error instanceof FileError ? openingFailed(error) : error)
      else resolve(report ?? null)
    })
  })
}
