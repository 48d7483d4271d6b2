/**
 * Sizes the process-wide pool of file threads before anything uses it: libuv reads the variable at the pool's first use,
 * and loading modules is none.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { limits } from './limits.ts'

const given = process.env.UV_THREADPOOL_SIZE
process.env.UV_THREADPOOL_SIZE = given ?? String(limits.threadPool)

/**
 * Each further disk has threads of its own, so that two hung ones leave some to the third. Folders that are added while the
 * agent runs get theirs with the next start. Synchronous, since every other call would start the pool.
 * @param dir the main folder; a configuration that is not readable is somebody else's trouble
 */
export function sizeThreadPool(dir: string): void {
  if (given === undefined)
    process.env.UV_THREADPOOL_SIZE = String(limits.threadPool + folderCount(dir) * limits.folderThreads)
}

function folderCount(dir: string): number {
  try {
    const config: unknown = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8'))
    const folders = typeof config === 'object' && config !== null && 'folders' in config ? config.folders : []
    return Array.isArray(folders) ? Math.min(folders.length, limits.folders) : 0
  } catch (error) {
    if (error instanceof SyntaxError || (error instanceof Error && 'code' in error)) return 0
    throw error
  }
}
